//! The API of a pod at work: what it shows is what happens.

use std::process::Command;

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Outgoing, download, upload, with};
use crate::support::files::content;
use crate::support::http::get_with;
use crate::support::pod::{Pod, binary};
use crate::support::ports::free_port;
use crate::support::vsftpd::PASSWORD;
use crate::support::wait::wait_until;

/// Of a file that takes a quarter of a minute at [`RATE`]; sockets' buffers are smaller.
const SIZE: usize = 24_000_000;
/// vsftpd's, in bytes a second.
const RATE: (&str, &str) = ("anon_max_rate", "1600000");

fn ask(pod: &Pod, path: &str) -> Value {
    let (status, body) = pod.get(path).expect("the API answers");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// The one transfer of this task that is in flight.
fn transfer(pod: &Pod, task_id: &str) -> Option<Value> {
    let all = ask(pod, "/api/v1/transfers?connection=remote");
    let all = all["transfers"].as_array().expect("a list").clone();
    all.into_iter().find(|transfer| transfer["task_id"] == task_id)
}

fn bytes(transfer: &Value) -> u64 {
    transfer["bytes"].as_u64().expect("a number")
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_slow_transfers_bytes_grow_while_it_is_in_flight_each_way() {
    let stage = Stage::with("api-transfers", 1, &[RATE]);
    stage.server.put("slow.bin", &content(1, SIZE));
    stage.put_local("slow.bin", &content(2, SIZE));
    let pod = Pod::start(&stage.config());
    stage.send([
        download("down", "remote", "slow.bin", "/in/slow.bin"),
        upload("up", "slow.bin", "remote", "in/slow.bin"),
    ]);
    for (id, operation) in [("down", "download"), ("up", "upload")] {
        wait_until("bytes move", LONG, || transfer(&pod, id).is_some_and(|shown| bytes(&shown) > 0));
        let first = transfer(&pod, id).expect("it takes long");
        assert_eq!(
            (&first["operation"], &first["phase"]),
            (&json!(operation), &json!("transfer")),
            "{first}"
        );
        assert_eq!((&first["size"], &first["attempt"]), (&json!(SIZE), &json!(1)), "{first}");
        assert!(bytes(&first) < SIZE as u64, "{first}");
        wait_until("more bytes move", LONG, || {
            let next = transfer(&pod, id);
            next.is_none_or(|next| {
                bytes(&next) > bytes(&first) && next["bytes_per_second"].as_f64() > Some(0.0)
            })
        });
    }
    let connections = ask(&pod, "/api/v1/connections");
    let remote = &connections["connections"][0];
    assert_eq!(
        (&remote["name"], &remote["server"]),
        (&json!("remote"), &json!(stage.server.addr().to_string()))
    );
    assert_eq!((&remote["breaker"], &remote["last_error"]), (&json!("closed"), &Value::Null));

    let mut answers = stage.answers();
    answers.wait_for_ids(&["down", "up"], LONG).assert_all_completed();
    wait_until("nothing is in flight", LONG, || ask(&pod, "/api/v1/transfers")["total"] == 0);
    wait_until("a step of the history has the bytes", LONG, || {
        let history = ask(&pod, "/api/v1/history");
        let sum = |column: &str| -> u64 {
            history[column].as_array().expect("a list").iter().filter_map(Value::as_u64).sum()
        };
        sum("bytes_down") == SIZE as u64 && sum("bytes_up") == SIZE as u64 && sum("completed") == 2
    });
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn failures_partitions_and_a_broken_connection_are_shown_and_no_secret() {
    let stage = Stage::with("api-shows", 2, &[]);
    let gone = (std::net::Ipv4Addr::LOCALHOST, free_port()).into();
    let config = stage.config().ftp("broken", gone, &[]);
    let pod = Pod::start(&config);
    let no_task = Outgoing::from(b"no task".as_slice());
    stage.send([
        no_task,
        with(download("missing", "remote", "missing.bin", "/a.bin"), json!({"retry_count": 0})).into(),
        with(download("waits", "broken", "a.bin", "/b.bin"), json!({"defer": false})).into(),
    ]);
    wait_until("both failures", LONG, || {
        ask(&pod, "/api/v1/failures")["failures"].as_array().is_some_and(|all| all.len() == 2)
    });
    let failures = ask(&pod, "/api/v1/failures");
    let of = |code: &str| {
        let all = failures["failures"].as_array().expect("a list");
        all.iter().find(|failed| failed["code"] == code).unwrap_or_else(|| panic!("{failures}")).clone()
    };
    let missing = of("source_not_found");
    assert_eq!((&missing["task_id"], &missing["connection"]), (&json!("missing"), &json!("remote")));
    assert_eq!((&missing["ftp_code"], &missing["attempts"]), (&json!(550), &json!(1)));
    assert_eq!(
        (&of("invalid_task")["task_id"], &of("invalid_task")["connection"]),
        (&Value::Null, &Value::Null)
    );

    wait_until("the breaker opens", LONG, || {
        let connections = ask(&pod, "/api/v1/connections");
        let broken = &connections["connections"][0];
        broken["name"] == "broken"
            && broken["breaker"] != "closed"
            && broken["last_error"]["code"] == "connect_failed"
    });
    wait_until("the partitions' offsets", LONG, || {
        let partitions = ask(&pod, "/api/v1/partitions");
        let all = partitions["partitions"].as_array().expect("a list");
        let of_tasks: Vec<_> = all.iter().filter(|at| at["topic"] == *stage.topics.tasks).collect();
        let sum = |field: &str| -> i64 { of_tasks.iter().filter_map(|at| at[field].as_i64()).sum() };
        of_tasks.len() == 2 && sum("unanswered") == 1 && sum("lag") >= 1 && sum("end") == 3
    });
    let yaml = ask(&pod, "/api/v1/config")["yaml"].as_str().expect("text").to_owned();
    assert!(yaml.contains("  remote:\n") && yaml.contains("pass: (set)"), "{yaml}");
    for path in ["status", "connections", "failures", "config", "partitions"] {
        assert!(!pod.get(&format!("/api/v1/{path}")).expect("an answer").1.contains(PASSWORD), "{path}");
    }
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_token_guards_the_figures_and_stands_in_no_log_whether_it_is_right_or_wrong() {
    let stage = Stage::new("api-token");
    let config = stage
        .config()
        .env("FTP_POOLER__API__TOKEN", "right-t0ken-of-16-characters")
        .env("RUST_LOG", "debug,ftp_pooler=trace,hyper=trace,axum=trace");
    let pod = Pod::start(&config);
    let api = pod.addr("api").expect("it listens");
    let status = |token: &str| {
        let head = format!("Authorization: Bearer {token}\r\n");
        get_with(api, "/api/v1/config", &head).expect("an answer")
    };
    let (code, body) = status("right-t0ken-of-16-characters");
    assert!(code == 200 && body.contains("token: (set)") && !body.contains("t0ken-of-16"), "{body}");
    let (code, body) = status("wrong-t0ken-of-16-characters");
    assert!(code == 401 && !body.contains("t0ken"), "{body}");
    assert_eq!(pod.get("/metrics").expect("an answer").0, 401);
    assert_eq!(pod.get("/api/v1/events").expect("an answer").0, 401);
    assert!(pod.is_ready() && pod.is_healthy(), "probes need none");

    let health = Command::new(binary())
        .args(["health", "--url", &format!("http://{api}/health")])
        .output()
        .expect("it runs");
    assert!(health.status.success(), "{health:?}");
    let watched = |token: &str| {
        let output = Command::new(binary())
            .args(["watch", "--for", "1s", "--output", "json", "--pods", &api.to_string(), "--config"])
            .arg(pod.config_file())
            .env("FTP_POOLER__API__TOKEN", token)
            .output()
            .expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(watched("right-t0ken-of-16-characters").contains("\"remote\""), "the pod shows its connections");
    let silent = watched("wrong-t0ken-of-16-characters");
    assert!(silent.contains("401") && !silent.contains("t0ken"), "{silent}");
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    assert!(!pod.log().contains("t0ken"), "what was sent is told to nobody");
}

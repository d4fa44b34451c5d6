//! `lag` and `watch`: the pool seen from outside, while it works.

use serde_json::{Value, json};

use super::Shell;
use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::download;
use crate::support::gate::Gate;
use crate::support::pod::Pod;
use crate::support::wait::wait_until;

fn sum(lag: &Value, field: &str) -> u64 {
    lag["partitions"].as_array().unwrap().iter().map(|partition| partition[field].as_u64().unwrap()).sum()
}

fn connection<'a>(lag: &'a Value, name: &str) -> &'a Value {
    let mut all = lag["connections"].as_array().unwrap().iter();
    all.find(|connection| connection["connection"] == name).unwrap_or(&Value::Null)
}

#[test]
#[ignore = "needs Kafka: make test"]
fn lag_tells_what_waits_before_a_pod_was_ever_there() {
    let stage = Stage::with("lag-none", 2, &[]);
    let shell = Shell::new(&stage.config());
    let empty = shell.run(&["lag"]);
    assert_eq!(empty.code, Some(0), "{empty:?}");
    assert!(empty.stdout.contains("no open records"), "{}", empty.stdout);
    stage.send((0..20).map(|n| download(&format!("{n}"), "remote", "f", &format!("{n}"))));
    stage.send([json!({"no": "task"})]);
    let lag = shell.run(&["lag", "--output", "json"]).json();
    assert_eq!((sum(&lag, "waiting"), sum(&lag, "done_above")), (21, 0), "{lag}");
    assert_eq!(connection(&lag, "remote")["waiting"], json!(20));
    assert_eq!(connection(&lag, "(no task)")["waiting"], json!(1));
    let some = shell.run(&["lag", "--limit", "5", "--output", "json"]).json();
    assert_eq!((&some["exact"], sum(&some, "waiting")), (&json!(false), 21));
    let table = shell.run(&["lag", "--limit", "5"]);
    assert!(table.stdout.contains('~') && table.stderr.contains("--limit"), "{table:?}");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn lag_tells_what_is_done_above_what_is_open_while_the_pod_runs() {
    let stage = Stage::new("lag-running");
    stage.server.put("f", b"content");
    let gate = Gate::before(stage.server.addr(), &[]);
    gate.shut();
    let config = stage.config().ftp("dead", gate.addr(), &[]).set("retry.enabled", json!(false));
    let shell = Shell::new(&config);
    let pod = Pod::start(&config);
    stage.send((0..4).map(|n| download(&format!("dead-{n}"), "dead", "f", &format!("dead/{n}"))));
    stage.send((0..30).map(|n| download(&format!("{n}"), "remote", "f", &format!("{n}"))));
    stage.answers().wait_for(30, LONG);
    let look = || shell.run(&["lag", "--output", "json"]).json();
    wait_until("the commit's map", LONG, || sum(&look(), "done_above") == 30);
    let lag = look();
    assert_eq!((sum(&lag, "taken_in"), sum(&lag, "waiting")), (4, 0), "{lag}");
    assert_eq!(connection(&lag, "dead")["taken_in"], json!(4), "{lag}");
    assert!(connection(&lag, "remote").is_null(), "{lag}");
    // The pod's membership was left alone.
    gate.open_again();
    stage.answers().wait_for(34, LONG);
    wait_until("the last commit", LONG, || sum(&look(), "taken_in") + sum(&look(), "waiting") == 0);
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
    assert_eq!(pod.events("partitions_assigned").len(), 1, "{}", pod.log_tail(40));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn watch_counts_answers_and_asks_pods_a_line_a_look_in_a_pipe() {
    let stage = Stage::new("watch");
    stage.server.put("f", b"content");
    let config = stage.config();
    let pod = Pod::start(&config);
    let shell = Shell::new(&config);
    let pods = format!("{},127.0.0.1:1", pod.addr("api").unwrap());
    let child = shell
        .command(&["watch", "--pods", &pods, "--for", "12s", "--every", "500ms", "--output", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Each is answered within the time, but only those after its start are seen: so some go on coming.
    let mut answers = stage.answers();
    for number in 0..16 {
        let id = format!("{number}");
        stage.send([
            download(&id, "remote", "f", &id),
            download(&format!("lost-{id}"), "remote", "missing", "x"),
        ]);
        answers.wait_for(2 * (number + 1), LONG);
        std::thread::sleep(std::time::Duration::from_millis(400));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let looks: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(looks.len() >= 3, "{looks:?}");
    let last = looks.last().unwrap();
    assert!(last["completed"].as_u64().unwrap() > 0 && last["failed"].as_u64().unwrap() > 0, "{last}");
    assert_eq!(last["bytes"].as_u64().unwrap(), last["completed"].as_u64().unwrap() * 7);
    assert_eq!(last["last_failures"][0]["code"], json!("source_not_found"));
    assert!(last["failed_by_connection"]["remote"].as_u64().unwrap() > 0);
    assert_eq!(last["connections"]["remote"]["breaker"], json!("closed"), "{last}");
    assert!(last["pods"]["silent"][0].as_str().unwrap().starts_with("127.0.0.1:1: "), "{last}");
    let plain = shell.run(&["watch", "--for", "1s"]);
    assert_eq!(plain.code, Some(0), "{plain:?}");
    assert!(plain.stdout.contains("completed 0") && !plain.stdout.contains('\x1b'), "{plain:?}");
}

#[test]
#[ignore = "needs Kafka: make test"]
fn topics_that_are_not_there_are_made_and_the_others_stay_as_they_are() {
    let stage = Stage::with("topics", 1, &[]);
    let name = |topic: &str| format!("{}-{topic}", stage.topics.tasks);
    let config = stage
        .bare_config()
        .set("kafka.result_topic", json!(name("results")))
        .set("kafka.retry_topic", json!(name("retry")))
        .set("kafka.coordination_topic", json!(name("coordination")))
        .set("retry.max_deferral", json!("240h"));
    let shell = Shell::new(&config);
    let lacking = shell.run(&["failures", "retry", "--all"]);
    assert_eq!(lacking.code, Some(0), "{lacking:?}");
    let lacking = shell.run(&["watch", "--for", "1s"]);
    assert_eq!(lacking.code, Some(69), "{lacking:?}");
    assert!(lacking.stderr.contains("does not exist: `ftp-pooler topics` creates it"), "{lacking:?}");

    let made = shell.run(&["topics", "--partitions", "5", "--output", "json"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let made = made.json()["topics"].clone();
    assert_eq!(
        made,
        json!([
            {"topic": stage.topics.tasks, "partitions": 1, "asked_for": 5, "made": false},
            {"topic": name("results"), "partitions": 5, "asked_for": 5, "made": true},
            {"topic": stage.topics.failures, "partitions": 1, "asked_for": 5, "made": false},
            {"topic": name("retry"), "partitions": 5, "asked_for": 5, "made": true},
            {"topic": name("coordination"), "partitions": 1, "asked_for": 1, "made": true},
            {"topic": name("control"), "partitions": 1, "asked_for": 1, "made": true},
        ])
    );
    let watched = shell.run(&["watch", "--for", "1s", "--pods", "127.0.0.1:1"]);
    assert_eq!(watched.code, Some(0));
    let refused = "in flight 0  waiting 0  pods 0/1 (127.0.0.1:1: Connection refused";
    assert!(watched.stdout.contains(refused), "{}", watched.stdout);
    let again = shell.run(&["topics"]).stdout;
    assert_eq!(again.matches("was there, 12 asked for").count(), 4, "{again}");
    // The retry topic keeps its records for long enough, or the pod would say so and defer nothing.
    let pod = Pod::start(&config);
    wait_until("tasks can be deferred", LONG, || !pod.events("deferral_enabled").is_empty());
    assert!(pod.terminate(EXIT).success(), "{}", pod.log_tail(20));
}

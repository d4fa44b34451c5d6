//! What tasks can ask for beyond the bytes, through the whole pod.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Answers, download, upload, with};
use crate::support::gate::Gate;
use crate::support::pod::Pod;
use crate::support::wait::wait_until;

fn answer(answers: &Answers, id: &str) -> Value {
    answers.only(id).json.clone()
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn results_tell_what_the_task_asked_for_and_failures_what_the_server_lacks() {
    let stage = Stage::new("options");
    stage.server.put("f", b"abc");
    stage.server.put("gone", b"abc");
    stage.put_local("g", b"abc");
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(981_173_106);
    for path in [stage.server.root().join("f"), stage.base().join("g")] {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }
    let keeping = json!({"preserve_mtime": true, "verify": "auto"});
    stage.send([
        with(download("down", "remote", "f", "down"), keeping.clone()),
        with(upload("up", "g", "remote", "up"), keeping),
        with(download("hash", "remote", "f", "hash"), json!({"verify": "hash"})),
        with(download("late", "remote", "f", "late"), json!({"deadline": "2025-01-15T10:30:00Z"})),
        with(download("after", "remote", "gone", "after"), json!({"after": {"move_to": "done/gone"}})),
        with(upload("keeps", "g", "remote", "keeps"), json!({"after": "delete"})),
    ]);
    let pod = Pod::start(&stage.config().set("transfer.hash", json!("sha256")));
    let mut answers = stage.answers();
    answers.wait_for(6, LONG);
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    answers.read_to_end();

    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (id, command) in [("down", "SIZE"), ("up", "MDTM")] {
        let told = answer(&answers, id);
        assert_eq!(told["status"], "completed", "{told}");
        assert_eq!((&told["size"], &told["connection"]), (&json!(3), &json!("remote")));
        assert_eq!((&told["hash"], &told["verified_by"]), (&json!({"sha256": sha256}), &json!("size")));
        assert_eq!(told["source_mtime"], "2001-02-03T04:05:06.000Z");
        assert_eq!(told["notes"], json!(["hash not verified: the server has none"]));
        assert!(told["features"].as_array().unwrap().contains(&json!(command)), "{told}");
    }
    for path in [stage.base().join("down"), stage.server.root().join("up")] {
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), then, "{}", path.display());
    }
    let told = answer(&answers, "after");
    assert_eq!((&told["status"], &told["after"]), (&json!("completed"), &json!("moved")), "{told}");
    assert_eq!((stage.server.get("gone"), stage.server.get("done/gone")), (None, Some(b"abc".to_vec())));
    for (id, code) in [("hash", "unsupported"), ("late", "deadline_exceeded"), ("keeps", "invalid_task")] {
        let told = answer(&answers, id);
        assert_eq!(
            (&told["error"]["code"], &told["error"]["retryable"]),
            (&json!(code), &json!(false)),
            "{told}"
        );
        assert_eq!(told["attempts"], u32::from(id == "hash"), "{told}");
        assert!(stage.get_local(id).is_none() && stage.server.get(id).is_none());
    }
}

/// The server is away. Who keeps its place comes first, and whose deadline ends meanwhile is told why it was not done.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_task_that_is_not_to_be_deferred_keeps_its_place_and_a_deadline_ends_the_wait() {
    let stage = Stage::new("no-defer");
    let gate = Gate::before(stage.server.addr(), &[]);
    gate.shut();
    stage.server.put("first", b"first");
    stage.server.put("second", b"second");
    let soon = jiff::Timestamp::now() + Duration::from_secs(5);
    let patient = json!({"defer": false, "retry_count": 100});
    stage.send([
        with(download("first", "dead", "first", "f"), patient.clone()),
        with(download("second", "dead", "second", "f"), patient),
        with(
            download("timely", "dead", "first", "t"),
            json!({"retry_count": 100, "deadline": soon.to_string()}),
        ),
    ]);
    let pod = Pod::start(&stage.config().ftp("dead", gate.addr(), &[]));
    let mut answers = stage.answers();
    answers.wait_for(1, LONG);
    let told = answer(&answers, "timely");
    assert_eq!(told["error"]["code"], "deadline_exceeded", "{told}");
    let deferred = || pod.metrics().sum("ftp_pooler_deferred_tasks_total", &["connection=\"dead\""]);
    wait_until("the breaker to open", LONG, || {
        pod.metrics().get("ftp_pooler_breaker_state{connection=\"dead\"}") > 0.0
    });
    assert!(deferred() < 1.0, "none of them may go to the retry topic");

    gate.open_again();
    answers.wait_for(3, LONG);
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    let order: Vec<_> = answers.read_to_end().all.iter().filter_map(|answer| answer.task_id()).collect();
    assert_eq!(order, ["timely", "first", "second"]);
    assert_eq!(stage.get_local("f").unwrap(), b"second");
    assert_eq!(answers.failures().count(), 1);
}

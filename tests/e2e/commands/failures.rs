//! `failures`: listed, counted, and sent again once.

use serde_json::{Value, json};

use super::{Ran, Shell};
use crate::stage::{LONG, Stage};
use crate::support::client::{Answers, Outgoing, download, send};
use crate::support::pod::Pod;

fn failure(id: &str, code: &str, connection: &str) -> Value {
    let task = download(id, connection, "f", id);
    json!({
        "task_id": id, "status": "failed", "attempts": 4,
        "failed_at": rfc3339_now(),
        "error": {"code": code, "message": "the words", "retryable": code == "timeout", "ftp_code": null},
        "task": task,
    })
}

fn rfc3339_now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

fn put(stage: &Stage, failures: impl IntoIterator<Item = Value>) {
    send(stage.kafka, &stage.topics.failures, failures);
}

/// What stands on the input topic.
fn tasks(stage: &Stage) -> Answers {
    let mut topics = stage.topics.clone();
    topics.failures = std::mem::replace(&mut topics.results, topics.tasks.clone());
    Answers::of(stage.kafka, &topics)
}

#[test]
#[ignore = "needs Kafka: make test"]
fn failures_are_listed_counted_and_chosen() {
    let stage = Stage::new("failures-list");
    let shell = Shell::new(&stage.config());
    put(&stage, (0..3).map(|n| failure(&format!("t{n}"), "timeout", "remote")));
    put(&stage, [failure("g", "source_not_found", "other"), json!({"somebody": "else's"})]);
    send(stage.kafka, &stage.topics.failures, [&b"\xff no json"[..]]);

    let all = shell.run(&["failures", "--output", "json"]);
    assert_eq!(all.code, Some(0), "{all:?}");
    let all = all.json();
    assert_eq!((&all["total"], &all["failures"].as_array().unwrap().len()), (&json!(4), &4));
    assert_eq!(all["groups"][0]["code"], json!("timeout"));
    assert_eq!((&all["groups"][0]["count"], &all["groups"][0]["connection"]), (&json!(3), &json!("remote")));

    let some = shell.run(&["failures", "--code", "timeout", "--limit", "2", "--output", "json"]).json();
    let ids: Vec<&Value> = some["failures"].as_array().unwrap().iter().map(|f| &f["task_id"]).collect();
    assert_eq!((&some["total"], ids), (&json!(3), vec![&json!("t1"), &json!("t2")]), "the latest");
    assert_eq!(
        shell.run(&["failures", "--connection", "other", "--output", "json"]).json()["total"],
        json!(1)
    );
    assert_eq!(shell.run(&["failures", "--until", "1h", "--output", "json"]).json()["total"], json!(0));
    let table = shell.run(&["failures", "--summary"]).stdout;
    assert!(table.lines().any(|line| line.starts_with("timeout") && line.contains("remote  ")), "{table}");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_failed_task_is_sent_again_once_and_then_done() {
    let stage = Stage::new("failures-retry");
    let config = stage.config();
    let _pod = Pod::start(&config);
    let shell = Shell::new(&config);
    let mut task = Outgoing::from(download("late", "remote", "late", "in/late"));
    task.headers = vec![("trace".to_owned(), Some(b"abc".to_vec()))];
    stage.send([task]);
    let mut answers = stage.answers();
    answers.wait_for(1, LONG);
    assert_eq!(answers.only("late").code(), "source_not_found");

    stage.server.put("late", b"here now");
    let dry = shell.run(&["failures", "retry", "--code", "source_not_found", "--dry-run"]);
    assert!(dry.stdout.contains("1 task would be sent again"), "{dry:?}");
    let ran = shell.run(&["failures", "retry", "--code", "source_not_found", "--output", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.json()["sent"], json!(1), "{ran:?}");
    answers.wait_for(2, LONG);
    let done = answers.results().next().unwrap();
    assert_eq!(done.task_id(), Some("late"));
    let headers: Vec<&str> = done.headers.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        headers,
        ["trace", "ftp-batch"],
        "the task's own headers travel along, the retry's stay within"
    );
    assert_eq!(stage.get_local("in/late").unwrap(), b"here now");

    let again = shell.run(&["failures", "retry", "--all", "--output", "json"]).json();
    assert_eq!((&again["sent"], &again["already_sent"]), (&json!(0), &json!(1)));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn what_was_sent_again_is_not_open_any_more_and_its_answers_are_waited_for() {
    let stage = Stage::new("failures-open");
    stage.server.put("there", b"here now");
    let config = stage.config();
    let _pod = Pod::start(&config);
    let shell = Shell::new(&config);
    let mut two = [failure("well", "timeout", "remote"), failure("lost", "timeout", "remote")];
    two[0]["task"]["source"]["path"] = json!("there");
    put(&stage, two);
    put(&stage, [failure("stays", "auth_failed", "remote")]);
    let open = |args: &[&str]| shell.run(&[&["failures", "--output", "json"], args].concat()).json();
    assert_eq!(open(&["--open"])["total"], json!(3));
    let ran = shell.run(&[
        "failures",
        "retry",
        "--code",
        "timeout",
        "--wait",
        "--timeout",
        "2m",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, Some(1), "one has failed again: {ran:?}");
    let answers = &ran.json()["answers"];
    assert_eq!((&answers["completed"], &answers["failed"]), (&json!(1), &json!(1)), "{ran:?}");
    assert_eq!(answers["failures"][0]["source"], json!("remote:f"), "{ran:?}");
    // Open are the one that was left alone, and the new failure.
    let still = open(&["--open"]);
    let ids: Vec<&Value> = still["failures"].as_array().unwrap().iter().map(|f| &f["task_id"]).collect();
    assert_eq!(ids, [&json!("stays"), &json!("lost")], "{still}");
    let summary = open(&["--summary"]);
    assert_eq!((&summary["total"], &summary["open"]), (&json!(4), &json!(2)), "{summary}");

    let slip = shell.run(&["failures", "--connection", "remot"]);
    assert!(slip.stderr.contains("no FTP connection is named remot, did you mean remote?"), "{slip:?}");
}

#[test]
#[ignore = "needs Kafka: make test"]
fn two_at_a_time_send_each_task_once() {
    let stage = Stage::with("failures-two", 3, &[]);
    let shell = Shell::new(&stage.config());
    let ids: Vec<String> = (0..3_000).map(|number| format!("t-{number}")).collect();
    put(&stage, ids.iter().map(|id| failure(id, "timeout", "remote")));
    // Fenced ones have sent whole batches or nothing.
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| shell.run(&["failures", "retry", "--code", "timeout"]));
            }
        });
    }
    let last = shell.run(&["failures", "retry", "--code", "timeout", "--output", "json"]);
    assert_eq!(last.code, Some(0), "{last:?}");
    let mut sent = tasks(&stage);
    sent.read_to_end();
    sent.assert_each_once(&ids);
    assert_eq!(sent.only("t-7").json, download("t-7", "remote", "f", "t-7"));
}

#[test]
#[ignore = "needs Kafka: make test"]
fn what_cannot_be_sent_again_is_named() {
    let stage = Stage::new("failures-cut");
    let shell = Shell::new(&stage.config());
    let mut cut = failure("cut", "timeout", "remote");
    (cut["task"], cut["truncated"]) = (json!({"raw": "{\"task_id\": \"cut\""}), json!(true));
    let mut none = failure("none", "timeout", "remote");
    none["task"] = Value::Null;
    let same = failure("same", "timeout", "remote");
    put(&stage, [cut, none, failure("gone", "timeout", "no-more"), same.clone(), same]);
    let ran: Ran = shell.run(&["failures", "retry", "--code", "timeout", "--output", "json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let report = ran.json();
    assert_eq!((&report["sent"], &report["same_task"]), (&json!(1), &json!(1)), "{ran:?}");
    let left_out: Vec<(&str, &str)> = report["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| (left["task_id"].as_str().unwrap(), left["reason"].as_str().unwrap()))
        .collect();
    assert!(left_out[0].0 == "cut" && left_out[0].1.contains("cut to fit"), "{left_out:?}");
    assert!(left_out[1].0 == "none" && left_out[1].1.contains("no JSON object"), "{left_out:?}");
    assert!(left_out[2].0 == "gone" && left_out[2].1.contains("unknown_connection"), "{left_out:?}");
    // Both failures of the same task are settled by the one that was sent.
    let again = shell.run(&["failures", "retry", "--code", "timeout", "--output", "json"]).json();
    assert_eq!((&again["sent"], &again["already_sent"]), (&json!(0), &json!(2)));
}

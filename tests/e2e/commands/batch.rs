//! `batch`: what was submitted together is listed, waited for and cancelled, deferred tasks too.

use serde_json::{Value, json};

use super::Shell;
use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Outgoing, download};
use crate::support::gate::Gate;
use crate::support::pod::Pod;
use crate::support::wait::wait_until;

fn batch_of(ran: &super::Ran) -> String {
    ran.json()["batch"].as_str().unwrap_or_else(|| panic!("{ran:?}")).to_owned()
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_cancelled_batch_is_answered_though_its_server_is_away_and_its_tasks_are_deferred() {
    let stage = Stage::new("batch-cancel");
    stage.server.put("f", b"content");
    let gate = Gate::before(stage.server.addr(), &[]);
    gate.shut();
    let config = stage.config().ftp("dead", gate.addr(), &[]);
    let shell = Shell::new(&config);
    assert_eq!(shell.run(&["topics", "--partitions", "1"]).code, Some(0));
    let pod = Pod::start(&config);
    let tasks = (0..5).map(|n| download(&format!("dead-{n}"), "dead", "f", &format!("dead/{n}")));
    let dead = batch_of(&shell.run(&["submit", &shell.lines("dead", tasks), "--output", "json"]));
    let well = shell.run(&["submit", "remote:f", "local:well", "--output", "json"]);
    let well = batch_of(&well);
    let waited = shell.run(&["batch", "wait", &well, "--timeout", "2m"]);
    assert_eq!(waited.code, Some(0), "{waited:?}\n{}", pod.log_tail(20));
    assert!(waited.stdout.contains("completed  1 (7 B)"), "{waited:?}");

    let list = shell.run(&["batch", "ls", "--output", "json"]).json();
    let ids: Vec<&Value> = list["batches"].as_array().unwrap().iter().map(|batch| &batch["batch"]).collect();
    assert_eq!(ids, [&json!(dead)], "the other one is done: {list}");
    assert_eq!((&list["batches"][0]["state"], &list["batches"][0]["open"]), (&json!("open"), &json!(5)));

    wait_until("the tasks to be deferred", LONG, || {
        let lag = shell.run(&["lag", "--output", "json"]).json();
        let connections = lag["connections"].as_array().unwrap().clone();
        connections.iter().any(|of| of["connection"] == "dead" && of["deferred"].as_u64() == Some(5))
    });
    let cancelled = shell.run(&["batch", "cancel", &dead]);
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    assert!(cancelled.stdout.contains("5 tasks open"), "{cancelled:?}");
    let mut answers = stage.answers();
    answers.wait_for(6, LONG);
    for number in 0..5 {
        let answer = answers.only(&format!("dead-{number}"));
        assert_eq!(answer.code(), "cancelled", "{answer:?}");
        assert!(answer.message().contains(&dead), "{answer:?}");
    }
    let shown = shell.run(&["batch", "show", &dead, "--output", "json"]).json();
    assert_eq!((&shown["state"], &shown["open"]), (&json!("cancelled"), &json!(0)), "{shown}");
    assert_eq!(shown["failures_by_code"], json!({"cancelled": 5}), "{shown}");
    let again = shell.run(&["batch", "cancel", &dead]);
    assert!(again.stdout.contains("was cancelled before"), "{again:?}");
    let done = shell.run(&["batch", "cancel", &well]);
    assert!(done.code == Some(1) && done.stdout.contains("nothing was cancelled"), "{done:?}");
    // Nobody has announced it: how many tasks it has is not known.
    let typo = shell.run(&["batch", "cancel", "typo", "--unannounced"]);
    assert!(typo.code == Some(1) && typo.stdout.contains("is the id right?"), "{typo:?}");
    assert_eq!(shell.run(&["batch", "show", "typo", "--output", "json"]).json()["open"], Value::Null);
    let waited = shell.run(&["batch", "wait", "typo", "--timeout", "1s"]);
    assert!(waited.code == Some(65) && waited.stderr.contains("was never announced"), "{waited:?}");
    // What was ended on purpose is not open.
    assert_eq!(shell.run(&["failures", "--open", "--output", "json"]).json()["total"], json!(0));

    let slip = shell.run(&["batch", "show", &dead[1..]]);
    assert_eq!(slip.code, Some(65), "{slip:?}");
    assert!(slip.stderr.contains(&format!("did you mean {dead}?")), "{slip:?}");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_that_starts_later_knows_what_was_cancelled_and_a_producers_own_batch_is_one() {
    let stage = Stage::new("batch-late");
    stage.server.put("f", b"content");
    let config = stage.config();
    let shell = Shell::new(&config);
    assert_eq!(shell.run(&["topics", "--partitions", "1"]).code, Some(0));
    let tasks = (0..3).map(|n| download(&format!("t-{n}"), "remote", "f", &format!("in/{n}")));
    let batch = batch_of(&shell.run(&["submit", &shell.lines("tasks", tasks), "--output", "json"]));
    assert_eq!(shell.run(&["batch", "cancel", &batch]).code, Some(0));
    let mut own = Outgoing::from(download("own", "remote", "f", "in/own"));
    own.headers = vec![("ftp-batch".to_owned(), Some(b"mine".to_vec()))];
    stage.send([own]);
    let _pod = Pod::start(&config);
    let mut answers = stage.answers();
    answers.wait_for(4, LONG);
    assert!((0..3).all(|n| answers.only(&format!("t-{n}")).code() == "cancelled"), "{:?}", answers.all);
    let own = answers.only("own");
    assert!(own.is_completed(), "{own:?}");
    assert_eq!(own.headers, [("ftp-batch".to_owned(), Some(b"mine".to_vec()))]);
    assert_eq!(stage.local_files(), [std::path::PathBuf::from("in/own")]);
}

#[test]
#[ignore = "needs Kafka: make test"]
fn without_its_topic_a_batch_has_an_id_and_no_more() {
    let stage = Stage::new("batch-none");
    let shell = Shell::new(&stage.config());
    let file = shell.lines("tasks", [download("a", "remote", "f", "f")]);
    let ran = shell.run(&["submit", &file, "--output", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let list = shell.run(&["batch", "ls"]);
    assert_eq!(list.code, Some(69), "{list:?}");
    assert!(list.stderr.contains("does not exist: `ftp-pooler topics` creates it"), "{list:?}");
    let topic = format!("{}-control", stage.topics.tasks);
    assert_eq!(stage.kafka.topics_named(&topic), [], "no command makes it by accident");
}

/// The batch as the pod's API has it, without what differs from one to the next, and its open failures.
fn counted(pod: &Pod, batch: &str) -> Option<(Value, Value)> {
    let (_, batches) = pod.get("/api/v1/batches")?;
    let batches: Value = serde_json::from_str(&batches).ok()?;
    let of = batches["batches"].as_array()?.iter().find(|of| of["batch"] == batch)?;
    let (_, pool) = pod.get("/api/v1/pool")?;
    let pool: Value = serde_json::from_str(&pool).ok()?;
    Some((
        json!([of["completed"], of["failed"], of["open"], of["is_exact"]]),
        pool["open_failures"]["open"].clone(),
    ))
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn open_batches_and_failures_are_counted_on_when_a_pod_starts_again() {
    let stage = Stage::new("batch-restart");
    stage.server.put("f", b"content");
    let gate = Gate::before(stage.server.addr(), &[]);
    gate.shut();
    let config = stage
        .config()
        .ftp("dead", gate.addr(), &[])
        .set("kafka.coordination_topic", json!(format!("{}-sessions", stage.topics.group)));
    let shell = Shell::new(&config);
    assert_eq!(shell.run(&["topics", "--partitions", "1"]).code, Some(0));
    let pod = Pod::start(&config);
    let well = (0..3).map(|n| download(&format!("well-{n}"), "remote", "f", &format!("well/{n}")));
    let wrong = (0..2).map(|n| download(&format!("wrong-{n}"), "remote", "nothing", &format!("wrong/{n}")));
    let dead = (0..4).map(|n| download(&format!("dead-{n}"), "dead", "f", &format!("dead/{n}")));
    let file = shell.lines("tasks", well.chain(wrong).chain(dead));
    let batch = batch_of(&shell.run(&["submit", &file, "--output", "json"]));
    let exact = Some((json!([3, 2, 4, true]), json!(2)));
    wait_until("all but the dead server's to be answered", LONG, || counted(&pod, &batch) == exact);

    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    let pod = Pod::start(&config);
    wait_until("the same after a restart", LONG, || counted(&pod, &batch) == exact);

    // What it has announced survives a crash, too; whether more was answered before the crash, nobody knows.
    let other = Pod::start(&config.clone().set("pod.name", json!("pod-1")));
    let inexact = Some((json!([3, 2, 4, false]), json!(2)));
    wait_until("another pod to have read it", LONG, || counted(&other, &batch) == inexact);
    pod.kill9();
    let pod = Pod::start(&config);
    wait_until("no fewer after a crash", LONG, || counted(&pod, &batch) == inexact);
}

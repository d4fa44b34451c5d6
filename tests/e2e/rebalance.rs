//! Partitions that move between pods: nobody stands still for it, nothing is answered twice.

#![allow(clippy::float_cmp, reason = "the metrics that are compared are counts")]

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Outgoing, download};
use crate::support::hostile::{Hostile, Manner};
use crate::support::pod::{Pod, PodConfig};
use crate::support::wait::{wait_for, wait_until};

const REVOKED: &str = "partitions_revoked";
const STOPPED: &str = "revocation_timed_out";
const PARTITIONS: i32 = 4;

fn config(stage: &Stage, pod: &str) -> PodConfig {
    let config = stage.config().set("pod.name", json!(pod)).set("kafka.delivery", json!("exactly_once"));
    config.set("retry.enabled", json!(false)) // its topic's partitions would move as well
}

fn assigned(pod: &Pod) -> f64 {
    pod.metrics().get("ftp_pooler_assigned_partitions")
}

fn answered(pod: &Pod) -> f64 {
    pod.metrics().sum("ftp_pooler_tasks_answered_total", &[])
}

fn rebalanced(pod: &Pod) -> f64 {
    pod.metrics().sum("ftp_pooler_rebalanced_partitions_total", &[])
}

/// A task's record in this partition.
fn to(partition: i32, task: Value) -> Outgoing {
    Outgoing { partition: Some(partition), ..Outgoing::from(task) }
}

/// The partitions that a log's event names.
fn partitions(event: &Value) -> BTreeSet<i32> {
    let names = event["partitions"].as_str().unwrap_or_default().split_whitespace();
    let ranges = names.filter_map(|name| Some(name.rsplit_once('[')?.1.trim_end_matches(']')));
    let numbers = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<i32>().unwrap()..=last.parse().unwrap()
    };
    ranges.flat_map(|ranges| ranges.split(',')).flat_map(numbers).collect()
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_added_under_load_gets_its_share_and_no_task_is_answered_twice() {
    let stage = Stage::with("added", 6, &[("anon_max_rate", "400000")]);
    stage.server.put("f", &vec![b'x'; 100_000]);
    let ids: Vec<String> = (0..240).map(|i| i.to_string()).collect();
    stage.send(ids.iter().map(|id| download(id, "remote", "f", &format!("out/{id}"))));
    let config = |pod: &str| config(&stage, pod).set("pool.max_sessions_per_connection", json!(4));
    let first = Pod::start(&config("first"));
    let mut answers = stage.answers();
    answers.wait_for(20, LONG);
    let second = Pod::start(&config("second"));
    wait_until("the second pod to have its share", LONG, || {
        assigned(&second) == 3.0 && assigned(&first) == 3.0
    });
    answers.wait_for_ids(&ids, LONG);
    assert!(answered(&second) > 0.0, "it has worked, too");
    for pod in [&first, &second] {
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    }
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids);
    assert_eq!(stage.kafka.lag(&stage.topics), 0);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn other_partitions_keep_working_while_some_leave_and_what_does_not_finish_is_done_by_the_next_owner() {
    let stage = Stage::with("keep-working", PARTITIONS, &[]);
    stage.server.put("f", b"content");
    let stalled = Hostile::start(Manner::StalledTransfer);
    let config = |pod: &str| config(&stage, pod).ftp("stalled", stalled.addr(), &[("stall_timeout", "5m")]);
    let first = Pod::start(&config("first"));
    stage.send(
        (0..PARTITIONS).map(|p| to(p, download(&format!("stalled-{p}"), "stalled", "x", &format!("x{p}")))),
    );
    wait_until("a transfer of each partition to be stuck", LONG, || stalled.transfers() >= 4);

    let second = Pod::spawn(&config("second"));
    let leaving =
        wait_for("partitions to be revoked", LONG, || first.events(REVOKED).first().map(partitions));
    assert!(!leaving.is_empty() && leaving.len() < 4, "{leaving:?}");
    let stay = (0..PARTITIONS).filter(|partition| !leaving.contains(partition));
    let ids: Vec<String> = stay.clone().map(|partition| format!("well-{partition}")).collect();
    stage.send(stay.map(|p| to(p, download(&format!("well-{p}"), "remote", "f", &format!("well-{p}")))));
    let mut answers = stage.answers();
    answers.wait_for_ids(&ids, LONG).assert_all_completed();
    assert!(first.events(STOPPED).is_empty(), "the leaving ones still had time");

    // They do not finish: after the bound they are let go, and begun anew elsewhere.
    wait_until("the next owner to have begun them", LONG, || stalled.transfers() >= 4 + leaving.len());
    assert_eq!(first.events(STOPPED).len(), 1);
    let taken =
        leaving.iter().map(|p| to(*p, download(&format!("later-{p}"), "remote", "f", &format!("later-{p}"))));
    stage.send(taken);
    let later: Vec<String> = leaving.iter().map(|partition| format!("later-{partition}")).collect();
    answers.wait_for_ids(&later, LONG);
    assert_eq!(answered(&second), f64::from(u32::try_from(leaving.len()).unwrap()));
    answers.read_to_end().assert_each_once(&[ids, later].concat());
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn no_pause_outlives_its_reason() {
    let stage = Stage::with("pauses", PARTITIONS, &[]);
    stage.server.put("f", b"content");
    let config = |pod: &str| config(&stage, pod).set("pool.max_waiting_tasks", json!(3));
    let ids: Vec<String> = (0..600).map(|i| i.to_string()).collect();
    let first = Pod::start(&config("first"));
    stage.send(ids.iter().map(|id| download(id, "remote", "f", &format!("out/{id}"))));
    let mut answers = stage.answers();
    answers.wait_for(50, LONG);
    let second = Pod::start(&config("second")); // partitions leave while they are paused
    answers.wait_for(250, LONG);
    assert_eq!(second.terminate(EXIT).code(), Some(0), "{}", second.log_tail(30)); // and come back
    answers.wait_for_ids(&ids, LONG);

    wait_until("nothing to be paused", LONG, || {
        assigned(&first) == 4.0 && first.metrics().get("ftp_pooler_paused_partitions") == 0.0
    });
    stage.send(
        (0..PARTITIONS).map(|p| to(p, download(&format!("last-{p}"), "remote", "f", &format!("last-{p}")))),
    );
    let last: Vec<String> = (0..PARTITIONS).map(|p| format!("last-{p}")).collect();
    answers.wait_for_ids(&last, LONG);
    answers.read_to_end().assert_each_once(&[ids, last].concat());
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_static_member_that_restarts_keeps_its_partitions_and_nobody_else_notices() {
    let stage = Stage::with("static", PARTITIONS, &[]);
    stage.server.put("f", b"content");
    let patient = json!({"session.timeout.ms": "45000"});
    let config = |pod: &str| {
        config(&stage, pod)
            .set("kafka.static_membership", json!(true))
            .set("kafka.properties", patient.clone())
    };
    let (first, second) = (Pod::start(&config("first")), Pod::start(&config("second")));
    wait_until("two partitions each", LONG, || assigned(&first) == 2.0 && assigned(&second) == 2.0);
    let mine = |pod: &Pod| -> BTreeSet<i32> {
        pod.events("partitions_assigned").iter().flat_map(partitions).collect()
    };
    let (before, seen) = (mine(&second), rebalanced(&first));

    // A rolling restart is in good order; a crash is not. Neither is told to the group.
    let mut second = second;
    for round in 0..2 {
        if round == 0 {
            assert_eq!(second.terminate(EXIT).code(), Some(0), "{}", second.log_tail(30));
        } else {
            second.kill9();
        }
        second = Pod::start(&config("second"));
        wait_until("its partitions to be its again", LONG, || assigned(&second) == 2.0);
        assert_eq!(mine(&second), before);
        let ids: Vec<String> = (0..PARTITIONS).map(|partition| format!("{round}-{partition}")).collect();
        stage.send(
            (0..PARTITIONS).zip(&ids).map(|(p, id)| to(p, download(id, "remote", "f", &format!("out/{id}")))),
        );
        stage.answers().wait_for_ids(&ids, LONG).assert_all_completed();
    }
    assert_eq!((rebalanced(&first), assigned(&first)), (seen, 2.0), "the other one has noticed nothing");
}

#[test]
#[ignore = "needs Kafka: make test"]
fn a_task_that_takes_long_is_told_with_what_it_waits_for() {
    let stage = Stage::with("slow", 2, &[]);
    let (silent, stalled) = (Hostile::start(Manner::Silent), Hostile::start(Manner::StalledTransfer));
    let long: &[_] = &[("login_timeout", "5m"), ("stall_timeout", "5m")];
    let config = config(&stage, "pod-0").set("pool.slow_task", json!("1s"));
    let pod = Pod::start(&config.ftp("silent", silent.addr(), long).ftp("stalled", stalled.addr(), long));
    stage.send([to(0, download("a", "silent", "x", "a")), to(1, download("b", "stalled", "x", "b"))]);
    let told = |task: &str, stage: &str| {
        let events = pod.events("slow_task");
        events.iter().any(|event| event["task_id"] == task && event["stage"] == stage)
    };
    wait_until("both to be told", LONG, || told("a", "login") && told("b", "transfer"));
    let metrics = pod.metrics();
    assert!(metrics.get("ftp_pooler_oldest_task_seconds") >= 1.0);
    assert_eq!(metrics.sum("ftp_pooler_ledger_span_offsets", &[]), 2.0);
    assert!(pod.is_healthy() && pod.is_ready(), "that is no illness of the pod");
}

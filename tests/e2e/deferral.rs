//! Tasks of a server that is away wait elsewhere, and are done when it is back.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Outgoing, download, with};
use crate::support::gate::Gate;
use crate::support::pod::{Pod, PodConfig};
use crate::support::ports::free_port;
use crate::support::wait::wait_until;

/// Ten thousand files, moved on two cores that others use as well.
const VERY_LONG: Duration = Duration::from_secs(300);

fn config(stage: &Stage, server: SocketAddr) -> PodConfig {
    stage.config().ftp("dead", server, &[])
}

fn deferred(pod: &Pod) -> f64 {
    pod.metrics().sum("ftp_pooler_deferred_tasks_total", &["connection=\"dead\""])
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn ten_thousand_tasks_of_a_dead_server_delay_nobody_and_are_each_answered_once_when_it_is_back() {
    let stage = Stage::with("defer", 2, &[]);
    stage.server.put("f", b"content");
    let gate = Gate::before(stage.server.addr(), &[]);
    gate.shut();
    let dead: Vec<String> = (0..10_000).map(|i| format!("dead-{i}")).collect();
    stage.send(dead.iter().map(|id| download(id, "dead", "f", &format!("dead/{id}"))));
    let well: Vec<String> = (0..20).map(|i| format!("well-{i}")).collect();
    stage.send(well.iter().map(|id| download(id, "remote", "f", &format!("well/{id}"))));

    let pod = Pod::start(&config(&stage, gate.addr()).set("kafka.delivery", json!("exactly_once")));
    let mut answers = stage.answers();
    answers.wait_for(20, LONG);
    // In order, not in time: every healthy task is answered, and of those ahead of them not one is.
    answers.assert_each_once(&well);
    answers.assert_all_completed();
    let breaker = "ftp_pooler_breaker_state{connection=\"dead\"}";
    wait_until("the breaker to open", LONG, || pod.metrics().get(breaker) > 0.0);
    wait_until("all tasks to be deferred", LONG, || deferred(&pod) >= 10_000.0);
    wait_until("some to come back, and to be deferred again", LONG, || deferred(&pod) >= 11_000.0);

    gate.open_again();
    answers.wait_for(10_020, VERY_LONG);
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&[well, dead].concat());
}

/// More than a partition's span holds, all in front, in one partition.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn tasks_of_a_dead_server_that_fill_their_partitions_span_make_way_for_those_behind_them() {
    for count in [10_000, 30_000] {
        let stage = Stage::new("defer-span");
        stage.server.put("f", b"content");
        let gate = Gate::before(stage.server.addr(), &[]);
        gate.shut();
        let config = config(&stage, gate.addr()).set("kafka.delivery", json!("exactly_once"));
        let pod = Pod::start(&config.set("retry.delay", json!("30s")));
        let mut answers = stage.answers();
        let ids: Vec<String> = (0..count).map(|i| format!("dead-{i}")).collect();
        let well: Vec<String> = (0..20).map(|i| format!("well-{i}")).collect();
        let dead = ids.iter().map(|id| download(id, "dead", "f", &format!("dead/{id}")));
        stage.send(dead.chain(well.iter().map(|id| download(id, "remote", "f", &format!("well/{id}")))));
        let sent = Instant::now();
        answers.wait_for(20, LONG).assert_each_once(&well);
        eprintln!(
            "{count} tasks of a dead server in front: the others' were done {:?} after they were sent; deferred \
             by then: {}",
            sent.elapsed(),
            deferred(&pod)
        );
        answers.assert_all_completed();
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_deferred_task_survives_its_pod_and_comes_back_as_it_was() {
    let stage = Stage::new("defer-pod");
    stage.server.put("f", b"content");
    let gate = Gate::before(stage.server.addr(), &[]);
    gate.shut();
    let forged =
        [("ftp-pooler-not-before", "99999999999999"), ("ftp-pooler-attempts", "77"), ("trace", "abc")];
    let mut task = Outgoing::from(download("a", "dead", "f", "a"));
    task.headers = forged.map(|(key, value)| (key.to_owned(), Some(value.as_bytes().to_vec()))).to_vec();
    stage.send([task]);
    let config = config(&stage, gate.addr()).set("retry.delay", json!("5s"));

    let first = Pod::start(&config);
    wait_until("the task to be deferred", LONG, || deferred(&first) >= 1.0);
    wait_until("it to be in the retry topic", LONG, || {
        stage.kafka.end_offsets(&stage.topics.retry).values().any(|end| *end > 0)
    });
    first.kill9();
    gate.open_again();
    let _second = Pod::start(&config);
    let mut answers = stage.answers();
    answers.wait_for(1, LONG).assert_all_completed();

    let answer = answers.only("a");
    assert!((1..=5).contains(&answer.json["attempts"].as_i64().unwrap()), "{answer:?}");
    let keys: Vec<_> = answer.headers.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["trace"], "what the pooler has added is its own, what a producer made up is gone");
    assert_eq!(stage.get_local("a").unwrap(), b"content");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn deferral_ends() {
    let stage = Stage::new("defer-end");
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    stage.send([
        with(download("patient", "dead", "f", "a"), json!({"retry_count": 3})),
        with(download("hasty", "dead", "f", "b"), json!({"retry_count": 0})),
    ]);
    let config = config(&stage, nobody).set("retry.max_deferral", json!("10s"));

    let pod = Pod::start(&config);
    let mut answers = stage.answers();
    answers.wait_for(2, LONG);

    assert_eq!(answers.only("hasty").code(), "connect_failed");
    assert_eq!(answers.only("patient").code(), "connection_unavailable");
    assert!(deferred(&pod) >= 1.0);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_retry_topic_that_forgets_too_soon_is_not_used() {
    let stage = Stage::new("defer-short");
    stage.kafka.create_topic(&stage.topics.retry, 1, &[("retention.ms", "3600000")]);
    let pod = Pod::start(&stage.config());
    let refused = pod.events("deferral_disabled");
    assert!(refused[0]["reason"].as_str().unwrap().contains("retention.ms"), "{refused:?}");
}

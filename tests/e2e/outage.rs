//! Kafka goes away and comes back; the pod stays.

use std::collections::HashSet;

use serde_json::json;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Answer, Answers, Outgoing, download, send};
use crate::support::kafka::Kafka;
use crate::support::pod::{Pod, PodConfig};
use crate::support::scratch::Scratch;
use crate::support::vsftpd::Vsftpd;
use crate::support::wait::wait_until;

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_outlives_its_broker_and_goes_on_when_it_is_back() {
    let kafka = Kafka::start();
    let topics = kafka.topics("outage", 2);
    let server = Vsftpd::with(&[("anon_max_rate", "100000")]);
    let base = Scratch::new("outage");
    for i in 0..60 {
        server.put(&format!("f{i}"), &vec![b'x'; 20_000]);
    }
    let task = |i: usize| download(&i.to_string(), "remote", &format!("f{i}"), &format!("f{i}"));
    send(&kafka, &topics.tasks, (0..30).map(task));
    let config = PodConfig::new(&kafka, &topics)
        .local("local", base.path())
        .ftp("remote", server.addr(), &[("max_sessions", "2")])
        .set("shutdown.drain_seconds", json!(20));
    let pod = Pod::start(&config);
    Answers::of(&kafka, &topics).wait_for(3, LONG);

    kafka.kill();
    kafka.restart();
    send(&kafka, &topics.tasks, (30..60).map(task));

    let ids: Vec<String> = (0..60).map(|i| i.to_string()).collect();
    let mut answers = Answers::of(&kafka, &topics);
    answers.wait_for_ids(&ids, LONG);
    assert!(pod.is_running() && pod.is_healthy());
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids);
    assert_eq!(kafka.lag(&topics), 0);
}

/// Far beyond what the coordinator grants a transaction, and what the group grants a member.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_long_outage_makes_the_pod_not_ready_and_quiet_and_it_goes_on_by_itself() {
    long_outage(true);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn at_least_once_outlasts_a_long_outage_as_well() {
    long_outage(false);
}

fn long_outage(exactly_once: bool) {
    let kafka = Kafka::start();
    let topics = kafka.topics("long-outage", 2);
    let server = Vsftpd::with(&[("anon_max_rate", "200000")]);
    let base = Scratch::new("long-outage");
    for i in 0..80 {
        server.put(&format!("f{i}"), &vec![b'x'; 20_000]);
    }
    let ids: Vec<String> = (0..80).map(|i| i.to_string()).collect();
    let task = |i: usize| download(&i.to_string(), "remote", &format!("f{i}"), &format!("f{i}"));
    send(&kafka, &topics.tasks, (0..80).map(task));
    let config = PodConfig::new(&kafka, &topics)
        .local("local", base.path())
        .ftp("remote", server.addr(), &[("max_sessions", "2")])
        .set("shutdown.drain_seconds", json!(20));
    let pod = Pod::start(&if exactly_once { config } else { config.at_least_once() });
    Answers::of(&kafka, &topics).wait_for(3, LONG);

    kafka.kill(); // in the midst of a transaction, or between two
    wait_until("it to be not ready", LONG, || {
        pod.get("/ready").is_some_and(|(status, page)| status == 503 && page.contains("no Kafka broker"))
    });
    assert!(pod.is_running() && pod.is_healthy(), "an outage is no illness of the pod");
    let is_about_kafka = |line: &&str| line.contains("librdkafka") || line.contains("Kafka consumer");
    let lines = pod.log().lines().filter(is_about_kafka).count();
    assert!(lines < 60, "{lines} lines about Kafka in an outage of half a minute");
    kafka.restart();

    let mut answers = Answers::of(&kafka, &topics);
    answers.wait_for_ids(&ids, LONG);
    wait_until("it to be ready", LONG, || pod.is_ready());
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    answers.read_to_end().assert_all_completed();
    if exactly_once {
        answers.assert_each_once(&ids);
    }
    assert_eq!(kafka.lag(&topics), 0);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn sigterm_ends_a_pod_whose_broker_is_away_with_transfers_in_flight_and_the_next_one_does_the_rest() {
    let kafka = Kafka::start();
    let topics = kafka.topics("end-in-outage", 1);
    let server = Vsftpd::with(&[("anon_max_rate", "20000")]);
    let base = Scratch::new("end-in-outage");
    for i in 0..12 {
        server.put(&format!("f{i}"), &vec![b'x'; 40_000]);
    }
    let ids: Vec<String> = (0..12).map(|i| i.to_string()).collect();
    send(
        &kafka,
        &topics.tasks,
        ids.iter().map(|i| download(i, "remote", &format!("f{i}"), &format!("f{i}"))),
    );
    let config = PodConfig::new(&kafka, &topics)
        .local("local", base.path())
        .ftp("remote", server.addr(), &[("max_sessions", "2")])
        .set("shutdown.drain_seconds", json!(5));
    let pod = Pod::start(&config);
    let mut answers = Answers::of(&kafka, &topics);
    answers.wait_for(2, LONG);

    kafka.kill();
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    assert!(!pod.log().contains("panicked"), "{}", pod.log_tail(30));
    let ended = pod.events("pod_stopped");
    assert_eq!(ended.len(), 1, "{}", pod.log_tail(30));

    kafka.restart();
    let next = Pod::start(&config);
    answers.wait_for_ids(&ids, LONG);
    assert_eq!(next.terminate(EXIT).code(), Some(0), "{}", next.log_tail(30));
    answers.read_to_end().assert_each_once(&ids);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn topics_that_take_only_small_messages_have_every_answer_cut_to_fit() {
    let mut stage = Stage::new("small");
    for topic in [&mut stage.topics.results, &mut stage.topics.failures] {
        topic.push_str("-small");
        stage.kafka.create_topic(topic, 1, &[("max.message.bytes", "10000")]);
    }
    stage.server.put("a", b"content");
    let garbage = |bytes: usize| Outgoing { payload: Some(vec![b'x'; bytes]), ..Outgoing::default() };
    stage.send((0..200).map(|i| download(&i.to_string(), "remote", "a", &format!("a{i}"))));
    stage.send([900_000, 10, 20_000, 10].map(garbage));
    stage.send((200..300).map(|i| download(&i.to_string(), "remote", "missing", "b")));

    let pod = Pod::start(&stage.config());
    let mut answers = stage.answers();
    answers.wait_for(304, LONG);
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    answers.read_to_end();
    let completed: HashSet<_> = answers.results().filter_map(Answer::task_id).collect();
    assert_eq!((completed.len(), answers.results().count()), (200, 200));
    assert_eq!(answers.failures().count(), 104);
    assert_eq!(answers.failures().filter(|answer| answer.task_id().is_none()).count(), 4);
    assert_eq!(stage.kafka.lag(&stage.topics), 0);
}

/// Each question would be waited for, while there is nobody to answer it.
#[test]
#[ignore = "needs Kafka: make test"]
fn a_pod_that_starts_before_its_broker_asks_for_its_predecessors_once_it_has_its_transactional_id() {
    let kafka = Kafka::start();
    let topics = kafka.topics("before-its-broker", 1);
    let base = Scratch::new("before-its-broker");
    kafka.kill();
    let config = PodConfig::new(&kafka, &topics).local("local", base.path());
    let pod = Pod::spawn(&config.env("RUST_LOG", "info,ftp_pooler=debug"));
    let attempts = || pod.metrics().get("ftp_pooler_kafka_errors_total{operation=\"commit\"}");
    wait_until("some attempts", LONG, || attempts() >= 3.0);
    assert!(pod.events("predecessors_noted").is_empty(), "{}", pod.log_tail(40));
    kafka.restart();
    wait_until("it to be ready", LONG, || pod.is_ready());
    let asked = pod.events("predecessors_noted");
    assert!(matches!(&*asked, [once] if once["is_answered"] == true), "{asked:?}");
}

//! A broker that is frozen keeps its connections and answers nothing: pods go on with those that are elected in its place.

use std::time::Instant;

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG};
use crate::support::client::{Answers, Outgoing, download, send};
use crate::support::kafka::Kafka;
use crate::support::kafka_admin::Coordinated;
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::scratch::Scratch;
use crate::support::vsftpd::Vsftpd;
use crate::support::wait::{wait_for, wait_until};

const PARTITIONS: i32 = 6;

/// A broker waits so long for another one, to which it sends a transaction's end (Kafka's default is 30 s): what is to be
/// seen is what the pods wait for.
const SETTINGS: &str = "request.timeout.ms=5000\n";

/// The partitions of the retry topic that a pod reads, by its API.
fn retry_partitions(pod: &Pod, topic: &str) -> usize {
    let (_, page) = pod.get("/api/v1/partitions").unwrap_or_default();
    let page: Value = serde_json::from_str(&page).unwrap_or_default();
    page["partitions"].as_array().into_iter().flatten().filter(|one| one["topic"] == topic).count()
}

/// librdkafka goes on waiting for the one that coordinated the group before.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn the_broker_that_coordinates_the_group_is_frozen_and_all_pods_go_on_with_the_next_one_meanwhile() {
    let kafka = &Kafka::cluster_with(3, SETTINGS);
    let topics = &kafka.topics("frozen", PARTITIONS);
    let server = Vsftpd::with(&[]);
    let base = Scratch::new("frozen");
    for i in 0..20 {
        server.put(&format!("f{i}"), &vec![b'x'; 2_000]);
    }
    let config = PodConfig::new(kafka, topics).local("local", base.path()).ftp(
        "remote",
        server.addr(),
        &[("max_sessions", "2")],
    );
    let pods: Vec<Pod> =
        (0..3).map(|pod| Pod::start(&config.clone().set("pod.name", json!(format!("pod-{pod}"))))).collect();
    let is_shared = || pods.iter().all(|pod| retry_partitions(pod, &topics.retry) == 2);
    wait_until("each to have its share", LONG, is_shared);
    let task = |i: i32| Outgoing {
        partition: Some(i % PARTITIONS),
        ..Outgoing::from(download(&i.to_string(), "remote", &format!("f{}", i % 20), &format!("f{i}")))
    };
    send(kafka, &topics.tasks, (0..60).map(task));
    let mut answers = Answers::of(kafka, topics);
    answers.wait_for(60, LONG);

    let frozen = kafka.coordinator(Coordinated::Group, &topics.group).expect("a coordinator");
    kafka.signal_broker(frozen, Signal::STOP);
    let elected = wait_for("another coordinator", LONG, || {
        kafka.coordinator(Coordinated::Group, &topics.group).filter(|node| *node != frozen)
    });
    let since = Instant::now();
    send(kafka, &topics.tasks, (60..300).map(task));
    answers.wait_for(61, LONG);
    eprintln!(
        "node {elected} coordinates instead of {frozen}, which is frozen; the first answer came {:?} later",
        since.elapsed()
    );
    let ids: Vec<String> = (0..300).map(|i| i.to_string()).collect();
    answers.wait_for_ids(&ids, LONG);
    eprintln!("all were answered {:?} later", since.elapsed());
    wait_until("each to have its share of the retry topic again", LONG, is_shared);
    eprintln!("each has its share {:?} later", since.elapsed());
    for pod in &pods {
        let recreated = pod.events("kafka_clients_recreated");
        assert!(recreated.is_empty(), "{recreated:?}\n{}", pod.log_tail(60));
    }

    kafka.signal_broker(frozen, Signal::CONT);
    for pod in &pods {
        wait_until("it to be ready", LONG, || pod.is_ready());
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    }
    kafka.wait_until_in_sync();
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids);
    assert_eq!(kafka.lag(topics), 0);
}

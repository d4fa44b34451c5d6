//! `max_sessions_total`: the sessions of all pods together, counted at the server's door.
//!
//! `FTP_POOLER_BIG=1` runs the first test with three thousand tasks, and compares its throughput with one pod's.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::stage::{EXIT, LONG};
use crate::support::client::{Answers, download, send, with};
use crate::support::gate::Gate;
use crate::support::kafka::{Kafka, Topics};
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::scratch::Scratch;
use crate::support::vsftpd::Vsftpd;
use crate::support::wait::wait_until;

/// A tenth of a second a file: sessions are wanted side by side.
const SLOW: &[(&str, &str)] = &[("anon_max_rate", "200000")];
const FILE: &[u8] = &[b'x'; 20_000];
const FILES: usize = 50;
/// A dead pod's lease, a rebalance, and turns; only there so that a failure ends.
const LONGER: Duration = Duration::from_secs(300);

/// One server with a total, behind a gate that counts, and the pods' common surroundings.
struct Site {
    topics: Topics,
    gate: Gate,
    _server: Vsftpd,
    base: Scratch,
    total: usize,
    bootstrap: String,
}

impl Site {
    fn new(kafka: &Kafka, name: &str, partitions: i32, total: usize) -> Site {
        let most = (total + 1).to_string(); // the server may notice a little later than the door that one has left
        let server = Vsftpd::with(&[SLOW, &[("max_per_ip", &most)]].concat());
        for i in 0..FILES {
            server.put(&format!("f{i}"), FILE);
        }
        let gate = Gate::before(server.addr(), &[]);
        let topics = kafka.topics(name, partitions);
        let bootstrap = kafka.bootstrap().to_owned();
        Site { topics, gate, _server: server, base: Scratch::new(name), total, bootstrap }
    }

    fn coordination_topic(&self) -> String {
        format!("{}-sessions", self.topics.group)
    }

    fn config(&self, kafka: &Kafka, pod: usize) -> PodConfig {
        PodConfig::new(kafka, &self.topics)
            .local("local", self.base.path())
            .ftp("remote", self.gate.addr(), &[("max_sessions_total", &self.total.to_string())])
            .set("kafka.coordination_topic", json!(self.coordination_topic()))
            .set("pod.name", json!(format!("pod-{pod}")))
    }

    /// Tasks by number; each file is fetched under a name of its own.
    fn send(&self, kafka: &Kafka, numbers: std::ops::Range<usize>) {
        let task = |n: usize| {
            let task = download(&n.to_string(), "remote", &format!("f{}", n % FILES), &format!("in/{n}"));
            with(task, json!({"retry_count": 20}))
        };
        send(kafka, &self.topics.tasks, numbers.map(task));
    }

    /// Every committed version of the connection's grants, in the log's order.
    fn grants(&self) -> Vec<Value> {
        let topic = self.coordination_topic();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", "assigned-not-subscribed")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let (mut grants, begun) = (Vec::new(), Instant::now());
        loop {
            assert!(begun.elapsed() < LONG, "{topic} cannot be read");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.key() == Some(b"grants/remote") => {
                    grants.push(serde_json::from_slice(message.payload().unwrap()).unwrap());
                }
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return grants,
                _ => {}
            }
        }
    }

    /// One owner after the other has written: each began with what its predecessor had committed.
    fn assert_one_owner_at_a_time(&self) {
        let grants = self.grants();
        assert!(!grants.is_empty());
        for (n, of) in grants.iter().enumerate() {
            assert_eq!(of["version"], json!(n + 1), "a version is missing, or there twice: {of}");
            let pods = of["pods"].as_object().unwrap();
            let bound: u64 = pods.values().map(|pod| pod["bound"].as_u64().unwrap()).sum();
            assert!(bound <= self.total as u64, "{of}");
        }
    }
}

fn is_owner(pod: &Pod) -> bool {
    pod.events("partition_owned").len() > pod.events("partition_given_up").len()
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn four_pods_share_five_sessions_through_kill_9_a_broker_restart_and_scaling() {
    let is_big = std::env::var_os("FTP_POOLER_BIG").is_some();
    let tasks = if is_big { 3_000 } else { 400 };
    let kafka = Kafka::start();
    let site = Site::new(&kafka, "five", 8, 5);
    let one = Pod::start(&site.config(&kafka, 0));
    let mut answers = Answers::of(&kafka, &site.topics);

    let begun = Instant::now();
    site.send(&kafka, 0..tasks / 4);
    answers.wait_for(tasks / 4, LONGER);
    let alone = begun.elapsed();
    assert!(site.gate.count().most() <= 5);

    let mut pods: Vec<Pod> = (1..4).map(|n| Pod::start(&site.config(&kafka, n))).collect();
    let begun = Instant::now();
    site.send(&kafka, tasks / 4..tasks / 2);
    answers.wait_for(tasks / 2, LONGER);
    let together = begun.elapsed();

    site.send(&kafka, tasks / 2..tasks);
    answers.wait_for(tasks * 5 / 8, LONGER);
    pods.pop().unwrap().kill9();
    answers.wait_for(tasks * 3 / 4, LONGER);
    kafka.kill();
    kafka.restart();
    answers.wait_for(tasks * 7 / 8, LONGER);
    assert_eq!(pods.pop().unwrap().terminate(EXIT).code(), Some(0));
    let ids: Vec<String> = (0..tasks).map(|n| n.to_string()).collect();
    answers.wait_for_ids(&ids, LONGER);

    for pod in pods.iter().chain([&one]) {
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    }
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids);
    eprintln!("one pod {alone:?}, four pods {together:?} for {} tasks each", tasks / 4);
    assert_eq!(site.gate.count().most(), 5, "all that there may be, and no more");
    site.assert_one_owner_at_a_time();
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn four_pods_with_two_sessions_all_go_on() {
    let kafka = Kafka::shared();
    let site = Site::new(kafka, "two", 4, 2);
    let pods: Vec<Pod> = (0..4).map(|n| Pod::spawn(&site.config(kafka, n))).collect();
    wait_until("all pods are ready", LONG, || pods.iter().all(Pod::is_ready));
    site.send(kafka, 0..200);
    let ids: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let mut answers = Answers::of(kafka, &site.topics);
    answers.wait_for_ids(&ids, LONGER);
    for pod in &pods {
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    }
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids);
    let attempts = answers.all.iter().filter_map(|answer| answer.json["attempts"].as_u64());
    assert!(attempts.max().unwrap_or(1) <= 1, "waiting costs no attempt");
    assert_eq!(site.gate.count().most(), 2);
    site.assert_one_owner_at_a_time();
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_frozen_coordinator_is_fenced_and_its_sessions_go_to_the_others_when_its_lease_is_over() {
    let kafka = Kafka::shared();
    let site = Site::new(kafka, "frozen", 4, 2);
    let frozen = Pod::start(&site.config(kafka, 0));
    site.send(kafka, 0..20);
    let mut answers = Answers::of(kafka, &site.topics);
    answers.wait_for(20, LONG);
    wait_until("it owns the partition", LONG, || is_owner(&frozen));
    let other = Pod::start(&site.config(kafka, 1));

    frozen.signal(Signal::STOP);
    wait_until("the other one takes over", LONG, || is_owner(&other));
    site.send(kafka, 20..60);
    let ids: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    answers.wait_for_ids(&ids, LONGER);
    frozen.signal(Signal::CONT);

    site.send(kafka, 60..100);
    let ids: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    answers.wait_for_ids(&ids, LONGER);
    for pod in [&frozen, &other] {
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    }
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids);
    site.assert_one_owner_at_a_time();
    // A frozen process cannot close its idle sessions: the one exception.
    assert!(site.gate.count().most() <= 4, "{}", site.gate.count().most());
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_total_that_is_added_and_lowered_at_a_reload_holds_from_then_on() {
    let kafka = Kafka::shared();
    let site = Site::new(kafka, "reloaded", 2, 4);
    let of = |total: &str| site.config(kafka, 0).connections().replace("max_sessions_total = 4", total);
    let pod = Pod::start(&site.config(kafka, 0));
    pod.rewrite_connections(&of("max_sessions = 3"));
    wait_until("the total is gone", LONG, || pod.events("reload_applied").len() == 1);
    site.send(kafka, 0..40);
    let mut answers = Answers::of(kafka, &site.topics);
    answers.wait_for(40, LONG);
    assert_eq!(site.gate.count().most(), 3, "its own limit alone");

    pod.rewrite_connections(&of("max_sessions_total = 1"));
    wait_until("it is lowered", LONG, || pod.events("reload_applied").len() == 2);
    wait_until("no more than one is open", LONG, || site.gate.count().open() <= 1);
    site.send(kafka, 40..60);
    while answers.all.len() < 60 {
        assert!(site.gate.count().open() <= 1, "one session in all");
        answers.wait_for(answers.all.len() + 1, LONG);
    }
    answers.assert_all_completed();
}

//! Clients that have lost Kafka for good are made anew, while the process goes on: nothing is lost or answered twice.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::json;

use crate::stage::{EXIT, LONG};
use crate::support::client::{Answers, download, send};
use crate::support::kafka::{Kafka, Topics};
use crate::support::kafka_admin::Coordinated;
use crate::support::kafka_proxy::KafkaProxy;
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::scratch::Scratch;
use crate::support::vsftpd::Vsftpd;
use crate::support::wait::{wait_for, wait_until};

/// How often Kafka's address changes; `make test` has no time for more.
const MOVES: usize = 3;
const MOVES_KEY: &str = "FTP_POOLER_TEST_KAFKA_MOVES";

/// A pod whose way to Kafka leads through a proxy, and tasks that take a while.
struct Far {
    kafka: Kafka,
    proxy: KafkaProxy,
    topics: Topics,
    server: Vsftpd,
    base: Scratch,
    sent: usize,
}

impl Far {
    fn new(name: &str) -> Far {
        let kafka = Kafka::start();
        let proxy = KafkaProxy::before(kafka.bootstrap());
        let topics = kafka.topics(name, 2);
        let server = Vsftpd::with(&[("anon_max_rate", "200000")]);
        let base = Scratch::new(name);
        Far { kafka, proxy, topics, server, base, sent: 0 }
    }

    fn config(&self) -> PodConfig {
        PodConfig::new(&self.kafka, &self.topics)
            .set("kafka.bootstrap_servers", json!([self.proxy.bootstrap()]))
            .set("kafka.recreate_after", json!("5s"))
            .local("local", self.base.path())
            .ftp("remote", self.server.addr(), &[("max_sessions", "2")])
    }

    fn send(&mut self, tasks: usize) {
        for i in self.sent..self.sent + tasks {
            self.server.put(&format!("f{i}"), &vec![b'x'; 20_000]);
        }
        let task = |i: usize| download(&i.to_string(), "remote", &format!("f{i}"), &format!("f{i}"));
        send(&self.kafka, &self.topics.tasks, (self.sent..self.sent + tasks).map(task));
        self.sent += tasks;
    }

    fn wait_for_all(&self, pod: &Pod) -> Answers {
        let ids: Vec<String> = (0..self.sent).map(|i| i.to_string()).collect();
        let mut answers = Answers::of(&self.kafka, &self.topics);
        let told = PrintedOnPanic(pod);
        answers.wait_for_ids(&ids, LONG);
        drop(told);
        answers
    }

    /// Each task has one answer, and the process is the one that was started.
    fn assert_all_answered_once(&self, pod: &Pod) {
        let ids: Vec<String> = (0..self.sent).map(|i| i.to_string()).collect();
        let mut answers = self.wait_for_all(pod);
        wait_until("it to be ready", LONG, || pod.is_ready());
        assert!(pod.is_running() && pod.is_healthy());
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
        answers.read_to_end().assert_all_completed();
        answers.assert_each_once(&ids);
        assert_eq!(self.kafka.lag(&self.topics), 0);
    }
}

/// What the pod said, where the test fails meanwhile.
struct PrintedOnPanic<'a>(&'a Pod);

impl Drop for PrintedOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ready = self.0.get("/ready");
            eprintln!("{ready:?}\n{}", self.0.log_tail(80));
        }
    }
}

fn recreated(pod: &Pod) -> f64 {
    pod.metrics().sum("ftp_pooler_kafka_clients_recreated_total", &[])
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_whose_metadata_named_no_broker_for_a_while_goes_on_with_new_clients() {
    without_brokers("no-brokers", |config| config);
}

/// Two clients of one name: the new one takes the old one's place in the group at once.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn so_does_a_static_member() {
    without_brokers("no-brokers-static", |config| config.set("kafka.static_membership", json!(true)));
}

fn without_brokers(name: &str, configured: impl Fn(PodConfig) -> PodConfig) {
    let mut far = Far::new(name);
    far.send(60);
    let pod = Pod::start(&configured(far.config()));
    Answers::of(&far.kafka, &far.topics).wait_for(3, LONG);

    far.proxy.set_without_brokers(true);
    let before = far.proxy.blanked();
    far.proxy.cut(); // whoever connects again asks what there is
    wait_until("answers without brokers", LONG, || far.proxy.blanked() > before + 1);
    wait_until("it to be not ready", LONG, || !pod.is_ready());
    assert!(recreated(&pod) < 1.0, "a new client would find no broker either");
    far.proxy.set_without_brokers(false);

    far.send(20);
    far.wait_for_all(&pod);
    assert!(recreated(&pod) >= 1.0, "{}", pod.log_tail(60));
    assert!(!pod.events("kafka_clients_recreated").is_empty());
    far.assert_all_answered_once(&pod);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_broker_that_moves_to_another_address_again_and_again_is_found_each_time() {
    let moves = std::env::var(MOVES_KEY).ok().and_then(|moves| moves.parse().ok()).unwrap_or(MOVES);
    let mut far = Far::new("moves");
    let pod = Pod::start(&far.config());
    for _ in 0..moves {
        far.send(10);
        far.proxy.move_on();
        far.send(10);
        far.wait_for_all(&pod);
    }
    far.assert_all_answered_once(&pod);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_and_a_broker_that_were_suspended_together_go_on() {
    let mut far = Far::new("suspended");
    far.send(80);
    let pod = Pod::start(&far.config());
    Answers::of(&far.kafka, &far.topics).wait_for(3, LONG);

    far.kafka.signal_broker(0, Signal::STOP);
    pod.signal(Signal::STOP);
    // Longer than the session, and than the broker's own with its controller.
    std::thread::sleep(Duration::from_secs(16));
    far.kafka.signal_broker(0, Signal::CONT);
    pod.signal(Signal::CONT);

    far.send(20);
    far.assert_all_answered_once(&pod);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn four_seconds_away_from_kafka_tasks_are_answered_all_the_same() {
    let mut far = Far::new("far-away");
    let config = far.config().set("kafka.recreate_after", json!("60s"));
    let config = config.set("kafka.properties", json!({"session.timeout.ms": "30000"}));
    let pod = Pod::start(&config);
    far.proxy.set_delay(Duration::from_secs(2)); // either way
    far.send(5);
    far.wait_for_all(&pod);
    assert!(!pod.events("transaction_timeout_raised").is_empty(), "{}", pod.log_tail(60));
    far.proxy.set_delay(Duration::ZERO);
    far.send(5);
    far.assert_all_answered_once(&pod);
}

/// librdkafka's call that sends offsets to a transaction ignores its timeout where the group's coordinator dies.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn the_broker_that_coordinates_the_group_dies_for_good_and_all_pods_go_on_with_the_next_one() {
    let kafka = &Kafka::cluster(3, Ipv4Addr::LOCALHOST);
    let topics = kafka.topics("coordinator", 6);
    let server = Vsftpd::with(&[("anon_max_rate", "400000")]);
    let base = Scratch::new("coordinator");
    for i in 0..20 {
        server.put(&format!("f{i}"), &vec![b'x'; 20_000]);
    }
    let config = PodConfig::new(kafka, &topics)
        .set("kafka.bootstrap_servers", json!(kafka.bootstrap().split(',').collect::<Vec<_>>()))
        .local("local", base.path())
        .ftp("remote", server.addr(), &[("max_sessions", "2")]);
    let pods: Vec<Pod> =
        (0..3).map(|pod| Pod::start(&config.clone().set("pod.name", json!(format!("pod-{pod}"))))).collect();
    let task = |i: usize| download(&i.to_string(), "remote", &format!("f{}", i % 20), &format!("f{i}"));
    send(kafka, &topics.tasks, (0..600).map(task));
    let mut answers = Answers::of(kafka, &topics);
    answers.wait_for(50, LONG);

    let dead = kafka.coordinator(Coordinated::Group, &topics.group).expect("a coordinator");
    kafka.kill_broker(dead);
    let elected = wait_for("another coordinator", LONG, || {
        kafka.coordinator(Coordinated::Group, &topics.group).filter(|node| *node != dead)
    });
    let since = Instant::now();
    let elected_at =
        i64::try_from(UNIX_EPOCH.elapsed().expect("a clock").as_millis()).expect("this millennium");
    while answers.all.iter().all(|answer| answer.timestamp_ms < elected_at) {
        answers.poll(Duration::from_millis(20));
        assert!(
            since.elapsed() < LONG,
            "no answer since then\n{}",
            pods.iter().map(|pod| pod.log_tail(20)).collect::<String>()
        );
    }
    eprintln!(
        "node {elected} coordinates instead of {dead}; the first answer came {:?} later",
        since.elapsed()
    );

    let ids: Vec<String> = (0..600).map(|i| i.to_string()).collect();
    let told: Vec<_> = pods.iter().map(PrintedOnPanic).collect();
    answers.wait_for_ids(&ids, LONG);
    drop(told);
    for pod in &pods {
        wait_until("it to be ready", LONG, || pod.is_ready());
        assert!(pod.is_healthy());
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    }
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids);
    assert_eq!(kafka.lag(&topics), 0);
}

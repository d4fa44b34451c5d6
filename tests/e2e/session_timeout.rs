//! With KIP-848's group protocol the brokers decide how long a pod may be silent: it finds out, and holds on to nothing for
//! longer.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG};
use crate::support::client::{Answers, download, send};
use crate::support::hostile::{Hostile, Manner};
use crate::support::kafka::{Kafka, Topics};
use crate::support::kafka_proxy::KafkaProxy;
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::scratch::Scratch;
use crate::support::wait::wait_until;

/// `group.consumer.session.timeout.ms` of the tests' brokers.
const SESSION_SECONDS: f64 = 6.0;

/// `session.timeout.ms` is not told.
fn config(kafka: &Kafka, topics: &Topics, base: &Scratch, pod: &str) -> PodConfig {
    PodConfig::new(kafka, topics)
        .set("pod.name", json!(pod))
        .set("kafka.properties", json!({"group.protocol": "consumer"}))
        .local("local", base.path())
}

fn knows_its_session(pod: &Pod) -> bool {
    pod.events("session_timeout_known").iter().any(|event| event["seconds"] == SESSION_SECONDS)
}

fn transfers(pod: &Pod) -> usize {
    let (_, page) = pod.get("/api/v1/transfers").unwrap_or_default();
    let page: Value = serde_json::from_str(&page).unwrap_or_default();
    page["transfers"].as_array().map_or(0, Vec::len)
}

#[test]
#[ignore = "needs Kafka: make test"]
fn a_pod_that_stood_still_for_most_of_the_brokers_session_rejoins() {
    let kafka = Kafka::start();
    let topics = kafka.topics("session-848", 2);
    let base = Scratch::new("session-848");
    let pod = Pod::start(&config(&kafka, &topics, &base, "pod-0"));
    wait_until("the session's timeout to be known", LONG, || knows_its_session(&pod));
    pod.signal(Signal::STOP);
    // Longer than two thirds of the brokers' 6 s, and shorter than two thirds of any assumption.
    std::thread::sleep(Duration::from_secs(5));
    pod.signal(Signal::CONT);
    wait_until("it to rejoin", LONG, || !pod.events("group_rejoined").is_empty());
    assert_eq!(pod.events("process_suspended").len(), 1);
    wait_until("it to be ready", LONG, || pod.is_ready());
}

#[test]
#[ignore = "needs Kafka: make test"]
fn a_pod_that_is_cut_off_from_the_coordinator_for_a_session_cancels_its_transfers() {
    let kafka = Kafka::start();
    let proxy = KafkaProxy::before(kafka.bootstrap());
    let topics = kafka.topics("cut-off-848", 1);
    let base = Scratch::new("cut-off-848");
    let stalled = Hostile::start(Manner::StalledTransfer);
    let lines = [("stall_timeout", "10m"), ("reply_timeout", "10m")];
    let config = |pod: &str| config(&kafka, &topics, &base, pod).ftp("stalled", stalled.addr(), &lines);
    let first = Pod::start(&config("first").set("kafka.bootstrap_servers", json!([proxy.bootstrap()])));
    wait_until("the session's timeout to be known", LONG, || knows_its_session(&first));
    send(&kafka, &topics.tasks, [download("1", "stalled", "x", "x")]);
    wait_until("its transfer to be under way", LONG, || stalled.transfers() >= 1 && transfers(&first) == 1);

    proxy.close_advertised();
    let second = Pod::start(&config("second"));
    wait_until("another pod to have begun it", LONG, || transfers(&second) == 1);
    wait_until("the first one to have let go of it", LONG, || transfers(&first) == 0);
    let over = first.events("group_session_over");
    assert_eq!(over.len(), 1, "{}", first.log_tail(40));

    proxy.move_on();
    wait_until("the first one to be ready again", LONG, || first.is_ready());
    for pod in [&first, &second] {
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    }
    assert!(Answers::of(&kafka, &topics).read_to_end().all.is_empty(), "nobody has finished it");
}

//! One run of the product: a fresh pod, and tasks from a real Kafka.

use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::SESSIONS;
use crate::load::{Case, Ground, name_of};
use crate::support::client::{Answers, Sender, download, upload};
use crate::support::kafka::Kafka;
use crate::support::pod::{Pod, PodConfig, binary};
use crate::support::process::Signal;
use crate::usage::{RUN, Usage, cpu};

pub fn version() -> String {
    let binary = binary();
    format!("{} ({})", crate::first_line(Command::new(&binary).arg("--version")), binary.display())
}

/// From the first task sent to the last answer read, by a reader of committed answers alone. The pod stands
/// ready before, as a service does; its logins are within. CPU and memory are the pod's, without Kafka's.
pub fn run(kafka: &Kafka, ground: &Ground, case: &Case) -> Usage {
    let places = ground.places(case);
    let topics = kafka.topics("bench", 4);
    let config = PodConfig::new(kafka, &topics)
        .set("pool.max_sessions_per_connection", json!(SESSIONS))
        .ftp("remote", ground.addr(), &[])
        .local("local", &ground.base());
    let local = places.local.display().to_string();
    let tasks: Vec<_> = (0..case.files)
        .map(|file| {
            let (id, name) = (format!("{file:08}-0000-4000-8000-000000000000"), name_of(file));
            let (here, there) = (format!("{local}/{name}"), format!("{}/{name}", places.remote));
            if case.upload {
                upload(&id, &here, "remote", &there)
            } else {
                download(&id, "remote", &there, &here)
            }
        })
        .collect();
    let mut answers = Answers::of(kafka, &topics);
    let producer = warm_producer(kafka);
    let pod = Pod::start(&config);
    let (begin, cpu_before) = (Instant::now(), cpu(pod.pid()));
    producer.send(&topics.tasks, tasks);
    answers.wait_for(case.files, RUN);
    let elapsed = begin.elapsed();
    let usage =
        Usage { elapsed, cpu: cpu(pod.pid()).saturating_sub(cpu_before), peak_bytes: pod.peak_rss_bytes() };
    answers.assert_all_completed();
    places.assert_all_there();
    pod.signal(Signal::TERM);
    pod.wait_exit(RUN);
    usage
}

/// One that has sent before: a broker that has just started lets its first idempotent producers wait.
fn warm_producer(kafka: &Kafka) -> Sender {
    let elsewhere = kafka.topics("warm", 1);
    let producer = Sender::new(kafka);
    producer.send(&elsewhere.tasks, [download("warm", "remote", "/x", "/x")]);
    producer
}

//! One run of a worker that gets its tasks from a real Kafka: the product, and what is written in Python today.

use std::time::Instant;

use crate::load::{Case, Ground, name_of};
use crate::support::client::{Answers, Sender, download, upload};
use crate::support::kafka::{Kafka, Topics};
pub use crate::usage::RUN;
use crate::usage::{Usage, cpu};

/// Where a worker finds its tasks, and what it moves.
#[derive(Debug)]
pub struct Fed<'a> {
    pub kafka: &'a Kafka,
    pub topics: &'a Topics,
    pub ground: &'a Ground,
}

/// One that has said that it is ready.
pub trait Worker {
    fn pid(&self) -> i32;
    fn peak_bytes(&self) -> u64;
    /// Ends it in good order.
    fn end(self);
}

/// From the first task sent to the last answer read, by a reader of committed answers alone. The worker stands
/// ready before, as a service does; its logins are within. CPU and memory are the worker's, without Kafka's.
///
/// # Panics
/// Where a task fails, or a file is missing or wrong.
pub fn run<W: Worker>(
    kafka: &Kafka,
    ground: &Ground,
    case: &Case,
    start: impl FnOnce(&Fed<'_>) -> W,
) -> Usage {
    let places = ground.places(case);
    let topics = kafka.topics("bench", 4);
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
    let worker = start(&Fed { kafka, topics: &topics, ground });
    let (begin, cpu_before) = (Instant::now(), cpu(worker.pid()));
    producer.send(&topics.tasks, tasks);
    answers.wait_for(case.files, RUN);
    let elapsed = begin.elapsed();
    let usage =
        Usage { elapsed, cpu: cpu(worker.pid()).saturating_sub(cpu_before), peak_bytes: worker.peak_bytes() };
    answers.assert_all_completed();
    places.assert_all_there();
    worker.end();
    usage
}

/// One that has sent before: a broker that has just started lets its first idempotent producers wait.
fn warm_producer(kafka: &Kafka) -> Sender {
    let elsewhere = kafka.topics("warm", 1);
    let producer = Sender::new(kafka);
    producer.send(&elsewhere.tasks, [download("warm", "remote", "/x", "/x")]);
    producer
}

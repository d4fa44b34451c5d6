//! The check that the harness can fail: what a broken product would leave behind is made by hand, on the
//! real broker, and must be found, all of it and nothing else.

use std::fs;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::answers::Reader;
use crate::audit::Audit;
use crate::plan::{Expected, PARTITIONS, Plan};
use crate::site::Site;
use crate::support::client::send;
use crate::support::pod::Pod;
use crate::support::wait::wait_until;

const TASKS: usize = 200;
const LONG: Duration = Duration::from_secs(120);
/// Bytes a second, for each transfer.
const UNHURRIED: usize = 10_000_000;
/// Answers whose offsets a broken commit would have lost, and offsets that it would have committed unanswered.
const FORGOTTEN: i64 = 5;
const SKIPPED: i64 = 3;

/// # Panics
/// Where the audit misses something, or finds too much.
pub fn run() {
    let plan = Plan::new(TASKS, 1, false);
    let site = Site::new(&plan, UNHURRIED, 1, false);
    send(&site.kafka, &site.topics.tasks, plan.tasks.iter().map(crate::plan::Task::record));
    // Offsets without answers: the records of partition 0 that are passed over are lost.
    commit(&site, 0, SKIPPED);
    work_off(&site);
    // Answers without offsets: the last tasks of partition 1 are done, and answered, again.
    let end = site.kafka.end_offsets(&site.topics.tasks)[&1];
    commit(&site, 1, end - FORGOTTEN);
    work_off(&site);
    let torn = tear_one(&plan, &site);

    let mut reader = Reader::new(&site.kafka, &site.topics, "read_committed");
    reader.read_to_end(&site.kafka);
    let audit = Audit::of(&plan, &reader.answers, &site);
    let in_partition = |partition| plan.tasks.iter().filter(move |task| task.partition == partition);
    let skipped: Vec<&str> = in_partition(0).take(SKIPPED as usize).map(|task| task.id.as_str()).collect();
    assert_eq!(audit.lost, skipped, "{}", audit.examples());
    let again: Vec<&str> =
        in_partition(1).rev().take(FORGOTTEN as usize).map(|task| task.id.as_str()).collect();
    assert_eq!(audit.duplicated.len(), again.len(), "{}", audit.examples());
    for id in again {
        assert!(audit.duplicated.iter().any(|found| found.starts_with(&format!("{id}:"))), "{id}");
    }
    // A task that was passed over has left no file, either.
    let missing = in_partition(0).take(SKIPPED as usize).filter(|task| completes(&task.expected)).count();
    assert!(audit.wrong.iter().any(|found| found.starts_with(&format!("{torn}:"))), "{}", audit.examples());
    assert_eq!(audit.wrong.len(), missing + 1, "{}", audit.examples());
    assert!(!audit.is_clean() && audit.left.is_empty(), "{}", audit.examples());
}

/// A pod comes, works until nothing is left, and goes.
fn work_off(site: &Site) {
    let pod = Pod::start(&site.pod_config("pod-0", "exactly_once"));
    wait_until("every record is committed", LONG, || site.kafka.lag(&site.topics) == 0);
    assert!(pod.terminate(LONG).success(), "{}", pod.log_tail(20));
}

/// Commits for the group, which has no member now.
fn commit(site: &Site, partition: i32, offset: i64) {
    assert!((0..PARTITIONS).contains(&partition) && offset >= 0);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", site.kafka.bootstrap())
        .set("group.id", &site.topics.group)
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&site.topics.tasks, partition, Offset::Offset(offset)).expect("an offset");
    consumer.commit(&list, CommitMode::Sync).expect("a commit without a member");
}

fn completes(expected: &Expected) -> bool {
    matches!(expected, Expected::Completed { .. })
}

/// Cuts the last byte off a file that a task has made; returns the task.
fn tear_one(plan: &Plan, site: &Site) -> String {
    let moved = plan.tasks.iter().filter(|task| task.partition == 2).find(|task| match task.expected {
        Expected::Completed { source } => !plan.sources[source].content.is_empty(),
        Expected::Failed { .. } => false,
    });
    let task = moved.expect("a task of partition 2 that moves bytes");
    let path = site.path_of(task.destination.0, &task.destination.1);
    let whole = fs::read(&path).expect("its file");
    fs::write(&path, &whole[..whole.len() - 1]).expect("its file");
    task.id.clone()
}

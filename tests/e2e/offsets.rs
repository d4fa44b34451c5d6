//! Where a pod begins to read: committed offsets that fit, that do not, and that something else has written.

#![allow(clippy::float_cmp, reason = "the metrics that are compared are counts")]

use std::ops::Range;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::json;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Answers, Outgoing, download, send as send_to, with};
use crate::support::hostile::{Hostile, Manner};
use crate::support::kafka::Topics;
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::wait::wait_until;

/// For what is not to happen.
const SOON: Duration = Duration::from_secs(1);
const NOT_OURS: &str = "foreign_commit_metadata";

fn ids(numbers: Range<usize>) -> Vec<String> {
    numbers.map(|i| i.to_string()).collect()
}

fn send(stage: &Stage, ids: &[String]) {
    stage.send(ids.iter().map(|id| download(id, "remote", "f", &format!("out/{id}"))));
}

fn stage(name: &str) -> Stage {
    let stage = Stage::new(name);
    stage.server.put("f", b"content");
    stage
}

fn exactly_once(stage: &Stage) -> PodConfig {
    stage.config().set("kafka.delivery", json!("exactly_once"))
}

fn make_anew(stage: &Stage) {
    stage.kafka.delete_topic(&stage.topics.tasks);
    stage.kafka.create_topic(&stage.topics.tasks, 1, &[]);
}

fn low_water(stage: &Stage) -> i64 {
    let Topics { group, tasks, .. } = &stage.topics;
    stage.kafka.committed(group, tasks).get(&0).map_or(0, |(offset, _)| *offset)
}

/// Until every offset is committed. (The answers' offsets: a moment after the last answer.)
fn wait_until_committed(stage: &Stage) {
    wait_until("every offset to be committed", LONG, || stage.kafka.lag(&stage.topics) == 0);
}

fn why_not_ready(pod: &Pod) -> String {
    pod.get("/ready").map(|(_, body)| body).unwrap_or_default()
}

/// A pod that has answered the fifty tasks of its topic.
fn with_fifty_answered(name: &str) -> (Stage, Pod, Vec<String>, Answers) {
    let stage = stage(name);
    let first = ids(0..50);
    send(&stage, &first);
    let pod = Pod::start(&exactly_once(&stage));
    let mut answers = stage.answers();
    answers.wait_for_ids(&first, LONG);
    (stage, pod, first, answers)
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_topic_that_is_made_anew_under_a_running_pod_is_read_from_its_begin() {
    for (name, again) in [("anew-fewer", 100..120), ("anew-more", 100..400)] {
        let (stage, pod, first, mut answers) = with_fifty_answered(name);
        let second = ids(again);
        wait_until_committed(&stage);

        make_anew(&stage);
        wait_until("the pod to notice", LONG, || {
            let noticed = "topic_recreated";
            !pod.events(noticed).is_empty() || !pod.events("partitions_revoked").is_empty()
        });
        send(&stage, &second);
        answers.wait_for_ids(&second, LONG);
        answers.read_to_end().assert_each_once(&[first, second].concat());
        assert!(pod.is_ready(), "{name}: {}", why_not_ready(&pod));
    }
}

/// The new topic has more records than the old one had before the pod can notice: librdkafka would go on at the
/// old offset.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_topic_that_is_made_anew_and_filled_behind_a_pods_back_is_read_whole_or_halted_and_never_in_part() {
    let stage = stage("anew-quick");
    let (first, second) = (ids(0..50), ids(100..400));
    send(&stage, &first);
    // Frozen for a moment, and not for so long that the group is joined anew for that.
    let patient = json!({"session.timeout.ms": "45000"});
    let pod = Pod::start(&exactly_once(&stage).set("kafka.properties", patient));
    let mut answers = stage.answers();
    answers.wait_for_ids(&first, LONG);
    wait_until_committed(&stage);

    pod.signal(Signal::STOP);
    make_anew(&stage);
    send(&stage, &second);
    pod.signal(Signal::CONT);
    let is_halted = || why_not_ready(&pod).contains("recreated (its id was");
    wait_until("all to be answered, or the pod to say why not", LONG, || {
        answers.read_to_end();
        is_halted() || second.iter().all(|id| answers.by_id().contains_key(id.as_str()))
    });
    if is_halted() {
        // What was read before it was noticed has committed an offset with the old topic's id.
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
        stage.kafka.forget_commits(&stage.topics);
        let _second = Pod::start(&exactly_once(&stage));
        answers.wait_for_ids(&second, LONG);
    } else {
        answers.assert_each_once(&[first, second].concat());
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_topic_that_is_made_anew_while_no_pod_runs_is_read_from_its_begin() {
    for (name, again) in [("anew-stopped-fewer", 100..120), ("anew-stopped-more", 100..200)] {
        let (stage, pod, first, mut answers) = with_fifty_answered(name);
        let second = ids(again);
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
        assert!(low_water(&stage) >= 50);

        make_anew(&stage);
        send(&stage, &second);
        let _pod = Pod::start(&exactly_once(&stage));
        answers.wait_for_ids(&second, LONG);
        answers.read_to_end().assert_each_once(&[first, second].concat());
    }
}

/// As where offsets were copied from another cluster, or the brokers did not forget them with their topic.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn an_offset_of_another_topic_of_the_same_name_halts_its_partition_until_somebody_says_where_to_begin() {
    let stage = stage("other-topic");
    let tasks = ids(0..20);
    send(&stage, &tasks);
    stage.kafka.commit_as_another(&stage.topics, 0, 10, b"fp2:3Jqlcn2kQPSvWxxjKVKZNg.");
    let pod = Pod::spawn(&exactly_once(&stage));
    wait_until("the pod to say why it is not ready", LONG, || {
        why_not_ready(&pod).contains("recreated (its id was 3Jqlcn2kQPSvWxxjKVKZNg")
    });
    let why = why_not_ready(&pod);
    assert_eq!(why.matches(&stage.topics.tasks).count(), 1, "the partition is named once: {why}");
    assert!(pod.is_healthy());
    assert_eq!(pod.metrics().get("ftp_pooler_paused_partitions"), 1.0);
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    let mut answers = stage.answers();
    assert!(answers.read_to_end().all.is_empty(), "nothing was read");
    assert_eq!(low_water(&stage), 10, "and nothing committed");

    stage.kafka.forget_commits(&stage.topics); // --reset-offsets --to-earliest
    let _pod = Pod::start(&exactly_once(&stage));
    answers.wait_for_ids(&tasks, LONG);
    answers.read_to_end().assert_each_once(&tasks);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn an_offset_out_of_range_halts_its_partition_and_the_others_go_on() {
    let stage = Stage::with("out-of-range", 4, &[]);
    stage.server.put("f", b"content");
    stage.kafka.commit_as_another(&stage.topics, 2, 777, b"");
    let pod = Pod::spawn(&exactly_once(&stage));
    wait_until("the pod to say why it is not ready", LONG, || {
        why_not_ready(&pod).contains("offset 777 is out of range, the broker has 0 to 0")
    });
    assert!(pod.is_healthy());
    let tasks = ids(0..200);
    send(&stage, &tasks);
    let others = || {
        stage
            .kafka
            .end_offsets(&stage.topics.tasks)
            .iter()
            .filter(|(p, _)| **p != 2)
            .map(|(_, end)| end)
            .sum::<i64>()
    };
    let mut answers = stage.answers();
    answers.wait_for(usize::try_from(others()).unwrap(), LONG).assert_all_completed();
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn metadata_that_something_else_has_written_is_a_warning_and_no_more() {
    for metadata in [
        &b"written by hand"[..],
        b"fp9:a newer version",
        b"\xff\xfe\x00 no UTF-8 \xc3\x28",
        b"fp2:broken.***",
    ] {
        let stage = stage("foreign-metadata");
        let tasks = ids(0..20);
        send(&stage, &tasks);
        stage.kafka.commit_as_another(&stage.topics, 0, 5, metadata);
        let pod = Pod::start(&exactly_once(&stage));
        let mut answers = stage.answers();
        answers.wait_for(15, LONG);
        wait_until_committed(&stage);
        let warned = pod.events(NOT_OURS);
        assert_eq!(warned.len(), 1, "{warned:?}");
        answers.read_to_end().assert_each_once(&tasks[5..]);
        let (_, ours) = stage.kafka.committed(&stage.topics.group, &stage.topics.tasks)[&0].clone();
        assert!(ours.starts_with("fp2:") && ours.ends_with('.'), "{ours}: an id, and an empty map");
    }
}

/// A burst of records that are answered at once does not take the span further than a map can be.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn what_is_answered_behind_a_task_that_hangs_is_not_answered_again_after_a_crash() {
    let stage = stage("full-span");
    let silent = Hostile::start(Manner::Silent);
    let hanging = download("hangs", "silent", "f", "out/hangs");
    stage.send([with(hanging, json!({"retry_count": 0}))]);
    stage.send((0..18_600).map(|_| Outgoing::from(&b"no task"[..])));
    let config = |server| {
        let config = exactly_once(&stage).set("pool.max_waiting_tasks", json!(20_000));
        config.ftp("silent", server, &[("connect_timeout", "5m")])
    };
    let pod = Pod::start(&config(silent.addr()));
    let mut answers = stage.answers();
    answers.wait_for(17_999, LONG);
    let committed = || stage.kafka.committed(&stage.topics.group, &stage.topics.tasks).remove(&0);
    // All that the span holds: its bits are base64, behind the topic's id.
    let full = "fp2:".len() + 22 + ".".len() + 3_000;
    wait_until("the map of them to be committed", LONG, || {
        committed().is_some_and(|(low, map)| low == 0 && map.len() >= full)
    });
    std::thread::sleep(SOON); // nothing more is taken in
    assert_eq!(committed().map(|(_, map)| map.len()), Some(full));
    pod.kill9();
    pod.wait_exit(EXIT);

    let pod = Pod::start(&config(stage.server.addr()));
    answers.wait_for(18_601, LONG);
    wait_until_committed(&stage);
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    assert_eq!(answers.read_to_end().all.len(), 18_601, "each once");
    assert!(pod.events(NOT_OURS).is_empty());
}

/// Records of an aborted transaction, which no pod is ever shown: so many offsets are missing.
fn leave_a_gap(stage: &Stage, partition: i32, offsets: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", stage.kafka.bootstrap())
        .set("transactional.id", &stage.topics.tasks)
        .set("linger.ms", "50")
        .create()
        .unwrap();
    producer.init_transactions(LONG).unwrap();
    producer.begin_transaction().unwrap();
    for _ in 0..offsets {
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&stage.topics.tasks).partition(partition);
        producer.send(record.payload(b"gone")).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LONG).unwrap(); // an abort purges what is not sent yet
    producer.abort_transaction(LONG).unwrap();
}

/// Else the mark stays on the first of them until retention has deleted it, and the next owner cannot tell what it was.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn an_end_that_no_consumer_is_shown_is_committed_so_that_retention_halts_nothing() {
    let stage = stage("trailing");
    let (first, second) = (ids(0..3), ids(3..5));
    send(&stage, &first);
    leave_a_gap(&stage, 0, 100);
    let pod = Pod::start(&exactly_once(&stage));
    let mut answers = stage.answers();
    answers.wait_for_ids(&first, LONG);
    let end = stage.kafka.end_offsets(&stage.topics.tasks)[&0];
    assert_eq!(end, 3 + 100 + 1, "the tasks, the aborted records, the marker");
    wait_until("the mark to stand behind the marker", LONG, || low_water(&stage) == end);
    wait_until("the lag to be told as none", LONG, || {
        pod.metrics().sum("ftp_pooler_lag_records", &[&stage.topics.tasks]) == 0.0
    });
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));

    stage.kafka.delete_records(&stage.topics.tasks, 0, end);
    let pod = Pod::start(&exactly_once(&stage));
    send(&stage, &second);
    answers.wait_for_ids(&second, LONG);
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    answers.read_to_end().assert_each_once(&[first, second].concat());
}

/// The map could not reach the record behind the gap while the one before it is in flight.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_gap_larger_than_the_span_holds_up_its_own_partition_and_no_other() {
    let stage = Stage::with("gap", 2, &[]);
    stage.server.put("f", b"content");
    let silent = Hostile::start(Manner::Silent);
    let to = |partition, task| Outgoing { partition: Some(partition), ..Outgoing::from(task) };
    let well = |id: &str| download(id, "remote", "f", &format!("out/{id}"));
    let hanging = with(download("hangs", "silent", "f", "out/hangs"), json!({"retry_count": 0}));
    stage.send([to(0, hanging)]);
    leave_a_gap(&stage, 0, 25_000);
    stage.send([to(0, well("behind")), to(0, well("last"))]);
    let config = |server| exactly_once(&stage).ftp("silent", server, &[("connect_timeout", "5m")]);
    let pod = Pod::start(&config(silent.addr()));
    wait_until("the partition to be paused", LONG, || {
        pod.metrics().get("ftp_pooler_paused_partitions") >= 1.0
    });
    let mut answers = stage.answers();
    for id in ["one", "two"] {
        stage.send([to(1, well(id))]);
        answers.wait_for_ids(&[id], LONG);
    }
    assert_eq!(answers.read_to_end().all.len(), 2, "what is behind the gap is not begun");
    pod.kill9();
    pod.wait_exit(EXIT);

    let pod = Pod::start(&config(stage.server.addr()));
    let all = ["one", "two", "hangs", "behind", "last"];
    answers.wait_for_ids(&all, LONG);
    wait_until("nothing to be paused", LONG, || pod.metrics().get("ftp_pooler_paused_partitions") == 0.0);
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    answers.read_to_end().assert_each_once(&all);
}

/// Else retention deletes what the group has committed as its next, and its partition halts.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn another_groups_tasks_in_the_retry_topic_do_not_hold_the_low_water_mark_back() {
    let stage = stage("foreign-tail");
    let pod = Pod::start(&exactly_once(&stage)); // makes the topic
    let Topics { group, retry, .. } = &stage.topics;
    let (partition, end) = stage.kafka.end_offsets(retry).into_iter().next().unwrap();
    let value = |text: &str| Some(text.as_bytes().to_vec());
    let headers = [
        ("group", "another"),
        ("not-before", "1"),
        ("attempts", "1"),
        ("origin", "their-tasks/0/7"),
        ("deferred-since", "1"),
    ];
    let headers: Vec<_> =
        headers.iter().map(|(key, text)| (format!("ftp-pooler-{key}"), value(text))).collect();
    let theirs = || Outgoing {
        partition: Some(partition),
        headers: headers.clone(),
        ..Outgoing::from(download("theirs", "remote", "f", "out/theirs"))
    };
    send_to(stage.kafka, retry, (0..5).map(|_| theirs()));
    let committed = || stage.kafka.committed(group, retry).get(&partition).map(|(offset, _)| *offset);
    wait_until("them to be passed over", LONG, || committed() == Some(end + 5));
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    assert!(stage.answers().read_to_end().all.is_empty());
}

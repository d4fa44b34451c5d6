//! Every pod gets its even share of the input topic, whatever joins, leaves or restarts, and reads the retry topic's
//! partitions of the same numbers.
//!
//! `make spread TRIALS=20` runs the whole plan so often; the suite runs a short one.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage};
use crate::support::pod::{Pod, PodConfig};
use crate::support::wait::{try_wait_for, wait_until};

const PARTITIONS: i32 = 12;
/// How many pods there are, one after the other.
const PLAN: &[usize] = &[1, 2, 3, 6, 4, 1];

fn config(stage: &Stage, pod: usize) -> PodConfig {
    stage.bare_config().set("pod.name", json!(format!("pod-{pod}")))
}

/// The partitions of both topics that a pod reads, by its API.
fn partitions(stage: &Stage, pod: &Pod) -> Option<(BTreeSet<i64>, BTreeSet<i64>)> {
    let (_, body) = pod.get("/api/v1/partitions")?;
    let body: Value = serde_json::from_str(&body).ok()?;
    let of = |topic: &str| -> BTreeSet<i64> {
        let all = body["partitions"].as_array().into_iter().flatten();
        all.filter(|one| one["topic"] == topic).filter_map(|one| one["partition"].as_i64()).collect()
    };
    Some((of(&stage.topics.tasks), of(&stage.topics.retry)))
}

/// How many partitions of the input topic each pod has, once each partition of both topics is read by one pod, and the
/// retry topic's by the one that has the input topic's of its number.
fn settled(stage: &Stage, pods: &[Pod]) -> Option<Vec<usize>> {
    let shares: Vec<_> = pods.iter().map(|pod| partitions(stage, pod)).collect::<Option<_>>()?;
    let whole = usize::try_from(PARTITIONS).unwrap();
    let inputs: Vec<usize> = shares.iter().map(|(input, _)| input.len()).collect();
    let all: BTreeSet<i64> = shares.iter().flat_map(|(input, _)| input).copied().collect();
    let is_whole = inputs.iter().sum::<usize>() == whole && all.len() == whole;
    (is_whole && shares.iter().all(|(input, retry)| input == retry)).then_some(inputs)
}

/// Waits until the shares have settled; the difference between the largest and the smallest.
fn difference(stage: &Stage, pods: &[Pod], report: &mut String) -> usize {
    let begun = Instant::now();
    let shares = try_wait_for(LONG, || settled(stage, pods).filter(|shares| spread_of(shares) <= 1));
    let shares = shares.or_else(|| settled(stage, pods)).unwrap_or_else(|| {
        let logs: Vec<String> = pods.iter().map(|pod| pod.log_tail(15)).collect();
        panic!("the partitions do not settle: {}", logs.join("\n---\n"))
    });
    let _ = write!(report, " {shares:?} after {:.1} s;", begun.elapsed().as_secs_f64());
    spread_of(&shares)
}

fn spread_of(shares: &[usize]) -> usize {
    shares.iter().max().unwrap_or(&0) - shares.iter().min().unwrap_or(&0)
}

/// Follows the plan, with a rolling restart at each step where `restarts` says so; the largest difference.
fn follow(stage: &Stage, plan: &[usize], restarts: bool) -> usize {
    let (mut pods, mut largest, mut report) = (Vec::new(), 0, String::new());
    for (n, &count) in plan.iter().enumerate() {
        while pods.len() > count {
            let pod: Pod = pods.pop().unwrap();
            assert!(pod.terminate(EXIT).success(), "{}", pod.log_tail(20));
        }
        let begin = pods.len();
        pods.extend((begin..count).map(|pod| Pod::spawn(&config(stage, pod))));
        let _ = write!(report, "\n  {count} pods:");
        largest = largest.max(difference(stage, &pods, &mut report));
        if restarts && n % 2 == 1 {
            for (number, pod) in pods.iter_mut().enumerate() {
                assert!(pod.terminate(EXIT).success(), "{}", pod.log_tail(20));
                *pod = Pod::start(&config(stage, number));
            }
            let _ = write!(report, " restarted one by one:");
            largest = largest.max(difference(stage, &pods, &mut report));
        }
    }
    eprintln!("spread: largest difference {largest}{report}");
    largest
}

/// `FTP_POOLER_SPREAD_TRIALS`: how often the whole plan is followed.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn each_pod_has_its_share_of_the_input_topic_whatever_joins_leaves_or_restarts() {
    let trials = std::env::var("FTP_POOLER_SPREAD_TRIALS").ok().and_then(|text| text.parse().ok());
    let (trials, plan, restarts) =
        trials.map_or((1, &[1, 2, 3, 1][..], false), |trials| (trials, PLAN, true));
    let trial = |_: usize| follow(&Stage::with("spread", PARTITIONS, &[]), plan, restarts);
    let differences: Vec<usize> = (0..trials).map(trial).collect();
    eprintln!("spread: largest differences of {trials} trials: {differences:?}");
    assert!(differences.iter().all(|difference| *difference <= 1), "{differences:?}");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn by_the_new_group_protocol_each_pod_gets_its_share_too() {
    let stage = Stage::with("spread-848", PARTITIONS, &[]);
    let config =
        |pod: usize| config(&stage, pod).set("kafka.properties", json!({"group.protocol": "consumer"}));
    let pods: Vec<Pod> = (0..3).map(|pod| Pod::start(&config(pod))).collect();
    wait_until("an even share", LONG, || {
        let shares: Option<Vec<_>> = pods.iter().map(|pod| partitions(&stage, pod)).collect();
        shares.is_some_and(|shares| shares.iter().all(|(input, retry)| (input.len(), retry.len()) == (4, 4)))
    });
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_without_partitions_says_so() {
    let stage = Stage::with("idle", 1, &[]);
    let pods = [0, 1].map(|pod| Pod::start(&config(&stage, pod)));
    let note = |pod: &Pod| -> Option<String> {
        let status: Value = serde_json::from_str(&pod.get("/api/v1/status")?.1).ok()?;
        Some(status["notes"][0].as_str()?.to_owned())
    };
    wait_until("one of them to say that it has none", LONG, || pods.iter().filter_map(note).count() == 1);
    let idle = pods.iter().find(|pod| note(pod).is_some()).unwrap();
    let said = note(idle).unwrap();
    assert!(said.contains("no partition") && said.contains("2 pods"), "{said}");
    let logged = |event: &str| {
        let text = format!("\"event\":\"{event}\"");
        pods.iter().filter(|pod| pod.log().contains(&text)).count()
    };
    wait_until("the log to say so", LONG, || {
        logged("no_partitions") >= 1 && logged("too_few_partitions") >= 1
    });
}

/// A pod of the version before this one: a member that subscribes to both topics.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn what_a_member_of_an_older_version_reads_of_the_retry_topic_is_left_to_it() {
    let stage = Stage::with("older", 4, &[]);
    stage.server.put("f", b"content");
    let pod_config = stage.config().set("pod.name", json!("new"));
    let first = Pod::start(&pod_config);
    wait_until("its share", LONG, || partitions(&stage, &first).is_some_and(|share| share.1.len() == 4));
    let old: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", stage.kafka.bootstrap())
        .set("group.id", &stage.topics.group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    old.subscribe(&[&stage.topics.tasks, &stage.topics.retry]).unwrap();
    let assigned = |topic: &str| -> BTreeSet<i64> {
        let _ = old.poll(Duration::from_millis(100));
        let assignment = old.assignment().unwrap();
        let of_topic = assignment.elements_for_topic(topic);
        of_topic.iter().map(|element| element.partition().into()).collect()
    };
    wait_until("the older member to have the retry topic, and nobody else", LONG, || {
        let theirs = assigned(&stage.topics.retry);
        let ours = partitions(&stage, &first).map_or_else(BTreeSet::new, |share| share.1);
        theirs.len() == 4 && ours.is_empty()
    });
    drop(old);
    wait_until("it to be ours again", LONG, || {
        partitions(&stage, &first).is_some_and(|share| (share.0.len(), share.1.len()) == (4, 4))
    });
}

//! A model of the whole group: several pods with the real ledgers, simulated brokers, and random sequences of
//! all that may happen to them. A `read_committed` reader sees each task answered once, nothing is lost, no
//! low-water mark goes back and no map is dropped, whoever dies in between.

mod broker;
mod pod;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::offsets::TopicPartition;
use broker::{Broker, Incarnation};
use pod::{DELAY, Ended, Pod, Sabotage, World};

const PODS: usize = 3;
const PARTITIONS: i32 = 2;
/// At the end, when no more faults happen, everything is answered within this many rounds.
const ROUNDS: usize = 200;

#[derive(Clone, Debug)]
enum Step {
    Produce {
        partition: i32,
        gap: i64,
    },
    Poll(usize),
    Finish {
        pod: usize,
        pick: usize,
        defers: bool,
    },
    Publish(usize),
    FailBatch(usize),
    Rebalance(usize),
    Heartbeat(usize),
    LetGo {
        pod: usize,
        is_late: bool,
    },
    TakeOver(usize),
    /// All running pods release, rejoin and take over at once, whatever they are doing.
    Reshuffle(usize),
    /// Records come again, as after a rebalance that another reader bridged.
    Rewind(usize),
    /// Its session is over, and it does not know.
    Expel(usize),
    Kill(usize),
    /// Stopped; those waiting for it continue without it.
    Freeze(usize),
    Thaw(usize),
    /// The coordinator gives up a transaction, its owner alive or not.
    TimeOut(usize),
    Later(u64),
}

/// Rarely a large one, as compaction leaves it.
fn gap() -> impl Strategy<Value = i64> {
    prop_oneof![12 => 0_i64..2, 1 => 15_000_i64..30_000]
}

fn step() -> impl Strategy<Value = Step> {
    let pod = || 0..PODS;
    prop_oneof![
        6 => (0..PARTITIONS, gap()).prop_map(|(partition, gap)| Step::Produce { partition, gap }),
        8 => pod().prop_map(Step::Poll),
        10 => (pod(), any::<usize>(), prop::bool::weighted(0.3))
            .prop_map(|(pod, pick, defers)| Step::Finish { pod, pick, defers }),
        14 => pod().prop_map(Step::Publish),
        1 => pod().prop_map(Step::FailBatch),
        2 => any::<u8>().prop_map(|shuffle| Step::Rebalance(shuffle.into())),
        8 => pod().prop_map(Step::Heartbeat),
        4 => (pod(), prop::bool::weighted(0.3)).prop_map(|(pod, is_late)| Step::LetGo { pod, is_late }),
        8 => pod().prop_map(Step::TakeOver),
        4 => any::<u8>().prop_map(|shuffle| Step::Reshuffle(shuffle.into())),
        1 => pod().prop_map(Step::Rewind),
        1 => pod().prop_map(Step::Expel),
        1 => pod().prop_map(Step::Kill),
        1 => pod().prop_map(Step::Freeze),
        2 => pod().prop_map(Step::Thaw),
        1 => pod().prop_map(Step::TimeOut),
        2 => (0_u64..40).prop_map(Step::Later),
    ]
}

struct Group {
    broker: Broker,
    pods: Vec<Pod>,
    world: World,
    incarnations: Incarnation,
    tasks: usize,
}

impl Group {
    fn new(sabotage: Sabotage) -> Self {
        let mut broker = Broker::default();
        for topic in ["tasks", "retry"] {
            for partition in 0..PARTITIONS {
                broker.logs.insert(TopicPartition { topic: topic.into(), partition }, broker::Log::default());
            }
        }
        let world = World { begun: Instant::now(), elapsed: Duration::ZERO, sabotage };
        let pods = (0..PODS).map(|n| Pod::new(n, None)).collect();
        let mut group = Group { broker, pods, world, incarnations: PODS, tasks: 0 };
        group.settle_down(1);
        group
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        let Group { broker, pods, world, .. } = self;
        let of = |pod: &usize| pods[*pod].is_frozen;
        match step {
            Step::Poll(pod)
            | Step::Finish { pod, .. }
            | Step::Publish(pod)
            | Step::FailBatch(pod)
            | Step::Heartbeat(pod)
            | Step::LetGo { pod, .. }
            | Step::TakeOver(pod)
                if of(pod) => {}
            Step::Produce { partition, gap } => {
                let at = TopicPartition { topic: "tasks".into(), partition: *partition };
                broker.produce(&at, self.tasks, *gap);
                self.tasks += 1;
            }
            Step::Poll(pod) => pods[*pod].poll(broker, world),
            Step::Finish { pod, pick, defers } => pods[*pod].finish(*pick, *defers),
            Step::Publish(pod) => {
                if let Err(Ended) = pods[*pod].publish(broker, world)? {
                    self.kill(*pod);
                }
            }
            Step::FailBatch(pod) => pods[*pod].fail_batch(broker, world),
            Step::Rebalance(shuffle) => broker.rebalance(*shuffle),
            Step::Heartbeat(pod) => pods[*pod].heartbeat(broker),
            Step::LetGo { pod, is_late } => pods[*pod].release(broker, *is_late),
            Step::TakeOver(pod) => pods[*pod].take_over(broker, world)?,
            Step::Reshuffle(shuffle) => return self.reshuffle(*shuffle),
            Step::Rewind(pod) => pods[*pod].rewind(broker),
            Step::Expel(pod) => broker.expel(pods[*pod].me),
            Step::Kill(pod) => self.kill(*pod),
            Step::Freeze(pod) => pods[*pod].is_frozen = true,
            Step::Thaw(pod) => pods[*pod].is_frozen = false,
            Step::TimeOut(pod) => broker.abort(pods[*pod].me),
            Step::Later(seconds) => world.elapsed += Duration::from_secs(*seconds),
        }
        Ok(())
    }

    fn reshuffle(&mut self, shuffle: usize) -> Result<(), String> {
        self.broker.rebalance(shuffle);
        let each = |step: fn(usize) -> Step| (0..PODS).map(step);
        let leave = each(Step::Heartbeat).chain(each(|pod| Step::LetGo { pod, is_late: true }));
        let join = each(Step::Heartbeat).chain(each(Step::TakeOver)).chain(each(Step::Poll));
        leave.chain(join).try_for_each(|step| self.take(&step))
    }

    /// With whatever it has open; its next process starts.
    fn kill(&mut self, pod: usize) {
        let before = self.pods[pod].me;
        self.pods[pod] = Pod::new(self.incarnations, Some(before));
        self.incarnations += 1;
    }

    /// The dead are detected, all others join, and the partitions are redistributed.
    fn settle_down(&mut self, shuffle: usize) {
        let alive: Vec<_> = self.pods.iter().map(|pod| pod.me).collect();
        for dead in (0..self.incarnations).filter(|n| !alive.contains(n)) {
            self.broker.expel(dead);
            self.broker.abort(dead);
        }
        self.pods.iter_mut().for_each(|pod| pod.is_frozen = false);
        self.pods.iter_mut().for_each(|pod| pod.heartbeat(&mut self.broker));
        self.broker.rebalance(shuffle);
    }

    /// No more faults: whatever is left is done.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.settle_down(3);
        for round in 0..ROUNDS {
            let alive: BTreeSet<_> = self.pods.iter().map(|pod| pod.me).collect();
            if self.broker.members != alive {
                self.settle_down(3);
            }
            self.world.elapsed += DELAY;
            for pod in 0..PODS {
                self.take(&Step::Heartbeat(pod))?;
                self.take(&Step::LetGo { pod, is_late: round > ROUNDS / 2 })?;
                self.take(&Step::Heartbeat(pod))?;
                self.take(&Step::TakeOver(pod))?;
                self.take(&Step::Poll(pod))?;
                self.take(&Step::Finish { pod, pick: round, defers: false })?;
                for _ in 0..4 {
                    self.take(&Step::Publish(pod))?;
                }
            }
            let is_done = self.broker.answers.len() == self.tasks;
            if is_done && self.pods.iter().all(Pod::is_idle) {
                return Ok(());
            }
        }
        let lost: Vec<_> = (0..self.tasks).filter(|id| !self.broker.answers.contains_key(id)).collect();
        Err(format!("without an answer: {lost:?}"))
    }
}

fn run(steps: &[Step], sabotage: Sabotage) -> Result<(), String> {
    let mut group = Group::new(sabotage);
    steps.iter().try_for_each(|step| group.take(step))?;
    group.come_to_rest()
}

fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn check(cases: u32, sabotage: Sabotage) -> Result<(), TestError<Vec<Step>>> {
    runner(cases).run(&prop::collection::vec(step(), 0..120), |steps| {
        run(&steps, sabotage).map_err(TestCaseError::fail)
    })
}

#[test]
fn whatever_happens_to_pods_each_task_is_answered_once() {
    // Other sequences each time, besides those that are the same everywhere.
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let steps = prop::collection::vec(step(), 0..120);
    let random =
        TestRunner::new(config).run(&steps, |steps| run(&steps, Sabotage::None).map_err(TestCaseError::fail));
    for result in [random, check(128, Sabotage::None)] {
        if let Err(error) = result {
            panic!("{error}");
        }
    }
}

#[test]
fn a_pod_that_is_wired_wrongly_is_found_out() {
    for sabotage in [
        Sabotage::OutcomesWithoutEpoch,
        Sabotage::MapDropped,
        Sabotage::MemberReadLate,
        Sabotage::AbortedIsSettled,
        Sabotage::OffsetsReadUnstable,
        Sabotage::EarlyIsFinished,
        Sabotage::SpanUnlooked,
    ] {
        let found = check(3_000, sabotage);
        assert!(matches!(found, Err(TestError::Fail(..))), "{sabotage:?} is not found: {found:?}");
    }
}

/// Task 1 is so far behind task 0, which is in flight, that the map could not reach it; task 2 comes right after it,
/// and is read after task 0 is answered and before task 1 is checked again.
#[test]
fn a_record_behind_a_large_gap_waits_and_is_not_overtaken() {
    let each = |step: fn(usize) -> Step| (0..PODS).map(step);
    let produce = |gap| Step::Produce { partition: 0, gap };
    let mut steps = vec![Step::Reshuffle(0)];
    for gap in [0, 30_000] {
        steps.push(produce(gap));
        steps.extend(each(Step::Poll));
    }
    steps.push(produce(0));
    steps.extend(each(|pod| Step::Finish { pod, pick: 0, defers: false }));
    for _ in 0..4 {
        steps.extend(each(Step::Publish));
    }
    steps.extend(each(Step::Poll));
    assert_eq!(run(&steps, Sabotage::None), Ok(()));
    let of_the_first = |sabotage| run(&steps, sabotage).unwrap_err();
    assert!(of_the_first(Sabotage::KeptOvertaken).contains("is committed, and was not done"));

    // Task 1 is finished before task 0.
    let mut steps = steps[..=2 * (1 + PODS)].to_vec();
    steps.extend(each(|pod| Step::Finish { pod, pick: 1, defers: false }));
    for _ in 0..4 {
        steps.extend(each(Step::Publish));
    }
    assert_eq!(run(&steps, Sabotage::None), Ok(()));
    assert!(run(&steps, Sabotage::SpanUnlooked).unwrap_err().contains("OFFSET_METADATA_TOO_LARGE"));
}

//! The member of the owners' group: a thread that is assigned partitions, restores their states and has them work.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::oneshot;

use super::ownership::{NextStep, PartitionOwnership};
use super::transactions::OwnerProducer;
use super::{OwnedState, OwnedTopic};
use crate::config::KafkaConfig;
use crate::kafka::{
    CommitError, LogThrottle, consumer_properties, log_error, log_line, owned_transactional_id, owners_group,
    rebalance_while_closing, uses_new_protocol, without_value,
};

/// Waiting for a record.
const POLL: Duration = Duration::from_millis(50);
/// How many records are processed between two steps.
const BURST: usize = 5_000;
/// One question to a broker.
const REQUEST: Duration = Duration::from_secs(5);
/// The owners' group notices a dead pod sooner than the tasks' does: its work waits for nothing but Kafka.
const SESSION_TIMEOUT_MS: &str = "10000";

/// Makes the state of a partition that is assigned.
type MakeState = Box<dyn Fn(i32) -> Box<dyn OwnedState> + Send>;

/// A running member.
#[derive(Debug)]
pub struct OwnedTopicHandle {
    stop: Arc<AtomicBool>,
    /// Resolves when the member has left.
    pub ended: oneshot::Receiver<()>,
}

impl OwnedTopicHandle {
    /// Leaves the group, so that others take over at once.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Joins the owners' group on a separate thread.
///
/// # Errors
/// If librdkafka rejects a property, or no thread can be started.
pub fn spawn_owned_topic(
    kafka: &KafkaConfig,
    pod: &str,
    owned: &OwnedTopic,
    clock: fn() -> Duration,
    make: impl Fn(i32) -> Box<dyn OwnedState> + Send + 'static,
) -> io::Result<OwnedTopicHandle> {
    let group = owners_group(&kafka.consumer_group, owned.purpose);
    let context = OwnerContext { purpose: owned.purpose, ..OwnerContext::default() };
    let properties = member_properties(kafka, pod, &group);
    let consumer =
        properties.create_with_context(context).map_err(without_value).map_err(io::Error::other)?;
    let (stop, (left, ended)) = (Arc::new(AtomicBool::new(false)), oneshot::channel());
    let mut member = Member {
        consumer,
        kafka: kafka.clone(),
        pod: pod.to_owned(),
        topic: owned.topic.clone(),
        purpose: owned.purpose,
        clock,
        make: Box::new(make),
        partitions: BTreeMap::new(),
        throttle: LogThrottle::default(),
    };
    member.consumer.subscribe(&[&owned.topic]).map_err(io::Error::other)?;
    let stopped = Arc::clone(&stop);
    std::thread::Builder::new().name(format!("owned-{}", owned.purpose)).spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            member.turn();
        }
        member.consumer.context().is_closing.store(true, Ordering::Relaxed);
        drop(member);
        let _ = left.send(());
    })?;
    Ok(OwnedTopicHandle { stop, ended })
}

fn member_properties(kafka: &KafkaConfig, pod: &str, group: &str) -> ClientConfig {
    let mut properties = consumer_properties(kafka, pod);
    properties.set("group.id", group).set("statistics.interval.ms", "0").set("fetch.wait.max.ms", "50");
    properties.set("enable.partition.eof", "true"); // what a state is complete by
    properties.remove("group.instance.id");
    if !uses_new_protocol(&properties) && !kafka.properties.contains_key("session.timeout.ms") {
        properties.set("session.timeout.ms", SESSION_TIMEOUT_MS);
    }
    properties
}

#[derive(Debug)]
enum Assignment {
    Assign(Vec<i32>),
    Revoke(Vec<i32>),
}

#[derive(Debug, Default)]
struct OwnerContext {
    purpose: &'static str,
    throttle: LogThrottle,
    changes: Mutex<VecDeque<Assignment>>,
    is_closing: AtomicBool,
}

impl ClientContext for OwnerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(self.purpose, &self.throttle, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(self.purpose, &self.throttle, &error, reason);
    }
}

impl ConsumerContext for OwnerContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_assign = matches!(event, RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
        if self.is_closing.load(Ordering::Relaxed) {
            rebalance_while_closing(consumer, is_assign, list);
            return;
        }
        let partitions = list.elements().iter().map(TopicPartitionListElem::partition).collect();
        let change = if is_assign { Assignment::Assign(partitions) } else { Assignment::Revoke(partitions) };
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
    }
}

struct Member {
    consumer: BaseConsumer<OwnerContext>,
    kafka: KafkaConfig,
    pod: String,
    topic: String,
    purpose: &'static str,
    clock: fn() -> Duration,
    make: MakeState,
    partitions: BTreeMap<i32, Partition>,
    throttle: LogThrottle,
}

/// A partition that is assigned to this member.
struct Partition {
    ownership: PartitionOwnership,
    state: Box<dyn OwnedState>,
    producer: Option<OwnerProducer>,
    /// Nothing has been read since it was at its beginning.
    is_rewound: bool,
}

impl Partition {
    /// What comes before the predecessor is fenced does not count, and is read again.
    fn read(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, now: Duration) {
        self.is_rewound = false;
        if let Some(key) = key.filter(|_| self.ownership.is_reading()) {
            self.state.read(key, value, now);
        }
    }
}

impl Member {
    fn turn(&mut self) {
        let mut wait = POLL;
        for _ in 0..BURST {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    if let Some(partition) = self.partitions.get_mut(&message.partition()) {
                        partition.read(message.key(), message.payload(), (self.clock)());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    let Some(partition) = self.partitions.get_mut(&number) else { continue };
                    partition.is_rewound = false;
                    if partition.ownership.reached_end() {
                        partition.state.begin((self.clock)());
                        tracing::info!(
                            event = "partition_owned",
                            purpose = self.purpose,
                            partition = number,
                            "this pod owns the partition: its state is restored, and its previous owner is fenced"
                        );
                    }
                }
                Some(Err(error)) => {
                    if let Some(untold) = self.throttle.admit(&error.to_string(), Instant::now()) {
                        tracing::warn!(event = "owned_partition_unread", %error, untold, purpose = self.purpose, topic = self.topic, "reading an owned partition");
                    }
                }
            }
            wait = Duration::ZERO;
        }
        self.answer_changes();
        let partitions: Vec<i32> = self.partitions.keys().copied().collect();
        for partition in partitions {
            if let Err(error) = self.step(partition) {
                self.fail(partition, &error);
            }
        }
    }

    fn answer_changes(&mut self) {
        loop {
            let change =
                self.consumer.context().changes.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let answered = match change {
                None => return,
                Some(Assignment::Assign(partitions)) => self.assign(&partitions),
                Some(Assignment::Revoke(partitions)) => {
                    for partition in &partitions {
                        self.partitions.remove(partition);
                    }
                    tracing::info!(
                        event = "partition_given_up",
                        purpose = self.purpose,
                        ?partitions,
                        "owned partitions given up"
                    );
                    self.list(&partitions, None).and_then(|list| self.consumer.incremental_unassign(&list))
                }
            };
            if let Err(error) = answered {
                tracing::warn!(event = "rebalance_failed", %error, purpose = self.purpose, "rebalance");
            }
        }
    }

    fn assign(&mut self, partitions: &[i32]) -> KafkaResult<()> {
        for partition in partitions {
            let state = (self.make)(*partition);
            self.partitions.insert(
                *partition,
                Partition {
                    ownership: PartitionOwnership::default(),
                    state,
                    producer: None,
                    is_rewound: true,
                },
            );
        }
        let list = self.list(partitions, Some(Offset::Beginning))?;
        self.consumer.incremental_assign(&list)?;
        self.consumer.pause(&list) // until the predecessor is fenced
    }

    fn list(&self, partitions: &[i32], offset: Option<Offset>) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            let mut element = list.add_partition(&self.topic, *partition);
            if let Some(offset) = offset {
                element.set_offset(offset)?;
            }
        }
        Ok(list)
    }

    fn step(&mut self, number: i32) -> Result<(), CommitError> {
        let now = (self.clock)();
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        match partition.ownership.next_step(now) {
            NextStep::Wait | NextStep::Restore => {} // until the pause is over; until the end is reported
            NextStep::Fence => {
                let id = owned_transactional_id(&self.kafka.consumer_group, self.purpose, number);
                partition.producer = None; // its identity is this one's from now on
                partition.producer = Some(OwnerProducer::begin(&self.kafka, &self.pod, &id)?);
                partition.ownership.fenced();
            }
            NextStep::Rewind => {
                if !std::mem::replace(&mut partition.is_rewound, true) {
                    self.consumer.seek(&self.topic, number, Offset::Beginning, REQUEST)?;
                }
                let list = self.list(&[number], None)?;
                self.consumer.resume(&list)?;
                if let Some(partition) = self.partitions.get_mut(&number) {
                    partition.ownership.rewound();
                }
            }
            NextStep::Work => {
                let records = partition.state.decide(now);
                if let (false, Some(producer)) = (records.is_empty(), &mut partition.producer) {
                    producer.write(&records)?;
                    partition.state.committed((self.clock)());
                }
            }
        }
        Ok(())
    }

    /// Drops the state, and starts over after a pause. Being fenced while the partition is assigned means that a
    /// previous owner has resumed: it will notice that it has lost the partition.
    fn fail(&mut self, number: i32, error: &CommitError) {
        if let Some(untold) = self.throttle.admit(&error.to_string(), Instant::now()) {
            let advice = match error {
                CommitError::Unusable { .. } => {
                    Some("max_sessions_total and feeds need brokers with transactions")
                }
                error => error.advice(),
            };
            tracing::warn!(
                event = "partition_failed",
                purpose = self.purpose,
                partition = number,
                %error,
                advice,
                untold,
                "an owned partition is restored again"
            );
        }
        let state = (self.make)(number);
        if let Some(partition) = self.partitions.get_mut(&number) {
            (partition.state, partition.producer) = (state, None);
            partition.ownership.failed((self.clock)());
        }
        let paused = self.list(&[number], None).and_then(|list| self.consumer.pause(&list));
        if let Err(error) = paused {
            tracing::debug!(event = "pause_failed", %error, "pausing an owned partition");
        }
    }
}

//! What librdkafka tells the consumer: rebalances, statistics, errors, logs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::Statistics;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::group::MEMBER;
use crate::health::PodHealth;
use crate::kafka::{LogThrottle, log_error, log_line, rebalance_while_closing};
use crate::metrics::Metrics;
use crate::offsets::{Offsets, TopicPartition};

/// A broker's state in librdkafka's statistics.
const CONNECTED: &str = "UP";
/// The handle of the group's coordinator there, which has a connection of its own.
const COORDINATOR: &str = "GroupCoordinator";
/// Where brokers come from there that have an address of their own.
const KNOWN: [&str; 2] = ["learned", "configured"];

/// A rebalance, to be answered by the polling thread.
#[derive(Debug)]
pub enum Rebalance {
    Assign(Vec<TopicPartition>),
    Revoke { partitions: Vec<TopicPartition>, lost: bool },
}

#[derive(Debug)]
pub struct GroupContext {
    pub offsets: Arc<Offsets>,
    pub metrics: Metrics,
    health: Arc<PodHealth>,
    /// As its log lines name it.
    client: &'static str,
    throttle: LogThrottle,
    rebalances: Mutex<VecDeque<Rebalance>>,
    /// While the consumer is closing, rebalances are answered in the callback: nobody polls for them.
    closing: AtomicBool,
    /// Another client has taken its place: what becomes of this one says nothing about the pod.
    retired: AtomicBool,
}

impl GroupContext {
    pub fn new(
        client: &'static str,
        offsets: Arc<Offsets>,
        health: Arc<PodHealth>,
        metrics: Metrics,
    ) -> Self {
        GroupContext {
            client,
            offsets,
            metrics,
            health,
            throttle: LogThrottle::default(),
            rebalances: Mutex::default(),
            closing: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    pub fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// An error that the application can do nothing about; the same one once in a while.
    pub fn log_error(&self, error: &KafkaError) {
        if let Some(suppressed) = self.throttle.admit(&error.to_string(), Instant::now()) {
            tracing::warn!(event = "kafka_consumer_error", %error, suppressed, "Kafka consumer error");
        }
    }

    pub fn set_closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Another client takes this one's place, which ends without a say in what the pod has.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.set_closing();
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(self.client, &self.throttle, level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        if self.is_retired() {
            return;
        }
        if self.client == MEMBER && is_connected(&statistics) {
            self.health.kafka_connected();
            if let Some(took) = round_trip(&statistics) {
                self.health.round_trip_seen(took);
            }
            if let Some(at) = coordinator_heard(&statistics) {
                self.offsets.coordinator_heard(at);
            }
        }
        for owned in self.offsets.snapshot() {
            let topic = statistics.topics.get(&*owned.at.topic);
            let Some(partition) = topic.and_then(|topic| topic.partitions.get(&owned.at.partition)) else {
                continue;
            };
            // librdkafka's own consumer_lag is -1 until something is committed.
            let end = partition.ls_offset.max(partition.hi_offset);
            if end >= 0 {
                self.offsets.note_end(&owned.at, end);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.metrics.kafka_error("consume");
        log_error(self.client, &self.throttle, &error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_assign = matches!(event, RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
        if self.closing.load(Ordering::Relaxed) {
            let partitions = partitions_of(list);
            rebalance_while_closing(consumer, is_assign, list);
            if !self.is_retired() {
                self.offsets.release(&partitions);
            }
            return;
        }
        let partitions = partitions_of(list);
        let rebalance = if is_assign {
            Rebalance::Assign(partitions)
        } else {
            Rebalance::Revoke { partitions, lost: consumer.assignment_lost() }
        };
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
    }
}

/// A broker is connected, and the client knows one at all: after an answer without brokers it has none left but the
/// handle of the group's coordinator (librdkafka issue 5301), and reads nothing any more.
fn is_connected(statistics: &Statistics) -> bool {
    let mut brokers = statistics.brokers.values();
    brokers.any(|broker| broker.state == CONNECTED)
        && statistics.brokers.values().any(|broker| KNOWN.contains(&broker.source.as_str()))
}

/// When the group's coordinator sent something last, by librdkafka's clock.
fn coordinator_heard(statistics: &Statistics) -> Option<Duration> {
    let coordinator = statistics.brokers.values().find(|broker| broker.name == COORDINATOR)?;
    let idle = u64::try_from(coordinator.rxidle).ok()?; // -1 while it is not connected
    Some(Duration::from_micros(u64::try_from(statistics.ts).ok()?.checked_sub(idle)?))
}

/// What a request takes in the median, at the farthest broker that was asked. The coordinator's handle waits for whole
/// rebalances, and is left out.
fn round_trip(statistics: &Statistics) -> Option<Duration> {
    let known = statistics.brokers.values().filter(|broker| KNOWN.contains(&broker.source.as_str()));
    let medians = known.filter_map(|broker| broker.rtt.as_ref()).filter(|rtt| rtt.cnt > 0).map(|rtt| rtt.p50);
    let micros = medians.max()?;
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    let describe = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| TopicPartition {
        topic: element.topic().into(),
        partition: element.partition(),
    };
    elements.iter().map(describe).collect()
}

//! What librdkafka tells the consumer: rebalances, statistics, errors, logs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rdkafka::ClientContext;
use rdkafka::Statistics;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::noise::Noise;
use crate::health::PodHealth;
use crate::metrics::Metrics;
use crate::offsets::{Offsets, TopicPartition};

/// librdkafka's lines about connections that end, and attempts at one that fail.
const CONNECTIONS: &str = "FAIL";
/// A broker's state in librdkafka's statistics.
const CONNECTED: &str = "UP";

/// A rebalance, to be answered by the polling thread.
#[derive(Debug)]
pub enum Rebalance {
    Assign(Vec<TopicPartition>),
    Revoke { partitions: Vec<TopicPartition>, lost: bool },
}

#[derive(Debug)]
pub struct Context {
    pub offsets: Arc<Offsets>,
    pub metrics: Metrics,
    health: Arc<PodHealth>,
    noise: Noise,
    rebalances: Mutex<VecDeque<Rebalance>>,
    /// While the consumer is closing, rebalances are answered in the callback: nobody polls for them.
    closing: AtomicBool,
}

impl Context {
    pub fn new(offsets: Arc<Offsets>, health: Arc<PodHealth>, metrics: Metrics) -> Self {
        Context {
            offsets,
            metrics,
            health,
            noise: Noise::default(),
            rebalances: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    pub fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// An error that the application can do nothing about; the same one once in a while.
    pub fn complain(&self, error: &KafkaError) {
        if let Some(untold) = self.noise.tell(&error.to_string(), Instant::now()) {
            tracing::warn!(%error, untold, "Kafka consumer");
        }
    }

    pub fn set_closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log("consumer", &self.noise, level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == CONNECTED) {
            self.health.kafka_is_there();
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
            if let Some(low_water) = owned.low_water.filter(|_| end >= 0) {
                self.metrics.lag(&owned.at.topic, owned.at.partition, (end - low_water).max(0));
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.metrics.kafka_error("consume");
        complain("consumer", &self.noise, &error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_assign = matches!(event, RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
        if self.closing.load(Ordering::Relaxed) {
            let partitions = partitions_of(list);
            let answered = if is_assign {
                consumer.incremental_assign(list)
            } else {
                consumer.incremental_unassign(list)
            };
            if let Err(error) = answered {
                tracing::debug!(%error, "rebalance while closing");
            }
            self.offsets.release(&partitions);
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

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    let describe = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| TopicPartition {
        topic: element.topic().into(),
        partition: element.partition(),
    };
    elements.iter().map(describe).collect()
}

/// librdkafka's log lines, as ours; the same complaint once in a while.
pub fn log(client: &str, noise: &Noise, level: RDKafkaLogLevel, facility: &str, message: &str) {
    let is_complaint = matches!(
        level,
        RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning
    );
    if is_of_a_rebalance(facility, message) {
        tracing::debug!(target: "librdkafka", client, facility, "{message}");
    } else if is_complaint || facility == CONNECTIONS {
        let Some(untold) = noise.tell(message, Instant::now()) else { return };
        if !is_complaint {
            tracing::info!(target: "librdkafka", client, facility, untold, "{message}");
        } else if matches!(level, RDKafkaLogLevel::Warning) {
            tracing::warn!(target: "librdkafka", client, facility, untold, "{message}");
        } else {
            tracing::error!(target: "librdkafka", client, facility, untold, "{message}");
        }
    } else if matches!(level, RDKafkaLogLevel::Debug) {
        tracing::debug!(target: "librdkafka", client, facility, "{message}");
    } else {
        tracing::info!(target: "librdkafka", client, facility, "{message}");
    }
}

/// librdkafka's error events, which say what its log lines have said.
pub fn complain(client: &str, noise: &Noise, error: &KafkaError, reason: &str) {
    if let Some(untold) = noise.tell(reason, Instant::now()) {
        tracing::warn!(target: "librdkafka", client, %error, untold, "{reason}");
    }
}

/// A transaction that a rebalance has overtaken is aborted, and chosen anew: librdkafka calls that an error, but it
/// is what a cooperative rebalance looks like.
fn is_of_a_rebalance(facility: &str, message: &str) -> bool {
    let codes =
        ["(ILLEGAL_GENERATION", "(UNKNOWN_MEMBER_ID", "(REBALANCE_IN_PROGRESS", "(STALE_MEMBER_EPOCH"];
    facility == "TXNERR" && codes.iter().any(|code| message.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_a_rebalance_overtook_is_no_error_and_others_are() {
        let failed = |code: &str| format!("Current transaction failed in state InTransaction: why ({code})");
        assert!(is_of_a_rebalance("TXNERR", &failed("ILLEGAL_GENERATION")));
        assert!(is_of_a_rebalance("TXNERR", &failed("UNKNOWN_MEMBER_ID")));
        assert!(!is_of_a_rebalance("TXNERR", &failed("_TIMED_OUT, requires epoch bump")));
        assert!(!is_of_a_rebalance("FAIL", &failed("ILLEGAL_GENERATION")));
    }
}

//! How the tasks of batches were answered: both answer topics are read from where the oldest of them was submitted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::submitted_at;
use crate::batch::{BATCH_HEADER, KnownBatch};
use crate::cli::answer::{AnswerStatus, ReadAnswer};
use crate::cli::submit::FailureLine;
use crate::client::{ClientError, Cluster, Message, Range, Reader};
use crate::config::KafkaConfig;

/// An answer may bear an earlier time than its batch: pods' clocks and ours differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(600);
/// Failures that are kept of each batch.
const NAMED: usize = 100;

/// How a batch's tasks were answered so far.
#[derive(Clone, Debug, Default)]
pub(super) struct BatchCounts {
    pub completed: u64,
    pub failed: u64,
    pub bytes: u64,
    pub by_code: BTreeMap<String, u64>,
    /// The first failures.
    pub named: Vec<FailureLine>,
}

impl BatchCounts {
    pub fn answered(&self) -> u64 {
        self.completed + self.failed
    }

    /// Takes an answer to one of its tasks.
    pub fn take(&mut self, answer: ReadAnswer) {
        match answer.verdict {
            AnswerStatus::Completed { bytes } => {
                self.completed += 1;
                self.bytes += bytes;
            }
            AnswerStatus::Failed(failed) => {
                self.failed += 1;
                *self.by_code.entry(failed.code.clone()).or_default() += 1;
                if self.named.len() < NAMED {
                    self.named.push(FailureLine::new(answer.task_id.unwrap_or_default(), failed));
                }
            }
        }
    }
}

/// The answers so far, by batch.
///
/// # Errors
/// The brokers do not answer.
pub(super) fn count_answers(
    kafka: &KafkaConfig,
    cluster: &Cluster,
    batches: &[KnownBatch],
) -> Result<HashMap<String, BatchCounts>, ClientError> {
    let mut counts: HashMap<String, BatchCounts> =
        batches.iter().map(|batch| (batch.id.clone(), BatchCounts::default())).collect();
    if batches.is_empty() {
        return Ok(counts);
    }
    let ranges = ranges(kafka, cluster, batches)?;
    Reader::read_all(kafka, &ranges, |message| {
        if let Some(counts) = message.header(BATCH_HEADER).and_then(|id| counts.get_mut(id))
            && let Some(answer) = read(&message)
        {
            counts.take(answer);
        }
        true
    })?;
    Ok(counts)
}

pub(super) fn read(message: &Message) -> Option<ReadAnswer> {
    ReadAnswer::read(message.payload.as_deref())
}

/// Both answer topics, from where the oldest of these batches was submitted to where they end now.
///
/// # Errors
/// A topic is not there, or the brokers do not answer.
pub(super) fn ranges(
    kafka: &KafkaConfig,
    cluster: &Cluster,
    batches: &[KnownBatch],
) -> Result<Vec<Range>, ClientError> {
    let oldest = batches.iter().map(|batch| submitted_at(batch).unwrap_or(Timestamp::UNIX_EPOCH)).min();
    let oldest = oldest.unwrap_or(Timestamp::UNIX_EPOCH).as_millisecond();
    let from_ms = oldest - i64::try_from(CLOCKS_DIFFER.as_millis()).unwrap_or(0);
    let mut ranges = Vec::new();
    for topic in [&kafka.result_topic, &kafka.fail_topic] {
        let topic: Arc<str> = topic.as_str().into();
        let ends = cluster.required_ends(&topic)?;
        for (partition, from) in cluster.offsets_at(&topic, &ends, from_ms)?.offsets {
            let to = ends.get(&partition).map_or(from, |ends| ends.end);
            ranges.push(Range { topic: Arc::clone(&topic), partition, from, to });
        }
    }
    Ok(ranges)
}

//! How the tasks of batches were answered: both answer topics are read from where the oldest of them was submitted.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::submitted_at;
use crate::batch::{BATCH_HEADER, KnownBatch};
use crate::cli::answer::{AnswerStatus, ReadAnswer};
use crate::cli::submit::FailureLine;
use crate::client::{ClientError, Cluster, Message, Range, Reader};
use crate::config::KafkaConfig;

/// An answer may have an earlier time than its batch: pods' clocks and ours differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(600);
/// Tasks whose answers are tracked individually; of a larger batch the further answers are counted as they come.
const MAX_REMEMBERED: usize = 5_000_000;
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
    /// How each task was answered, by a hash of its id: one that was sent again is one task.
    tasks: HashMap<u64, TaskAnswer>,
    hash: RandomState,
}

#[derive(Clone, Debug)]
enum TaskAnswer {
    Completed,
    /// With this code.
    Failed(Box<str>),
}

impl BatchCounts {
    pub fn answered(&self) -> u64 {
        self.completed + self.failed
    }

    /// Counts an answer to one of its tasks.
    ///
    /// If a task has several, such as one that failed and was sent again, a completion counts, else the first one.
    pub fn take(&mut self, answer: ReadAnswer) {
        let id = answer.task_id.as_ref().map(|id| self.hash.hash_one(id));
        let before = id.and_then(|id| self.tasks.get(&id)).cloned();
        let status = match answer.verdict {
            AnswerStatus::Completed { bytes } => {
                match before {
                    Some(TaskAnswer::Completed) => return,
                    Some(TaskAnswer::Failed(code)) => self.take_back(&code, answer.task_id.as_deref()),
                    None => {}
                }
                self.completed += 1;
                self.bytes += bytes;
                TaskAnswer::Completed
            }
            AnswerStatus::Failed(_) if before.is_some() => return,
            AnswerStatus::Failed(failed) => {
                self.failed += 1;
                *self.by_code.entry(failed.code.clone()).or_default() += 1;
                let code = failed.code.as_str().into();
                if self.named.len() < NAMED {
                    self.named.push(FailureLine::new(answer.task_id.unwrap_or_default(), failed));
                }
                TaskAnswer::Failed(code)
            }
        };
        if let Some(id) = id
            && self.tasks.len() < MAX_REMEMBERED
        {
            self.tasks.insert(id, status);
        }
    }

    /// A task's failure no longer counts: it was completed after all.
    fn take_back(&mut self, code: &str, task_id: Option<&str>) {
        self.failed = self.failed.saturating_sub(1);
        if let Some(count) = self.by_code.get_mut(code) {
            *count = count.saturating_sub(1);
        }
        self.by_code.retain(|_, count| *count > 0);
        self.named.retain(|line| Some(line.task_id.as_str()) != task_id);
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
/// A topic does not exist, or the brokers do not answer.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(lines: &[(&str, Option<&str>)]) -> BatchCounts {
        let mut counts = BatchCounts::default();
        for (id, code) in lines {
            let json = match code {
                None => format!(
                    r#"{{"task_id":"{id}","status":"completed","bytes_transferred":10,"duration_ms":1,"completed_at":"2025-01-15T10:30:00.000Z","attempts":1}}"#
                ),
                Some(code) => format!(
                    r#"{{"task_id":"{id}","status":"failed","error":{{"code":"{code}","message":"m","retryable":true,"ftp_code":null}},"attempts":1,"failed_at":"2025-01-15T10:30:00.000Z","task":null}}"#
                ),
            };
            counts.take(ReadAnswer::read(Some(json.as_bytes())).unwrap());
        }
        counts
    }

    #[test]
    fn a_task_that_was_sent_again_is_one_task() {
        for again in [
            [("a", Some("timeout")), ("a", None), ("b", Some("timeout"))],
            [("b", Some("timeout")), ("a", None), ("a", Some("timeout"))],
        ] {
            let counts = answers(&again);
            assert_eq!((counts.completed, counts.failed, counts.bytes), (1, 1, 10), "{again:?}");
            assert_eq!(counts.by_code, BTreeMap::from([("timeout".to_owned(), 1)]));
            assert_eq!(counts.named.iter().map(|line| line.task_id.as_str()).collect::<Vec<_>>(), ["b"]);
        }
        assert_eq!(answers(&[("a", Some("timeout")), ("a", Some("auth_failed"))]).answered(), 1);
        assert_eq!(answers(&[("a", None), ("a", None)]).completed, 1);
    }
}

//! Reads the failure topic, and chooses.

use std::sync::Arc;

use jiff::Timestamp;

use super::args::FailureSelection;
use crate::cli::answer::{AnswerStatus, FailureAnswer, ReadAnswer};
use crate::cli::output::note;
use crate::client::{ClientError, Cluster, Message, Range, Reader};
use crate::config::KafkaConfig;

/// A failure, and its position.
#[derive(Debug)]
pub(super) struct ScannedFailure {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub task_id: Option<String>,
    pub at: Timestamp,
    pub failed: FailureAnswer,
}

/// What is asked for, seen from one moment.
#[derive(Debug)]
pub(super) struct FailureQuery<'a> {
    choice: &'a FailureSelection,
    since: Timestamp,
    until: Option<Timestamp>,
}

impl<'a> FailureQuery<'a> {
    pub fn new(choice: &'a FailureSelection, now: Timestamp) -> FailureQuery<'a> {
        FailureQuery {
            choice,
            since: choice.since.before(now),
            until: choice.until.map(|until| until.before(now)),
        }
    }

    /// From when on.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    fn takes(&self, failing: &ScannedFailure) -> bool {
        let failed = &failing.failed;
        let FailureSelection { code, connection, task_id, retryable, .. } = self.choice;
        let is_one_of = |list: &[String], name: Option<&String>| {
            list.is_empty() || name.is_some_and(|name| list.contains(name))
        };
        failing.at >= self.since
            && self.until.is_none_or(|until| failing.at <= until)
            && (code.is_empty() || code.iter().any(|code| code.as_str() == failed.code))
            && is_one_of(connection, failed.connection.as_ref())
            && is_one_of(task_id, failing.task_id.as_ref())
            && (!retryable || failed.is_retryable)
    }
}

/// The parts of the failure topic that can hold what is wanted, as they are now.
///
/// # Errors
/// The topic does not exist, or the brokers do not answer.
pub(super) fn ranges(
    cluster: &Cluster,
    kafka: &KafkaConfig,
    wanted: &FailureQuery<'_>,
) -> Result<Vec<Range>, ClientError> {
    let topic: Arc<str> = kafka.fail_topic.as_str().into();
    let ends = cluster.required_ends(&topic)?;
    let since = cluster.offsets_at(&topic, &ends, wanted.since.as_millisecond())?;
    if !since.is_by_time {
        note(&format!("the brokers look up no offsets by time: {topic} is read from its beginning"));
    }
    let range = |(partition, from): (i32, i64)| {
        let to = ends.get(&partition).map_or(from, |ends| ends.end);
        Range { topic: Arc::clone(&topic), partition, from, to }
    };
    Ok(since.offsets.into_iter().map(range).collect())
}

/// Hands each failure that is wanted to `take`, with its record, until it says that it has enough (`false`).
///
/// # Errors
/// The brokers do not answer.
pub(super) fn scan(
    kafka: &KafkaConfig,
    ranges: &[Range],
    wanted: &FailureQuery<'_>,
    mut take: impl FnMut(ScannedFailure, &Message) -> bool,
) -> Result<(), ClientError> {
    Reader::read_all(kafka, ranges, |message| match failing(&message) {
        Some(failing) if wanted.takes(&failing) => take(failing, &message),
        _ => true,
    })
}

fn failing(message: &Message) -> Option<ScannedFailure> {
    let ReadAnswer { task_id, at, verdict } = ReadAnswer::read(message.payload.as_deref())?;
    let AnswerStatus::Failed(failed) = verdict else { return None };
    let written = || message.timestamp_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Some(ScannedFailure {
        topic: Arc::clone(&message.topic),
        partition: message.partition,
        offset: message.offset,
        task_id,
        at: at.or_else(written).unwrap_or(Timestamp::UNIX_EPOCH),
        failed,
    })
}

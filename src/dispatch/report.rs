//! Reports tasks in the log and the metrics.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::deferral::DeferReason;
use super::queued_task::QueuedTask;
use super::recent_deferrals::RecentDeferrals;
use crate::batch::batch_of;
use crate::failure::{Failure, Remedy, TryError};
use crate::insight::{FailureEntry, RecentFailures};
use crate::metrics::Metrics;
use crate::outcome::Completed;
use crate::record::RetryState;
use crate::traces::{SpanEnd, TaskAttributes, Traces};

/// The first try begins.
pub(super) fn waited(metrics: &Metrics, queued: &QueuedTask) {
    let Some(recorded) = queued.record.timestamp_ms else { return };
    let waited = Timestamp::now().as_millisecond().saturating_sub(recorded);
    // A producer's clock may be ahead of ours.
    metrics.waited(&queued.task.remote, Duration::from_millis(u64::try_from(waited).unwrap_or(0)));
}

/// The one log line of a task; a failure is also added to the list of last failures.
pub(super) fn answered(
    metrics: &Metrics,
    failures: &RecentFailures,
    queued: &QueuedTask,
    verdict: &Result<Completed, Failure>,
) {
    if let Err(failure) = verdict {
        failures.add(FailureEntry::of(Timestamp::now(), &queued.task, queued.tries.attempts, failure));
    }
    let task = &queued.task;
    let operation = task.operation.as_str();
    let took = verdict.as_ref().map_or_else(|_| queued.elapsed(), |completed| completed.duration);
    let code = verdict.as_ref().err().map(|failure| failure.code.as_str());
    metrics.answered(operation, &task.remote, code, took);
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let batch = batch_of(&queued.record.headers);
    match verdict {
        Ok(completed) => tracing::info!(
            target: "ftp_pooler::task",
            event = "task_completed", task_id = task.task_id, batch, operation, connection = task.remote,
            source = task.source(), destination = task.destination(),
            bytes = completed.bytes_transferred, duration_ms, attempts = queued.tries.attempts,
            resumed_from = completed.details.resumed_from,
            "task completed"
        ),
        Err(failure) => tracing::warn!(
            target: "ftp_pooler::task",
            event = "task_failed", task_id = task.task_id, batch, operation, connection = task.remote,
            source = task.source(), destination = task.destination(), duration_ms,
            attempts = queued.tries.attempts, code = failure.code.as_str(), error = failure.message,
            "task failed"
        ),
    }
}

/// The task goes to the retry topic.
pub(super) fn deferred(
    metrics: &Metrics,
    recent: &RecentDeferrals,
    queued: &QueuedTask,
    state: &RetryState,
    why: DeferReason,
) {
    let task = &queued.task;
    metrics.deferred(&task.remote, why.as_str());
    recent.note(&task.remote, Instant::now());
    tracing::debug!(
        target: "ftp_pooler::task",
        event = "task_deferred", task_id = task.task_id, connection = task.remote,
        attempts = queued.tries.attempts, why = why.as_str(), not_before = %state.not_before,
        since = %state.since,
        "task deferred"
    );
}

/// A try failed, and there will be another. At info, unless the task is tried again at once or its server was only full:
/// neither says anything of the task.
pub(super) fn retried(metrics: &Metrics, queued: &QueuedTask, error: &TryError, wait: Option<Duration>) {
    let task = &queued.task;
    metrics.retried(&task.remote, error.failure.code.as_str());
    let wait_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    let batch = batch_of(&queued.record.headers);
    if wait.is_some() && error.remedy != Remedy::LowerLimit {
        tracing::info!(
            target: "ftp_pooler::task",
            event = "task_retried", task_id = task.task_id, batch, connection = task.remote,
            attempts = queued.tries.attempts, code = error.failure.code.as_str(),
            error = error.failure.message, wait_ms,
            "task will be retried"
        );
    } else {
        tracing::debug!(
            target: "ftp_pooler::task",
            event = "task_retried", task_id = task.task_id, batch, connection = task.remote,
            attempts = queued.tries.attempts, code = error.failure.code.as_str(),
            error = error.failure.message, wait_ms,
            "task will be retried"
        );
    }
}

/// The task has left this pod.
pub(super) fn traced(traces: &Traces, queued: &mut QueuedTask, end: SpanEnd<'_>) {
    let notes = std::mem::take(&mut queued.notes);
    let task = &queued.task;
    let about = TaskAttributes {
        record: &queued.record,
        task_id: &task.task_id,
        operation: task.operation.as_str(),
        connection: &task.remote,
        attempts: queued.tries.attempts,
        since: Instant::now().saturating_duration_since(queued.queued_at),
    };
    traces.left(notes, &about, end);
}

/// How an answer ends a trace.
pub(super) fn end(verdict: &Result<Completed, Failure>) -> SpanEnd<'static> {
    match verdict {
        Ok(completed) => SpanEnd::Completed { bytes: completed.bytes_transferred },
        Err(failure) => SpanEnd::Failed(failure.code.as_str()),
    }
}

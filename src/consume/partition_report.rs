//! What the consuming thread reports about its partitions periodically: metrics, the API's view, and tasks that take
//! too long.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::delayed_records::DelayedRecords;
use super::halted_partitions::HaltedPartitions;
use super::poll_loop::RecordSink;
use super::slow_tasks::{SlowTask, SlowTasks};
use crate::insight::{AssignedPartition, PartitionBoard, PauseReason};
use crate::metrics::Metrics;
use crate::offsets::{PartitionState, TopicPartition};

/// Between two checks.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

const TOPIC_RECREATED: &str = "its topic was deleted and recreated; the group is being rejoined";

/// Partitions that are not read, and what keeps them from it.
#[derive(Clone, Copy)]
pub(super) struct BlockedPartitions<'a> {
    pub paused: &'a HashSet<TopicPartition>,
    pub halts: &'a HaltedPartitions,
    pub delayed: &'a DelayedRecords,
}

#[derive(Debug)]
pub(super) struct PartitionReporter {
    slow: SlowTasks,
    last: Option<Instant>,
    board: PartitionBoard,
}

impl PartitionReporter {
    /// A task that is held for longer than `slow` is reported; `board` is where the partitions are shown.
    pub fn new(slow: Duration, board: PartitionBoard) -> Self {
        PartitionReporter { slow: SlowTasks::new(slow), last: None, board }
    }

    pub fn report(
        &mut self,
        owned: &[PartitionState],
        blocked: BlockedPartitions<'_>,
        downstream: &dyn RecordSink,
        metrics: &Metrics,
    ) {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < REPORT_INTERVAL) {
            return;
        }
        self.last = Some(now);
        for state in owned {
            if let Some(lag) = state.lag() {
                metrics.lag(&state.at.topic, state.at.partition, lag);
            }
            if let Some((low, next)) = state.low_water.zip(state.position) {
                metrics.span(&state.at.topic, state.at.partition, next - low);
            }
        }
        let oldest = owned.iter().filter_map(|state| state.oldest).map(|(_, since)| since).min();
        metrics.oldest(oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)));
        metrics.halted(owned.iter().filter(|state| state.is_halted).count());
        self.board.set(owned.iter().map(|state| shown(state, blocked)).collect());
        for task in self.slow.due(owned, now) {
            log_slow_task(&task, downstream);
        }
    }
}

/// A partition as the API shows it.
fn shown(
    state: &PartitionState,
    BlockedPartitions { paused, halts, delayed }: BlockedPartitions<'_>,
) -> AssignedPartition {
    let is_paused = paused.contains(&state.at);
    let halted = halts.reason(&state.at).map(str::to_owned);
    let halted = halted.or_else(|| state.is_halted.then(|| TOPIC_RECREATED.to_owned()));
    AssignedPartition {
        topic: state.at.topic.to_string(),
        partition: state.at.partition,
        committed: state.committed,
        position: state.position,
        end: state.end,
        lag: halted.is_none().then(|| state.lag().unwrap_or(0)),
        unanswered: state.unanswered,
        paused: is_paused,
        paused_for: (is_paused && halted.is_none()).then(|| {
            if delayed.holds(&state.at) {
                PauseReason::NotDue
            } else if state.is_full {
                PauseReason::PartitionFull
            } else {
                PauseReason::PodFull
            }
        }),
        halted,
    }
}

/// The log line of a task that has been held for too long.
fn log_slow_task(task: &SlowTask, downstream: &dyn RecordSink) {
    let SlowTask { origin, held } = task;
    let held_seconds = held.as_secs();
    if let Some(found) = downstream.task_status(origin) {
        tracing::warn!(
            target: "ftp_pooler::task",
            event = "slow_task", task_id = found.task_id, %origin, connection = found.connection,
            attempts = found.attempts, held_seconds, stage = found.wait_reason.as_str(),
            waits_for = %found.wait_reason,
            "task is slow"
        );
    } else {
        tracing::warn!(
            target: "ftp_pooler::task",
            event = "slow_task", %origin, held_seconds, stage = "publish",
            waits_for = "its answer to be committed",
            "task is slow"
        );
    }
}

//! What the consuming thread tells of its partitions now and then: metrics, what the API shows, and tasks that
//! take too long.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::halts::Halts;
use super::intake::Downstream;
use super::slow::{Slow, SlowTask};
use crate::insight::{AssignedPartition, PartitionBoard};
use crate::metrics::Metrics;
use crate::offsets::{PartitionState, TopicPartition};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

const MADE_ANEW: &str = "its topic was deleted and made anew: the group is joined again";

#[derive(Debug)]
pub(super) struct Watch {
    slow: Slow,
    last: Option<Instant>,
    board: PartitionBoard,
}

impl Watch {
    /// A task that is held for longer than `slow` is told of; `board` is where the partitions are shown.
    pub fn new(slow: Duration, board: PartitionBoard) -> Self {
        Watch { slow: Slow::new(slow), last: None, board }
    }

    pub fn look(
        &mut self,
        owned: &[PartitionState],
        standing: (&HashSet<TopicPartition>, &Halts),
        downstream: &dyn Downstream,
        metrics: &Metrics,
    ) {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < LOOK) {
            return;
        }
        self.last = Some(now);
        for state in owned {
            if let Some((low, next)) = state.low_water.zip(state.position) {
                metrics.span(&state.at.topic, state.at.partition, next - low);
            }
        }
        let oldest = owned.iter().filter_map(|state| state.oldest).map(|(_, since)| since).min();
        metrics.oldest(oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)));
        metrics.halted(owned.iter().filter(|state| state.is_halted).count());
        self.board.set(owned.iter().map(|state| shown(state, standing)).collect());
        for task in self.slow.due(owned, now) {
            tell(&task, downstream);
        }
    }
}

/// A partition, as it is shown to whoever looks.
fn shown(state: &PartitionState, (paused, halts): (&HashSet<TopicPartition>, &Halts)) -> AssignedPartition {
    let lag = state.end.zip(state.low_water).map_or(0, |(end, low)| (end - low).max(0));
    let halted = halts.reason(&state.at).map(str::to_owned);
    let halted = halted.or_else(|| state.is_halted.then(|| MADE_ANEW.to_owned()));
    AssignedPartition {
        topic: state.at.topic.to_string(),
        partition: state.at.partition,
        committed: state.committed,
        position: state.position,
        end: state.end,
        lag: halted.is_none().then_some(lag),
        unanswered: state.unanswered,
        paused: paused.contains(&state.at),
        halted,
    }
}

/// The log line of a task that has been held for too long.
fn tell(task: &SlowTask, downstream: &dyn Downstream) {
    let SlowTask { origin, held } = task;
    let held_seconds = held.as_secs();
    if let Some(found) = downstream.task_status(origin) {
        tracing::warn!(
            target: "ftp_pooler::task",
            task_id = found.task_id, %origin, connection = found.connection, attempts = found.attempts,
            held_seconds, stage = found.wait_reason.as_str(), waits_for = %found.wait_reason,
            "a task takes long"
        );
    } else {
        tracing::warn!(
            target: "ftp_pooler::task",
            %origin, held_seconds, stage = "publish", waits_for = "its answer to be committed",
            "a task takes long"
        );
    }
}

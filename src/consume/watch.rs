//! What the consuming thread tells of its partitions now and then: metrics, and tasks that take too long.

use std::time::{Duration, Instant};

use super::intake::Downstream;
use super::slow::{Slow, SlowTask};
use crate::metrics::Metrics;
use crate::offsets::PartitionState;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Watch {
    slow: Slow,
    last: Option<Instant>,
}

impl Watch {
    /// A task that is held for longer than `slow` is told of.
    pub fn new(slow: Duration) -> Self {
        Watch { slow: Slow::new(slow), last: None }
    }

    pub fn look(&mut self, owned: &[PartitionState], downstream: &dyn Downstream, metrics: &Metrics) {
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
        for task in self.slow.due(owned, now) {
            tell(&task, downstream);
        }
    }
}

/// The log line of a task that has been held for too long.
fn tell(task: &SlowTask, downstream: &dyn Downstream) {
    let SlowTask { origin, held } = task;
    let held_seconds = held.as_secs();
    if let Some(found) = downstream.whereabouts(origin) {
        tracing::warn!(
            target: "ftp_pooler::task",
            task_id = found.task_id, %origin, connection = found.connection, attempts = found.attempts,
            held_seconds, stage = found.waits_for.as_str(), waits_for = %found.waits_for,
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

//! The running tasks of a connection, and the status of each of its tasks.

use std::sync::Arc;

use tokio::time::Instant;

use super::ConnectionQueue;
use crate::dispatch::destination_order::DestinationKey;
use crate::dispatch::queued_task::QueuedTask;
use crate::dispatch::task_queue::QueuePosition;
use crate::dispatch::task_status::{TaskStatus, WaitReason};
use crate::insight::{LongestRunning, ProgressGauge, TransferPhase};
use crate::record::Origin;
use crate::task::Task;
use crate::transfer::CallWatch;

/// A task whose try is in progress.
#[derive(Clone, Debug)]
pub(in crate::dispatch) struct RunningTask {
    pub(super) origin: Origin,
    destination: DestinationKey,
    pub task: Arc<Task>,
    /// This try's number.
    pub attempts: u32,
    pub since: Instant,
    /// Since when it has a session.
    pub(super) transfers: Option<Instant>,
    pub gauge: Arc<ProgressGauge>,
    /// Measures how long it waits for its file system.
    pub(super) watch: Arc<CallWatch>,
}

impl RunningTask {
    pub(super) fn new(queued: &QueuedTask, since: Instant, phase: TransferPhase) -> Self {
        let gauge = Arc::new(ProgressGauge::default());
        gauge.enter(phase);
        RunningTask {
            origin: queued.record.origin.clone(),
            destination: queued.destination,
            task: Arc::clone(&queued.task),
            attempts: queued.tries.attempts + 1,
            since,
            transfers: None,
            gauge,
            watch: Arc::clone(queued.files.watch()),
        }
    }
}

impl ConnectionQueue {
    /// The status of this record's task, if it is in this queue.
    pub fn task_status(&self, origin: &Origin, now: Instant) -> Option<TaskStatus> {
        let state = self.state();
        if let Some(running) = state.running.values().flatten().find(|running| running.origin == *origin) {
            let RunningTask { task, attempts, .. } = running;
            let wait_reason = match running.transfers {
                Some(since) => WaitReason::Transfer { since: now - since },
                None => WaitReason::Login { since: now - running.since },
            };
            let (task_id, attempts) = (task.task_id.clone(), *attempts);
            return Some(TaskStatus {
                task_id,
                connection: self.connection.to_string(),
                attempts,
                wait_reason,
            });
        }
        let (queued, turn) = state.queue.find(origin)?;
        Some(queued.task_status(match (turn, state.breaker.last_failure()) {
            (QueuePosition::Due(due), _) => WaitReason::Retry { due_in: due.saturating_duration_since(now) },
            (QueuePosition::Ready { .. }, Some(last)) if state.with_session == 0 => {
                WaitReason::CircuitBreaker { state: state.breaker.state(now), last: last.to_string() }
            }
            (QueuePosition::Ready { ahead }, _) => {
                WaitReason::Session { ahead, sessions: state.with_session }
            }
        }))
    }

    /// The id of the task in this queue that holds this destination.
    pub fn holder(&self, destination: DestinationKey) -> Option<String> {
        let state = self.state();
        let running = state.running.values().flatten().find(|running| running.destination == destination);
        let waiting = || state.queue.waiting().find(|queued| queued.destination == destination);
        let running = running.map(|running| running.task.task_id.clone());
        running.or_else(|| waiting().map(|queued| queued.task.task_id.clone()))
    }

    /// Offers all running tasks; only the selected ones are copied under the lock.
    pub fn show(&self, longest: &mut LongestRunning<Instant, RunningTask>) {
        for running in self.state().running.values().flatten() {
            longest.see(running.since, || running.clone());
        }
    }
}

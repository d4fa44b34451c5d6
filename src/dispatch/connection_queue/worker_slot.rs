//! A worker's slot at its connection's queue.

use std::sync::Arc;

use tokio::time::Instant;

use super::{ConnectionQueue, QueueState, RunningTask, WorkerAction};
use crate::dispatch::queued_task::QueuedTask;
use crate::insight::{ProgressGauge, TransferPhase};

/// A worker's slot at its connection's queue. However the worker ends, the count stays correct.
#[derive(Debug)]
pub(in crate::dispatch) struct WorkerSlot {
    queue: Arc<ConnectionQueue>,
    number: u64,
    has_session: bool,
    has_left: bool,
}

impl WorkerSlot {
    pub(super) fn new(queue: Arc<ConnectionQueue>, number: u64) -> Self {
        WorkerSlot { queue, number, has_session: false, has_left: false }
    }

    pub fn queue(&self) -> &Arc<ConnectionQueue> {
        &self.queue
    }

    /// For a worker without session and task: what to do next. `limit` is the connection's present one.
    pub fn next_action(&mut self, now: Instant, limit: usize) -> WorkerAction {
        let queue = Arc::clone(&self.queue);
        let mut state = queue.state();
        let seek = state.next_action(now, limit);
        if matches!(seek, WorkerAction::Leave) {
            self.leave(&mut state);
        }
        seek
    }

    pub fn got_session(&mut self) {
        let before = std::mem::replace(&mut self.has_session, true);
        self.queue.state().with_session += usize::from(!before);
    }

    pub fn lost_session(&mut self) {
        let before = std::mem::replace(&mut self.has_session, false);
        self.queue.state().with_session -= usize::from(before);
    }

    /// Takes the next task, if there is one and the breaker permits a try.
    pub fn take(&mut self, now: Instant) -> Option<Box<QueuedTask>> {
        let (queued, is_superfluous) = {
            let mut state = self.queue.state();
            if state.stopped || state.must_wait_for_breaker(now) {
                return None;
            }
            let queued = state.queue.pop()?;
            let phase = if self.has_session { TransferPhase::Begin } else { TransferPhase::Login };
            state.running.entry(self.number).or_default().push(RunningTask::new(&queued, now, phase));
            (queued, state.idle_workers() > state.queue.ready())
        };
        if is_superfluous {
            self.queue.changed.notify_waiters();
        }
        Some(queued)
    }

    /// The task is no longer running.
    pub fn remove(&mut self, queued: &QueuedTask) {
        self.queue.state().remove_running(self.number, queued);
    }

    /// The task waits for its next try: at the front of the queue, or until it is due. It is dropped if the queue is
    /// stopped, and returned, to be answered, if the connection was removed.
    pub fn retry(&mut self, queued: Box<QueuedTask>, due: Option<Instant>) -> Option<Box<QueuedTask>> {
        let mut state = self.queue.state();
        state.remove_running(self.number, &queued);
        match due {
            _ if state.stopped => {}
            _ if state.removed => return Some(queued),
            None => state.queue.push_front(queued),
            Some(due) => state.queue.delay(queued, due),
        }
        None
    }

    /// The task's transfer begins, and reports to this gauge; until now it was waiting for a login.
    pub fn transfer_begins(&self, queued: &QueuedTask, now: Instant) -> Arc<ProgressGauge> {
        let mut state = self.queue.state();
        let mut own = state.running.get_mut(&self.number).into_iter().flatten();
        let running = own.find(|running| running.origin == queued.record.origin);
        let gauge = running.map(|running| {
            running.transfers = Some(now);
            running.gauge.enter(TransferPhase::Begin);
            Arc::clone(&running.gauge)
        });
        debug_assert!(gauge.is_some(), "a task is tried that is not counted as running");
        gauge.unwrap_or_default()
    }

    fn leave(&mut self, state: &mut QueueState) {
        if !std::mem::replace(&mut self.has_left, true) {
            state.workers -= 1;
            state.with_session -= usize::from(self.has_session);
            state.running.remove(&self.number);
        }
    }
}

impl QueueState {
    fn remove_running(&mut self, worker: u64, queued: &QueuedTask) {
        let Some(running) = self.running.get_mut(&worker) else { return };
        running.retain(|running| running.origin != queued.record.origin);
        if running.is_empty() {
            self.running.remove(&worker);
        }
    }
}

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        let queue = Arc::clone(&self.queue);
        self.leave(&mut queue.state());
    }
}

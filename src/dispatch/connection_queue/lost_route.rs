//! The route to a connection's server, such as a tunnel, that is lost and restored.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{ConnectionQueue, QueueState, QueuedTask};
use crate::failure::Failure;
use crate::insight::LastError;

impl ConnectionQueue {
    /// The route to the server is lost: neither it nor its remaining sessions are tried until it is restored.
    pub fn route_lost(&self, failure: &Failure, now: Instant) {
        let last_error = LastError::new(Timestamp::now(), failure);
        {
            let mut state = self.state();
            state.last_error = Some(last_error);
            state.breaker.route_lost(failure.clone(), now);
        }
        self.changed.notify_waiters();
    }

    /// The route is restored: delayed tries are due now, and so are tasks that were deferred before, for `stay` each. False if it
    /// was not lost.
    pub fn route_restored(&self, wall: Timestamp, stay: Duration) -> bool {
        let was_lost = {
            let mut state = self.state();
            let was_lost = state.breaker.route_restored();
            if was_lost {
                state.queue.promote_all();
                state.woken_until = wall.checked_add(stay).ok();
            }
            was_lost
        };
        self.changed.notify_waiters();
        was_lost
    }

    pub fn is_route_lost(&self) -> bool {
        self.state().breaker.is_route_lost()
    }
}

impl QueueState {
    /// When a task is due that was read from the retry topic early, on another connection's behalf.
    pub(super) fn due_later(&self, queued: &QueuedTask, wall: Timestamp, now: Instant) -> Option<Instant> {
        let not_before = queued.record.retry.as_ref()?.not_before;
        if self.woken_until.is_some_and(|until| not_before <= until) {
            return None;
        }
        let left = Duration::try_from(not_before.duration_since(wall)).ok()?;
        now.checked_add(left).filter(|_| !left.is_zero())
    }
}

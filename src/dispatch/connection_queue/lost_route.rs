//! The route to a connection's server, such as a tunnel, that is lost and restored.

use jiff::Timestamp;
use tokio::time::Instant;

use super::ConnectionQueue;
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

    /// The route is restored: delayed tries are due now. False if it was not lost.
    pub fn route_restored(&self) -> bool {
        let was_lost = {
            let mut state = self.state();
            let was_lost = state.breaker.route_restored();
            if was_lost {
                state.queue.promote_all();
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

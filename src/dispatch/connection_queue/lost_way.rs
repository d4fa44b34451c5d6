//! The way to a connection's server, such as a tunnel, that is lost and found again.

use jiff::Timestamp;
use tokio::time::Instant;

use super::ConnectionQueue;
use crate::failure::Failure;
use crate::insight::LastError;

impl ConnectionQueue {
    /// The way to the server is lost: nobody tries it, nor what is left of its sessions, until it is there again.
    pub fn way_lost(&self, failure: &Failure, now: Instant) {
        let last_error = LastError::new(Timestamp::now(), failure);
        {
            let mut state = self.state();
            state.last_error = Some(last_error);
            state.breaker.way_lost(failure.clone(), now);
        }
        self.changed.notify_waiters();
    }

    /// The way is there again: delayed tries are due now. False where it was there all the time.
    pub fn way_restored(&self) -> bool {
        let was_lost = {
            let mut state = self.state();
            let was_lost = state.breaker.way_restored();
            if was_lost {
                state.queue.promote_all();
            }
            was_lost
        };
        self.changed.notify_waiters();
        was_lost
    }

    pub fn is_way_lost(&self) -> bool {
        self.state().breaker.is_way_lost()
    }
}

//! What a server bears at most: learned where it says so, tried again later.

use std::time::Duration;

use tokio::time::Instant;

use super::Room;

/// A connection whose limit fell gets one session more after this time, the next one after half of it, and so on.
pub(in super::super) const LIMIT_RISES_AFTER: Duration = Duration::from_secs(60);
const LIMIT_RISES_AFTER_LEAST: Duration = Duration::from_secs(5);
/// Where the server refuses the one session more, the next is tried twice as late, and so on up to this.
const LIMIT_RISES_AFTER_MOST: Duration = Duration::from_secs(300);
/// While a limit is lowered, a session may be idle for this long: another pod may be the one that it is refused to.
pub(super) const IDLE_WHILE_SCARCE: Duration = Duration::from_secs(10);

impl Room {
    /// The server bears no more: the connection's limit falls to one less than it has now, at least 1.
    pub fn lower_limit(&mut self, connection: &str, now: Instant) {
        let Some(seats) = self.connections.get_mut(connection) else { return };
        seats.limit = seats.limit.min(seats.live().saturating_sub(1)).max(1);
        let next =
            if std::mem::take(&mut seats.has_risen) { seats.rises_after * 4 } else { seats.rises_after };
        seats.rises_after = next.clamp(LIMIT_RISES_AFTER, LIMIT_RISES_AFTER_MOST);
        seats.limit_changed = now;
    }

    /// Lets the limits that fell rise again, one by one.
    pub fn raise_limits(&mut self, now: Instant) {
        for seats in self.connections.values_mut() {
            let is_due = now.duration_since(seats.limit_changed) >= seats.rises_after;
            if seats.limit < seats.cap && is_due {
                seats.limit += 1;
                seats.has_risen = true;
                seats.rises_after = (seats.rises_after / 2).max(LIMIT_RISES_AFTER_LEAST);
                seats.limit_changed = now;
            }
        }
        self.serve();
    }
}

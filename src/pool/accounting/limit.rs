//! How many sessions a server accepts: lowered when it refuses one, raised again later.

use std::time::Duration;

use tokio::time::Instant;

use super::SessionAccounting;

/// A lowered limit rises by one after this time, by the next one after half of it, and so on.
pub(in super::super) const LIMIT_RISES_AFTER: Duration = Duration::from_secs(60);
const LIMIT_RISES_AFTER_LEAST: Duration = Duration::from_secs(5);
/// If the server refuses the additional session, the next attempt is delayed twice as long, up to this.
const LIMIT_RISES_AFTER_MOST: Duration = Duration::from_secs(300);
/// While a limit is lowered, or reached, a session may be idle for this long: another pod or program may be waiting for
/// it.
pub(super) const IDLE_WHILE_SCARCE: Duration = Duration::from_secs(10);

impl SessionAccounting {
    /// The server accepts no more: the limit drops to one less than the connection has now, at least 1.
    pub fn lower_limit(&mut self, connection: &str, now: Instant) {
        let Some(account) = self.connections.get_mut(connection) else { return };
        account.limit = account.limit.min(account.live().saturating_sub(1)).max(1);
        let next = if std::mem::take(&mut account.has_risen) {
            account.rises_after * 4
        } else {
            account.rises_after
        };
        account.rises_after = next.clamp(LIMIT_RISES_AFTER, LIMIT_RISES_AFTER_MOST);
        account.limit_changed = now;
    }

    /// Raises each lowered limit by one when its time has come.
    pub fn raise_limits(&mut self, now: Instant) {
        for account in self.connections.values_mut() {
            let is_due = now.duration_since(account.limit_changed) >= account.rises_after;
            if account.limit < account.cap && is_due {
                account.limit += 1;
                account.has_risen = true;
                account.rises_after = (account.rises_after / 2).max(LIMIT_RISES_AFTER_LEAST);
                account.limit_changed = now;
            }
        }
        self.serve_waiters();
    }
}

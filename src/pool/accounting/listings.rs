//! Sessions for listings of whole directories, which have no task: they wait like workers, and a worker with an endless
//! backlog yields to one after a while.

use std::time::Duration;

use tokio::time::Instant;

use super::SessionAccounting;

/// How long a listing waits for a free session; after that the tasks of its connection yield to it.
const LISTING_PATIENCE: Duration = Duration::from_secs(10);

impl SessionAccounting {
    /// A listing waits for a session of this connection from now on.
    pub fn listing_waits(&mut self, name: &str, since: Instant) {
        if let Some(account) = self.connections.get_mut(name) {
            account.listings.push(since);
        }
    }

    /// The listing that has waited since then has its session, or no longer needs one.
    pub fn listing_ended_wait(&mut self, name: &str, since: Instant) {
        let Some(account) = self.connections.get_mut(name) else { return };
        if let Some(at) = account.listings.iter().position(|other| *other == since) {
            account.listings.remove(at);
        }
    }

    /// Whether a listing has waited for a session of this connection for longer than it should.
    pub fn is_awaited(&self, name: &str, now: Instant) -> bool {
        let first = self.connections.get(name).and_then(|account| account.listings.first());
        first.is_some_and(|since| now.duration_since(*since) >= LISTING_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_awaited_for_a_while_before_others_make_way() {
        let now = Instant::now();
        let mut accounting = SessionAccounting::new(1, [("a".into(), 1)], now);
        assert!(!accounting.is_awaited("a", now + LISTING_PATIENCE));
        accounting.listing_waits("a", now);
        accounting.listing_waits("a", now + Duration::from_secs(5));
        assert!(!accounting.is_awaited("a", now + LISTING_PATIENCE - Duration::from_millis(1)));
        assert!(
            accounting.is_awaited("a", now + LISTING_PATIENCE)
                && !accounting.is_awaited("b", now + LISTING_PATIENCE)
        );
        accounting.listing_ended_wait("a", now);
        assert!(!accounting.is_awaited("a", now + LISTING_PATIENCE));
        accounting.listing_ended_wait("a", now + Duration::from_secs(5));
        assert!(!accounting.is_awaited("a", now + LISTING_PATIENCE * 9));
    }
}

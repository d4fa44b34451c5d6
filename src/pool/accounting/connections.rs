//! Connections that are added, reconfigured and removed while they have sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::limit::LIMIT_RISES_AFTER;
use super::{ConnectionAccount, SessionAccounting, SessionId, WaiterId};
use crate::metrics::CloseReason;

impl SessionAccounting {
    /// Sets how many sessions the connection may have, and how long they may be idle (`None`: the pod's
    /// `session_timeout`); adds the connection if it is new. Surplus sessions are closed: idle ones now, busy ones when
    /// they are returned. A limit that the server has lowered remains, as far as it fits.
    pub fn set_limits(&mut self, name: &Arc<str>, cap: usize, idle_timeout: Option<Duration>, now: Instant) {
        let cap = cap.max(1);
        let account =
            self.connections.entry(Arc::clone(name)).or_insert_with(|| ConnectionAccount::new(cap, now));
        if account.is_removed {
            account.forget_limit(now); // it may be another server now
        }
        account.limit = if account.limit == account.cap { cap } else { account.limit.min(cap) };
        (account.cap, account.idle_timeout, account.is_removed) = (cap, idle_timeout, false);
        self.evict_surplus(name);
        self.serve_waiters();
    }

    /// Closes idle sessions above the limit.
    pub(super) fn evict_surplus(&mut self, name: &str) {
        let Some(account) = self.connections.get(name) else { return };
        let spare = account.idle.len().saturating_sub(account.held_idle); // the others are promised to waiters
        let above = account.live().saturating_sub(account.allowed()).min(spare);
        let surplus: Vec<_> = account.idle.iter().take(above).map(|(session, _)| *session).collect();
        for session in surplus {
            self.evict(session, CloseReason::MadeRoom);
        }
    }

    /// The connection has new settings, which sessions are opened with from now on. Idle ones are closed now, busy ones
    /// when they are returned, and a limit that the server has lowered is forgotten: it may be another server.
    pub fn replace(&mut self, name: &str, now: Instant) {
        self.mark_outdated(name);
        if let Some(account) = self.connections.get_mut(name) {
            account.forget_limit(now);
        }
        self.serve_waiters();
    }

    /// The connection is removed: no session is opened for it any more, and its sessions are closed as by
    /// [`SessionAccounting::replace`]. Returns its waiters, which must be notified.
    pub fn remove(&mut self, name: &str) -> Vec<WaiterId> {
        self.mark_outdated(name);
        let Some(account) = self.connections.get_mut(name) else { return Vec::new() };
        account.is_removed = true;
        let waiting: Vec<_> = std::mem::take(&mut account.waiting).into_iter().collect();
        self.waiters -= waiting.len();
        self.forget_removed(name);
        self.serve_waiters();
        waiting
    }

    /// Whether the connection is configured, or was and still has sessions.
    pub fn is_known(&self, name: &str) -> bool {
        self.connections.contains_key(name)
    }

    pub(super) fn is_outdated(&self, name: &str, session: SessionId) -> bool {
        self.connections.get(name).is_none_or(|account| session < account.oldest_current)
    }

    pub(super) fn forget_removed(&mut self, name: &str) {
        if self.connections.get(name).is_some_and(|account| account.is_removed && account.open() == 0) {
            self.connections.remove(name);
        }
    }

    fn mark_outdated(&mut self, name: &str) {
        let next = SessionId(self.next_id());
        let Some(account) = self.connections.get_mut(name) else { return };
        account.oldest_current = next;
        let idle: Vec<_> = account.idle.iter().map(|(session, _)| *session).collect();
        for session in idle {
            self.evict(session, CloseReason::Replaced);
        }
    }
}

impl ConnectionAccount {
    /// Resets the limit to the configured cap.
    fn forget_limit(&mut self, now: Instant) {
        (self.limit, self.limit_changed) = (self.cap, now);
        (self.rises_after, self.has_risen) = (LIMIT_RISES_AFTER, false);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AccountingAction, QUANTUM};
    use super::*;

    const CAP: usize = 10;

    fn accounting(connections: &[(&str, usize)]) -> SessionAccounting {
        SessionAccounting::new(
            CAP,
            connections.iter().map(|(name, cap)| (Arc::from(*name), *cap)),
            Instant::now(),
        )
    }

    /// Sessions of the connection, in use.
    fn open(accounting: &mut SessionAccounting, name: &str, count: usize) -> Vec<SessionId> {
        for _ in 0..count {
            accounting.wait(name, None).unwrap();
        }
        let opened = accounting.take_actions().into_iter().filter_map(|action| match action {
            AccountingAction::MayConnect { session, .. } => Some(session),
            _ => None,
        });
        let opened: Vec<_> = opened.collect();
        for session in &opened {
            accounting.opened(*session);
        }
        opened
    }

    fn closed(accounting: &mut SessionAccounting) -> Vec<SessionId> {
        let closed = accounting.take_actions().into_iter().filter_map(|action| match action {
            AccountingAction::Close { session, .. } => Some(session),
            _ => None,
        });
        closed.collect()
    }

    #[test]
    fn a_change_closes_what_is_idle_now_and_what_is_in_use_when_it_comes_back() {
        let (mut accounting, now) = (accounting(&[("a", 5), ("b", 5)]), Instant::now());
        let (a, b) = (open(&mut accounting, "a", 3), open(&mut accounting, "b", 1));
        assert_eq!(accounting.make_idle(a[0], now), None);
        accounting.replace("a", now);
        assert_eq!(closed(&mut accounting), [a[0]]);
        assert_eq!(accounting.must_yield(a[1], Duration::ZERO), Some(CloseReason::Replaced));
        assert_eq!(accounting.make_idle(a[2], now), Some(CloseReason::Replaced));
        assert_eq!((accounting.must_yield(b[0], QUANTUM), accounting.make_idle(b[0], now)), (None, None));
        let new = open(&mut accounting, "a", 1);
        assert_eq!((accounting.must_yield(new[0], QUANTUM), accounting.make_idle(new[0], now)), (None, None));
    }

    #[test]
    fn a_connection_that_comes_again_while_it_has_sessions_has_its_whole_limit() {
        let (mut accounting, now) = (accounting(&[("a", 4)]), Instant::now());
        let old = open(&mut accounting, "a", 2);
        accounting.lower_limit("a", now);
        assert_eq!(accounting.limit("a"), 1);
        accounting.remove("a");
        accounting.set_limits(&"a".into(), 4, None, now);
        assert_eq!((accounting.limit("a"), accounting.counts("a").busy), (4, old.len()));
    }

    #[test]
    fn who_was_told_of_an_idle_session_waits_for_a_new_one_after_a_change() {
        let (mut accounting, now) = (accounting(&[("a", 1)]), Instant::now());
        let old = open(&mut accounting, "a", 1);
        accounting.make_idle(old[0], now);
        let waiter = accounting.wait("a", None);
        assert!(matches!(accounting.take_actions()[..], [AccountingAction::TakeIdle { .. }]));
        accounting.replace("a", now);
        assert!(!accounting.claim(old[0]), "it is closing");
        assert_eq!(accounting.wait("a", waiter), waiter);
        accounting.release_hold("a");
        assert_eq!(closed(&mut accounting), old);
        accounting.session_closed(old[0]);
        assert!(matches!(accounting.take_actions()[..], [AccountingAction::MayConnect { .. }]));
    }

    #[test]
    fn a_removed_connection_is_forgotten_with_its_last_session() {
        let (mut accounting, now) = (accounting(&[("a", 2)]), Instant::now());
        let sessions = open(&mut accounting, "a", 2);
        let waiter = accounting.wait("a", None).unwrap();
        assert_eq!(accounting.remove("a"), [waiter]);
        assert_eq!((accounting.wait("a", None), accounting.limit("a")), (None, 0));
        assert_eq!(accounting.make_idle(sessions[0], now), Some(CloseReason::Replaced));
        accounting.session_closed(sessions[0]);
        assert!(accounting.is_known("a"));
        accounting.session_closed(sessions[1]);
        assert!(!accounting.is_known("a"));
        assert_eq!((accounting.open(), accounting.waiters, accounting.closing), (0, 0, 0));
    }

    #[test]
    fn a_connection_that_comes_back_has_none_of_its_old_sessions() {
        let (mut accounting, now) = (accounting(&[("a", 2)]), Instant::now());
        let old = open(&mut accounting, "a", 1);
        accounting.remove("a");
        accounting.set_limits(&"a".into(), 2, None, now);
        let new = open(&mut accounting, "a", 1);
        assert_eq!(new.len(), 1, "the old one counts, and there is accounting for one more");
        assert_eq!(open(&mut accounting, "a", 1), []);
        assert_eq!(accounting.make_idle(old[0], now), Some(CloseReason::Replaced));
        assert_eq!(accounting.make_idle(new[0], now), None);
    }

    #[test]
    fn lower_limits_close_what_is_idle_and_what_comes_back_and_higher_ones_let_in() {
        let (mut accounting, now) = (accounting(&[("a", 4)]), Instant::now());
        let sessions = open(&mut accounting, "a", 4);
        accounting.make_idle(sessions[0], now);
        accounting.make_idle(sessions[1], now);
        accounting.set_limits(&"a".into(), 1, None, now);
        assert_eq!(closed(&mut accounting), sessions[..2]);
        assert_eq!(accounting.make_idle(sessions[2], now), Some(CloseReason::MadeRoom));
        for session in &sessions[..3] {
            accounting.begin_closing(*session);
            accounting.session_closed(*session);
        }
        assert_eq!(accounting.make_idle(sessions[3], now), None);
        accounting.set_limits(&"a".into(), 3, None, now);
        assert!(accounting.claim(sessions[3]));
        assert_eq!(open(&mut accounting, "a", 5).len(), 2);
    }

    #[test]
    fn a_limit_that_the_server_has_lowered_stays_until_the_settings_change() {
        let (mut accounting, now) = (accounting(&[("a", 4)]), Instant::now());
        open(&mut accounting, "a", 3);
        accounting.lower_limit("a", now);
        accounting.set_limits(&"a".into(), 5, None, now);
        assert_eq!(accounting.limit("a"), 2);
        accounting.replace("a", now);
        assert_eq!(accounting.limit("a"), 5);
    }
}

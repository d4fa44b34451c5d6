//! This pod's share of the sessions that all pods share: one more cap, which may be 0.

use std::sync::Arc;

use super::{AccountingAction, SessionAccounting, SessionState};

impl SessionAccounting {
    /// Whether the connection's sessions are counted over all pods. If so, it has none until some are granted.
    pub fn set_shared(&mut self, name: &str, is_shared: bool) {
        if let Some(account) = self.connections.get_mut(name) {
            account.grant = is_shared.then_some(account.grant.unwrap_or(0));
        }
        self.evict_surplus(name);
        self.serve_waiters();
    }

    /// Sets how many sessions are granted. Surplus ones are closed: idle ones now, busy ones when they are returned. No
    /// effect on a connection that is not shared.
    pub fn set_grant(&mut self, name: &str, grant: usize) {
        let Some(account) = self.connections.get_mut(name) else { return };
        if account.grant.is_none_or(|before| before == grant) {
            return;
        }
        account.grant = Some(grant);
        self.evict_surplus(name);
        self.serve_waiters();
    }

    /// The connection's sessions must be closed without delay, whatever they are doing.
    pub fn interrupt(&mut self, name: &str) {
        let is_in_use = |state: SessionState| matches!(state, SessionState::Busy | SessionState::Connecting);
        for (session, (connection, state)) in &self.sessions {
            if **connection == *name && is_in_use(*state) {
                self.actions.push(AccountingAction::Interrupt { session: *session });
            }
        }
    }

    /// How many sessions each connection could use now, and how many it has open.
    pub fn uses(&self) -> Vec<(Arc<str>, usize, usize)> {
        let uses = |(name, account): (&Arc<str>, &super::ConnectionAccount)| {
            (Arc::clone(name), account.wanted(), account.open())
        };
        self.connections.iter().map(uses).collect()
    }

    /// Sessions that are granted; `None` where the connection is not shared.
    pub fn grant(&self, name: &str) -> Option<usize> {
        self.connections.get(name)?.grant
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::metrics::CloseReason;

    fn shared() -> SessionAccounting {
        let mut accounting = SessionAccounting::new(10, [("a".into(), 4), ("b".into(), 4)], Instant::now());
        accounting.set_shared("a", true);
        accounting
    }

    fn permitted(accounting: &mut SessionAccounting) -> Vec<super::super::SessionId> {
        let permitted = accounting.take_actions().into_iter().filter_map(|action| match action {
            AccountingAction::MayConnect { session, .. } => Some(session),
            _ => None,
        });
        permitted.collect()
    }

    #[test]
    fn nothing_is_opened_before_it_is_granted_and_what_is_wanted_is_told() {
        let mut accounting = shared();
        for _ in 0..6 {
            accounting.wait("a", None).unwrap();
        }
        accounting.wait("b", None).unwrap();
        assert_eq!(permitted(&mut accounting).len(), 1, "b's");
        assert_eq!(accounting.uses(), [("a".into(), 4, 0), ("b".into(), 1, 1)], "no more than its own limit");
        accounting.set_grant("a", 3);
        assert_eq!(permitted(&mut accounting).len(), 3);
        accounting.set_grant("a", 9);
        assert_eq!(permitted(&mut accounting).len(), 1, "its own limit holds too");
    }

    #[test]
    fn a_lower_grant_closes_what_is_idle_now_and_what_is_busy_when_it_comes_back() {
        let (mut accounting, now) = (shared(), Instant::now());
        accounting.set_grant("a", 3);
        for _ in 0..3 {
            accounting.wait("a", None).unwrap();
        }
        let sessions = permitted(&mut accounting);
        for session in &sessions {
            accounting.opened(*session);
        }
        assert_eq!(accounting.make_idle(sessions[0], now), None);
        accounting.set_grant("a", 1);
        let closed = AccountingAction::Close {
            connection: "a".into(),
            session: sessions[0],
            reason: CloseReason::MadeRoom,
        };
        assert_eq!(accounting.take_actions(), [closed]);
        assert_eq!(accounting.must_yield(sessions[1], Duration::ZERO), Some(CloseReason::MadeRoom));
        assert_eq!(accounting.must_yield(sessions[2], Duration::ZERO), None);
        accounting.set_grant("a", 0);
        assert_eq!(accounting.make_idle(sessions[2], now), Some(CloseReason::MadeRoom));
    }

    #[test]
    fn an_interruption_reaches_what_is_in_use_of_that_connection() {
        let mut accounting = shared();
        accounting.set_grant("a", 2);
        for name in ["a", "a", "b"] {
            accounting.wait(name, None).unwrap();
        }
        let sessions = permitted(&mut accounting);
        accounting.opened(sessions[0]);
        accounting.interrupt("a");
        let mut interrupted: Vec<_> = accounting.take_actions();
        interrupted.sort_by_key(|action| format!("{action:?}"));
        assert_eq!(interrupted.len(), 2, "{interrupted:?}");
        assert!(interrupted.iter().all(|action| matches!(action, AccountingAction::Interrupt { .. })));
    }

    #[test]
    fn a_connection_that_is_not_shared_any_more_has_its_own_limit() {
        let mut accounting = shared();
        accounting.wait("a", None).unwrap();
        accounting.set_shared("a", false);
        assert_eq!(permitted(&mut accounting).len(), 1);
        accounting.set_grant("a", 0);
        assert_eq!(accounting.grant("a"), None, "a grant that comes late changes nothing");
    }
}

//! The accounting of sessions: who may open one, who waits, and which idle session is closed to make room.
//!
//! No I/O and no clock: every call takes the time it needs and leaves [`AccountingAction`]s for the caller. A
//! session counts, in whatever state, from the moment its opening is permitted until its socket is closed:
//!
//! ```text
//! waiter ── MayConnect ──▶ connecting ── opened ──▶ busy ◀── claim / make_idle ──▶ idle
//!                               │                    │                              │
//!                               └─── begin_closing ──┴────────── must_yield ────────┴─ Close ─▶ closing ── closed
//! ```
//!
//! A waiter gets an idle session of its own connection if there is one. Otherwise the pod's free capacity goes to
//! the connection with the fewest open sessions, then to the waiter that came first; and if the pod is full, the
//! longest-idle session of another connection is closed to make room.

mod account; // one connection's share
mod connections; // added, changed and removed
mod grants; // of a total over all pods
mod limit;
mod listings; // have no task; workers yield to them // what the server allows: lowered, raised again

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::CloseReason;
use account::ConnectionAccount;

/// How long a worker keeps a session while another connection has none and the pod is full.
pub(super) const QUANTUM: Duration = Duration::from_secs(1);

/// One open session, from the permission to connect until its socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SessionId(u64);

/// Waiters are served in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct WaiterId(u64);

/// What the caller must do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AccountingAction {
    /// The waiter may take an idle session; one is held for it until [`SessionAccounting::release_hold`].
    TakeIdle { waiter: WaiterId, connection: Arc<str> },
    /// The waiter may connect; the session counts until [`SessionAccounting::session_closed`].
    MayConnect { waiter: WaiterId, connection: Arc<str>, session: SessionId },
    /// The session was idle and must be closed.
    Close { connection: Arc<str>, session: SessionId, reason: CloseReason },
    /// The session is in use, or being opened, and must be closed without delay.
    Interrupt { session: SessionId },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionState {
    Connecting,
    Busy,
    Idle,
    Closing,
}

/// Open sessions of a connection by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionsByState {
    pub idle: usize,
    pub busy: usize,
    pub connecting: usize,
    pub closing: usize,
}

/// The pod's sessions and waiters, by connection.
#[derive(Debug)]
pub(super) struct SessionAccounting {
    cap: usize,
    closed: bool,
    last_id: u64,
    waiters: usize,
    closing: usize,
    connections: BTreeMap<Arc<str>, ConnectionAccount>,
    sessions: HashMap<SessionId, (Arc<str>, SessionState)>,
    actions: Vec<AccountingAction>,
}

impl SessionAccounting {
    /// `cap` is the pod's, those in `connections` are each connection's; all are at least 1.
    pub fn new(cap: usize, connections: impl IntoIterator<Item = (Arc<str>, usize)>, now: Instant) -> Self {
        let account = |(name, cap): (Arc<str>, usize)| (name, ConnectionAccount::new(cap.max(1), now));
        SessionAccounting {
            cap: cap.max(1),
            closed: false,
            last_id: 0,
            waiters: 0,
            closing: 0,
            connections: connections.into_iter().map(account).collect(),
            sessions: HashMap::new(),
            actions: Vec::new(),
        }
    }

    /// Adds a waiter, with its `earlier` id if it had one; `None` if the accounting is closed or the connection
    /// unknown.
    pub fn wait(&mut self, connection: &str, earlier: Option<WaiterId>) -> Option<WaiterId> {
        if self.closed {
            return None;
        }
        let waiter = earlier.unwrap_or_else(|| WaiterId(self.next_id()));
        let account = self.connections.get_mut(connection).filter(|account| !account.is_removed)?;
        self.waiters += usize::from(account.waiting.insert(waiter));
        self.serve_waiters();
        Some(waiter)
    }

    /// Removes the waiter; has no effect if it was already served.
    pub fn cancel_wait(&mut self, connection: &str, waiter: WaiterId) {
        let Some(account) = self.connections.get_mut(connection) else { return };
        self.waiters -= usize::from(account.waiting.remove(&waiter));
    }

    /// The waiter has taken the idle session that was held for it, or will not.
    pub fn release_hold(&mut self, connection: &str) {
        let Some(account) = self.connections.get_mut(connection) else { return };
        account.held_idle = account.held_idle.saturating_sub(1);
        self.serve_waiters();
    }

    /// The session is logged in and in use.
    pub fn opened(&mut self, session: SessionId) {
        self.transition(session, SessionState::Connecting, SessionState::Busy);
    }

    /// Takes an idle session into use; false if it is not idle (any more) and must be closed.
    pub fn claim(&mut self, session: SessionId) -> bool {
        self.transition(session, SessionState::Idle, SessionState::Busy)
    }

    /// A session in use becomes idle; or, if a reason is returned, must be closed.
    pub fn make_idle(&mut self, session: SessionId, now: Instant) -> Option<CloseReason> {
        let Some((name, SessionState::Busy)) = self.sessions.get(&session) else {
            return Some(CloseReason::Uncertain);
        };
        let name = Arc::clone(name);
        if self.closed {
            return Some(CloseReason::Shutdown);
        }
        if self.is_outdated(&name, session) {
            return Some(CloseReason::Replaced);
        }
        if self.is_over_limit(&name) {
            return Some(CloseReason::MadeRoom);
        }
        self.transition(session, SessionState::Busy, SessionState::Idle);
        if let Some(account) = self.connections.get_mut(&name) {
            account.idle.push_back((session, now));
        }
        self.serve_waiters();
        None
    }

    /// The session is about to be closed. It is no longer available, but counts until its socket is closed.
    pub fn begin_closing(&mut self, session: SessionId) {
        let Some(&(_, state)) = self.sessions.get(&session) else { return };
        self.transition(session, state, SessionState::Closing);
    }

    /// The session's socket is closed.
    pub fn session_closed(&mut self, session: SessionId) {
        self.begin_closing(session);
        let Some((name, _)) = self.sessions.remove(&session) else { return };
        self.closing -= 1;
        if let Some(account) = self.connections.get_mut(&name) {
            account.counts.closing -= 1;
        }
        self.forget_removed(&name);
        self.serve_waiters();
    }

    /// Whether the holder must release its session, which it has `held` for this long, and why: a waiter of another
    /// connection would have fewer sessions, or its own connection is over its limit or has been reconfigured. If so,
    /// the session already counts as closing, so that no two holders make room for one waiter.
    pub fn must_yield(&mut self, session: SessionId, held: Duration) -> Option<CloseReason> {
        let Some((name, SessionState::Busy)) = self.sessions.get(&session) else { return None };
        let name = Arc::clone(name);
        let reason = if self.is_outdated(&name, session) {
            CloseReason::Replaced
        } else if self.is_over_limit(&name) || self.must_yield_to_waiter(&name, held) {
            CloseReason::MadeRoom
        } else {
            return None;
        };
        self.transition(session, SessionState::Busy, SessionState::Closing);
        Some(reason)
    }

    /// Whether a session of this connection that is held for long would now have to be released for a waiter of another
    /// one.
    pub fn is_claimed_from(&self, connection: &str) -> bool {
        self.must_yield_to_waiter(connection, QUANTUM)
    }

    /// Closes sessions that have been idle for `timeout` or longer, or for their connection's own idle timeout.
    pub fn expire(&mut self, now: Instant, timeout: Duration) {
        for session in
            self.connections.values().flat_map(|account| account.expired(now, timeout)).collect::<Vec<_>>()
        {
            self.evict(session, CloseReason::Idle);
        }
    }

    /// How many sessions the connection may have now; 0 if it is unknown.
    pub fn limit(&self, connection: &str) -> usize {
        self.connections
            .get(connection)
            .filter(|account| !account.is_removed)
            .map_or(0, |account| account.limit)
    }

    /// What each connection may have now, by its limit and its grant.
    pub fn limits(&self) -> impl Iterator<Item = (&str, usize)> {
        self.connections.iter().map(|(name, account)| (&**name, account.allowed()))
    }

    pub fn counts(&self, connection: &str) -> SessionsByState {
        self.connections.get(connection).map(ConnectionAccount::counts).unwrap_or_default()
    }

    /// How many sessions the pod has open, in whatever state.
    pub fn open(&self) -> usize {
        self.sessions.len()
    }

    /// Opens no more sessions, closes the idle ones and removes the waiters.
    pub fn close(&mut self) {
        self.closed = true;
        self.waiters = 0;
        for account in self.connections.values_mut() {
            account.waiting.clear();
        }
        let idle: Vec<_> =
            self.connections.values().flat_map(|account| account.idle.iter().map(|(id, _)| *id)).collect();
        for session in idle {
            self.evict(session, CloseReason::Shutdown);
        }
    }

    /// The actions that calls since the last time have requested, in order.
    pub fn take_actions(&mut self) -> Vec<AccountingAction> {
        debug_assert!(self.is_consistent(), "{self:?}");
        std::mem::take(&mut self.actions)
    }

    fn serve_waiters(&mut self) {
        if self.waiters == 0 {
            return;
        }
        self.offer_idle();
        while self.open() < self.cap {
            let Some((name, waiter)) = self.next_waiter() else { break };
            self.permit_session(&name, waiter);
        }
        self.evict_for_waiters();
    }

    fn offer_idle(&mut self) {
        for (name, account) in &mut self.connections {
            while account.has_spare_idle() {
                let Some(waiter) = account.waiting.pop_first() else { break };
                self.waiters -= 1;
                account.held_idle += 1;
                self.actions.push(AccountingAction::TakeIdle { waiter, connection: Arc::clone(name) });
            }
        }
    }

    /// The first waiter of the connection with the fewest sessions.
    fn next_waiter(&self) -> Option<(Arc<str>, WaiterId)> {
        let first = |(name, account): (&Arc<str>, &ConnectionAccount)| {
            let waiter = *account.waiting.first()?;
            (account.admissible() > 0).then(|| (account.open(), waiter, Arc::clone(name)))
        };
        self.connections.iter().filter_map(first).min().map(|(_, waiter, name)| (name, waiter))
    }

    fn permit_session(&mut self, name: &Arc<str>, waiter: WaiterId) {
        let session = SessionId(self.next_id());
        let Some(account) = self.connections.get_mut(name) else { return };
        self.waiters -= usize::from(account.waiting.remove(&waiter));
        account.counts.connecting += 1;
        self.sessions.insert(session, (Arc::clone(name), SessionState::Connecting));
        self.actions.push(AccountingAction::MayConnect { waiter, connection: Arc::clone(name), session });
    }

    /// Every closing session makes room for one waiter, whatever the reason.
    fn evict_for_waiters(&mut self) {
        if self.open() < self.cap {
            return;
        }
        let wanted: usize = self.connections.values().map(ConnectionAccount::admissible).sum();
        while self.closing < wanted {
            let Some(session) = self.longest_idle() else { return };
            self.evict(session, CloseReason::MadeRoom);
        }
    }

    fn longest_idle(&self) -> Option<SessionId> {
        let oldest = |account: &ConnectionAccount| {
            let (session, since) = *account.idle.front()?;
            account.has_spare_idle().then_some((since, session))
        };
        self.connections.values().filter_map(oldest).min().map(|(_, session)| session)
    }

    fn evict(&mut self, session: SessionId, reason: CloseReason) {
        let Some((name, _)) = self.sessions.get(&session) else { return };
        let connection = Arc::clone(name);
        if self.transition(session, SessionState::Idle, SessionState::Closing) {
            self.actions.push(AccountingAction::Close { connection, session, reason });
        }
    }

    fn is_over_limit(&self, name: &str) -> bool {
        self.connections.get(name).is_some_and(|account| account.live() > account.allowed())
    }

    /// Whether the first waiter that no closing session is going to serve has a better claim than the holder:
    /// because its connection has no session at all, or to balance the two. The holder never ends up with fewer
    /// sessions than the waiter, so two connections never pass one session back and forth.
    fn must_yield_to_waiter(&self, name: &str, held: Duration) -> bool {
        if self.waiters == 0 || self.open() < self.cap {
            return false;
        }
        let Some(holder) = self.connections.get(name) else { return false };
        let mut line: Vec<_> =
            self.connections.iter().flat_map(|(name, account)| account.waiters_in_order(name)).collect();
        line.sort_unstable();
        let Some(&(open, _, waiter)) = line.get(self.closing) else { return false };
        waiter != name && (holder.live() >= open + 2 || (open == 0 && held >= QUANTUM))
    }

    /// Moves a session between states; returns false, and changes nothing, if it is not in `from`.
    fn transition(&mut self, session: SessionId, from: SessionState, to: SessionState) -> bool {
        let Some((name, state)) = self.sessions.get_mut(&session) else { return false };
        if *state != from {
            return false;
        }
        *state = to;
        self.closing = self.closing + usize::from(to == SessionState::Closing)
            - usize::from(from == SessionState::Closing);
        if let Some(account) = self.connections.get_mut(name) {
            account.transition(session, from, to);
        }
        true
    }

    /// The counters match the sessions that they count, and no pod has more sessions than its cap.
    fn is_consistent(&self) -> bool {
        let in_state = |state| self.sessions.values().filter(|(_, known)| *known == state).count();
        let accounts = || self.connections.values();
        let idle = accounts().map(|account| account.idle.len()).sum::<usize>();
        self.sessions.len() <= self.cap
            && self.closing == in_state(SessionState::Closing)
            && idle == in_state(SessionState::Idle)
            && self.sessions.len() == accounts().map(ConnectionAccount::open).sum::<usize>()
            && self.waiters == accounts().map(|account| account.waiting.len()).sum::<usize>()
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

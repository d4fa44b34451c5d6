//! One connection's share of the accounting.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::limit::{IDLE_WHILE_SCARCE, LIMIT_RISES_AFTER};
use super::{SessionId, SessionState, SessionsByState, WaiterId};

/// One connection's sessions, waiters and limits.
#[derive(Debug)]
pub(super) struct ConnectionAccount {
    pub cap: usize,
    pub limit: usize,
    /// This pod's share of a total over all pods; `None` if there is no such total.
    pub grant: Option<usize>,
    pub limit_changed: Instant,
    /// The limit rises this long after it last changed.
    pub rises_after: Duration,
    /// The last change was an increase, which the server has not refused yet.
    pub has_risen: bool,
    /// Except for `idle`, which is derived from the list below.
    pub counts: SessionsByState,
    /// The longest idle first.
    pub idle: VecDeque<(SessionId, Instant)>,
    /// Idle sessions held for waiters that are about to take one.
    pub held_idle: usize,
    pub waiting: BTreeSet<WaiterId>,
    /// Since when listings have waited for a session.
    pub listings: Vec<Instant>,
    /// How long a session may be idle, if that differs from the pod's `session_timeout`.
    pub idle_timeout: Option<Duration>,
    /// Older sessions were opened with previous settings.
    pub oldest_current: SessionId,
    /// Only sessions that are busy or closing are left.
    pub is_removed: bool,
}

impl ConnectionAccount {
    pub fn new(cap: usize, now: Instant) -> Self {
        ConnectionAccount {
            cap,
            limit: cap,
            grant: None,
            limit_changed: now,
            rises_after: LIMIT_RISES_AFTER,
            has_risen: false,
            counts: SessionsByState::default(),
            idle: VecDeque::new(),
            held_idle: 0,
            waiting: BTreeSet::new(),
            listings: Vec::new(),
            idle_timeout: None,
            oldest_current: SessionId(0),
            is_removed: false,
        }
    }

    pub fn counts(&self) -> SessionsByState {
        SessionsByState { idle: self.idle.len(), ..self.counts }
    }

    /// All sessions except the closing ones.
    pub fn live(&self) -> usize {
        self.idle.len() + self.counts.busy + self.counts.connecting
    }

    pub fn open(&self) -> usize {
        self.live() + self.counts.closing
    }

    /// How many sessions are permitted: the minimum of what is configured, what the server accepts and what is granted.
    pub fn allowed(&self) -> usize {
        self.grant.map_or(self.limit, |grant| grant.min(self.limit))
    }

    /// How many sessions could be used now, if enough were granted.
    pub fn wanted(&self) -> usize {
        (self.counts.busy + self.counts.connecting + self.waiting.len()).min(self.limit)
    }

    /// How many waiters could connect if the pod had room.
    pub fn admissible(&self) -> usize {
        self.waiting.len().min(self.allowed().saturating_sub(self.open()))
    }

    /// Those waiters, each with the number of sessions that its connection has once those before it are served.
    pub fn waiters_in_order<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (usize, WaiterId, &'a str)> {
        let open = self.open();
        let waiters = self.waiting.iter().take(self.admissible()).enumerate();
        waiters.map(move |(before, waiter)| (open + before, *waiter, name))
    }

    pub fn has_spare_idle(&self) -> bool {
        self.idle.len() > self.held_idle
    }

    /// Idle sessions whose time is over. A connection that has all the sessions that it may have keeps one of them idle
    /// for [`IDLE_WHILE_SCARCE`] only: if the limit is the server's, other clients (`submit`, `check`, another program)
    /// can log in only after one is closed.
    pub fn expired(&self, now: Instant, timeout: Duration) -> impl Iterator<Item = SessionId> {
        let spare = self.idle.len().saturating_sub(self.held_idle);
        let is_scarce = self.limit < self.cap;
        let to_make_room = (self.live() + 1).saturating_sub(self.limit);
        let timeout_of = move |place: usize| match self.idle_timeout {
            Some(own) => own,
            None if is_scarce || place < to_make_room => timeout.min(IDLE_WHILE_SCARCE),
            None => timeout,
        };
        let is_expired = move |place: usize, since: Instant| now.duration_since(since) >= timeout_of(place);
        let idle = self.idle.iter().take(spare).enumerate();
        idle.filter(move |(place, (_, since))| is_expired(*place, *since)).map(|(_, (session, _))| *session)
    }

    pub fn transition(&mut self, session: SessionId, from: SessionState, to: SessionState) {
        match from {
            SessionState::Connecting => self.counts.connecting -= 1,
            SessionState::Busy => self.counts.busy -= 1,
            SessionState::Closing => self.counts.closing -= 1,
            SessionState::Idle => self.idle.retain(|(id, _)| *id != session),
        }
        match to {
            SessionState::Connecting => self.counts.connecting += 1,
            SessionState::Busy => self.counts.busy += 1,
            SessionState::Closing => self.counts.closing += 1,
            SessionState::Idle => {} // `make_idle` lists it, with the time
        }
    }
}

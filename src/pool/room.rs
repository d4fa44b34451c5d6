//! Who may open a session, whose idle session makes room, who waits: the pool's accounting.
//!
//! No I/O and no clock: every call takes the time it needs and leaves [`Action`]s for the caller. Every
//! open session counts, in whatever state, from the moment its opening is permitted until its socket is
//! closed. A waiter gets an idle session of its own connection if there is one; else the pod's free room
//! goes to the connection with the fewest open sessions, then to whoever came first; and where the pod
//! is full, the longest-idle session of another connection is closed for it.

mod change;
mod limit;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::Closed;
use limit::{IDLE_WHILE_SCARCE, LIMIT_RISES_AFTER};

/// How long a lane keeps a session while another connection has none and the pod is full.
pub(super) const QUANTUM: Duration = Duration::from_secs(1);

/// One open session, from the permission to connect until its socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SessionId(u64);

/// A waiter's place: the lower, the earlier it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What the caller must do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The waiter may look for an idle session; one is kept for it until [`Room::settle`].
    LookForWarm { ticket: Ticket, connection: Arc<str> },
    /// The waiter may connect; the session counts from now on until [`Room::released`].
    MayConnect { ticket: Ticket, connection: Arc<str>, session: SessionId },
    /// The session was idle and must be closed.
    Close { connection: Arc<str>, session: SessionId, reason: Closed },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Busy,
    Idle,
    Closing,
}

/// Open sessions of a connection by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub idle: usize,
    pub busy: usize,
    pub connecting: usize,
    pub closing: usize,
}

/// The state of the pod's sessions and of those who wait for one.
#[derive(Debug)]
pub(super) struct Room {
    cap: usize,
    closed: bool,
    numbers: u64,
    waiters: usize,
    closing: usize,
    connections: BTreeMap<Arc<str>, Seats>,
    sessions: HashMap<SessionId, (Arc<str>, State)>,
    actions: Vec<Action>,
}

impl Room {
    /// `cap` is the pod's, those in `connections` are each connection's; all are at least 1.
    pub fn new(cap: usize, connections: impl IntoIterator<Item = (Arc<str>, usize)>, now: Instant) -> Self {
        let seats = |(name, cap): (Arc<str>, usize)| (name, Seats::new(cap.max(1), now));
        Room {
            cap: cap.max(1),
            closed: false,
            numbers: 0,
            waiters: 0,
            closing: 0,
            connections: connections.into_iter().map(seats).collect(),
            sessions: HashMap::new(),
            actions: Vec::new(),
        }
    }

    /// Puts a waiter in the line, at its earlier place if it had one; `None` if the room is closed or
    /// the connection unknown.
    pub fn wait(&mut self, connection: &str, earlier: Option<Ticket>) -> Option<Ticket> {
        if self.closed {
            return None;
        }
        let ticket = earlier.unwrap_or_else(|| Ticket(self.number()));
        let seats = self.connections.get_mut(connection).filter(|seats| !seats.is_removed)?;
        self.waiters += usize::from(seats.waiting.insert(ticket));
        self.serve();
        Some(ticket)
    }

    /// The waiter waits no more; without effect if it has been served.
    pub fn withdraw(&mut self, connection: &str, ticket: Ticket) {
        let Some(seats) = self.connections.get_mut(connection) else { return };
        self.waiters -= usize::from(seats.waiting.remove(&ticket));
    }

    /// A waiter that was told to look for an idle session has looked, or will not.
    pub fn settle(&mut self, connection: &str) {
        let Some(seats) = self.connections.get_mut(connection) else { return };
        seats.looking = seats.looking.saturating_sub(1);
        self.serve();
    }

    /// The session is logged in and in use.
    pub fn opened(&mut self, session: SessionId) {
        self.turn(session, State::Connecting, State::Busy);
    }

    /// Takes an idle session into use; false if it is not idle (any more) and must be closed.
    pub fn claim(&mut self, session: SessionId) -> bool {
        self.turn(session, State::Idle, State::Busy)
    }

    /// A session in use becomes idle; or, if a reason is returned, must be closed.
    pub fn rest(&mut self, session: SessionId, now: Instant) -> Option<Closed> {
        let Some((name, State::Busy)) = self.sessions.get(&session) else { return Some(Closed::InDoubt) };
        let name = Arc::clone(name);
        if self.closed {
            return Some(Closed::Shutdown);
        }
        if self.is_outdated(&name, session) {
            return Some(Closed::Replaced);
        }
        if self.is_over_limit(&name) {
            return Some(Closed::MadeRoom);
        }
        self.turn(session, State::Busy, State::Idle);
        if let Some(seats) = self.connections.get_mut(&name) {
            seats.idle.push_back((session, now));
        }
        self.serve();
        None
    }

    /// The session is going to be closed: it is nobody's any more, but counts until it is released.
    pub fn doom(&mut self, session: SessionId) {
        let Some(&(_, state)) = self.sessions.get(&session) else { return };
        self.turn(session, state, State::Closing);
    }

    /// The session's socket is closed.
    pub fn released(&mut self, session: SessionId) {
        self.doom(session);
        let Some((name, _)) = self.sessions.remove(&session) else { return };
        self.closing -= 1;
        if let Some(seats) = self.connections.get_mut(&name) {
            seats.counts.closing -= 1;
        }
        self.forget_removed(&name);
        self.serve();
    }

    /// Why the holder must give its session up, `held` after it got it, if it must: another connection
    /// waits for room and would have fewer; its own is over its limit, or has changed. If so, the
    /// session counts as closing already, so that no two holders make room for one waiter.
    pub fn yields(&mut self, session: SessionId, held: Duration) -> Option<Closed> {
        let Some((name, State::Busy)) = self.sessions.get(&session) else { return None };
        let name = Arc::clone(name);
        let reason = if self.is_outdated(&name, session) {
            Closed::Replaced
        } else if self.is_over_limit(&name) || self.is_outwaited(&name, held) {
            Closed::MadeRoom
        } else {
            return None;
        };
        self.turn(session, State::Busy, State::Closing);
        Some(reason)
    }

    /// Closes what has been idle for `timeout` or longer, or for its connection's own time.
    pub fn expire(&mut self, now: Instant, timeout: Duration) {
        for session in
            self.connections.values().flat_map(|seats| seats.expired(now, timeout)).collect::<Vec<_>>()
        {
            self.evict(session, Closed::Idle);
        }
    }

    /// Sessions the connection may have now; 0 if it is unknown.
    pub fn limit(&self, connection: &str) -> usize {
        self.connections.get(connection).filter(|seats| !seats.is_removed).map_or(0, |seats| seats.limit)
    }

    /// The same of each connection.
    pub fn limits(&self) -> impl Iterator<Item = (&str, usize)> {
        self.connections.iter().map(|(name, seats)| (&**name, seats.limit))
    }

    pub fn counts(&self, connection: &str) -> Counts {
        self.connections.get(connection).map(Seats::counts).unwrap_or_default()
    }

    /// Open sessions of the pod, in whatever state.
    pub fn open(&self) -> usize {
        self.sessions.len()
    }

    /// No session is opened from now on, the idle ones are closed, nobody waits any more.
    pub fn close(&mut self) {
        self.closed = true;
        self.waiters = 0;
        for seats in self.connections.values_mut() {
            seats.waiting.clear();
        }
        let idle: Vec<_> =
            self.connections.values().flat_map(|seats| seats.idle.iter().map(|(id, _)| *id)).collect();
        for session in idle {
            self.evict(session, Closed::Shutdown);
        }
    }

    /// What the calls since the last time ask for, in their order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn serve(&mut self) {
        if self.waiters == 0 {
            return;
        }
        self.hand_out_warm();
        while self.open() < self.cap {
            let Some((name, ticket)) = self.neediest() else { break };
            self.permit(&name, ticket);
        }
        self.make_room();
    }

    fn hand_out_warm(&mut self) {
        for (name, seats) in &mut self.connections {
            while seats.has_spare_idle() {
                let Some(ticket) = seats.waiting.pop_first() else { break };
                self.waiters -= 1;
                seats.looking += 1;
                self.actions.push(Action::LookForWarm { ticket, connection: Arc::clone(name) });
            }
        }
    }

    /// The waiter whose connection has the fewest sessions, then the one that came first.
    fn neediest(&self) -> Option<(Arc<str>, Ticket)> {
        let first = |(name, seats): (&Arc<str>, &Seats)| {
            let ticket = *seats.waiting.first()?;
            (seats.admissible() > 0).then(|| (seats.open(), ticket, Arc::clone(name)))
        };
        self.connections.iter().filter_map(first).min().map(|(_, ticket, name)| (name, ticket))
    }

    fn permit(&mut self, name: &Arc<str>, ticket: Ticket) {
        let session = SessionId(self.number());
        let Some(seats) = self.connections.get_mut(name) else { return };
        self.waiters -= usize::from(seats.waiting.remove(&ticket));
        seats.counts.connecting += 1;
        self.sessions.insert(session, (Arc::clone(name), State::Connecting));
        self.actions.push(Action::MayConnect { ticket, connection: Arc::clone(name), session });
    }

    /// One closing session, whatever it is closed for, is room for one waiter.
    fn make_room(&mut self) {
        if self.open() < self.cap {
            return;
        }
        let wanted: usize = self.connections.values().map(Seats::admissible).sum();
        while self.closing < wanted {
            let Some(session) = self.longest_idle() else { return };
            self.evict(session, Closed::MadeRoom);
        }
    }

    fn longest_idle(&self) -> Option<SessionId> {
        let oldest = |seats: &Seats| {
            let (session, since) = *seats.idle.front()?;
            seats.has_spare_idle().then_some((since, session))
        };
        self.connections.values().filter_map(oldest).min().map(|(_, session)| session)
    }

    fn evict(&mut self, session: SessionId, reason: Closed) {
        let Some((name, _)) = self.sessions.get(&session) else { return };
        let connection = Arc::clone(name);
        if self.turn(session, State::Idle, State::Closing) {
            self.actions.push(Action::Close { connection, session, reason });
        }
    }

    fn is_over_limit(&self, name: &str) -> bool {
        self.connections.get(name).is_some_and(|seats| seats.live() > seats.limit)
    }

    /// Looks at the waiter that no closing session is going to serve: does balance, or its having no
    /// session at all, speak for it? Each gift leaves the giver with no fewer than the taker gets, so
    /// that two connections never pass one session to and fro.
    fn is_outwaited(&self, name: &str, held: Duration) -> bool {
        if self.waiters == 0 || self.open() < self.cap {
            return false;
        }
        let Some(holder) = self.connections.get(name) else { return false };
        let mut line: Vec<_> = self.connections.iter().flat_map(|(name, seats)| seats.line(name)).collect();
        line.sort_unstable();
        let Some(&(open, _, waiter)) = line.get(self.closing) else { return false };
        waiter != name && (holder.live() >= open + 2 || (open == 0 && held >= QUANTUM))
    }

    /// Moves a session from one state to the next; false, and nothing is changed, if it is in another.
    fn turn(&mut self, session: SessionId, from: State, to: State) -> bool {
        let Some((name, state)) = self.sessions.get_mut(&session) else { return false };
        if *state != from {
            return false;
        }
        *state = to;
        self.closing = self.closing + usize::from(to == State::Closing) - usize::from(from == State::Closing);
        if let Some(seats) = self.connections.get_mut(name) {
            seats.turn(session, from, to);
        }
        true
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

/// One connection's share.
#[derive(Debug)]
struct Seats {
    cap: usize,
    limit: usize,
    limit_changed: Instant,
    /// The next rise comes so long after the last change.
    rises_after: Duration,
    /// The last change was a rise, of which the server has said nothing yet.
    has_risen: bool,
    /// `idle` is not counted here but listed below.
    counts: Counts,
    /// The longest idle first.
    idle: VecDeque<(SessionId, Instant)>,
    /// Idle sessions kept for waiters that were told to look for one.
    looking: usize,
    waiting: BTreeSet<Ticket>,
    /// How long a session may be idle, where that is not the pod's time.
    idle_timeout: Option<Duration>,
    /// Sessions before this one were opened with other settings.
    oldest: SessionId,
    /// What is left are sessions in use, and those that are closing.
    is_removed: bool,
}

impl Seats {
    fn new(cap: usize, now: Instant) -> Self {
        Seats {
            cap,
            limit: cap,
            limit_changed: now,
            rises_after: LIMIT_RISES_AFTER,
            has_risen: false,
            counts: Counts::default(),
            idle: VecDeque::new(),
            looking: 0,
            waiting: BTreeSet::new(),
            idle_timeout: None,
            oldest: SessionId(0),
            is_removed: false,
        }
    }

    fn counts(&self) -> Counts {
        Counts { idle: self.idle.len(), ..self.counts }
    }

    /// Sessions that will last: all but the closing ones.
    fn live(&self) -> usize {
        self.idle.len() + self.counts.busy + self.counts.connecting
    }

    fn open(&self) -> usize {
        self.live() + self.counts.closing
    }

    /// Waiters that only the pod's cap keeps from connecting.
    fn admissible(&self) -> usize {
        self.waiting.len().min(self.limit.saturating_sub(self.open()))
    }

    /// Those waiters, each with the sessions its connection has once those before it are served.
    fn line<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (usize, Ticket, &'a str)> {
        let open = self.open();
        let waiters = self.waiting.iter().take(self.admissible()).enumerate();
        waiters.map(move |(before, ticket)| (open + before, *ticket, name))
    }

    fn has_spare_idle(&self) -> bool {
        self.idle.len() > self.looking
    }

    fn expired(&self, now: Instant, timeout: Duration) -> impl Iterator<Item = SessionId> {
        let spare = self.idle.len().saturating_sub(self.looking);
        let most = if self.limit < self.cap { IDLE_WHILE_SCARCE } else { Duration::MAX };
        let timeout = self.idle_timeout.unwrap_or(timeout.min(most));
        let is_expired = move |since: Instant| now.duration_since(since) >= timeout;
        self.idle.iter().take(spare).filter(move |(_, since)| is_expired(*since)).map(|(session, _)| *session)
    }

    fn turn(&mut self, session: SessionId, from: State, to: State) {
        match from {
            State::Connecting => self.counts.connecting -= 1,
            State::Busy => self.counts.busy -= 1,
            State::Closing => self.counts.closing -= 1,
            State::Idle => self.idle.retain(|(id, _)| *id != session),
        }
        match to {
            State::Connecting => self.counts.connecting += 1,
            State::Busy => self.counts.busy += 1,
            State::Closing => self.counts.closing += 1,
            State::Idle => {} // Room::rest lists it, with the time
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

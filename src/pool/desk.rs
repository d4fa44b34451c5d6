//! The room behind its lock: hands grants to waiters and takes sessions back.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::room::{Action, Room, SessionId, Ticket};
use crate::metrics::{Closed, Metrics};

/// An idle session to be closed.
#[derive(Debug)]
pub(super) struct Eviction {
    pub connection: Arc<str>,
    pub session: SessionId,
    pub reason: Closed,
}

/// The one place where sessions are counted. Its lock is never held across an await, nor while a
/// session or a permit is dropped.
pub(super) struct Desk {
    state: Mutex<State>,
    evictions: mpsc::UnboundedSender<Eviction>, // at most one for each idle session
    emptied: Notify,
    metrics: Metrics,
    /// Closings are spawned from `drop`, on whatever thread that runs.
    pub handle: Handle,
}

type Waiter = oneshot::Sender<Grant>;

struct State {
    room: Room,
    waiters: HashMap<Ticket, Waiter>,
}

impl Desk {
    /// The desk, and where it puts what must be closed.
    pub fn new(
        room: Room,
        metrics: Metrics,
        handle: Handle,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Eviction>) {
        let (evictions, evicted) = mpsc::unbounded_channel();
        let state = Mutex::new(State { room, waiters: HashMap::new() });
        (Arc::new(Desk { state, evictions, emptied: Notify::new(), metrics, handle }), evicted)
    }

    /// Waits for an idle session or room for a new one, at the place of `earlier` if there is one;
    /// `None` once the pool is closed. Dropped, it waits no more and leaves nothing behind.
    pub async fn wait(
        self: &Arc<Self>,
        connection: &Arc<str>,
        earlier: &mut Option<Ticket>,
    ) -> Option<Grant> {
        let (sender, receiver) = oneshot::channel();
        let ticket = self.change(connection, |state| {
            let ticket = state.room.wait(connection, *earlier)?;
            state.waiters.insert(ticket, sender);
            Some(ticket)
        })?;
        *earlier = Some(ticket);
        let _place = Place { desk: self, connection, ticket };
        receiver.await.ok()
    }

    pub fn opened(self: &Arc<Self>, permit: &Permit) {
        self.change(&permit.connection, |state| state.room.opened(permit.session));
    }

    /// See [`Room::claim`].
    pub fn claim(self: &Arc<Self>, permit: &Permit) -> bool {
        self.change(&permit.connection, |state| state.room.claim(permit.session))
    }

    /// Makes a session idle: `put_back` runs if it may be kept, under the lock, so that nobody looks for
    /// an idle session that is not in its place yet. Otherwise why it must be closed.
    pub fn rest(self: &Arc<Self>, held: (&Arc<str>, SessionId), put_back: impl FnOnce()) -> Option<Closed> {
        let (connection, session) = held;
        self.change(connection, |state| {
            let refusal = state.room.rest(session, Instant::now());
            if refusal.is_none() {
                put_back();
            }
            refusal
        })
    }

    pub fn doom(self: &Arc<Self>, permit: &Permit) {
        self.change(&permit.connection, |state| state.room.doom(permit.session));
    }

    /// See [`Room::yields`].
    pub fn yields(self: &Arc<Self>, permit: &Permit, held: Duration) -> Option<Closed> {
        self.change(&permit.connection, |state| state.room.yields(permit.session, held))
    }

    /// See [`Room::set_limits`].
    pub fn set_limits(self: &Arc<Self>, connection: &Arc<str>, cap: usize, idle_timeout: Option<Duration>) {
        self.change(connection, |state| state.room.set_limits(connection, cap, idle_timeout, Instant::now()));
    }

    /// See [`Room::replace`].
    pub fn replace(self: &Arc<Self>, connection: &str) {
        self.change(connection, |state| state.room.replace(connection, Instant::now()));
    }

    /// See [`Room::remove`].
    pub fn remove(self: &Arc<Self>, connection: &str) {
        let waiters: Vec<_> = self.change(connection, |state| {
            let waiting = state.room.remove(connection);
            waiting.iter().filter_map(|ticket| state.waiters.remove(ticket)).collect()
        });
        drop(waiters); // they learn it by their sender's end
    }

    /// See [`Room::knows`].
    pub fn knows(self: &Arc<Self>, connection: &str) -> bool {
        self.update(|state| state.room.knows(connection))
    }

    /// Closes what has been idle too long, and lets lowered limits rise.
    pub fn tick(self: &Arc<Self>, session_timeout: Duration) {
        let now = Instant::now();
        self.update(|state| {
            state.room.expire(now, session_timeout);
            state.room.raise_limits(now);
            for (connection, limit) in state.room.limits() {
                self.metrics.session_limit(connection, limit);
            }
        });
    }

    pub fn lower_limit(self: &Arc<Self>, connection: &str) {
        self.update(|state| {
            state.room.lower_limit(connection, Instant::now());
            self.metrics.session_limit(connection, state.room.limit(connection));
        });
    }

    pub fn limit(self: &Arc<Self>, connection: &str) -> usize {
        self.update(|state| state.room.limit(connection))
    }

    /// Open sessions of the pod.
    pub fn open(self: &Arc<Self>) -> usize {
        self.update(|state| state.room.open())
    }

    pub fn close(self: &Arc<Self>) {
        let waiters = self.update(|state| {
            state.room.close();
            std::mem::take(&mut state.waiters)
        });
        drop(waiters); // they learn it by their sender's end
    }

    /// Resolves when no session is open.
    pub async fn wait_until_empty(self: &Arc<Self>) {
        loop {
            let emptied = self.emptied.notified();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn release(self: &Arc<Self>, connection: &Arc<str>, session: SessionId) {
        let open = self.change(connection, |state| {
            state.room.released(session);
            state.room.open()
        });
        if open == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// Changes the room, and shows the connection's sessions as they are then.
    fn change<R>(self: &Arc<Self>, connection: &str, change: impl FnOnce(&mut State) -> R) -> R {
        self.update(|state| {
            let result = change(state);
            self.show(&state.room, connection);
            result
        })
    }

    fn update<R>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let mut grants = Vec::new();
        for action in state.room.take_actions() {
            grants.extend(self.prepare(&mut state, action));
        }
        drop(state);
        for (waiter, grant) in grants {
            // A waiter that left in between drops its grant, which gives it back.
            drop(waiter.map(|waiter| waiter.send(grant)));
        }
        result
    }

    fn prepare(self: &Arc<Self>, state: &mut State, action: Action) -> Option<(Option<Waiter>, Grant)> {
        match action {
            Action::LookForWarm { ticket, connection } => {
                let hint = Hint { desk: Arc::clone(self), connection };
                Some((state.waiters.remove(&ticket), Grant::Warm(hint)))
            }
            Action::MayConnect { ticket, connection, session } => {
                let permit = Permit { desk: Arc::clone(self), connection, session };
                Some((state.waiters.remove(&ticket), Grant::Vacant(permit)))
            }
            Action::Close { connection, session, reason } => {
                self.show(&state.room, &connection);
                // The receiver lives as long as the pool.
                drop(self.evictions.send(Eviction { connection, session, reason }));
                None
            }
        }
    }

    fn show(&self, room: &Room, connection: &str) {
        let counts = room.counts(connection);
        // A closing session is still open at the server.
        self.metrics.sessions(connection, counts.idle, counts.busy + counts.closing, counts.connecting);
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// What a waiter gets.
#[derive(Debug)]
pub(super) enum Grant {
    Warm(Hint),
    Vacant(Permit),
}

/// An idle session is kept for the holder of this, until it is dropped.
#[derive(Debug)]
pub(super) struct Hint {
    desk: Arc<Desk>,
    connection: Arc<str>,
}

impl Drop for Hint {
    fn drop(&mut self) {
        self.desk.change(&self.connection, |state| state.room.settle(&self.connection));
    }
}

/// The right to one open session. It must be dropped after the session's socket, not before.
#[derive(Debug)]
pub(super) struct Permit {
    desk: Arc<Desk>,
    connection: Arc<str>,
    session: SessionId,
}

impl Permit {
    pub fn connection(&self) -> &Arc<str> {
        &self.connection
    }

    pub fn session(&self) -> SessionId {
        self.session
    }

    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.desk.release(&self.connection, self.session);
    }
}

/// A waiter's place in the line.
struct Place<'a> {
    desk: &'a Arc<Desk>,
    connection: &'a Arc<str>,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.desk.change(self.connection, |state| {
            state.waiters.remove(&self.ticket);
            state.room.withdraw(self.connection, self.ticket);
        });
    }
}

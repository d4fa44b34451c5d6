//! Logged-in sessions, by connection: never more of them than allowed, and none in doubt.
//!
//! [`Pool::reserve`] gives a session that is warm, or the permission to open one. The idle sessions of
//! a connection lie in a deadpool pool; who may open one, who waits and whose idle session makes room
//! is decided by the accounting in `room`, which counts every session until its socket is closed.
//! A session is thrown away in one place: the `drop` of [`Leased`].

mod connect;
mod desk;
#[cfg(test)]
pub(crate) mod fake;
mod leased;
mod manager;
mod room;
mod settings;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, PoolError, QueueMode};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

pub use connect::{Connect, Ftp};
use desk::{Desk, Eviction, Grant, Permit};
pub use leased::Leased;
use manager::{CreateError, Manager, PERMIT};
use room::Room;
pub use settings::Version;

use crate::config::{self, FtpConnection};
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::metrics::{Closed, Metrics};

/// How often idle sessions are looked through for those past their time.
const TICK: Duration = Duration::from_secs(1);

/// The pod's sessions. Cheap to clone.
pub struct Pool<C: Connect = Ftp> {
    shared: Arc<Shared<C>>,
}

/// What [`Pool::reserve`] found.
#[derive(Debug)]
pub enum Reservation<C: Connect> {
    /// A session that was idle.
    Warm(Leased<C>),
    /// Room for a new one.
    Vacant(Vacancy<C>),
}

/// Why nothing can be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    #[error("no FTP connection has this name")]
    UnknownConnection,
    #[error("the pool is closed")]
    Closed,
}

impl<C: Connect> Pool<C> {
    /// A pool for these connections; its caps are `limits.max_sessions_per_pod` and each connection's
    /// `max_sessions`. Call it within a tokio runtime, on which sessions will be closed.
    pub fn new(
        limits: &config::PoolConfig,
        connections: impl IntoIterator<Item = Arc<FtpConnection>>,
        connect: C,
        metrics: &Metrics,
    ) -> Self {
        let room = Room::new(limits.max_sessions_per_pod, [], Instant::now());
        let (desk, evicted) = Desk::new(room, metrics.clone(), Handle::current());
        let (connect, metrics) = (Arc::new(connect), metrics.clone());
        let shared = Arc::new(Shared { shelves: RwLock::default(), desk, connect, metrics });
        tokio::spawn(keep(Arc::downgrade(&shared), evicted, limits.session_timeout));
        let pool = Pool { shared };
        for connection in connections {
            pool.add(connection);
        }
        pool
    }

    /// Adds a connection, or one that was removed.
    pub fn add(&self, connection: Arc<FtpConnection>) {
        let shared = &self.shared;
        let name: Arc<str> = Arc::from(&*connection.name);
        self.set_limits(&connection);
        let (connect, desk, metrics) = (&shared.connect, &shared.desk, &shared.metrics);
        let manager = Manager::new(Arc::clone(connect), connection, Arc::clone(desk), metrics.clone());
        let shelf = Arc::new(Shelf { name: Arc::clone(&name), idle: idle_sessions(manager) });
        shared.shelves.write().unwrap_or_else(PoisonError::into_inner).insert(name, shelf);
    }

    /// Sessions of this connection are opened with these settings from now on. Idle ones with others are closed, those
    /// in use when they come back.
    pub fn replace(&self, connection: Arc<FtpConnection>) {
        let Some(shelf) = self.shared.shelf(&connection.name) else { return };
        self.set_limits(&connection);
        // The settings first: what the room lets in afterwards is opened with them.
        shelf.idle.manager().replace(connection);
        self.shared.desk.replace(&shelf.name);
    }

    /// How many sessions the connection may have, and for how long they may be idle, is what it says here from now on;
    /// its sessions stay.
    pub fn set_limits(&self, connection: &FtpConnection) {
        let idle_timeout = match connection.idle_timeout {
            Some(Duration::ZERO) => Some(Duration::MAX),
            other => other,
        };
        if let Some(shelf) = self.shared.shelf(&connection.name)
            && shelf.idle.status().max_size < connection.max_sessions
        {
            shelf.idle.resize(connection.max_sessions);
        }
        self.shared.desk.set_limits(&Arc::from(&*connection.name), connection.max_sessions, idle_timeout);
    }

    /// Nothing can be reserved of this connection any more. Its idle sessions are closed, those in use when they come
    /// back.
    pub fn remove(&self, connection: &str) {
        let shelf = self.shared.shelves.write().unwrap_or_else(PoisonError::into_inner).remove(connection);
        let Some(shelf) = shelf else { return };
        shelf.idle.manager().settings().version().outdate();
        self.shared.desk.remove(connection);
        for pooled in shelf.idle.retain(|_, _| false).removed {
            pooled.close_for(Closed::Replaced);
        }
    }

    /// Whether the connection is there, or was and still has open sessions.
    #[must_use]
    pub fn knows(&self, connection: &str) -> bool {
        self.shared.desk.knows(connection)
    }

    /// Waits for an idle session of the connection, or for room to open one. Holds nothing while it
    /// waits; dropped, it leaves the line.
    pub async fn reserve(&self, connection: &str) -> Result<Reservation<C>, ReserveError> {
        let shelf = self.shared.shelf(connection).ok_or(ReserveError::UnknownConnection)?;
        let mut place = None;
        loop {
            match self.shared.desk.wait(&shelf.name, &mut place).await.ok_or(ReserveError::Closed)? {
                Grant::Vacant(permit) => {
                    let shared = Arc::clone(&self.shared);
                    return Ok(Reservation::Vacant(Vacancy { permit, shared, shelf }));
                }
                Grant::Warm(_kept) => {
                    // The idle one may turn out to be dead: then it is the line again, at the same place.
                    if let Ok(object) = shelf.idle.get().await {
                        return Ok(Reservation::Warm(self.shared.lease(object)));
                    }
                }
            }
        }
    }

    /// Sessions the connection may have at present: its cap, or fewer where the server said so.
    #[must_use]
    pub fn limit(&self, connection: &str) -> usize {
        self.shared.desk.limit(connection)
    }

    /// The server bears no more sessions, or transfers, than the connection has now. (Where it said so
    /// to a login, the pool knows.)
    pub fn lower_limit(&self, connection: &str) {
        self.shared.desk.lower_limit(connection);
    }

    /// Open sessions, in whatever state.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.shared.desk.open()
    }

    /// Closes the idle sessions, waits for all that are closing or in use, for `bound` at most, and
    /// says how many are left. From now on nothing can be reserved, and what comes back is closed.
    pub async fn shutdown(&self, bound: Duration) -> usize {
        self.shared.desk.close();
        let _ = timeout(bound, self.shared.desk.wait_until_empty()).await;
        self.open_sessions()
    }
}

impl<C: Connect> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Pool { shared: Arc::clone(&self.shared) }
    }
}

impl<C: Connect> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("open_sessions", &self.open_sessions()).finish_non_exhaustive()
    }
}

/// Room for one session of a connection. It counts as one already.
pub struct Vacancy<C: Connect> {
    permit: Permit,
    shared: Arc<Shared<C>>,
    shelf: Arc<Shelf<C>>,
}

impl<C: Connect> Vacancy<C> {
    /// Of the settings that the session will have: ask before it is opened.
    #[must_use]
    pub fn version(&self) -> Version {
        self.shelf.idle.manager().settings().version().clone()
    }

    /// Connects and logs in; or takes a session that has become idle meanwhile. Dropped, the socket is
    /// closed and the room given back.
    ///
    /// # Errors
    /// See [`Connect::open`].
    pub async fn open(self) -> Result<Leased<C>, TryError> {
        let Vacancy { permit, shared, shelf } = self;
        match PERMIT.scope(Cell::new(Some(permit)), shelf.idle.get()).await {
            Ok(object) => Ok(shared.lease(object)),
            Err(PoolError::Backend(CreateError::Try(error))) => Err(error),
            Err(_) => Err(lost()),
        }
    }
}

impl<C: Connect> fmt::Debug for Vacancy<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vacancy").field("connection", &self.shelf.name).finish_non_exhaustive()
    }
}

struct Shared<C: Connect> {
    shelves: RwLock<HashMap<Arc<str>, Arc<Shelf<C>>>>,
    desk: Arc<Desk>,
    connect: Arc<C>,
    metrics: Metrics,
}

/// The idle sessions of one connection.
struct Shelf<C: Connect> {
    name: Arc<str>,
    idle: managed::Pool<Manager<C>>,
}

impl<C: Connect> Shared<C> {
    fn shelf(&self, connection: &str) -> Option<Arc<Shelf<C>>> {
        self.shelves.read().unwrap_or_else(PoisonError::into_inner).get(connection).cloned()
    }

    fn lease(&self, object: managed::Object<Manager<C>>) -> Leased<C> {
        Leased::new(object, Arc::clone(&self.connect), Arc::clone(&self.desk))
    }

    /// Closes an idle session. Where a `get` has just taken it off the shelf, that one closes it.
    fn evict(&self, eviction: &Eviction) {
        let Some(shelf) = self.shelf(&eviction.connection) else { return };
        for pooled in shelf.idle.retain(|pooled, _| pooled.id() != eviction.session).removed {
            pooled.close_for(eviction.reason);
        }
    }
}

/// The newest idle session is used first, so that the oldest can go. No timeouts: the session's own
/// deadlines end every wait. The size is no cap (the desk has that), but never less than the cap.
fn idle_sessions<C: Connect>(manager: Manager<C>) -> managed::Pool<Manager<C>> {
    let max_size = manager.settings().connection().max_sessions.max(1);
    let builder = managed::Pool::builder(manager).max_size(max_size).queue_mode(QueueMode::Lifo);
    match builder.runtime(Runtime::Tokio1).build() {
        Ok(pool) => pool,
        Err(error) => unreachable!("only a pool with timeouts needs a runtime: {error}"),
    }
}

/// Closes what the desk has evicted, and ticks; ends with the pool.
async fn keep<C: Connect>(
    shared: Weak<Shared<C>>,
    mut evicted: UnboundedReceiver<Eviction>,
    session_timeout: Duration,
) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let eviction = tokio::select! {
            eviction = evicted.recv() => eviction,
            _ = ticks.tick() => None,
        };
        let Some(shared) = shared.upgrade() else { return };
        match eviction {
            Some(eviction) => shared.evict(&eviction),
            None => shared.desk.tick(session_timeout),
        }
    }
}

fn lost() -> TryError {
    let failure = Failure::new(Code::Internal, "the pool lost the permission to open a session");
    TryError { failure, remedy: Remedy::GiveUp }
}

#[cfg(test)]
mod tests;

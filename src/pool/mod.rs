//! Logged-in sessions, by connection: never more of them than allowed, and none whose protocol state is unknown.
//!
//! ```text
//! connector          how a session is opened, checked and closed: the seam to `ftp`
//! settings           what sessions are opened with, until a connection is reconfigured
//! accounting         who may open a session, who waits, which idle session makes room: pure
//!   account          one connection's sessions, waiters and limits
//!   connections      connections that are added, reconfigured and removed
//!   grants           this pod's share of a total over all pods, as `coordination::session_caps` sets it
//!   listings           listings of whole directories, which wait alongside the workers
//!   limit            how many sessions a server accepts: lowered, raised again
//! shared_accounting  the accounting behind its lock: grants, permits, evictions
//! manager            what deadpool needs: opens, and checks an idle session before it is reused
//! leased             a session in use, which is closed here if it cannot be reused
//! ```
//!
//! [`SessionPool::reserve`] returns an idle session, or the permission to open one. The idle sessions of a connection
//! are stored in a deadpool pool; who may open one, who waits and whose idle session makes room is decided by
//! `accounting`, which counts every session until its socket is closed. A session in use is discarded in one place, the
//! `drop` of [`LeasedSession`]; idle ones are closed by `manager` and by evictions.

mod accounting;
mod connector;
#[cfg(test)]
pub(crate) mod fake;
mod leased;
mod manager;
mod settings;
mod shared_accounting;

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
use tokio_util::sync::CancellationToken;

use accounting::SessionAccounting;
pub use connector::{FtpConnector, SessionConnector};
pub use leased::LeasedSession;
use manager::{CreateError, PERMIT, SessionManager};
pub use settings::SettingsVersion;
use shared_accounting::{Eviction, SessionPermit, SharedAccounting, WaiterGrant};

use crate::config::{self, FtpConnection};
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::metrics::{CloseReason, Metrics};

/// How often idle sessions are checked for those past their idle time.
const TICK: Duration = Duration::from_secs(1);

/// The pod's sessions. Cheap to clone.
pub struct SessionPool<C: SessionConnector = FtpConnector> {
    shared: Arc<PoolInner<C>>,
}

/// The result of [`SessionPool::reserve`].
#[derive(Debug)]
pub enum Reservation<C: SessionConnector> {
    /// A session that was idle.
    Idle(LeasedSession<C>),
    /// Permission to open a new one.
    MayOpen(OpenPermit<C>),
}

/// Why nothing can be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    #[error("no FTP connection has this name")]
    UnknownConnection,
    #[error("the pool is closed")]
    Closed,
}

impl<C: SessionConnector> SessionPool<C> {
    /// A pool for these connections; its caps are `limits.max_sessions_per_pod` and each connection's
    /// `max_sessions`. Call it within a tokio runtime, on which sessions will be closed.
    pub fn new(
        limits: &config::PoolConfig,
        connections: impl IntoIterator<Item = Arc<FtpConnection>>,
        connector: C,
        metrics: &Metrics,
    ) -> Self {
        let accounting = SessionAccounting::new(limits.max_sessions_per_pod, [], Instant::now());
        let (accounting, evicted) = SharedAccounting::new(accounting, metrics.clone(), Handle::current());
        let (connector, metrics) = (Arc::new(connector), metrics.clone());
        let shared = Arc::new(PoolInner { connections: RwLock::default(), accounting, connector, metrics });
        tokio::spawn(maintain(Arc::downgrade(&shared), evicted, limits.session_timeout));
        let pool = SessionPool { shared };
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
        let (connector, accounting, metrics) = (&shared.connector, &shared.accounting, &shared.metrics);
        let manager =
            SessionManager::new(Arc::clone(connector), connection, Arc::clone(accounting), metrics.clone());
        let pool = Arc::new(ConnectionPool { name: Arc::clone(&name), idle: idle_sessions(manager) });
        shared.connections.write().unwrap_or_else(PoisonError::into_inner).insert(name, pool);
    }

    /// Reconfigures a connection: its sessions are opened with these settings from now on. Existing idle sessions are
    /// closed now, busy ones when they are returned.
    pub fn replace(&self, connection: Arc<FtpConnection>) {
        let Some(pool) = self.shared.connection_pool(&connection.name) else { return };
        self.set_limits(&connection);
        // The settings first: sessions that the accounting permits afterwards are opened with them.
        pool.idle.manager().replace(connection);
        self.shared
            .accounting
            .update(&pool.name, |accounting| accounting.replace(&pool.name, Instant::now()));
    }

    /// Applies the connection's `max_sessions` and `idle_timeout`; its sessions remain open.
    pub fn set_limits(&self, connection: &FtpConnection) {
        let idle_timeout = match connection.idle_timeout {
            Some(Duration::ZERO) => Some(Duration::MAX),
            other => other,
        };
        if let Some(pool) = self.shared.connection_pool(&connection.name)
            && pool.idle.status().max_size < connection.max_sessions
        {
            pool.idle.resize(connection.max_sessions);
        }
        let (name, cap) = (Arc::from(&*connection.name), connection.max_sessions);
        let is_shared = connection.max_sessions_total.is_some();
        self.shared.accounting.update(&name, |accounting| {
            accounting.set_limits(&name, cap, idle_timeout, Instant::now());
            accounting.set_shared(&name, is_shared);
        });
    }

    /// Sets how many sessions of a connection with `max_sessions_total` this pod may have. Idle ones above that are
    /// closed now, busy ones after their present file.
    pub fn set_grant(&self, connection: &str, grant: usize) {
        self.shared.accounting.update(connection, |accounting| accounting.set_grant(connection, grant));
    }

    /// Makes the connection's sessions close without delay, whatever they are doing.
    pub fn interrupt(&self, connection: &str) {
        self.shared.accounting.update(connection, |accounting| accounting.interrupt(connection));
    }

    /// By connection: how many sessions it could use now, and how many it has open, in whatever state.
    #[must_use]
    pub fn uses(&self) -> Vec<(Arc<str>, usize, usize)> {
        self.shared.accounting.read(SessionAccounting::uses)
    }

    /// Sessions that this pod is granted of a connection with `max_sessions_total`; `None` for others.
    #[must_use]
    pub fn grant(&self, connection: &str) -> Option<usize> {
        self.shared.accounting.read(|accounting| accounting.grant(connection))
    }

    /// Removes a connection. Its idle sessions are closed now, busy ones when they are returned.
    pub fn remove(&self, connection: &str) {
        let pool = self.shared.connections.write().unwrap_or_else(PoisonError::into_inner).remove(connection);
        let Some(pool) = pool else { return };
        pool.idle.manager().settings().version().mark_outdated();
        self.shared.accounting.remove(connection);
        for pooled in pool.idle.retain(|_, _| false).removed {
            pooled.close_for(CloseReason::Replaced);
        }
    }

    /// Whether the connection is configured, or was and still has open sessions.
    #[must_use]
    pub fn is_known(&self, connection: &str) -> bool {
        self.shared.accounting.read(|accounting| accounting.is_known(connection))
    }

    /// Waits for an idle session of the connection, or for permission to open one. Holds nothing while it waits.
    /// Cancel-safe.
    pub async fn reserve(&self, connection: &str) -> Result<Reservation<C>, ReserveError> {
        let pool = self.shared.connection_pool(connection).ok_or(ReserveError::UnknownConnection)?;
        let (mut waiter, accounting) = (None, &self.shared.accounting);
        loop {
            match accounting.wait(&pool.name, &mut waiter).await.ok_or(ReserveError::Closed)? {
                WaiterGrant::MayOpen(permit) => {
                    let shared = Arc::clone(&self.shared);
                    return Ok(Reservation::MayOpen(OpenPermit { permit, shared, pool }));
                }
                WaiterGrant::Idle(_hold) => {
                    // The idle session may turn out to be dead: then wait again, in the same position.
                    if let Ok(object) = pool.idle.get().await {
                        return Ok(Reservation::Idle(self.shared.lease(object)));
                    }
                }
            }
        }
    }

    /// [`SessionPool::reserve`] for a listing, which has no task: tasks take precedence for 10 s; after that one of the
    /// connection's workers yields between two files.
    pub async fn reserve_for_listing(&self, connection: &str) -> Result<Reservation<C>, ReserveError> {
        let since = Instant::now();
        self.shared.accounting.update(connection, |accounting| accounting.listing_waits(connection, since));
        let _wait = ListingWait { accounting: &self.shared.accounting, connection, since };
        self.reserve(connection).await
    }

    /// Called when a session of this connection has failed: returns why its server cannot be reached at all, if that is
    /// certain.
    pub async fn route_lost(&self, connection: &str) -> Option<Failure> {
        let pool = self.shared.connection_pool(connection)?;
        let settings = pool.idle.manager().settings();
        self.shared.connector.route_lost(settings.connection()).await
    }

    /// How many sessions the connection may have now: its `max_sessions`, or fewer if the server has refused some.
    #[must_use]
    pub fn limit(&self, connection: &str) -> usize {
        self.shared.accounting.read(|accounting| accounting.limit(connection))
    }

    /// The server accepts no more sessions, or transfers, than the connection has now. (A refused login lowers the
    /// limit automatically.)
    pub fn lower_limit(&self, connection: &str) {
        self.shared.accounting.lower_limit(connection);
    }

    /// Whether the pod is full, and another connection has a better claim to a session than this one.
    #[must_use]
    pub fn is_short_of_room(&self, connection: &str) -> bool {
        self.shared.accounting.read(|accounting| accounting.is_claimed_from(connection))
    }

    /// Open sessions, in whatever state.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.shared.accounting.open()
    }

    /// Closes the idle sessions, waits at most `bound` for all that are closing or in use, and returns how many are
    /// left. From now on nothing can be reserved, and returned sessions are closed.
    pub async fn shutdown(&self, bound: Duration) -> usize {
        self.shared.accounting.close();
        let _ = timeout(bound, self.shared.accounting.wait_until_empty()).await;
        self.open_sessions()
    }
}

/// A waiting listing; when its wait ends for any reason, workers no longer yield to it.
struct ListingWait<'a> {
    accounting: &'a Arc<SharedAccounting>,
    connection: &'a str,
    since: Instant,
}

impl Drop for ListingWait<'_> {
    fn drop(&mut self) {
        let (name, since) = (self.connection, self.since);
        self.accounting.update(name, |accounting| accounting.listing_ended_wait(name, since));
    }
}

impl<C: SessionConnector> Clone for SessionPool<C> {
    fn clone(&self) -> Self {
        SessionPool { shared: Arc::clone(&self.shared) }
    }
}

impl<C: SessionConnector> fmt::Debug for SessionPool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionPool").field("open_sessions", &self.open_sessions()).finish_non_exhaustive()
    }
}

/// Permission to open one session of a connection, which counts as open already.
pub struct OpenPermit<C: SessionConnector> {
    permit: SessionPermit,
    shared: Arc<PoolInner<C>>,
    pool: Arc<ConnectionPool<C>>,
}

impl<C: SessionConnector> OpenPermit<C> {
    /// The version of the settings that the session will have: read it before [`OpenPermit::open`].
    #[must_use]
    pub fn version(&self) -> SettingsVersion {
        self.pool.idle.manager().settings().version().clone()
    }

    /// Cancelled when the session must no longer be opened.
    #[must_use]
    pub fn interrupted(&self) -> CancellationToken {
        self.permit.interrupted().clone()
    }

    /// Connects and logs in, or takes a session that has become idle meanwhile. Cancel-safe: when dropped, the socket
    /// is closed and the permission released.
    ///
    /// # Errors
    /// See [`SessionConnector::open`].
    pub async fn open(self) -> Result<LeasedSession<C>, TryError> {
        let OpenPermit { permit, shared, pool } = self;
        match PERMIT.scope(Cell::new(Some(permit)), pool.idle.get()).await {
            Ok(object) => Ok(shared.lease(object)),
            Err(PoolError::Backend(CreateError::Try(error))) => Err(error),
            Err(_) => Err(permit_lost()),
        }
    }
}

impl<C: SessionConnector> fmt::Debug for OpenPermit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenPermit").field("connection", &self.pool.name).finish_non_exhaustive()
    }
}

struct PoolInner<C: SessionConnector> {
    connections: RwLock<HashMap<Arc<str>, Arc<ConnectionPool<C>>>>,
    accounting: Arc<SharedAccounting>,
    connector: Arc<C>,
    metrics: Metrics,
}

/// The idle sessions of one connection.
struct ConnectionPool<C: SessionConnector> {
    name: Arc<str>,
    idle: managed::Pool<SessionManager<C>>,
}

impl<C: SessionConnector> PoolInner<C> {
    fn connection_pool(&self, connection: &str) -> Option<Arc<ConnectionPool<C>>> {
        self.connections.read().unwrap_or_else(PoisonError::into_inner).get(connection).cloned()
    }

    fn lease(&self, object: managed::Object<SessionManager<C>>) -> LeasedSession<C> {
        LeasedSession::new(object, Arc::clone(&self.connector), Arc::clone(&self.accounting))
    }

    /// Closes an idle session. If a `get` has just taken it, that one closes it.
    fn evict(&self, eviction: &Eviction) {
        let Some(pool) = self.connection_pool(&eviction.connection) else { return };
        for pooled in pool.idle.retain(|pooled, _| pooled.id() != eviction.session).removed {
            pooled.close_for(eviction.reason);
        }
    }
}

/// The newest idle session is used first, so that the oldest can expire. No timeouts: the session's own deadlines end
/// every wait. Its size does not limit anything (the accounting does), and is never less than the cap.
fn idle_sessions<C: SessionConnector>(manager: SessionManager<C>) -> managed::Pool<SessionManager<C>> {
    let max_size = manager.settings().connection().max_sessions.max(1);
    let builder = managed::Pool::builder(manager).max_size(max_size).queue_mode(QueueMode::Lifo);
    match builder.runtime(Runtime::Tokio1).build() {
        Ok(pool) => pool,
        Err(error) => unreachable!("only a pool with timeouts needs a runtime: {error}"),
    }
}

/// Closes what the accounting has evicted, and ticks; ends with the pool.
async fn maintain<C: SessionConnector>(
    shared: Weak<PoolInner<C>>,
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
            None => shared.accounting.tick(session_timeout),
        }
    }
}

fn permit_lost() -> TryError {
    let failure = Failure::new(Code::Internal, "the pool lost the permission to open a session");
    TryError { failure, remedy: Remedy::GiveUp }
}

#[cfg(test)]
mod tests;

//! What deadpool asks of us: opening a session, and judging an idle one before it is used again.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, RecycleError, RecycleResult};
use tokio::time::timeout;

use super::connect::Connect;
use super::desk::{Desk, Permit};
use super::room::SessionId;
use super::settings::{Settings, Version};
use crate::config::FtpConnection;
use crate::failure::{Remedy, TryError};
use crate::metrics::{Closed, Metrics};

/// A session's close ends after this in any case; its permit comes back then at the latest.
pub(super) const CLOSE_BOUND: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// The permit for the session that [`Manager::create`] is about to open. deadpool knows nothing of
    /// permits, and calls `create` from within the `get` that this is set for.
    pub(super) static PERMIT: Cell<Option<Permit>>;
}

/// Opens and judges the sessions of one connection.
pub(super) struct Manager<C: Connect> {
    connect: Arc<C>,
    settings: Mutex<Arc<Settings<C::Known>>>,
    desk: Arc<Desk>,
    metrics: Metrics,
}

impl<C: Connect> Manager<C> {
    pub fn new(connect: Arc<C>, connection: Arc<FtpConnection>, desk: Arc<Desk>, metrics: Metrics) -> Self {
        Manager { connect, settings: Mutex::new(Settings::new(connection)), desk, metrics }
    }

    /// What sessions are opened with now.
    pub fn settings(&self) -> Arc<Settings<C::Known>> {
        Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on sessions are opened with these; nothing that the earlier ones found out is known to them.
    pub fn replace(&self, connection: Arc<FtpConnection>) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.version().outdate();
        *settings = Settings::new(connection);
    }
}

/// Why there is no session.
#[derive(Debug)]
pub(super) enum CreateError {
    /// None is idle, and this `get` has no permit to open one.
    NoPermit,
    Try(TryError),
}

impl<C: Connect> managed::Manager for Manager<C> {
    type Type = Pooled<C>;
    type Error = CreateError;

    async fn create(&self) -> Result<Pooled<C>, CreateError> {
        // Declared before the session and so dropped after it, also when this future is dropped.
        let permit = PERMIT.try_with(Cell::take).ok().flatten().ok_or(CreateError::NoPermit)?;
        let settings = self.settings();
        let session = match self.connect.open(settings.connection(), settings.known()).await {
            Ok(session) => session,
            Err(error) => {
                if error.remedy == Remedy::LowerLimit && !settings.version().is_outdated() {
                    self.desk.lower_limit(permit.connection());
                }
                return Err(CreateError::Try(error));
            }
        };
        self.desk.opened(&permit);
        self.metrics.session_opened(permit.connection());
        Ok(Pooled {
            open: Some(Open { session, permit }),
            version: settings.version().clone(),
            close_reason: Closed::MadeRoom,
            connect: Arc::clone(&self.connect),
            metrics: self.metrics.clone(),
        })
    }

    async fn recycle(&self, pooled: &mut Pooled<C>, _: &managed::Metrics) -> RecycleResult<CreateError> {
        let Some(open) = &pooled.open else { return Err(RecycleError::message("closed")) };
        if !self.desk.claim(&open.permit) {
            return Err(RecycleError::message("about to be closed")); // for room or for age, by the desk
        }
        if !self.connect.is_sound(&open.session) || !self.connect.is_alive(&open.session) {
            self.desk.doom(&open.permit);
            pooled.close_reason = Closed::Dead;
            return Err(RecycleError::message("ended by the server"));
        }
        if pooled.version.is_outdated() {
            self.desk.doom(&open.permit);
            pooled.close_reason = Closed::Replaced;
            return Err(RecycleError::message("of other settings"));
        }
        if self.connect.is_expired(&open.session) {
            self.desk.doom(&open.permit);
            pooled.close_reason = Closed::Aged;
            return Err(RecycleError::message("too old"));
        }
        Ok(())
    }
}

/// A session as deadpool keeps it. Dropped, it is closed in a task of its own, which is bounded.
pub(super) struct Pooled<C: Connect> {
    open: Option<Open<C::Session>>,
    version: Version,
    close_reason: Closed,
    connect: Arc<C>,
    metrics: Metrics,
}

/// The permit stands after the socket, and so is dropped after it.
struct Open<S> {
    session: S,
    permit: Permit,
}

impl<C: Connect> Pooled<C> {
    pub fn session(&self) -> &C::Session {
        &self.open().session
    }

    pub fn session_mut(&mut self) -> &mut C::Session {
        match &mut self.open {
            Some(open) => &mut open.session,
            None => unreachable!("only drop takes the session"),
        }
    }

    /// Drops the session, which closes it.
    pub fn close_for(mut self, reason: Closed) {
        self.close_reason = reason;
    }

    /// Of the settings that it was opened with.
    pub fn version(&self) -> &Version {
        &self.version
    }

    pub fn permit(&self) -> &Permit {
        &self.open().permit
    }

    pub fn id(&self) -> SessionId {
        self.open().permit.session()
    }

    fn open(&self) -> &Open<C::Session> {
        match &self.open {
            Some(open) => open,
            None => unreachable!("only drop takes the session"),
        }
    }
}

impl<C: Connect> Drop for Pooled<C> {
    fn drop(&mut self) {
        let Some(Open { session, permit }) = self.open.take() else { return };
        self.metrics.session_closed(permit.connection(), self.close_reason);
        let connect = Arc::clone(&self.connect);
        let handle = permit.desk().handle.clone();
        handle.spawn(close(connect, session, permit));
    }
}

async fn close<C: Connect>(connect: Arc<C>, session: C::Session, permit: Permit) {
    if timeout(CLOSE_BOUND, connect.close(session)).await.is_err() {
        tracing::warn!(connection = %permit.connection(), "a session did not close in time; its socket is dropped");
    }
    drop(permit); // after the socket
}

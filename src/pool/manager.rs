//! What deadpool needs: opens sessions, and checks an idle one before it is reused.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, RecycleError, RecycleResult};
use tokio::time::timeout;

use super::accounting::{SessionAccounting, SessionId};
use super::connector::SessionConnector;
use super::settings::{SessionSettings, SettingsVersion};
use super::shared_accounting::{SessionPermit, SharedAccounting};
use crate::config::FtpConnection;
use crate::failure::{Remedy, TryError};
use crate::metrics::{CloseReason, Metrics};

/// Closing a session takes at most this long; its permit is released then at the latest.
pub(super) const CLOSE_BOUND: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// The permit for the session that [`SessionManager::create`] is about to open. deadpool knows nothing about
    /// permits, and calls `create` from within the `get` that this is set for.
    pub(super) static PERMIT: Cell<Option<SessionPermit>>;
}

/// Opens and checks the sessions of one connection.
pub(super) struct SessionManager<C: SessionConnector> {
    connector: Arc<C>,
    settings: Mutex<Arc<SessionSettings<C::ServerProfile>>>,
    accounting: Arc<SharedAccounting>,
    metrics: Metrics,
}

impl<C: SessionConnector> SessionManager<C> {
    pub fn new(
        connector: Arc<C>,
        connection: Arc<FtpConnection>,
        accounting: Arc<SharedAccounting>,
        metrics: Metrics,
    ) -> Self {
        SessionManager {
            connector,
            settings: Mutex::new(SessionSettings::new(connection)),
            accounting,
            metrics,
        }
    }

    /// The current settings for opening sessions.
    pub fn settings(&self) -> Arc<SessionSettings<C::ServerProfile>> {
        Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sessions are opened with these settings from now on, and start without what earlier ones have learned about the
    /// server.
    pub fn replace(&self, connection: Arc<FtpConnection>) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.version().mark_outdated();
        *settings = SessionSettings::new(connection);
    }
}

/// Why no session was created.
#[derive(Debug)]
pub(super) enum CreateError {
    /// No session is idle, and this `get` has no permit to open one.
    NoPermit,
    Try(TryError),
}

impl<C: SessionConnector> managed::Manager for SessionManager<C> {
    type Type = PooledSession<C>;
    type Error = CreateError;

    async fn create(&self) -> Result<PooledSession<C>, CreateError> {
        // Declared before the session and so dropped after it, also when this future is dropped.
        let permit = PERMIT.try_with(Cell::take).ok().flatten().ok_or(CreateError::NoPermit)?;
        let settings = self.settings();
        let session = match self.connector.open(settings.connection(), settings.server_profile()).await {
            Ok(session) => session,
            Err(error) => {
                if error.remedy == Remedy::LowerLimit && !settings.version().is_outdated() {
                    self.accounting.lower_limit(permit.connection());
                }
                return Err(CreateError::Try(error));
            }
        };
        permit.update(SessionAccounting::opened);
        self.metrics.session_opened(permit.connection());
        Ok(PooledSession {
            open: Some(OpenSession { session, permit }),
            version: settings.version().clone(),
            close_reason: CloseReason::MadeRoom,
            connector: Arc::clone(&self.connector),
            metrics: self.metrics.clone(),
        })
    }

    async fn recycle(
        &self,
        pooled: &mut PooledSession<C>,
        _: &managed::Metrics,
    ) -> RecycleResult<CreateError> {
        let Some(open) = &pooled.open else { return Err(RecycleError::message("closed")) };
        if !open.permit.update(SessionAccounting::claim) {
            return Err(RecycleError::message("about to be closed")); // evicted or expired
        }
        let is_usable = self.connector.is_usable(&open.session) && self.connector.is_alive(&open.session);
        let (reason, message) = if !is_usable {
            (CloseReason::Dead, "ended by the server")
        } else if pooled.version.is_outdated() {
            (CloseReason::Replaced, "of previous settings")
        } else if self.connector.is_expired(&open.session) {
            (CloseReason::Aged, "too old")
        } else {
            return Ok(());
        };
        open.permit.update(SessionAccounting::begin_closing);
        pooled.close_reason = reason;
        Err(RecycleError::message(message))
    }
}

/// A session as stored by deadpool. When dropped, it is closed in a task of its own, within a bounded time.
pub(super) struct PooledSession<C: SessionConnector> {
    open: Option<OpenSession<C::Session>>,
    version: SettingsVersion,
    close_reason: CloseReason,
    connector: Arc<C>,
    metrics: Metrics,
}

/// The permit is declared after the session, and so is dropped after its socket.
struct OpenSession<S> {
    session: S,
    permit: SessionPermit,
}

impl<C: SessionConnector> PooledSession<C> {
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
    pub fn close_for(mut self, reason: CloseReason) {
        self.close_reason = reason;
    }

    /// The version of the settings that it was opened with.
    pub fn version(&self) -> &SettingsVersion {
        &self.version
    }

    pub fn permit(&self) -> &SessionPermit {
        &self.open().permit
    }

    pub fn id(&self) -> SessionId {
        self.open().permit.session()
    }

    fn open(&self) -> &OpenSession<C::Session> {
        match &self.open {
            Some(open) => open,
            None => unreachable!("only drop takes the session"),
        }
    }
}

impl<C: SessionConnector> Drop for PooledSession<C> {
    fn drop(&mut self) {
        let Some(OpenSession { session, permit }) = self.open.take() else { return };
        self.metrics.session_closed(permit.connection(), self.close_reason);
        let connector = Arc::clone(&self.connector);
        let handle = permit.accounting().handle.clone();
        handle.spawn(close(connector, session, permit));
    }
}

async fn close<C: SessionConnector>(connector: Arc<C>, session: C::Session, permit: SessionPermit) {
    if timeout(CLOSE_BOUND, connector.close(session)).await.is_err() {
        tracing::warn!(
            event = "session_close_timed_out", connection = %permit.connection(),
            "session did not close in time; its socket is dropped"
        );
    }
    drop(permit); // after the socket
}

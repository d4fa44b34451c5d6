//! A session in use.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use deadpool::managed::Object;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accounting::SessionAccounting;
use super::connector::SessionConnector;
use super::manager::{PooledSession, SessionManager};
use super::shared_accounting::SharedAccounting;
use crate::metrics::CloseReason;

/// A logged-in session in use by one worker. When dropped, it returns to its pool if it is usable and needed; otherwise
/// it is closed, and counts until its socket is closed.
pub struct LeasedSession<C: SessionConnector> {
    object: Option<Object<SessionManager<C>>>,
    connector: Arc<C>,
    accounting: Arc<SharedAccounting>,
    since: Instant,
    close_reason: Option<CloseReason>,
}

impl<C: SessionConnector> LeasedSession<C> {
    pub(super) fn new(
        object: Object<SessionManager<C>>,
        connector: Arc<C>,
        accounting: Arc<SharedAccounting>,
    ) -> Self {
        LeasedSession {
            object: Some(object),
            connector,
            accounting,
            since: Instant::now(),
            close_reason: None,
        }
    }

    /// Whether it may send another command: no exchange was left unfinished, and it is not too old.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.close_reason.is_none() && self.connector.is_usable(self) && !self.connector.is_expired(self)
    }

    /// Whether the session must be released now, between two files: another connection waits for capacity and has fewer
    /// sessions, the server accepts no more of them, or its connection has been reconfigured. If so, its slot is
    /// promised to the waiter: drop it at once.
    pub fn must_yield(&mut self) -> bool {
        let held = self.since.elapsed();
        let reason =
            self.pooled().permit().update(|accounting, session| accounting.must_yield(session, held));
        let reason = reason.or(self.is_outdated().then_some(CloseReason::Replaced));
        self.close_reason = self.close_reason.or(reason);
        reason.is_some()
    }

    /// Whether a listing has waited so long for a session of this connection that a worker should release its own.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        let connection = self.pooled().permit().connection();
        self.accounting.read(|accounting| accounting.is_awaited(connection, Instant::now()))
    }

    /// Whether its connection has been reconfigured or removed: what happens on it says nothing about the present
    /// settings.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.pooled().version().is_outdated()
    }

    /// Cancelled when the session must be closed without delay, whatever it is doing.
    #[must_use]
    pub fn interrupted(&self) -> CancellationToken {
        self.pooled().permit().interrupted().clone()
    }

    /// Closes the session, even if it seems usable.
    pub fn throw_away(mut self) {
        self.close_reason = Some(CloseReason::Uncertain);
    }

    fn object(&self) -> &Object<SessionManager<C>> {
        match &self.object {
            Some(object) => object,
            None => unreachable!("only drop takes the object"),
        }
    }

    fn pooled(&self) -> &PooledSession<C> {
        self.object()
    }

    /// Returns a usable session to its pool; otherwise says why it must be closed.
    fn return_to_pool(&mut self) -> Option<CloseReason> {
        if self.close_reason.is_some() {
            return self.close_reason;
        }
        if !self.connector.is_usable(self) {
            return Some(CloseReason::Uncertain);
        }
        if self.connector.is_expired(self) {
            return Some(CloseReason::Aged);
        }
        if self.is_outdated() {
            return Some(CloseReason::Replaced);
        }
        let permit = self.pooled().permit();
        let (connection, session) = (Arc::clone(permit.connection()), permit.session());
        let accounting = Arc::clone(&self.accounting);
        accounting.make_idle((&connection, session), || self.object = None)
    }
}

impl<C: SessionConnector> Drop for LeasedSession<C> {
    fn drop(&mut self) {
        let Some(reason) = self.return_to_pool() else { return };
        let Some(object) = self.object.take() else { return };
        let pooled = Object::take(object);
        pooled.permit().update(SessionAccounting::begin_closing);
        pooled.close_for(reason);
    }
}

impl<C: SessionConnector> Deref for LeasedSession<C> {
    type Target = C::Session;

    fn deref(&self) -> &C::Session {
        self.pooled().session()
    }
}

impl<C: SessionConnector> DerefMut for LeasedSession<C> {
    fn deref_mut(&mut self) -> &mut C::Session {
        match &mut self.object {
            Some(object) => object.session_mut(),
            None => unreachable!("only drop takes the object"),
        }
    }
}

impl<C: SessionConnector> fmt::Debug for LeasedSession<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.object.as_ref().map(|object| object.id());
        f.debug_struct("LeasedSession")
            .field("session", &session)
            .field("close_reason", &self.close_reason)
            .finish_non_exhaustive()
    }
}

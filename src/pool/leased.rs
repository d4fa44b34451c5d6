//! A session in use.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use deadpool::managed::Object;
use tokio::time::Instant;

use super::connect::Connect;
use super::desk::Desk;
use super::manager::{Manager, Pooled};
use crate::metrics::Closed;

/// A logged-in session in use by one lane. Dropped, it goes back to its pool if it is sound and wanted;
/// otherwise it is closed, and counts until its socket is.
pub struct Leased<C: Connect> {
    object: Option<Object<Manager<C>>>,
    connect: Arc<C>,
    desk: Arc<Desk>,
    since: Instant,
    fate: Option<Closed>,
}

impl<C: Connect> Leased<C> {
    pub(super) fn new(object: Object<Manager<C>>, connect: Arc<C>, desk: Arc<Desk>) -> Self {
        Leased { object: Some(object), connect, desk, since: Instant::now(), fate: None }
    }

    /// False once an exchange was left unfinished, or it is too old: drop it, and it is closed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.fate.is_none() && self.connect.is_sound(self) && !self.connect.is_expired(self)
    }

    /// Whether the session must be given up now, between two files: another connection waits for room
    /// and would have fewer sessions, the server bears no more of them, or its connection has other settings
    /// by now. If so it is promised to the waiter: drop it at once.
    pub fn yields(&mut self) -> bool {
        let reason = self.desk.yields(self.pooled().permit(), self.since.elapsed());
        let reason = reason.or(self.is_outdated().then_some(Closed::Replaced));
        self.fate = self.fate.or(reason);
        reason.is_some()
    }

    /// Its connection has other settings by now, or is no more: what happens on it tells nothing of these.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.pooled().version().is_outdated()
    }

    /// Closes the session, whatever it says of itself.
    pub fn throw_away(mut self) {
        self.fate = Some(Closed::InDoubt);
    }

    fn object(&self) -> &Object<Manager<C>> {
        match &self.object {
            Some(object) => object,
            None => unreachable!("only drop takes the object"),
        }
    }

    fn pooled(&self) -> &Pooled<C> {
        self.object()
    }

    /// Puts a sound session back; otherwise says why it must be closed.
    fn put_back(&mut self) -> Option<Closed> {
        if self.fate.is_some() {
            return self.fate;
        }
        if !self.connect.is_sound(self) {
            return Some(Closed::InDoubt);
        }
        if self.connect.is_expired(self) {
            return Some(Closed::Aged);
        }
        if self.is_outdated() {
            return Some(Closed::Replaced);
        }
        let permit = self.pooled().permit();
        let (connection, session) = (Arc::clone(permit.connection()), permit.session());
        let desk = Arc::clone(&self.desk);
        desk.rest((&connection, session), || self.object = None)
    }
}

impl<C: Connect> Drop for Leased<C> {
    fn drop(&mut self) {
        let Some(reason) = self.put_back() else { return };
        let Some(object) = self.object.take() else { return };
        let pooled = Object::take(object);
        self.desk.doom(pooled.permit());
        pooled.close_for(reason);
    }
}

impl<C: Connect> Deref for Leased<C> {
    type Target = C::Session;

    fn deref(&self) -> &C::Session {
        self.pooled().session()
    }
}

impl<C: Connect> DerefMut for Leased<C> {
    fn deref_mut(&mut self) -> &mut C::Session {
        match &mut self.object {
            Some(object) => object.session_mut(),
            None => unreachable!("only drop takes the object"),
        }
    }
}

impl<C: Connect> fmt::Debug for Leased<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.object.as_ref().map(|object| object.id());
        f.debug_struct("Leased").field("session", &session).field("fate", &self.fate).finish_non_exhaustive()
    }
}

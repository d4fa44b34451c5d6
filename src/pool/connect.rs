//! How a session is opened, judged and closed: all that the pool needs to know of one.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use crate::config::FtpConnection;
use crate::failure::TryError;
use crate::ftp;

/// Opens and closes sessions. The pool knows sessions only through this, so that tests can do without a server.
pub trait Connect: Send + Sync + 'static {
    type Session: Send + 'static;

    /// What the sessions of one connection find out about its server and tell each other. It ends with the settings
    /// that they were opened with.
    type Known: Debug + Default + Send + Sync + 'static;

    /// Connects and logs in. May be dropped at any time; its socket is closed then.
    fn open(
        &self,
        connection: &FtpConnection,
        known: &Arc<Self::Known>,
    ) -> impl Future<Output = Result<Self::Session, TryError>> + Send;

    /// False once an exchange was left unfinished: the session is thrown away. No round trip.
    fn is_sound(&self, session: &Self::Session) -> bool;

    /// False if the server has ended an idle session. No round trip.
    fn is_alive(&self, session: &Self::Session) -> bool;

    /// True once an idle session is too old to be used again. No round trip.
    fn is_expired(&self, session: &Self::Session) -> bool;

    /// Says goodbye where that is possible; the socket is closed when this returns or is dropped.
    fn close(&self, session: Self::Session) -> impl Future<Output = ()> + Send;
}

/// Sessions on real servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ftp;

impl Connect for Ftp {
    type Session = ftp::Session;
    type Known = ftp::ServerProfile;

    async fn open(
        &self,
        connection: &FtpConnection,
        known: &Arc<ftp::ServerProfile>,
    ) -> Result<ftp::Session, TryError> {
        ftp::Session::open_with(connection, known).await
    }

    fn is_sound(&self, session: &ftp::Session) -> bool {
        session.is_usable()
    }

    fn is_alive(&self, session: &ftp::Session) -> bool {
        session.is_alive()
    }

    fn is_expired(&self, session: &ftp::Session) -> bool {
        session.is_expired()
    }

    async fn close(&self, session: ftp::Session) {
        session.close().await;
    }
}

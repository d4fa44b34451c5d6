//! How a session is opened, checked and closed: all that the pool needs to know about one.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use crate::config::FtpConnection;
use crate::failure::{Failure, Remedy, TryError};
use crate::ftp;
use crate::tunnel::Tunnels;

/// Opens and closes sessions. The pool knows sessions only through this trait, so tests need no server.
pub trait SessionConnector: Send + Sync + 'static {
    type Session: Send + 'static;

    /// What the sessions of one connection learn about its server and share. It is discarded with the settings that
    /// they were opened with.
    type ServerProfile: Debug + Default + Send + Sync + 'static;

    /// Connects and logs in. Cancel-safe: when dropped, the socket is closed.
    fn open(
        &self,
        connection: &FtpConnection,
        server_profile: &Arc<Self::ServerProfile>,
    ) -> impl Future<Output = Result<Self::Session, TryError>> + Send;

    /// Called when a session of this connection has failed: returns why its server cannot be reached at all, if that is
    /// certain. Takes seconds at most.
    fn route_lost(&self, _: &FtpConnection) -> impl Future<Output = Option<Failure>> + Send {
        std::future::ready(None)
    }

    /// False if an exchange was left unfinished: the session must be closed. No round trip.
    fn is_usable(&self, session: &Self::Session) -> bool;

    /// False if the server has ended an idle session. No round trip.
    fn is_alive(&self, session: &Self::Session) -> bool;

    /// True once an idle session is too old to be used again. No round trip.
    fn is_expired(&self, session: &Self::Session) -> bool;

    /// Sends QUIT if possible; the socket is closed when this returns or is dropped.
    fn close(&self, session: Self::Session) -> impl Future<Output = ()> + Send;
}

/// Sessions on real servers.
#[derive(Clone, Debug, Default)]
pub struct FtpConnector {
    /// The tunnels that connections name in `via`.
    pub tunnels: Option<Arc<dyn Tunnels>>,
}

impl FtpConnector {
    /// The tunnels, and the name of the one that leads to the server.
    fn route<'a>(&'a self, connection: &'a FtpConnection) -> Option<(&'a dyn Tunnels, &'a str)> {
        Some((&**self.tunnels.as_ref()?, connection.network.via.as_deref()?))
    }
}

impl SessionConnector for FtpConnector {
    type Session = ftp::Session;
    type ServerProfile = ftp::ServerProfile;

    async fn open(
        &self,
        connection: &FtpConnection,
        server_profile: &Arc<ftp::ServerProfile>,
    ) -> Result<ftp::Session, TryError> {
        let Some((tunnels, tunnel)) = self.route(connection) else {
            return ftp::Session::open_with(connection, server_profile).await;
        };
        let entrance = tunnels.entrance(tunnel);
        let entrance = entrance.map_err(|failure| TryError { failure, remedy: Remedy::OpenBreaker })?;
        ftp::Session::open_with(&connection.entering(entrance), server_profile).await
    }

    async fn route_lost(&self, connection: &FtpConnection) -> Option<Failure> {
        let (tunnels, tunnel) = self.route(connection)?;
        tunnels.diagnose(tunnel).await
    }

    fn is_usable(&self, session: &ftp::Session) -> bool {
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

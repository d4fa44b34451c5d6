//! TLS of one session: the control connection's, resumed on each data connection (RFC 4217).
//!
//! vsftpd, `ProFTPD` and others accept a data connection only if it resumes the TLS session of *its* control
//! connection. So every FTP session has its own `ClientConfig`, whose store holds no other session's.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{FtpConnection, TlsMode};

use super::certificate::describe;
use super::fault::Fault;
use super::server_profile::ServerProfile;

/// The name of the handshake in messages.
pub(super) const HANDSHAKE: &str = "the TLS handshake";

/// How many TLS sessions a store keeps: those of one server.
const STORED: usize = 1;

/// The TLS of one FTP session; clones share its store.
#[derive(Clone)]
pub(super) struct SessionTls {
    connector: TlsConnector,
    name: ServerName<'static>,
    is_13: Arc<AtomicBool>,
}

impl SessionTls {
    /// `None` for a connection without TLS.
    pub fn new(connection: &FtpConnection, profile: &ServerProfile) -> Result<Option<SessionTls>, Fault> {
        if connection.tls.mode == TlsMode::Off {
            return Ok(None);
        }
        let verifier = profile.verifier(connection).map_err(Fault::Tls)?;
        let versions: &[&SupportedProtocolVersion] =
            if connection.tls.tls12_only || profile.is_tls12_only() { &[&TLS12] } else { &[&TLS13, &TLS12] };
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .map_err(|error| Fault::Tls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(STORED);
        let name = ServerName::try_from(connection.host.clone()).map_err(|_| {
            Fault::Tls(format!("{} is not a name that a certificate can have", connection.host))
        })?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Some(SessionTls { connector, name, is_13: Arc::default() }))
    }

    /// A handshake; on a data connection it resumes the control connection's session.
    pub async fn handshake<S>(&self, stream: S) -> Result<TlsStream<S>, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        // Boxed: its state is large, and a plain session's futures should not be.
        let handshake = Box::pin(self.connector.connect(self.name.clone(), stream));
        let stream = handshake.await.map_err(tls_fault)?;
        let is_13 = stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        self.is_13.store(is_13, Ordering::Relaxed);
        Ok(stream)
    }

    /// Whether the session's connections speak TLS 1.3.
    pub fn is_13(&self) -> bool {
        self.is_13.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for SessionTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTls").field("name", &self.name).finish_non_exhaustive()
    }
}

fn tls_fault(error: io::Error) -> Fault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => Fault::NotTls,
        Some(error) => Fault::Tls(describe(error)),
        None => Fault::Broken { what: HANDSHAKE.to_owned(), error },
    }
}

//! TLS of one session: the control connection's, resumed on each data connection (RFC 4217).
//!
//! vsftpd, `ProFTPD` and others take a data connection only if it resumes the TLS session of *its* control
//! connection. So every FTP session has a `ClientConfig` of its own, with a store that holds no other's.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};
use suppaftp::tokio::{AsyncRustlsStream, AsyncTlsConnector};
use suppaftp::{FtpError, FtpResult};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{FtpConnection, TlsMode};

use super::control::{Control, ControlTls, Socket};
use super::fault::Fault;
use super::known::Known;
use super::trust::describe;

/// TLS sessions that a store keeps: one server's.
const STORED: usize = 1;

/// The TLS of one FTP session; clones share its store.
#[derive(Clone)]
pub(super) struct SessionTls {
    connector: TlsConnector,
    name: ServerName<'static>,
    is_13: Arc<AtomicBool>,
    /// The control connection's stream, once it stands.
    control: Arc<OnceLock<ControlTls>>,
}

impl SessionTls {
    /// `None` for a connection without TLS.
    pub fn new(connection: &FtpConnection, known: &Known) -> Result<Option<SessionTls>, Fault> {
        if connection.tls.mode == TlsMode::Off {
            return Ok(None);
        }
        let verifier = known.verifier(connection).map_err(Fault::Tls)?;
        let versions: &[&SupportedProtocolVersion] =
            if connection.tls.tls12_only || known.is_tls12_only() { &[&TLS12] } else { &[&TLS13, &TLS12] };
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .map_err(|error| Fault::Tls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(STORED);
        let name = ServerName::try_from(connection.host.clone())
            .map_err(|_| Fault::Tls(format!("{} is no name that a certificate can have", connection.host)))?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Some(SessionTls { connector, name, is_13: Arc::default(), control: Arc::default() }))
    }

    /// A data connection's handshake, which resumes the control connection's session.
    pub async fn handshake(&self, stream: TcpStream) -> Result<AsyncRustlsStream, Fault> {
        self.shake_hands(stream).await.map(AsyncRustlsStream::from)
    }

    async fn shake_hands<S>(&self, stream: S) -> Result<TlsStream<S>, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        // Boxed: what it holds is large, and a plain session's futures should not be.
        let handshake = Box::pin(self.connector.connect(self.name.clone(), stream));
        let stream = handshake.await.map_err(tls_fault)?;
        let is_13 = stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        self.is_13.store(is_13, Ordering::Relaxed);
        Ok(stream)
    }

    /// The control connection, to write to beside suppaftp.
    pub fn control(&self) -> Option<&ControlTls> {
        self.control.get()
    }

    /// Whether the session's connections speak TLS 1.3.
    pub fn is_13(&self) -> bool {
        self.is_13.load(Ordering::Relaxed)
    }

    /// AUTH TLS, the handshake, PBSZ 0 and PROT P.
    pub async fn secure(&self, ftp: Control) -> Result<Control, Secured> {
        let connector = Connector::new(self.clone(), None);
        let failed = Arc::clone(&connector.failed);
        ftp.into_secure(connector, "").await.map_err(|error| Secured::from(error, &failed))
    }

    /// The handshake on a connection that speaks TLS from its first byte, and the greeting.
    ///
    /// suppaftp connects by itself here, without a deadline, socket options or a way through a proxy. So it
    /// gets a loopback socket to connect to, and our connection in the place of it.
    pub async fn greet(&self, stream: TcpStream) -> Result<Control, Secured> {
        let decoy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let decoy = decoy.and_then(|decoy| decoy.local_addr().map(|address| (decoy, address)));
        let (_decoy, address) = decoy
            .map_err(|error| Secured::Fault(Fault::Broken { what: "a loopback socket".to_owned(), error }))?;
        let connector = Connector::new(self.clone(), Some(stream));
        let failed = Arc::clone(&connector.failed);
        Control::connect_secure_implicit(address, connector, "")
            .await
            .map_err(|error| Secured::from(error, &failed))
    }
}

impl fmt::Debug for SessionTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why the control connection has no TLS.
pub(super) enum Secured {
    /// The handshake.
    Fault(Fault),
    /// A command before or after it.
    Command(FtpError),
}

impl Secured {
    fn from(error: FtpError, failed: &Mutex<Option<Fault>>) -> Secured {
        let fault = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        fault.map_or(Secured::Command(error), Secured::Fault)
    }
}

/// What suppaftp asks for TLS; it keeps of an error only the text, so the fault is put aside here.
#[derive(Debug)]
struct Connector {
    tls: SessionTls,
    /// Taken instead of suppaftp's own.
    instead: Mutex<Option<TcpStream>>,
    failed: Arc<Mutex<Option<Fault>>>,
}

impl Connector {
    fn new(tls: SessionTls, instead: Option<TcpStream>) -> Connector {
        Connector { tls, instead: Mutex::new(instead), failed: Arc::default() }
    }
}

#[async_trait]
impl AsyncTlsConnector for Connector {
    type Stream = ControlTls;

    async fn connect(&self, _: &str, stream: TcpStream) -> FtpResult<ControlTls> {
        let instead = self.instead.lock().unwrap_or_else(PoisonError::into_inner).take();
        match self.tls.shake_hands(Socket::from(instead.unwrap_or(stream))).await {
            Ok(stream) => Ok(self.tls.control.get_or_init(|| ControlTls::new(stream)).clone()),
            Err(fault) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
                Err(FtpError::SecureError(String::new()))
            }
        }
    }
}

fn tls_fault(error: io::Error) -> Fault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => Fault::NotTls,
        Some(error) => Fault::Tls(describe(error)),
        None => Fault::Broken { what: "the TLS handshake".to_owned(), error },
    }
}

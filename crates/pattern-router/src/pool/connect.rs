//! Opens a connection to a port of a pod: the address that is dialled is checked here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Http1Sender, Http2Sender, UpstreamKey, UpstreamProtocol};
use crate::address::{AddressPolicy, AddressRefusal};

/// A connection fails if data is unacknowledged for this long (RFC 5482): a pod's node is gone.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// An idle connection is probed after this long, to detect a WebSocket whose peer is gone.
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// The maximum size of the head of a pod's response, in bytes. The number of fields is limited to hyper's 100: room for
/// more would be allocated on the heap for each response, which costs 3 % of a request.
const MAX_ANSWER_HEAD: usize = 128 * 1024;

/// The TLS settings for pods.
#[derive(Debug, Clone)]
pub struct PodTls {
    /// Offers HTTP/2 and HTTP/1.1.
    pub any: Arc<rustls::ClientConfig>,
    /// Offers only HTTP/1.1: for `WebSockets`.
    pub http1: Arc<rustls::ClientConfig>,
}

/// Opens connections to pods.
#[derive(Debug, Clone)]
pub struct Connector {
    pub policy: AddressPolicy,
    pub timeout: Duration,
    pub tls: PodTls,
    /// The ports on which the router itself listens: never dialled on this machine.
    pub own_ports: Vec<u16>,
}

/// An opened connection.
#[derive(Debug)]
pub enum Opened {
    Http1(Http1Sender),
    Http2(Http2Sender),
}

/// Why a connection could not be opened; nothing of a request was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}")]
    Address(#[from] AddressRefusal),
    #[error("not connected within {0:?}")]
    TimedOut(Duration),
    #[error("connect failed: {0}")]
    Failed(io::Error),
    #[error("TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("no HTTP connection: {0}")]
    Handshake(hyper::Error),
}

impl ConnectError {
    /// As a label.
    pub fn outcome(&self) -> &'static str {
        match self {
            ConnectError::Address(_) => "address_refused",
            ConnectError::TimedOut(_) => "timeout",
            ConnectError::Failed(error) if error.kind() == io::ErrorKind::ConnectionRefused => "refused",
            ConnectError::Failed(_) => "failed",
            ConnectError::Tls(_) => "tls",
            ConnectError::Handshake(_) => "handshake",
        }
    }
}

impl Connector {
    /// Connects, with TLS if the port requires it. `host` is the name for SNI.
    pub async fn open(&self, key: UpstreamKey, host: &str, websocket: bool) -> Result<Opened, ConnectError> {
        let attempt = async {
            let socket = self.dial(key.address).await?;
            match key.protocol {
                UpstreamProtocol::Http1 => http1(socket, websocket).await.map(Opened::Http1),
                UpstreamProtocol::Http2 => http2(socket).await.map(Opened::Http2),
                UpstreamProtocol::Tls => self.tls(socket, key.address.ip(), host, websocket).await,
            }
        };
        tokio::time::timeout(self.timeout, attempt).await.map_err(|_| ConnectError::TimedOut(self.timeout))?
    }

    async fn dial(&self, address: SocketAddr) -> Result<TcpStream, ConnectError> {
        let ip = self.policy.check(address.ip())?;
        if ip.is_loopback() && self.own_ports.contains(&address.port()) {
            return Err(AddressRefusal::Own(ip).into());
        }
        let socket = TcpStream::connect((ip, address.port())).await.map_err(ConnectError::Failed)?;
        let (local, peer) = (socket.local_addr(), socket.peer_addr());
        if let (Ok(local), Ok(peer)) = (local, peer) {
            self.policy.check(peer.ip())?;
            self.policy.check_connected(local.ip(), peer.ip())?;
        }
        prepare(&socket).map_err(ConnectError::Failed)?;
        Ok(socket)
    }

    async fn tls(
        &self,
        socket: TcpStream,
        ip: IpAddr,
        host: &str,
        websocket: bool,
    ) -> Result<Opened, ConnectError> {
        let name = ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::from(ip));
        let connector =
            TlsConnector::from(Arc::clone(if websocket { &self.tls.http1 } else { &self.tls.any }));
        let stream = connector.connect(name, socket).await.map_err(ConnectError::Tls)?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return http2(stream).await.map(Opened::Http2);
        }
        http1(stream, websocket).await.map(Opened::Http1)
    }
}

/// Disables Nagle's algorithm, and sets deadlines for a dead peer.
pub fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE))
}

/// Some WebSocket servers compare field names case-sensitively: `Sec-Websocket-Key` is closer to what they expect.
async fn http1<S>(socket: S, title_case: bool) -> Result<Http1Sender, ConnectError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.title_case_headers(title_case).max_buf_size(MAX_ANSWER_HEAD);
    let (sender, connection) =
        builder.handshake(TokioIo::new(socket)).await.map_err(ConnectError::Handshake)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(event = "pod_connection_closed", %error, "connection to a pod closed");
        }
    });
    Ok(sender)
}

async fn http2<S>(socket: S) -> Result<Http2Sender, ConnectError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(TCP_KEEPALIVE)
        .keep_alive_timeout(TCP_USER_TIMEOUT)
        .adaptive_window(true);
    let (sender, connection) =
        builder.handshake(TokioIo::new(socket)).await.map_err(ConnectError::Handshake)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(event = "pod_connection_closed", %error, "HTTP/2 connection to a pod closed");
        }
    });
    Ok(sender)
}

//! One client's connection, from its first byte to its last.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::io::{ClientIo, ClientSocket};
use super::proxy_protocol;
use crate::clock::LazyTimer;
use crate::limits::{ConnectionPlace, LimitReached};
use crate::pool::prepare;
use crate::proxy::{ClientLink, ClockLimits, ConnectionClock, Worker, handle};
use crate::router::RouterState;

/// The maximum number of concurrent streams on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// How many streams a client may reset before they are answered until its connection is closed (CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 64;
/// The response to an HTTP/1.1 client with too many connections.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\
    retry-after: 1\r\nx-router-error: full\r\n\r\n";

/// Serves an accepted connection.
pub async fn serve(mut socket: TcpStream, peer: SocketAddr, worker: Arc<Worker>) {
    let router = Arc::clone(&worker.router);
    let state = router.state();
    let refused = |reason: &str| router.metrics.connections_refused.with_label_values(&[reason]).inc();
    let Ok(mut place) = router.connections.enter(state.settings.limits.connections) else {
        refused("max_connections");
        refuse(&mut socket, &state).await;
        return;
    };
    if prepare(&socket).is_err() {
        return;
    }
    let peer = peer.ip().to_canonical();
    let Ok(opened) = tokio::time::timeout(state.settings.timeouts.head, open(socket, peer, &state)).await
    else {
        return refused("slow");
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::debug!(event = "client_handshake_failed", %peer, %error, "a client's connection failed before its first request");
            return refused(error.reason());
        }
    };
    if enter_client(&mut place, opened.client, &state).is_err() {
        return refused("max_connections_per_client");
    }
    run(opened, worker, &state).await;
    drop(place);
}

/// Trusted proxies multiplex many clients: the limit of one client does not apply to them.
fn enter_client(
    place: &mut ConnectionPlace,
    client: IpAddr,
    state: &RouterState,
) -> Result<(), LimitReached> {
    if state.settings.is_trusted(client) {
        return Ok(());
    }
    place.of_client(client, state.settings.limits.connections_per_client)
}

async fn refuse(socket: &mut TcpStream, state: &RouterState) {
    if state.tls.is_none() {
        let _ = tokio::time::timeout(state.settings.timeouts.head, socket.write_all(TOO_MANY)).await;
    }
}

struct OpenedConnection {
    socket: ClientSocket,
    client: IpAddr,
    early: Bytes,
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("PROXY header: {0}")]
    ProxyHeader(#[from] proxy_protocol::ProxyHeaderError),
    #[error("TLS handshake: {0}")]
    Tls(std::io::Error),
}

impl OpenError {
    fn reason(&self) -> &'static str {
        match self {
            OpenError::ProxyHeader(_) => "proxy_header",
            OpenError::Tls(_) => "tls",
        }
    }
}

/// Reads the PROXY header of a trusted proxy, and establishes TLS.
async fn open(
    mut socket: TcpStream,
    peer: IpAddr,
    state: &RouterState,
) -> Result<OpenedConnection, OpenError> {
    let mut client = peer;
    if state.settings.proxy_protocol && state.settings.is_trusted(peer) {
        client = proxy_protocol::read(&mut socket).await?.unwrap_or(peer);
    }
    let Some(tls) = state.tls.clone() else {
        return Ok(OpenedConnection { socket: ClientSocket::Plain(socket), client, early: Bytes::new() });
    };
    let stream = TlsAcceptor::from(tls.config).accept(socket).await.map_err(OpenError::Tls)?;
    Ok(OpenedConnection { socket: ClientSocket::Tls(Box::new(stream)), client, early: Bytes::new() })
}

async fn run(opened: OpenedConnection, worker: Arc<Worker>, state: &RouterState) {
    let timeouts = &state.settings.timeouts;
    let limits = ClockLimits { head: timeouts.head, idle: timeouts.idle, send: timeouts.send };
    let clock = ConnectionClock::new(limits, Instant::now());
    let https = matches!(opened.socket, ClientSocket::Tls(_));
    let router = Arc::clone(&worker.router);
    let trusted = state.settings.is_trusted(opened.client);
    let link = Arc::new(ClientLink::new(worker, opened.client, trusted, https, clock));
    let gauge = match &opened.socket {
        ClientSocket::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            &router.metrics.open.http2
        }
        _ => &router.metrics.open.http1,
    };
    gauge.inc();
    let io = TokioIo::new(ClientIo::new(opened.socket, Arc::clone(&link), opened.early));
    let served = Arc::clone(&link);
    let service = service_fn(move |request| handle(request, Arc::clone(&served)));
    let builder = builder(state);
    let connection = builder.serve_connection_with_upgrades(io, service);
    let watched = Watched {
        connection: std::pin::pin!(connection),
        link: Arc::clone(&link),
        timer: LazyTimer::default(),
        drain: Box::pin(router.drain.clone().cancelled_owned()),
        registered: false,
        draining: false,
    };
    if let Err(error) = watched.await {
        tracing::debug!(event = "client_connection_failed", client = %link.peer, error, "a client's connection failed");
    }
    gauge.dec();
}

fn builder(state: &RouterState) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let head = state.settings.limits.head;
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_RESET_STREAMS)
        .enable_connect_protocol();
    builder
}

/// A connection with its clock and the drain, which are polled only when it is idle.
struct Watched<'a, C> {
    connection: Pin<&'a mut C>,
    link: Arc<ClientLink>,
    timer: LazyTimer,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    registered: bool,
    draining: bool,
}

/// A connection that can finish its requests and then end.
trait Drainable: Future {
    fn begin_drain(self: Pin<&mut Self>);
}

impl<I, S, B> Drainable for auto::UpgradeableConnection<'_, I, S, TokioExecutor>
where
    S: hyper::service::Service<hyper::Request<hyper::body::Incoming>, Response = hyper::Response<B>>
        + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    fn begin_drain(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<C, E> Future for Watched<'_, C>
where
    C: Drainable<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    type Output = Result<(), String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // Once it is registered, the flag is equivalent and cheaper.
        if !this.draining && (!this.registered || this.link.worker.router.is_draining()) {
            this.registered = true;
            if this.drain.as_mut().poll(cx).is_ready() {
                this.draining = true;
                this.connection.as_mut().begin_drain();
            }
        }
        if let Poll::Ready(ended) = this.connection.as_mut().poll(cx) {
            return Poll::Ready(ended.map_err(|error| error.to_string()));
        }
        let Some(deadline) = this.link.clock.deadline() else { return Poll::Pending };
        this.timer
            .poll(deadline, cx)
            .map(|()| Err("the client was too slow, or idle for too long".to_owned()))
    }
}

//! Serves a listener so that no client can block it: a deadline for each request's head, a limit on connections, and a
//! maximum lifetime for each. (`axum::serve` has none of these.)

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::socket;

/// How long a client may take to send a request's head, for the first request and each further one.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// The maximum lifetime of a connection, even if its client is still reading a response.
pub const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// The maximum number of connections; a further one closes the oldest, so that a probe is always answered.
pub const MAX_CONNECTIONS: usize = 128;
/// How long a response may continue after shutdown.
pub const GRACE: Duration = Duration::from_secs(2);

/// An endless response (Server-Sent Events) must end this long after its connection was accepted, so that its client
/// sees a complete response instead of a reset at [`CONNECTION_LIFE`].
pub const STREAM_LIFE: Duration = Duration::from_secs(240);

/// An extension of each request: when endless responses on its connection must end.
#[derive(Clone, Copy, Debug)]
pub struct StreamDeadline(pub Instant);

/// The head of a request, and the buffered part of its response, in bytes.
const MAX_BUFFER: usize = 16 * 1_024;
/// The pause after an error that the next accept would get as well (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves until `shutdown`, then closes its connections, within twice [`GRACE`] at most. Each request has its client's
/// address ([`ConnectInfo`]) and its [`StreamDeadline`] as extensions.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let mut connections = OpenConnections::default();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.tasks.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!(event = "http_handler_panicked", %error, "HTTP handler panicked");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((client, address)) => {
                    if let Err(error) = socket::limit_buffers(&client) {
                        tracing::debug!(event = "socket_not_limited", %error, "could not limit the client's socket buffers");
                    }
                    connections.spawn(serve_connection(client, address, router.clone(), shutdown.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(event = "accept_failed", %error, "cannot accept HTTP connections");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.close().await;
}

/// The open connections, oldest first.
#[derive(Default)]
struct OpenConnections {
    tasks: JoinSet<()>,
    order: VecDeque<AbortHandle>,
}

impl OpenConnections {
    fn spawn(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        if self.order.len() >= MAX_CONNECTIONS {
            self.order.retain(|task| !task.is_finished());
        }
        if self.order.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        self.order.push_back(self.tasks.spawn(connection));
    }

    /// Waits for responses in progress; remaining connections are then dropped.
    async fn close(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(GRACE * 2, all).await;
    }
}

/// One connection, from its first request to its end.
async fn serve_connection(
    socket: TcpStream,
    address: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(MAX_BUFFER);
    let (router, deadline) = (TowerToHyperService::new(router), StreamDeadline(Instant::now() + STREAM_LIFE));
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(deadline);
        request.extensions_mut().insert(ConnectInfo(address));
        router.call(request)
    });
    let connection = http.serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    // Its errors are the client's: a late or oversized head, a reset.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => {}
        () = sleep(CONNECTION_LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}

/// The client left before its connection was accepted; that says nothing about the next accept.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

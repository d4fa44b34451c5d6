//! Serving a listener so that no client can hold it up: a deadline for each request's head, a bound on
//! connections, and an end to each. (`axum::serve` has none of these.)

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
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

/// A client has this long to send a request's head, the first as well as the next one.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// No connection lasts longer, also where its client reads its reply slowly.
pub const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// Connections of a listener; one more ends the oldest, so that a probe is always heard.
pub const MAX_CONNECTIONS: usize = 128;
/// What is being answered at the end may be answered for this long.
pub const GRACE: Duration = Duration::from_secs(2);

/// A stream ends by itself this long after its connection began, so that its client sees it end in order.
pub const STREAM_LIFE: Duration = Duration::from_secs(240);

/// When streams of a request's connection end.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndsAt(pub Instant);

/// The head of a request, and what is buffered of its reply, in bytes.
const MAX_BUFFER: usize = 16 * 1_024;
/// After an error that the next accept would meet as well (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves until `shutdown`, then ends its connections, within twice [`GRACE`] at the very most.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.tasks.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!(%error, "a request of the sidecar failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    if let Err(error) = socket::bound(&client) {
                        tracing::debug!(%error, "a client's socket keeps the system's bounds");
                    }
                    connections.begin(converse(client, router.clone(), shutdown.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "the sidecar cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.end().await;
}

/// The open connections, oldest first.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    order: VecDeque<AbortHandle>,
}

impl Connections {
    fn begin(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
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

    /// Waits for those that are still being answered; what is left then is dropped.
    async fn end(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(GRACE * 2, all).await;
    }
}

/// One connection, from its first request to its end.
async fn converse(socket: TcpStream, router: Router, shutdown: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(MAX_BUFFER);
    let (router, end) = (TowerToHyperService::new(router), EndsAt(Instant::now() + STREAM_LIFE));
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(end);
        router.call(request)
    });
    let connection = http.serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    // Its errors are the client's: a head too late or too long, a reset.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => {}
        () = sleep(CONNECTION_LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}

/// The client was gone before its connection was accepted; the next accept is another's.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

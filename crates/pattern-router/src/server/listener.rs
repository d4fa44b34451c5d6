//! Workers: a thread with its own runtime for each core, all listening on one port; the kernel distributes connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::connection;
use crate::proxy::Worker;
use crate::router::Router;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;
/// The pause after a failed accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The interval for closing idle connections to pods.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Why a port could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    pub address: SocketAddr,
    pub source: io::Error,
}

/// A listener that shares its port with those of the other workers.
pub fn bind(address: SocketAddr) -> Result<std::net::TcpListener, ListenError> {
    let wrong = |source| ListenError { address, source };
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(wrong)?;
    if address.is_ipv6() {
        socket.set_only_v6(false).map_err(wrong)?;
    }
    socket.set_reuse_address(true).map_err(wrong)?;
    socket.set_reuse_port(true).map_err(wrong)?;
    socket.set_nonblocking(true).map_err(wrong)?;
    socket.bind(&address.into()).map_err(wrong)?;
    socket.listen(BACKLOG).map_err(wrong)?;
    Ok(socket.into())
}

/// Accepts and serves connections until the drain begins, then waits for open ones until `drain` is over.
pub async fn run_worker(listener: std::net::TcpListener, router: Arc<Router>, drain: Duration) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            return tracing::error!(event = "listener_failed", %error, "a worker cannot use its listener");
        }
    };
    let worker = Worker::new(Arc::clone(&router));
    let tasks = worker.tasks.clone();
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            biased;
            () = router.drain.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    tasks.spawn(connection::serve(socket, peer, Arc::clone(&worker)));
                }
                Err(error) => {
                    tracing::warn!(event = "accept_failed", %error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = sweep.tick() => worker.pool.sweep(Instant::now()),
        }
    }
    drop(listener);
    tasks.close();
    let _ = tokio::time::timeout(drain, tasks.wait()).await;
}

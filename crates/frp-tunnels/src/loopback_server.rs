//! A bounded HTTP/1.1 server on loopback, between frpc and the tunnel's target.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Connections at a time; further ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1024;
/// A client that has not sent the head of its request by then is gone.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// After an error of accept, such as no file handles left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Counts a connection; an upgraded connection keeps a clone for as long as it lives.
pub(crate) type ConnectionSlot = Arc<OwnedSemaphorePermit>;

/// Serves until it is dropped; exchanges that are under way then end on their own.
#[derive(Debug)]
pub(crate) struct LoopbackServer {
    address: SocketAddr,
    stop: CancellationToken,
}

impl LoopbackServer {
    /// Listens on a port that the system gives; `name` is the server's in the log.
    pub async fn start<R, F, B>(name: &'static str, respond: R) -> std::io::Result<Self>
    where
        R: Fn(Request<Incoming>, ConnectionSlot) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        tokio::spawn(serve(name, listener, respond, stop.clone()));
        Ok(Self { address, stop })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for LoopbackServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve<R, F, B>(name: &'static str, listener: TcpListener, respond: R, stop: CancellationToken)
where
    R: Fn(Request<Incoming>, ConnectionSlot) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, slot))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Some((Ok((stream, _)), slot)) => {
                tokio::spawn(connection(name, stream, respond.clone(), Arc::new(slot)));
            }
            Some((Err(error), _)) => {
                tracing::warn!(event = "accept_failed", server = name, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => return,
        }
    }
}

async fn connection<R, F, B>(name: &'static str, stream: TcpStream, respond: R, slot: ConnectionSlot)
where
    R: Fn(Request<Incoming>, ConnectionSlot) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let response = respond(request, slot.clone());
        async move { Ok::<_, Infallible>(response.await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
        tracing::debug!(event = "connection_broken", server = name, %error, "a connection broke");
    }
}

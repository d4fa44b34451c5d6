//! Connections to pods: each worker has its own, so that none crosses a core. HTTP/1.1 connections are lent to one
//! request at a time; a pod with HTTP/2 has one connection that all requests share.
//!
//! ```text
//! state    the connections of one worker to one port of a pod: a pure state machine
//! connect  opens a connection; the address is checked here
//! ```

mod connect;
mod state;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use connect::{ConnectError, Connector, Opened, PodTls, prepare};
use state::{Acquired, GROWTH_INTERVAL, Granted, Handover};
pub use state::{PodConnections, PoolBounds};

use crate::proxy::UpstreamBody;

/// How long a connection may take to be ready again after its response; then it is closed.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// The protocol of a pod's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113, section 3.3).
    Http2,
    /// TLS; ALPN chooses HTTP/2 or HTTP/1.1.
    Tls,
}

/// A port of a pod, as dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UpstreamKey {
    pub address: SocketAddr,
    pub protocol: UpstreamProtocol,
}

pub type Http1Sender = http1::SendRequest<UpstreamBody>;
pub type Http2Sender = http2::SendRequest<UpstreamBody>;

/// One worker's connections to one port of a pod.
#[derive(Debug)]
pub struct PodPool {
    pub key: UpstreamKey,
    state: Mutex<PodConnections<Http1Sender, oneshot::Sender<Grant>>>,
    /// With the time of its last use.
    shared: Mutex<Option<(Http2Sender, Instant)>>,
    bounds: PoolBounds,
    growing: AtomicBool,
}

/// What a request is granted: a connection, or the permission to open one.
#[derive(Debug)]
pub enum Grant {
    Reuse(LentConnection),
    Open(OpenSlot),
}

/// The queue for the port's connections is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait for a connection")]
pub struct QueueFull;

/// A slot among the port's connections; released on drop.
#[derive(Debug)]
pub struct OpenSlot {
    pool: Option<Arc<PodPool>>,
}

/// The slot of a connection that has become a WebSocket; released on drop.
#[derive(Debug)]
pub struct StreamSlot {
    pool: Arc<PodPool>,
}

/// A connection lent to one request; closed on drop, unless its response was read to the end.
#[derive(Debug)]
pub struct LentConnection {
    sender: Option<Http1Sender>,
    slot: OpenSlot,
    since: Instant,
    /// It was used before: the pod may have closed it unnoticed.
    pub reused: bool,
    finished: bool,
}

impl PodPool {
    fn new(key: UpstreamKey, bounds: PoolBounds) -> PodPool {
        PodPool {
            key,
            state: Mutex::default(),
            shared: Mutex::default(),
            bounds,
            growing: AtomicBool::new(false),
        }
    }

    /// A free connection, permission to open one, or a position in the queue.
    pub async fn acquire(self: &Arc<PodPool>, waits: &prometheus::Histogram) -> Result<Grant, QueueFull> {
        let receiver = {
            let now = Instant::now();
            let mut state = self.state.lock();
            loop {
                match state.acquire(now, &self.bounds) {
                    Acquired::Reuse(sender) if sender.is_closed() => drop(state.close(now, &self.bounds)),
                    Acquired::Reuse(sender) => return Ok(Grant::Reuse(self.lend(sender, now, true))),
                    Acquired::Open => return Ok(Grant::Open(OpenSlot { pool: Some(Arc::clone(self)) })),
                    Acquired::Wait => break,
                }
            }
            let (grant, receiver) = oneshot::channel();
            if !state.wait(grant, now) {
                return Err(QueueFull);
            }
            receiver
        };
        self.grow_while_requests_wait();
        let since = Instant::now();
        let grant = receiver.await;
        waits.observe(since.elapsed().as_secs_f64());
        grant.map_err(|_| QueueFull)
    }

    /// Permission to open a connection at once: an idle one is closed if the limits are reached.
    pub fn acquire_fresh(self: &Arc<PodPool>) -> OpenSlot {
        let discarded = self.state.lock().take_slot();
        drop(discarded);
        OpenSlot { pool: Some(Arc::clone(self)) }
    }

    /// Permission to open a connection for a WebSocket, if there is a slot.
    pub fn acquire_stream(self: &Arc<PodPool>) -> Result<OpenSlot, QueueFull> {
        let discarded = self.state.lock().take_slot_within(&self.bounds).ok_or(QueueFull)?;
        drop(discarded);
        Ok(OpenSlot { pool: Some(Arc::clone(self)) })
    }

    fn lend(self: &Arc<PodPool>, sender: Http1Sender, now: Instant, reused: bool) -> LentConnection {
        let slot = OpenSlot { pool: Some(Arc::clone(self)) };
        LentConnection { sender: Some(sender), slot, since: now, reused, finished: false }
    }

    fn grow_while_requests_wait(self: &Arc<PodPool>) {
        if self.growing.swap(true, Ordering::Relaxed) {
            return;
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(GROWTH_INTERVAL).await;
                let granted = {
                    let mut state = pool.state.lock();
                    let granted = state.grow(Instant::now(), &pool.bounds);
                    if granted.is_empty() && state.waiting() == 0 {
                        pool.growing.store(false, Ordering::Relaxed);
                        return;
                    }
                    granted
                };
                for one in granted {
                    pool.grant(one);
                }
            }
        });
    }

    /// A waiter that has gone drops the grant, which passes it to the next one.
    fn grant(self: &Arc<PodPool>, (waiter, connection): Granted<Http1Sender, oneshot::Sender<Grant>>) {
        let _ = waiter.send(match connection {
            Some(sender) if !sender.is_closed() => Grant::Reuse(self.lend(sender, Instant::now(), true)),
            // A closed connection passes its slot to one that is being opened.
            _ => Grant::Open(OpenSlot { pool: Some(Arc::clone(self)) }),
        });
    }

    fn give_back(self: &Arc<PodPool>, sender: Http1Sender, since: Instant) {
        let now = Instant::now();
        let lent = now.saturating_duration_since(since);
        let handover = self.state.lock().release(sender, now, lent, &self.bounds);
        match handover {
            Handover::Connection(waiter, sender) => {
                let _ = waiter.send(Grant::Reuse(self.lend(sender, now, true)));
            }
            Handover::Kept => {}
            Handover::Surplus(sender) => drop(sender),
        }
    }

    /// The shared connection, if the pod uses HTTP/2 and it is open.
    pub fn shared(&self) -> Option<Http2Sender> {
        let mut shared = self.shared.lock();
        let (sender, used) = shared.as_mut()?;
        if sender.is_closed() {
            *shared = None;
            return None;
        }
        *used = Instant::now();
        Some(sender.clone())
    }

    pub fn set_shared(&self, sender: Http2Sender) {
        *self.shared.lock() = Some((sender, Instant::now()));
    }

    /// Drops the shared connection once it has been unused for a while; it ends with its last stream.
    fn expire_shared(&self, now: Instant) -> Option<Http2Sender> {
        let mut shared = self.shared.lock();
        let (sender, used) = shared.as_ref()?;
        let old = now.saturating_duration_since(*used) >= self.bounds.idle || sender.is_closed();
        if old { shared.take().map(|(sender, _)| sender) } else { None }
    }

    /// Records a connect's outcome; returns for how long connects have been refused.
    pub fn note_connect(&self, refused: bool) -> Duration {
        self.state.lock().note_connect(refused, Instant::now())
    }

    /// A connection turned out to be dead: those that were idle as long are dead as well.
    pub fn discard_idle(&self) {
        let discarded = self.state.lock().discard_idle();
        drop(discarded);
    }

    /// The numbers of open and idle connections.
    pub fn counts(&self) -> (usize, usize, usize) {
        let state = self.state.lock();
        let shared = usize::from(self.shared.lock().is_some());
        (state.open() + state.streams() + shared, state.idle(), state.waiting())
    }
}

impl Drop for OpenSlot {
    fn drop(&mut self) {
        let Some(pool) = self.pool.take() else { return };
        let next = pool.state.lock().close(Instant::now(), &pool.bounds);
        if let Some(next) = next {
            pool.grant(next);
        }
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let next = self.pool.state.lock().close_stream(Instant::now(), &self.pool.bounds);
        if let Some(next) = next {
            self.pool.grant(next);
        }
    }
}

impl OpenSlot {
    /// The connection that was opened in this slot.
    pub fn filled(self, sender: Http1Sender) -> LentConnection {
        LentConnection {
            sender: Some(sender),
            slot: self,
            since: Instant::now(),
            reused: false,
            finished: false,
        }
    }
}

impl LentConnection {
    /// None only after it was returned.
    pub fn sender(&mut self) -> Option<&mut Http1Sender> {
        self.sender.as_mut()
    }

    /// Its response was read to the end: the next request may use it.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Only the slot, for a connection that has become a WebSocket.
    pub fn into_stream(mut self) -> Option<StreamSlot> {
        self.sender = None;
        let pool = self.slot.pool.take()?;
        let next = pool.state.lock().detach(Instant::now(), &pool.bounds);
        if let Some(next) = next {
            pool.grant(next);
        }
        Some(StreamSlot { pool })
    }
}

impl Drop for LentConnection {
    fn drop(&mut self) {
        let Some(mut sender) = self.sender.take().filter(|sender| self.finished && !sender.is_closed())
        else {
            return;
        };
        let Some(pool) = self.slot.pool.take() else { return };
        let since = self.since;
        if sender.is_ready() {
            pool.give_back(sender, since);
            return;
        }
        // The pod responded before it had read the request: the rest of that is still being sent.
        let slot = OpenSlot { pool: Some(pool) };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        tokio::spawn(async move {
            let mut slot = slot;
            let ready = tokio::time::timeout(READY_WITHIN, sender.ready()).await;
            if matches!(ready, Ok(Ok(())))
                && let Some(pool) = slot.pool.take()
            {
                pool.give_back(sender, since);
            }
        });
    }
}

/// All connections of one worker to pods.
#[derive(Debug, Default)]
pub struct UpstreamPool {
    pods: Mutex<HashMap<UpstreamKey, Arc<PodPool>>>,
}

impl UpstreamPool {
    pub fn pod(&self, key: UpstreamKey, bounds: PoolBounds) -> Arc<PodPool> {
        let mut pods = self.pods.lock();
        let pod = pods.entry(key).or_insert_with(|| Arc::new(PodPool::new(key, bounds)));
        if pod.bounds != bounds {
            // After a reload, lent connections end with their requests.
            *pod = Arc::new(PodPool::new(key, bounds));
        }
        Arc::clone(pod)
    }

    /// Closes idle connections that are too old, and removes pods without connections; called every second.
    pub fn sweep(&self, now: Instant) {
        let (mut expired, mut shared_expired) = (Vec::new(), Vec::new());
        self.pods.lock().retain(|_, pod| {
            let mut state = pod.state.lock();
            expired.extend(state.expire(now, &pod.bounds));
            shared_expired.extend(pod.expire_shared(now));
            let shared = pod.shared.lock().is_some();
            shared || !state.is_unused() || Arc::strong_count(pod) > 1
        });
        drop((expired, shared_expired));
    }

    /// The numbers of connections in use, idle connections, and waiting requests.
    pub fn counts(&self) -> (usize, usize, usize) {
        let pods = self.pods.lock();
        pods.values().map(|pod| pod.counts()).fold((0, 0, 0), |(used, idle, waiting), (open, free, queue)| {
            (used + open.saturating_sub(free), idle + free, waiting + queue)
        })
    }
}

//! Server-Sent Events: one snapshot a second for all clients, and none while there are no clients.
//!
//! A stream sends the newest snapshot and then waits for a newer one: a slow client misses some, and one that does not
//! read at all is dropped once its own system's buffer is full (`socket.rs` limits ours). So a stream holds only the
//! snapshot that it sends, which all of them share.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use serde::Serialize;
use service_kit::http::CLIENT_STALL;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::pod_view::PodView;

/// The maximum number of streams; further ones are refused.
pub const MAX_STREAMS: usize = 32;
/// When a refused client may retry.
pub const COME_AGAIN: Duration = Duration::from_secs(10);
/// Between two snapshots.
const EVERY: Duration = Duration::from_secs(1);
/// How many snapshots pass between two updates of the pool: its pods announce themselves every five seconds.
const POOL_EVERY: u64 = 2;
/// How long a client waits before it reconnects, in milliseconds.
const RETRY: &str = "retry: 2000\n\n";

/// Broadcasts events to all streams.
#[derive(Debug)]
pub(super) struct EventFeed {
    frames: watch::Sender<Option<LatestEvents>>,
    /// A client has no event yet.
    wanted: Notify,
    places: Arc<Semaphore>,
    closed: CancellationToken,
}

/// The newest events, encoded.
#[derive(Clone, Debug)]
struct LatestEvents {
    snapshot: Bytes,
    history: Bytes,
    /// The number of the history's steps.
    steps: u64,
    pool: Bytes,
    /// How many snapshots were taken before this one; `pool` is new with each [`POOL_EVERY`]th.
    made: u64,
}

impl Default for EventFeed {
    fn default() -> Self {
        EventFeed {
            frames: watch::Sender::new(None),
            wanted: Notify::new(),
            places: Arc::new(Semaphore::new(MAX_STREAMS)),
            closed: CancellationToken::new(),
        }
    }
}

impl EventFeed {
    /// Sends the present state to all streams, until `shutdown`; then they end.
    pub async fn run(&self, view: &PodView, shutdown: &CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
                () = self.wanted.notified() => {
                    if self.frames.borrow().is_some() {
                        continue; // of this second
                    }
                    ticks.reset();
                }
            }
            if self.frames.receiver_count() == 0 {
                self.frames.send_replace(None); // the next client gets a new one
                continue;
            }
            let last = self.frames.borrow().clone();
            let frames = LatestEvents::of(view, &mut number, last);
            self.frames.send_replace(Some(frames));
        }
        self.closed.cancel();
    }

    /// A stream that ends at `end`, or None if there are [`MAX_STREAMS`].
    pub fn stream(&self, end: Instant) -> Option<Body> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (sender, events) = mpsc::channel(1);
        let stream = EventStream { frames: self.frames.subscribe(), sender, closed: self.closed.clone() };
        self.wanted.notify_one();
        tokio::spawn(stream.run(end, place));
        Some(Body::new(EventBody(events)))
    }
}

impl LatestEvents {
    /// The present events. The history is encoded again only if it has another step, the pool with every second one.
    fn of(view: &PodView, number: &mut u64, last: Option<LatestEvents>) -> LatestEvents {
        let steps = view.history.count();
        let made = last.as_ref().map_or(0, |last| last.made + 1);
        let history = match &last {
            Some(last) if last.steps == steps => last.history.clone(),
            _ => event("history", number, &view.history.hour()),
        };
        let pool = match last {
            Some(last) if !made.is_multiple_of(POOL_EVERY) => last.pool,
            _ => event("pool", number, &view.pool()),
        };
        LatestEvents { snapshot: event("snapshot", number, &view.everything()), history, steps, pool, made }
    }
}

/// An event, in the format of HTML's section 9.2.6; JSON contains no line breaks.
fn event(name: &str, number: &mut u64, data: &impl Serialize) -> Bytes {
    *number += 1;
    let mut text = format!("id: {number}\nevent: {name}\ndata: ").into_bytes();
    if let Err(error) = serde_json::to_writer(&mut text, data) {
        tracing::error!(event = "stream_event_failed", %error, name, "a stream event could not be written");
        return Bytes::new();
    }
    text.extend(b"\n\n");
    Bytes::from(text)
}

/// One client's stream.
struct EventStream {
    frames: watch::Receiver<Option<LatestEvents>>,
    sender: mpsc::Sender<Bytes>,
    closed: CancellationToken,
}

impl EventStream {
    /// Runs until its end, the client's, or the sidecar's.
    async fn run(mut self, end: Instant, _place: OwnedSemaphorePermit) {
        let closed = self.closed.clone();
        tokio::select! {
            () = closed.cancelled() => {}
            _ = timeout_at(end, self.tell()) => {}
        }
    }

    async fn tell(&mut self) -> Option<()> {
        self.send(Bytes::from_static(RETRY.as_bytes())).await?;
        let (mut steps, mut pool) = (None, None);
        loop {
            let newest = self.frames.borrow_and_update().clone();
            if let Some(frames) = newest {
                if steps.replace(frames.steps) != Some(frames.steps) {
                    self.send(frames.history).await?;
                }
                let pool_made = frames.made / POOL_EVERY;
                if pool.replace(pool_made) != Some(pool_made) {
                    self.send(frames.pool).await?;
                }
                self.send(frames.snapshot).await?;
            }
            tokio::select! {
                changed = self.frames.changed() => changed.ok()?,
                () = self.sender.closed() => return None,
            }
        }
    }

    /// None if the client is gone, or does not read.
    async fn send(&self, event: Bytes) -> Option<()> {
        timeout(CLIENT_STALL, self.sender.send(event)).await.ok()?.ok()
    }
}

/// A body of events: one at a time.
struct EventBody(mpsc::Receiver<Bytes>);

impl HttpBody for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[cfg(test)]
mod tests;

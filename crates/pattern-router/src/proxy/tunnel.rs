//! An open WebSocket: bytes in both directions, without a buffer while it is idle. When the router drains, both sides
//! get a Close with status 1001 between two frames.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::frames::{CLOSE_TO_CLIENT, CLOSE_TO_POD, FrameTracker};
use super::link::ClientLink;
use crate::clock::{LazyTimer, after};
use crate::pool::LentConnection;
use crate::router::RouterState;

/// How many bytes are moved at once.
const CHUNK: usize = 16 * 1024;
/// How many chunks in a row are moved before other tasks run.
const CHUNKS_IN_A_ROW: usize = 16;
/// Both sides' upgrades must complete within this time.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);
/// How long a peer has to accept a Close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

thread_local! {
    /// Shared by all tunnels of a worker: what was read is written at once, or copied to a separate buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// Moves bytes between the two sides until one ends.
pub fn spawn(
    client: OnUpgrade,
    pod: OnUpgrade,
    lent: Option<LentConnection>,
    link: &Arc<ClientLink>,
    state: &RouterState,
) {
    let (link, idle) = (Arc::clone(link), state.settings.timeouts.stream_idle);
    let slot = lent.and_then(LentConnection::into_stream);
    let gauge = link.worker.router.metrics.open.websocket.clone();
    // A stream of HTTP/2 prevents its connection from being idle.
    link.clock.begin_request(false);
    let tasks = link.worker.tasks.clone();
    tasks.spawn(async move {
        gauge.inc();
        let both = async { tokio::try_join!(client, pod) };
        if let Ok(Ok((client, pod))) = tokio::time::timeout(UPGRADE_WITHIN, both).await {
            let mut tunnel = Tunnel::new(client, pod, idle);
            let closing = link.worker.router.close_streams.clone().cancelled_owned();
            let mut closing = std::pin::pin!(closing);
            let ended =
                std::future::poll_fn(|cx| tunnel.poll(closing.as_mut().poll(cx).is_ready(), cx)).await;
            if let Err(error) = ended {
                tracing::debug!(event = "websocket_failed", %error, "a WebSocket failed");
            }
            let _ = tokio::time::timeout(CLOSE_WITHIN, tunnel.shut_down()).await;
        }
        gauge.dec();
        link.clock.end_request(Instant::now());
        drop(slot);
    });
}

struct Tunnel {
    client: TokioIo<Upgraded>,
    pod: TokioIo<Upgraded>,
    to_pod: Direction,
    to_client: Direction,
    timer: LazyTimer,
    idle: Option<Duration>,
    idle_since: Instant,
    closing: bool,
}

impl Tunnel {
    fn new(client: Upgraded, pod: Upgraded, idle: Option<Duration>) -> Tunnel {
        Tunnel {
            client: TokioIo::new(client),
            pod: TokioIo::new(pod),
            to_pod: Direction::default(),
            to_client: Direction::default(),
            timer: LazyTimer::default(),
            idle,
            idle_since: Instant::now(),
            closing: false,
        }
    }

    /// Ready once either side has ended, nothing has moved for too long, or both got their Close.
    fn poll(&mut self, closing: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closing |= closing;
        let to_pod = self.to_pod.poll(&mut self.client, &mut self.pod, self.closing, cx)?;
        let to_client = self.to_client.poll(&mut self.pod, &mut self.client, self.closing, cx)?;
        if self.to_pod.moved || self.to_client.moved {
            (self.to_pod.moved, self.to_client.moved) = (false, false);
            self.idle_since = Instant::now();
        }
        // RFC 6455: closing the connection closes both directions.
        if to_client.is_ready() || (to_pod.is_ready() && (self.closing || self.to_client.is_idle())) {
            return Poll::Ready(Ok(()));
        }
        let Some(idle) = self.idle else { return Poll::Pending };
        ready!(self.timer.poll(after(self.idle_since, Some(idle)), cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sends a Close if none has been sent, then shuts down both sockets.
    async fn shut_down(&mut self) {
        if self.closing {
            if self.to_client.may_close() {
                let _ = self.client.write_all(&CLOSE_TO_CLIENT).await;
            }
            if self.to_pod.may_close() {
                let _ = self.pod.write_all(&CLOSE_TO_POD).await;
            }
        }
        let _ = tokio::join!(self.client.shutdown(), self.pod.shutdown());
    }
}

/// One direction of a tunnel.
#[derive(Default)]
struct Direction {
    /// What was read but not yet accepted by the other side.
    pending: Vec<u8>,
    pending_from: usize,
    frames: FrameTracker,
    ended: bool,
    moved: bool,
    needs_flush: bool,
}

impl Direction {
    /// Ready once the source has ended and everything is written; or, when closing, between two frames.
    fn poll<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        closing: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..CHUNKS_IN_A_ROW {
            ready!(self.write_pending(to, cx))?;
            if self.ended || (closing && self.frames.is_between_frames()) {
                ready!(Pin::new(to).poll_flush(cx))?;
                return Poll::Ready(Ok(()));
            }
            if self.poll_chunk(from, to, cx)?.is_pending() {
                if self.needs_flush && Pin::new(to).poll_flush(cx)?.is_ready() {
                    self.needs_flush = false;
                }
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once and writes the result.
    fn poll_chunk<R, W>(&mut self, from: &mut R, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            self.moved = true;
            self.frames.advance(bytes);
            self.needs_flush = true;
            let written = match Pin::new(to).poll_write(cx, bytes)? {
                Poll::Ready(written) => written,
                Poll::Pending => 0,
            };
            self.pending.extend_from_slice(bytes.get(written..).unwrap_or_default());
            Poll::Ready(Ok(()))
        })
    }

    fn write_pending<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.pending.get(self.pending_from..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.moved = true;
            self.pending_from += written;
        }
        if self.pending_from > 0 {
            // An idle WebSocket uses no buffer memory.
            (self.pending, self.pending_from) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    fn may_close(&self) -> bool {
        self.frames.is_between_frames() && !self.frames.is_closed() && self.is_idle() && !self.ended
    }
}

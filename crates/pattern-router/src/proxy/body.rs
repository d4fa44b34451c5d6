//! Bodies: streamed in both directions with the backpressure of the slower side, never buffered as a whole.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;

use super::record::ExchangeRecord;
use crate::clock::{LazyTimer, after};
use crate::pool::LentConnection;

/// Why a body was interrupted.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("no byte came for {0:?}")]
    TooSlow(Duration),
}

/// Why the body of a client's request was interrupted, as seen by the forwarding side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadFault {
    /// The client sent something malformed, or went away.
    Broken,
    TooLarge,
    TooSlow,
}

/// The progress of a request's body.
#[derive(Debug)]
pub struct Upload {
    fault: AtomicU8,
    last_byte: Mutex<Instant>,
    bytes: AtomicU64,
}

impl Upload {
    pub fn fault(&self) -> Option<UploadFault> {
        match self.fault.load(Ordering::Relaxed) {
            1 => Some(UploadFault::Broken),
            2 => Some(UploadFault::TooLarge),
            3 => Some(UploadFault::TooSlow),
            _ => None,
        }
    }

    pub fn last_byte(&self) -> Instant {
        *self.last_byte.lock()
    }

    fn fail(&self, error: BodyError) -> BodyError {
        let fault = match error {
            BodyError::Http(_) => 1,
            BodyError::TooLarge => 2,
            BodyError::TooSlow(_) => 3,
        };
        self.fault.store(fault, Ordering::Relaxed);
        error
    }
}

/// The body sent to a pod.
#[derive(Debug)]
pub enum UpstreamBody {
    Empty,
    /// Boxed, since few requests have a body: those without are moved as a word or two.
    Client(Box<ClientBody>),
}

/// A client's body on its way to a pod, with its limits.
#[derive(Debug)]
pub struct ClientBody {
    inner: Incoming,
    upload: Arc<Upload>,
    timer: LazyTimer,
    idle_since: Option<Instant>,
    timeout: Duration,
    /// In bytes; none: no limit.
    limit: Option<u64>,
}

impl UpstreamBody {
    /// The body, and access to its progress if there is a body.
    pub fn from_client(
        inner: Incoming,
        limit: Option<u64>,
        timeout: Duration,
    ) -> (UpstreamBody, Option<Arc<Upload>>) {
        if inner.is_end_stream() {
            return (UpstreamBody::Empty, None);
        }
        let upload = Arc::new(Upload {
            fault: AtomicU8::new(0),
            last_byte: Mutex::new(Instant::now()),
            bytes: AtomicU64::new(0),
        });
        let timer = LazyTimer::default();
        let body = ClientBody { inner, upload: Arc::clone(&upload), timer, idle_since: None, timeout, limit };
        (UpstreamBody::Client(Box::new(body)), Some(upload))
    }
}

impl ClientBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.idle_since = None;
                *self.upload.last_byte.lock() = Instant::now();
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                let total = self.upload.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
                if self.limit.is_some_and(|limit| total > limit) {
                    return Poll::Ready(Some(Err(self.upload.fail(BodyError::TooLarge))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.upload.fail(error.into())))),
            Poll::Ready(None) => {
                *self.upload.last_byte.lock() = Instant::now();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let since = *self.idle_since.get_or_insert_with(Instant::now);
                ready!(self.timer.poll(since + self.timeout, cx));
                Poll::Ready(Some(Err(self.upload.fail(BodyError::TooSlow(self.timeout)))))
            }
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            UpstreamBody::Empty => Poll::Ready(None),
            UpstreamBody::Client(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            UpstreamBody::Empty => true,
            UpstreamBody::Client(body) => body.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            UpstreamBody::Empty => SizeHint::with_exact(0),
            UpstreamBody::Client(body) => body.inner.size_hint(),
        }
    }
}

/// The body sent to a client.
#[derive(Debug)]
pub enum ProxyBody {
    Own(Box<(Full<Bytes>, ExchangeRecord)>),
    Pod(Box<PodBody>),
}

/// A pod's response body on its way to a client.
#[derive(Debug)]
pub struct PodBody {
    pub inner: Incoming,
    /// None for HTTP/2, whose connection is shared.
    pub lent: Option<LentConnection>,
    pub record: ExchangeRecord,
    pub idle_since: Option<Instant>,
    pub idle_timeout: Option<Duration>,
}

impl PodBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.idle_since = None;
                self.record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.record.broke_off = true;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.give_connection_back();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let since = *self.idle_since.get_or_insert_with(Instant::now);
                let Some(timeout) = self.idle_timeout else { return Poll::Pending };
                ready!(self.record.timer.poll(after(since, Some(timeout)), cx));
                self.record.broke_off = true;
                Poll::Ready(Some(Err(BodyError::TooSlow(timeout))))
            }
        }
    }

    fn give_connection_back(&mut self) {
        if let Some(mut lent) = self.lent.take() {
            lent.finish();
        }
    }
}

impl Drop for PodBody {
    /// A body of known length is dropped once its last byte is out, without polling for its end.
    fn drop(&mut self) {
        if self.inner.is_end_stream() {
            self.give_connection_back();
        } else if self.lent.is_some() {
            self.record.broke_off = true;
        }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            ProxyBody::Own(own) => Pin::new(&mut own.0).poll_frame(cx).map_err(|never| match never {}),
            ProxyBody::Pod(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ProxyBody::Own(own) => own.0.is_end_stream(),
            ProxyBody::Pod(body) => body.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ProxyBody::Own(own) => own.0.size_hint(),
            ProxyBody::Pod(body) => body.inner.size_hint(),
        }
    }
}

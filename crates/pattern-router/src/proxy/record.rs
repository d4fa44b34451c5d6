//! What is recorded about a request until its response is complete: for the metrics, the access log and the
//! connection's clock.

use std::sync::Arc;
use std::time::Instant;

use hyper::header::HeaderValue;
use hyper::{Method, StatusCode, Uri};

use super::link::ClientLink;
use crate::clock::LazyTimer;
use crate::error::ErrorCode;
use crate::metrics::ClientProtocol;

/// Reported on drop: the response is complete, or was interrupted.
#[derive(Debug)]
pub struct ExchangeRecord {
    pub link: Arc<ClientLink>,
    pub started: Instant,
    pub protocol: ClientProtocol,
    pub status: StatusCode,
    /// The size of the response body.
    pub bytes: u64,
    pub broke_off: bool,
    pub refused: Option<ErrorCode>,
    /// The connection's timer, lent to the request and its response.
    pub timer: LazyTimer,
    /// None: no line in the access log.
    pub line: Option<Box<AccessLine>>,
}

/// The additional fields of an access log line.
#[derive(Debug)]
pub struct AccessLine {
    pub method: Method,
    /// Its path is logged, not its query, which may contain secrets.
    pub uri: Uri,
    /// None if it is in the URI.
    pub host: Option<HeaderValue>,
    pub client: std::net::IpAddr,
    pub user: Option<Arc<str>>,
    pub traceparent: Option<HeaderValue>,
}

impl ExchangeRecord {
    pub fn new(link: &Arc<ClientLink>, started: Instant, protocol: ClientProtocol) -> ExchangeRecord {
        ExchangeRecord {
            link: Arc::clone(link),
            started,
            protocol,
            status: StatusCode::OK,
            bytes: 0,
            broke_off: false,
            refused: None,
            timer: link.take_timer(),
            line: None,
        }
    }
}

impl Drop for ExchangeRecord {
    fn drop(&mut self) {
        let metrics = &self.link.worker.router.metrics;
        metrics.count_request(self.protocol, self.status);
        if let Some(code) = self.refused {
            metrics.count_refusal(code);
        }
        let now = Instant::now();
        if let Some(line) = self.line.take() {
            line.write(self, now);
        }
        self.link.put_timer(std::mem::take(&mut self.timer));
        self.link.clock.end_request(now);
    }
}

impl AccessLine {
    fn write(&self, record: &ExchangeRecord, now: Instant) {
        let millis = now.saturating_duration_since(record.started).as_secs_f64() * 1e3;
        let error = record.refused.map(ErrorCode::as_str);
        let text = |value: &'_ HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let host = self.uri.authority().map(|authority| authority.as_str().to_owned());
        let host = host.or_else(|| self.host.as_ref().map(text)).unwrap_or_default();
        tracing::info!(
            target: "pattern_router::access",
            event = "request",
            method = %self.method,
            host,
            path = self.uri.path(),
            status = record.status.as_u16(),
            bytes = record.bytes,
            ms = format_args!("{millis:.1}"),
            client = %self.client,
            user = self.user.as_deref(),
            error,
            broke_off = record.broke_off,
            traceparent = self.traceparent.as_ref().map(text),
            "request"
        );
    }
}

//! Forwards a request: a connection, the request, the head of its response. Unsent requests are retried: refused
//! connects for a while and for every method, a dead pooled connection once for requests that may be sent twice.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, Version};

use super::admit::too_large;
use super::body::{Upload, UploadFault, UpstreamBody};
use super::link::ClientLink;
use super::record::ExchangeRecord;
use super::rewrite;
use super::route::{Route, find_route};
use super::spare::SpareRequest;
use super::{Admitted, OwnAnswer, tunnel};
use crate::clock::LazyTimer;
use crate::error::{ErrorCode, RouterError};
use crate::metrics::ClientProtocol;
use crate::pool::{ConnectError, Grant, Http2Sender, LentConnection, OpenSlot, Opened, UpstreamProtocol};
use crate::router::RouterState;

/// The first pause between two connects while they are refused; it doubles each time up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(200);
/// How often a request that may be sent twice is resent while connections end without a response.
const MAX_RESENT: u8 = 2;
/// A port that has refused connections for this long is not waited for any more: it is unlikely that a server is
/// starting.
const REFUSED_FOR_LONG: Duration = Duration::from_secs(60);

/// The head of a pod's response, and the connection that its body comes over.
#[derive(Debug)]
pub struct Answered {
    pub response: Response<Incoming>,
    pub lent: Option<LentConnection>,
}

#[derive(Debug)]
enum Connection {
    Http1(LentConnection),
    Http2(Http2Sender),
}

/// One request being forwarded.
struct Attempt<'a> {
    link: &'a ClientLink,
    state: &'a Arc<RouterState>,
    route: Arc<Route>,
    upload: Option<Arc<Upload>>,
    websocket: bool,
    timer: &'a mut LazyTimer,
    started: Instant,
    /// Connects are tried until then.
    connect_by: Instant,
    pause: Duration,
    /// It met a dead connection already: a new one is opened for it.
    fresh: bool,
    /// How often it was sent without a response.
    resent: u8,
    sent: Instant,
    answer: Option<Response<Incoming>>,
}

/// The result of sending once.
enum Sent {
    /// The response is in the attempt.
    Answered,
    /// Nothing reached the pod, or it may be sent twice.
    Again(Box<Request<UpstreamBody>>),
}

/// Forwards a request and returns the pod's response.
pub async fn forward(
    admitted: Admitted,
    link: &Arc<ClientLink>,
    state: &Arc<RouterState>,
    record: &mut ExchangeRecord,
) -> Result<Answered, OwnAnswer> {
    let Admitted { route, groups, websocket, extended_connect, mut request, body } = admitted;
    let kind = rewrite::rewrite_request(&mut request, groups, link, &route, extended_connect)?;
    let (limits, timeouts) = (&state.settings.limits, &state.settings.timeouts);
    let (body, upload) = if kind.websocket {
        (UpstreamBody::Empty, None)
    } else {
        UpstreamBody::from_client(body, limits.body, timeouts.body)
    };
    let started = record.started;
    let mut attempt = Attempt {
        link,
        state,
        route,
        upload,
        websocket: kind.websocket,
        timer: &mut record.timer,
        started,
        connect_by: started + timeouts.connect,
        pause: FIRST_PAUSE,
        fresh: false,
        resent: 0,
        sent: started,
        answer: None,
    };
    let lent = attempt.run(Request::from_parts(request, body)).await?;
    let Some(response) = attempt.answer.take() else {
        return Err(hung_up(&attempt.route, "it has no answer").into());
    };
    let mut answered = Answered { response, lent };
    link.worker.router.metrics.pod.observe(attempt.sent.elapsed().as_secs_f64());
    let (route, response) = (Arc::clone(&attempt.route), &mut answered.response);
    *response.version_mut() = Version::HTTP_11;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(client), true) = (websocket, kind.websocket) else {
            return Err(hung_up(&route, "it switched to another protocol unasked").into());
        };
        record.protocol = ClientProtocol::WebSocket;
        tunnel::spawn(client, hyper::upgrade::on(&mut *response), answered.lent.take(), link, state);
        answer_upgrade(response, extended_connect);
    } else {
        if extended_connect && response.status().is_success() {
            return Err(hung_up(&route, "it did not switch to WebSocket").into());
        }
        rewrite::rewrite_response(response.headers_mut());
    }
    Ok(answered)
}

/// Over HTTP/2 a WebSocket begins with 200 (RFC 8441, section 5).
fn answer_upgrade(response: &mut Response<Incoming>, extended_connect: bool) {
    rewrite::rewrite_response(response.headers_mut());
    if extended_connect {
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().remove(hyper::header::SEC_WEBSOCKET_ACCEPT);
    } else {
        rewrite::mark_upgrade(response.headers_mut());
    }
}

impl Attempt<'_> {
    /// The connection that the response comes over; the response is in `self` afterwards.
    async fn run(
        &mut self,
        mut request: Request<UpstreamBody>,
    ) -> Result<Option<LentConnection>, RouterError> {
        loop {
            let (sent, lent) = match self.connection().await? {
                Connection::Http1(mut lent) => (self.send_http1(&mut lent, request).await?, Some(lent)),
                Connection::Http2(sender) => (Box::pin(self.send_http2(sender, request)).await?, None),
            };
            match sent {
                Sent::Answered => return Ok(lent),
                Sent::Again(again) => request = *again,
            }
        }
    }

    /// A connection to the pod; refused connects are retried.
    async fn connection(&mut self) -> Result<Connection, RouterError> {
        loop {
            let shares = self.route.upstream.key.protocol != UpstreamProtocol::Http1 && !self.websocket;
            if shares && let Some(sender) = self.route.upstream.shared() {
                return Ok(Connection::Http2(sender));
            }
            // A WebSocket occupies its connection: a new one is opened for it.
            let slot = if self.websocket {
                self.route.upstream.acquire_stream().map_err(|_| self.all_in_use())?
            } else if self.fresh {
                self.route.upstream.acquire_fresh()
            } else {
                match self.grant().await? {
                    Grant::Reuse(lent) => return Ok(Connection::Http1(lent)),
                    Grant::Open(slot) => slot,
                }
            };
            // Rare paths are boxed: the future of a request exists as long as its client's connection.
            match Box::pin(self.connect(slot)).await {
                Ok(connection) => return Ok(connection),
                Err(error) => Box::pin(self.after_failed_connect(&error)).await?,
            }
        }
    }

    async fn grant(&mut self) -> Result<Grant, RouterError> {
        let by = self.connect_by;
        let acquire = pin!(self.route.upstream.acquire(&self.link.worker.router.metrics.pool_waits));
        match self.timer.limit(|| by, acquire).await {
            Some(Ok(grant)) => Ok(grant),
            Some(Err(_)) | None => Err(self.all_in_use()),
        }
    }

    fn all_in_use(&self) -> RouterError {
        let detail = format!("Every connection to {} is in use.", self.route.name);
        RouterError::new(ErrorCode::Full, detail).retry_after(Duration::from_secs(1))
    }

    async fn connect(&mut self, slot: OpenSlot) -> Result<Connection, ConnectError> {
        let mut key = self.route.upstream.key;
        if self.websocket && key.protocol == UpstreamProtocol::Http2 {
            key.protocol = UpstreamProtocol::Http1;
        }
        let host = self.route.host.to_str().unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        let opened = self.state.connector.open(key, host, self.websocket).await;
        let metrics = &self.link.worker.router.metrics;
        let outcome = opened.as_ref().map_or_else(ConnectError::outcome, |_| "connected");
        metrics.connects.with_label_values(&[outcome]).inc();
        match opened? {
            Opened::Http1(sender) => {
                self.route.upstream.note_connect(false);
                Ok(Connection::Http1(slot.filled(sender)))
            }
            Opened::Http2(sender) => {
                self.route.upstream.note_connect(false);
                self.route.upstream.set_shared(sender.clone());
                Ok(Connection::Http2(sender))
            }
        }
    }

    /// Waits a little and resolves the pod again, as long as there is time.
    async fn after_failed_connect(&mut self, error: &ConnectError) -> Result<(), RouterError> {
        tracing::debug!(event = "pod_connect_failed", name = %self.route.name, %error, "connecting to a pod failed");
        if let ConnectError::Address(_) = error {
            let detail =
                format!("The address of {} is not one that this router may reach.", self.route.name.id);
            return Err(RouterError::new(ErrorCode::AddressRefused, detail));
        }
        let refused_for = self.route.upstream.note_connect(true);
        let now = Instant::now();
        if refused_for > REFUSED_FOR_LONG || now + self.pause >= self.connect_by {
            return Err(nothing_listens(&self.route));
        }
        self.link.worker.router.metrics.retries.with_label_values(&["connect"]).inc();
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        let host = self.route.host.clone();
        // The resolver's present answer is tried; a missing answer may be temporary as well.
        if let Ok(route) = find_route(self.link, self.state, host.as_bytes(), true, Instant::now()).await {
            self.route = route;
        }
        Ok(())
    }

    async fn send_http1(
        &mut self,
        lent: &mut LentConnection,
        request: Request<UpstreamBody>,
    ) -> Result<Sent, RouterError> {
        let reused = lent.reused;
        let Some(sender) = lent.sender() else { return Ok(Sent::Again(Box::new(request))) };
        if sender.ready().await.is_err() {
            return Box::pin(self.again_unsent(request, reused)).await;
        }
        let request = self.as_http1(request);
        let copy = self.copy(&request);
        self.note_sent();
        let (sent, answer, upload) = (self.sent, self.state.settings.timeouts.answer, self.upload.clone());
        let deadline = || upload.as_ref().map_or(sent, |upload| upload.last_byte().max(sent)) + answer;
        let sending = pin!(sender.try_send_request(request));
        match self.timer.limit(deadline, sending).await {
            Some(Ok(response)) => Ok(self.answered(response)),
            Some(Err(mut error)) => match (error.take_message(), copy) {
                (Some(unsent), _) => Box::pin(self.again_unsent(unsent, reused)).await,
                (None, Some(copy)) if !error.error().is_parse() => {
                    Ok(Box::pin(self.again_copied(copy, reused)).await)
                }
                (None, _) => Err(self.failed(&error.into_error())),
            },
            None => Err(self.silent()),
        }
    }

    async fn send_http2(
        &mut self,
        mut sender: Http2Sender,
        request: Request<UpstreamBody>,
    ) -> Result<Sent, RouterError> {
        let (mut parts, body) = request.into_parts();
        if parts.version != Version::HTTP_2 {
            rewrite::for_http2(&mut parts, self.route.upstream.key.protocol == UpstreamProtocol::Tls);
        }
        let request = Request::from_parts(parts, body);
        let copy = self.copy(&request);
        self.note_sent();
        let (sent, answer, upload) = (self.sent, self.state.settings.timeouts.answer, self.upload.clone());
        let deadline = || upload.as_ref().map_or(sent, |upload| upload.last_byte().max(sent)) + answer;
        let sending = pin!(sender.try_send_request(request));
        match self.timer.limit(deadline, sending).await {
            Some(Ok(response)) => Ok(self.answered(response)),
            Some(Err(mut error)) => match (error.take_message(), copy) {
                (Some(unsent), _) => self.again_unsent(unsent, true).await,
                (None, Some(copy)) if !error.error().is_user() => {
                    Ok(Box::pin(self.again_copied(copy, true)).await)
                }
                (None, _) => Err(self.failed(&error.into_error())),
            },
            None => Err(self.silent()),
        }
    }

    fn as_http1(&self, request: Request<UpstreamBody>) -> Request<UpstreamBody> {
        if self.route.upstream.key.protocol == UpstreamProtocol::Http1 && self.upload.is_none() {
            return request;
        }
        let (mut parts, body) = request.into_parts();
        rewrite::for_http1(&mut parts);
        if self.upload.is_some() {
            rewrite::frame_unknown_length(&mut parts);
        }
        Request::from_parts(parts, body)
    }

    /// A copy for resending, in case the connection ends without a response: the pooled one was dead, or the pod ended
    /// while this one waited to be accepted.
    fn copy(&self, request: &Request<UpstreamBody>) -> Option<SpareRequest> {
        let plain = self.upload.is_none() && !self.websocket && request.method().is_idempotent();
        let may = plain && self.resent < MAX_RESENT;
        if !may || *request.method() == Method::CONNECT {
            return None;
        }
        Some(SpareRequest::of(request))
    }

    fn answered(&mut self, response: Response<Incoming>) -> Sent {
        self.answer = Some(response);
        Sent::Answered
    }

    async fn again_copied(&mut self, copy: SpareRequest, reused: bool) -> Sent {
        (self.fresh, self.resent) = (true, self.resent + 1);
        if !reused {
            // A pod that has just ended is away for a moment.
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LAST_PAUSE);
        }
        self.route.upstream.discard_idle();
        self.link.worker.router.metrics.retries.with_label_values(&["dead_connection"]).inc();
        Sent::Again(Box::new(copy.into_request()))
    }

    /// A connection that closed before anything was sent over it: equivalent to a refused connect.
    async fn again_unsent(
        &mut self,
        request: Request<UpstreamBody>,
        reused: bool,
    ) -> Result<Sent, RouterError> {
        if let Some(fault) = self.upload.as_ref().and_then(|upload| upload.fault()) {
            return Err(self.upload_failed(fault));
        }
        if !reused {
            let now = Instant::now();
            if now + self.pause >= self.connect_by {
                return Err(hung_up(&self.route, "it closed a new connection"));
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LAST_PAUSE);
        }
        self.fresh = true;
        self.link.worker.router.metrics.retries.with_label_values(&["closed_connection"]).inc();
        Ok(Sent::Again(Box::new(request)))
    }

    fn note_sent(&mut self) {
        self.sent = Instant::now();
        let overhead = self.sent.saturating_duration_since(self.started);
        self.link.worker.router.metrics.overhead.observe(overhead.as_secs_f64());
    }

    fn silent(&self) -> RouterError {
        if let Some(fault) = self.upload.as_ref().and_then(|upload| upload.fault()) {
            return self.upload_failed(fault);
        }
        let within = self.state.settings.timeouts.answer;
        let detail = format!("{} did not answer within {within:?}.", self.route.name);
        RouterError::new(ErrorCode::PodSilent, detail)
    }

    /// The client's body, or the pod's connection.
    fn failed(&self, error: &hyper::Error) -> RouterError {
        if let Some(fault) = self.upload.as_ref().and_then(|upload| upload.fault()) {
            return self.upload_failed(fault);
        }
        tracing::debug!(event = "pod_no_response", name = %self.route.name, error = %error_chain(error), "the pod did not respond");
        hung_up(&self.route, "it closed the connection, or what it sent is not HTTP")
    }

    fn upload_failed(&self, fault: UploadFault) -> RouterError {
        match fault {
            UploadFault::Broken => {
                RouterError::new(ErrorCode::BadRequest, "The request's body is malformed or broke off.")
            }
            UploadFault::TooLarge => too_large(self.state.settings.limits.body.unwrap_or_default()),
            UploadFault::TooSlow => {
                let within = self.state.settings.timeouts.body;
                RouterError::new(
                    ErrorCode::BodyTooSlow,
                    format!("No byte of the request's body came for {within:?}."),
                )
            }
        }
    }
}

fn nothing_listens(route: &Route) -> RouterError {
    let detail = format!("Nothing listens on port {} of {}.", route.name.port, route.name.id);
    RouterError::new(ErrorCode::NothingListens, detail).retry_after(Duration::from_secs(2))
}

fn hung_up(route: &Route, why: &str) -> RouterError {
    let detail = format!("Port {} of {} gave no answer: {why}.", route.name.port, route.name.id);
    RouterError::new(ErrorCode::PodHungUp, detail)
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

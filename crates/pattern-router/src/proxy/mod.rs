//! The data plane: the processing of one request.
//!
//! ```text
//! admit    the checks before a request is forwarded: form, name, rate, access
//! route    from a host name to a port of a pod
//! rewrite  what a proxy changes in heads
//! forward  a connection, the request, the head of its response; retries
//! spare    copies for resending
//! body     bodies, streamed with backpressure
//! tunnel   a WebSocket once it is open
//! frames   where WebSocket frames begin and end
//! link     the state of a client's connection between its requests
//! record   what is recorded about a request for metrics and the access log
//! ```

mod admit;
mod body;
mod forward;
mod frames;
mod link;
mod record;
mod rewrite;
mod route;
mod spare;
mod tunnel;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, Version};

use tokio_util::task::TaskTracker;

pub use body::{BodyError, ClientBody, PodBody, ProxyBody, Upload, UploadFault, UpstreamBody};
pub use link::{ClientLink, ClockLimits, ConnectionClock, KnownSession};
pub use record::{AccessLine, ExchangeRecord};
pub use route::Route;

use crate::error::RouterError;
use crate::fields::{self, FieldGroups};
use crate::metrics::ClientProtocol;
use crate::pool::UpstreamPool;
use crate::router::{Router, RouterState};
use crate::settings::AccessLog;

/// One core's share: connections to pods are not shared between workers.
#[derive(Debug)]
pub struct Worker {
    pub router: Arc<Router>,
    pub pool: UpstreamPool,
    /// Connections and `WebSockets`: a drain waits for them.
    pub tasks: TaskTracker,
}

impl Worker {
    pub fn new(router: Arc<Router>) -> Arc<Worker> {
        let worker = Arc::new(Worker { router, pool: UpstreamPool::default(), tasks: TaskTracker::new() });
        worker.router.add_worker(&worker);
        worker
    }
}

/// A response that does not come from the pod.
#[derive(Debug)]
pub enum OwnAnswer {
    Error(RouterError),
    /// A redirect, or the authorization service's response.
    Response(Box<Response<Full<Bytes>>>),
}

impl From<RouterError> for OwnAnswer {
    fn from(error: RouterError) -> OwnAnswer {
        OwnAnswer::Error(error)
    }
}

/// A request that has passed every check.
#[derive(Debug)]
pub struct Admitted {
    pub route: Arc<Route>,
    pub groups: FieldGroups,
    /// The upgrade of the client's side, if it requests a WebSocket.
    pub websocket: Option<hyper::upgrade::OnUpgrade>,
    /// RFC 8441: a WebSocket on a stream of HTTP/2.
    pub extended_connect: bool,
    pub request: Parts,
    pub body: Incoming,
}

/// Serves one request of a client's connection.
///
/// # Errors
/// None: every failure is a response.
pub async fn handle(
    request: Request<Incoming>,
    link: Arc<ClientLink>,
) -> Result<Response<ProxyBody>, Infallible> {
    let version = request.version();
    let started = link.clock.begin_request(version == Version::HTTP_2);
    let mut record = ExchangeRecord::new(&link, started, ClientProtocol::of(version));
    let state = link.worker.router.state();
    let groups = FieldGroups::of(request.headers());
    let accept = groups.accept.then(|| request.headers().get(header::ACCEPT).cloned()).flatten();
    let method = request.method().clone();
    record.line = access_line(&request, groups, &link, &state);
    let answer = match admit::admit(request, groups, &link, &state, &mut record).await {
        Ok(admitted) => forward::forward(admitted, &link, &state, &mut record).await,
        Err(answer) => Err(answer),
    };
    Ok(match answer {
        Ok(answered) => {
            record.status = answered.response.status();
            drop_quiet_line(&mut record, &state);
            let idle_timeout = state.settings.timeouts.stream_idle;
            let lent = answered.lent;
            answered.response.map(|inner| {
                ProxyBody::Pod(Box::new(PodBody { inner, lent, record, idle_since: None, idle_timeout }))
            })
        }
        Err(answer) => own_response(answer, &method, accept, record, &state),
    })
}

fn own_response(
    answer: OwnAnswer,
    method: &Method,
    accept: Option<HeaderValue>,
    mut record: ExchangeRecord,
    state: &RouterState,
) -> Response<ProxyBody> {
    let response = match answer {
        OwnAnswer::Error(error) => {
            record.refused = Some(error.code);
            let mut headers = HeaderMap::new();
            headers.extend(accept.map(|accept| (header::ACCEPT, accept)));
            error.response(method, &headers)
        }
        OwnAnswer::Response(response) => *response,
    };
    record.status = response.status();
    drop_quiet_line(&mut record, state);
    response.map(|body| ProxyBody::Own(Box::new((body, record))))
}

/// Records what may be logged before the request is taken apart.
fn access_line(
    request: &Request<Incoming>,
    groups: FieldGroups,
    link: &ClientLink,
    state: &RouterState,
) -> Option<Box<AccessLine>> {
    if state.settings.access_log == AccessLog::None {
        return None;
    }
    let headers = request.headers();
    let traceparent = || headers.get(fields::TRACEPARENT).cloned();
    let behind = || fields::client_behind(headers, link.peer, &state.settings.trusted);
    Some(Box::new(AccessLine {
        method: request.method().clone(),
        uri: request.uri().clone(),
        host: None,
        client: if link.trusted { behind() } else { link.peer },
        user: None,
        traceparent: groups.traceparent.then(traceparent).flatten(),
    }))
}

/// Keeps the line if the request failed, or if it is sampled.
fn drop_quiet_line(record: &mut ExchangeRecord, state: &RouterState) {
    let failed = record.refused.is_some() || record.status.is_server_error();
    let kept = match state.settings.access_log {
        AccessLog::None => false,
        AccessLog::Errors => failed,
        AccessLog::OneOf(of) => failed || record.link.worker.router.is_sampled(of),
    };
    if !kept {
        record.line = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: fn(Request<Incoming>, Arc<ClientLink>) -> F) -> usize {
        size_of::<F>()
    }

    /// hyper keeps a request's future as long as its connection, and moves it once for each request.
    #[test]
    fn a_requests_future_is_small() {
        let size = size_of_future(handle);
        assert!(size <= 4608, "{size} bytes");
    }
}

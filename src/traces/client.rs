//! The exporter's HTTP client: a POST over a separate connection, on the pod's runtime. The SDK sends from a thread
//! without a runtime, so the request is passed to it.

use std::fmt;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// The time limit of a request, from its connect to the end of its answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// A collector's answer is short; anything beyond this is not read.
const MAX_ANSWER: usize = 64 * 1024;

#[derive(Clone)]
pub(super) struct CollectorClient {
    runtime: Handle,
}

impl CollectorClient {
    pub(super) fn new(runtime: Handle) -> Self {
        CollectorClient { runtime }
    }
}

impl fmt::Debug for CollectorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let to = request.uri().clone();
        // Created within the runtime, which a timer requires.
        let exchanged = self.runtime.spawn(async { timeout(DEADLINE, exchange(request)).await }).await;
        let answered = match exchanged {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err("no answer in time".into()),
            Err(gone) => Err(gone.into()),
        };
        answered
            .inspect_err(|error| tracing::debug!(event = "traces_not_sent", %error, %to, "traces not sent"))
    }
}

async fn exchange(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let authority = request.uri().authority().cloned().ok_or("the endpoint has no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driven = tokio::spawn(connection);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>()?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(io::Error::other)?.to_bytes();
    driven.abort();
    Ok(Response::from_parts(head, body))
}

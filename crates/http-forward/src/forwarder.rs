//! One upstream service, with its pooled connections.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use crate::hop_by_hop::{remove_hop_by_hop, upgrade_protocol};

/// Timeouts of one request, and how many idle connections are kept.
#[derive(Debug, Clone)]
pub struct ForwardLimits {
    pub connect: Duration,
    /// From the request's head to the response's head: how long the service may compute.
    pub response_head: Duration,
    pub max_idle_connections: usize,
}

impl Default for ForwardLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            response_head: Duration::from_secs(60),
            max_idle_connections: 32,
        }
    }
}

/// Why there is no response from the service.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("the request's target cannot be forwarded: {0}")]
    Target(#[from] hyper::http::uri::InvalidUriParts),
    #[error("the service cannot be reached: {0}")]
    Connect(#[source] hyper_util::client::legacy::Error),
    #[error("the exchange with the service broke: {0}")]
    Exchange(#[source] hyper_util::client::legacy::Error),
    #[error("no response within {} s", .0.as_secs_f32())]
    Timeout(Duration),
}

impl ForwardError {
    /// The status sent to the client (RFC 9110, sections 15.6.3 and 15.6.5).
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Target(_) => StatusCode::BAD_REQUEST,
            Self::Connect(_) | Self::Exchange(_) => StatusCode::BAD_GATEWAY,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// Forwards to one service.
#[derive(Debug, Clone)]
pub struct Forwarder {
    client: Client<HttpConnector, Incoming>,
    service: Authority,
    limits: ForwardLimits,
}

impl Forwarder {
    pub fn new(service: Authority, limits: ForwardLimits) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(limits.connect));
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(limits.max_idle_connections)
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self { client, service, limits }
    }

    /// Sends the request to the service, with its `Host` unchanged, and returns the head of the response with the body
    /// to be streamed. After a 101, bytes are relayed both ways until one side ends.
    pub async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, ForwardError> {
        let upgrade = upgrade_protocol(request.headers());
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        remove_hop_by_hop(request.headers_mut(), upgrade);
        *request.uri_mut() = self.target(request.uri())?;
        *request.version_mut() = Version::HTTP_11;
        let limit = self.limits.response_head;
        let sent = timeout(limit, self.client.request(request)).await;
        let mut response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => return Err(ForwardError::Connect(error)),
            Ok(Err(error)) => return Err(ForwardError::Exchange(error)),
            Err(_) => return Err(ForwardError::Timeout(limit)),
        };
        let agreed = upgrade_protocol(response.headers());
        let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if let Some(client_side) = client_side.filter(|_| is_upgrade) {
            tokio::spawn(relay(client_side, hyper::upgrade::on(&mut response)));
        }
        remove_hop_by_hop(response.headers_mut(), agreed.filter(|_| is_upgrade));
        Ok(response)
    }

    /// The same path and query, at the service.
    fn target(&self, original: &Uri) -> Result<Uri, hyper::http::uri::InvalidUriParts> {
        let mut parts = hyper::http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.service.clone());
        let path = original.path_and_query().cloned();
        parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        Uri::from_parts(parts)
    }
}

/// Runs until one side ends; timeouts are left to the protocol that runs over it.
async fn relay(client: hyper::upgrade::OnUpgrade, service: hyper::upgrade::OnUpgrade) {
    let (Ok(client), Ok(service)) = tokio::join!(client, service) else {
        tracing::debug!(event = "upgrade_abandoned", "an upgrade was agreed on but did not happen");
        return;
    };
    let (mut client, mut service) = (TokioIo::new(client), TokioIo::new(service));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut service).await {
        tracing::debug!(event = "upgraded_connection_failed", %error, "an upgraded connection failed");
    }
}

//! From a host name to a port of a pod.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hyper::header::HeaderValue;

use super::link::ClientLink;
use crate::error::{ErrorCode, RouterError};
use crate::name::{NameError, PodName};
use crate::pool::{PodPool, UpstreamKey, UpstreamProtocol};
use crate::rate::RateBucket;
use crate::resolve::{LookupError, PodPort, PodRecord};
use crate::router::{Router, RouterState};
use crate::settings::{HostHeader, Settings};

/// The destination of requests for one host on one client's connection.
#[derive(Debug)]
pub struct Route {
    /// As sent by the client.
    pub host: HeaderValue,
    pub name: PodName,
    /// Of the configuration that it is derived from.
    pub generation: u64,
    pub valid_until: Instant,
    pub pod: Arc<PodRecord>,
    pub upstream: Arc<PodPool>,
    /// Accessible without a session.
    pub public: bool,
    /// `X-Forwarded-Port`.
    pub public_port: HeaderValue,
    /// The `Host` that the pod receives, if not `host`.
    pub pod_host: Option<HeaderValue>,
    /// The client's rate limit, if the client is the connection's peer.
    pub bucket: Option<Arc<RateBucket>>,
    /// The number of requests on this route; added to the name's count once the route is dropped.
    pub requests: AtomicU64,
    router: Arc<Router>,
}

impl Drop for Route {
    fn drop(&mut self) {
        self.router.busiest.add(&self.name, self.requests.load(Ordering::Relaxed));
    }
}

impl Route {
    /// Whether it is still valid for a request with this host.
    pub fn holds(&self, host: &[u8], state: &RouterState, now: Instant) -> bool {
        self.host.as_bytes() == host && self.generation == state.generation && now < self.valid_until
    }
}

/// The port that a browser shows, or would show if it were not the default: from the host, else the domain's, else the
/// scheme's.
fn public_port(host: &[u8], state: &RouterState, https: bool) -> u16 {
    let given = host.iter().position(|b| *b == b':').and_then(|colon| host.get(colon + 1..));
    let given = given.and_then(crate::name::plain_port);
    given.or(state.settings.domain.public_port()).unwrap_or(if https { 443 } else { 80 })
}

/// The route of a host: the connection's last one if it is still valid, otherwise by the resolver. `refresh`: its
/// address refused a connect.
pub async fn find_route(
    link: &ClientLink,
    state: &RouterState,
    host: &[u8],
    refresh: bool,
    now: Instant,
) -> Result<Arc<Route>, RouterError> {
    match link.route() {
        Some(route) if !refresh && route.holds(host, state, now) => Ok(route),
        _ => Box::pin(look_up_route(link, state, host, refresh, now)).await,
    }
}

/// Resolves the route: separate, since few requests need it, so that its future is not part of each one's.
async fn look_up_route(
    link: &ClientLink,
    state: &RouterState,
    host: &[u8],
    refresh: bool,
    now: Instant,
) -> Result<Arc<Route>, RouterError> {
    let name = state.settings.domain.parse_host(host).map_err(|error| name_error(error, state))?;
    if !state.settings.ports.contains(name.port) {
        return Err(closed(&name));
    }
    let router = &link.worker.router;
    let pod = match state.directory.find(&name.id, refresh, &router.metrics).await {
        Ok(pod) => pod,
        Err(LookupError::NotFound) => {
            let detail = format!("There is no workspace or pod named {}.", name.id);
            return Err(RouterError::new(ErrorCode::NoSuchPod, detail));
        }
        Err(LookupError::Unavailable(_)) => {
            let detail = format!("Where {} is cannot be found out right now.", name.id);
            return Err(RouterError::new(ErrorCode::LookupFailed, detail)
                .retry_after(std::time::Duration::from_secs(2)));
        }
    };
    let listed = match &pod.ports {
        None => None,
        Some(ports) => Some(*ports.iter().find(|one| one.port == name.port).ok_or_else(|| closed(&name))?),
    };
    let address = dialled_address(&pod, &name, state)?;
    let protocol = protocol_of(name.port, listed, &state.settings);
    let key = UpstreamKey { address: SocketAddr::new(address, name.port), protocol };
    let pod_host = match state.settings.host_header {
        HostHeader::Keep => None,
        HostHeader::Localhost => HeaderValue::from_str(&format!("localhost:{}", name.port)).ok(),
    };
    let bucket = state.settings.limits.rate.map(|_| router.rates.bucket(link.peer, &name, router.nanos(now)));
    let route = Arc::new(Route {
        host: HeaderValue::from_bytes(host).map_err(|_| name_error(NameError::NotAHost, state))?,
        name,
        generation: state.generation,
        valid_until: now + state.directory.hold(),
        pod,
        upstream: link.worker.pool.pod(key, state.settings.pool),
        public: listed.is_some_and(|port| port.public),
        public_port: HeaderValue::from(public_port(host, state, link.https)),
        pod_host,
        bucket,
        requests: AtomicU64::new(0),
        router: Arc::clone(router),
    });
    link.set_route(&route);
    Ok(route)
}

/// The first address that may be dialled.
fn dialled_address(pod: &PodRecord, name: &PodName, state: &RouterState) -> Result<IpAddr, RouterError> {
    let mut refusal = None;
    for address in &pod.addresses {
        match state.settings.addresses.check(*address) {
            Ok(address) => return Ok(address),
            Err(error) => refusal = Some(error),
        }
    }
    let reason = refusal.map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
    tracing::warn!(event = "pod_address_denied", id = %name.id, reason, "the pod's address is not allowed");
    let detail = format!("The address of {} is not one that this router may reach.", name.id);
    Err(RouterError::new(ErrorCode::AddressRefused, detail))
}

fn protocol_of(port: u16, listed: Option<PodPort>, settings: &Settings) -> UpstreamProtocol {
    if let Some(protocol) = listed.and_then(|port| port.protocol) {
        protocol
    } else if settings.https_ports.contains(port) {
        UpstreamProtocol::Tls
    } else if settings.h2_ports.contains(port) {
        UpstreamProtocol::Http2
    } else {
        UpstreamProtocol::Http1
    }
}

fn closed(name: &PodName) -> RouterError {
    RouterError::new(ErrorCode::PortClosed, format!("Port {} of {} may not be reached.", name.port, name.id))
}

fn name_error(error: NameError, state: &RouterState) -> RouterError {
    let domain = &state.settings.domain;
    match error {
        NameError::OtherDomain => {
            let detail = format!("Names below {} are served here.", domain.name());
            RouterError::new(ErrorCode::NotHere, detail)
        }
        NameError::TooLong => {
            let longest = domain.longest_id();
            let detail = format!("PORT-ID exceeds 63 characters: an id may have {longest} with every port.");
            RouterError::new(ErrorCode::BadName, detail)
        }
        other => RouterError::new(ErrorCode::BadName, format!("Invalid name: {other}.")),
    }
}

//! Names → addresses → sockets, for control and data connections, directly or through a proxy.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use crate::config::{FtpConnection, NetworkOptions, ProxyServer};
use crate::tunnel::EntranceKind;

use super::dial::ReachedAddresses;
use super::fault::{Fault, Wait, within};
use super::proxy;

/// How often, and how far apart, a silent peer is probed before it counts as gone.
const KEEPALIVE_RETRIES: u32 = 4;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Connects the control connection; one deadline covers everything.
pub(super) async fn control(
    connection: &FtpConnection,
    reached: &ReachedAddresses,
) -> Result<TcpStream, Fault> {
    let host = unbracketed(&connection.host);
    let (network, limit) = (&connection.network, connection.timeouts.connect);
    // The peer then has this address, so data connections go there too.
    if let Some(EntranceKind::Ports(address)) = network.entrance.as_ref().map(|entrance| entrance.kind) {
        return to(address, network.source, network.keepalive, limit).await;
    }
    let Some(proxy) = &network.proxy else {
        return to_name((host, connection.port), reached, network, limit).await;
    };
    let deadline = Instant::now() + limit;
    let stream = to_name((unbracketed(&proxy.host), proxy.port), reached, network, limit).await?;
    let left = deadline.saturating_duration_since(Instant::now());
    tunnel(stream, proxy, (host, connection.port), left).await
}

/// Connects a data connection to the address on which the server listens.
pub(super) async fn data(
    address: SocketAddr,
    network: &NetworkOptions,
    limit: Duration,
) -> Result<TcpStream, Fault> {
    to(address, network.source, network.keepalive, limit).await
}

/// Connects a data connection to `server` through the proxy that was reached at `at`.
pub(super) async fn data_through(
    (proxy, at): (&ProxyServer, SocketAddr),
    server: (&str, u16),
    network: &NetworkOptions,
    limit: Duration,
) -> Result<TcpStream, Fault> {
    let deadline = Instant::now() + limit;
    let stream = to(at, network.source, network.keepalive, limit).await?;
    let left = deadline.saturating_duration_since(Instant::now());
    tunnel(stream, proxy, server, left).await
}

async fn tunnel(
    mut stream: TcpStream,
    proxy: &ProxyServer,
    (host, port): (&str, u16),
    limit: Duration,
) -> Result<TcpStream, Fault> {
    let waiting = || format!("a connection to {host}:{port} through the proxy {}:{}", proxy.host, proxy.port);
    let tunnel = proxy::tunnel(&mut stream, proxy, host, port);
    let tunnelled = within(Wait::Connect, limit, waiting, tunnel).await?;
    let what = format!("connecting to {host}:{port} through {}:{}", proxy.host, proxy.port);
    tunnelled.map_err(|error| Fault::Broken { what, error })?;
    Ok(stream)
}

/// Connects to whichever of the name's addresses answers first, and remembers that address.
async fn to_name(
    (host, port): (&str, u16),
    reached: &ReachedAddresses,
    network: &NetworkOptions,
    limit: Duration,
) -> Result<TcpStream, Fault> {
    let deadline = Instant::now() + limit;
    let lookup = format!("looking up {host}");
    let waiting = || format!("the address of {host}");
    let addresses = within(Wait::Connect, limit, waiting, lookup_host((host, port)))
        .await?
        .map_err(|error| Fault::Broken { what: lookup.clone(), error })?
        .filter(|address| network.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4()));
    let plan = reached.plan(host, addresses);
    if plan.addresses.is_empty() {
        let error = io::Error::new(io::ErrorKind::NotFound, "it has no address that can be reached");
        return Err(Fault::Broken { what: lookup, error });
    }
    let (source, keepalive) = (network.source, network.keepalive);
    let mut failed = Vec::new();
    let left = deadline.saturating_duration_since(Instant::now());
    let connected = {
        let connecting = plan.connect(move |address| to(address, source, keepalive, limit), &mut failed);
        timeout(left, connecting).await
    };
    match connected {
        Ok(Some((address, stream))) => {
            reached.remember(host, address.ip());
            Ok(stream)
        }
        Ok(None) => Err(all_failed(failed)),
        Err(_) => Err(none_answered(&plan.addresses, &failed, limit)),
    }
}

/// The last fault, with the results of the addresses before it.
fn all_failed(mut failed: Vec<(SocketAddr, Fault)>) -> Fault {
    let last = failed.pop().map(|(_, fault)| fault);
    let before: Vec<String> = failed.iter().map(refusal).collect();
    let also = |text: String| {
        if before.is_empty() { text } else { format!("{text} (before: {})", before.join(", ")) }
    };
    match last {
        Some(Fault::Broken { what, error }) => Fault::Broken { what: also(what), error },
        Some(Fault::TimedOut { waiting_for, wait, limit }) => {
            Fault::TimedOut { waiting_for: also(waiting_for), wait, limit }
        }
        Some(other) => other,
        None => Fault::Broken { what: "connecting".to_owned(), error: io::ErrorKind::NotConnected.into() },
    }
}

fn none_answered(tried: &[SocketAddr], failed: &[(SocketAddr, Fault)], limit: Duration) -> Fault {
    let shown = tried.iter().map(|address| {
        let fault = failed.iter().find(|(at, _)| at == address);
        fault.map_or_else(|| address.to_string(), refusal)
    });
    let waiting_for = format!("a connection to {}", shown.collect::<Vec<_>>().join(", "));
    Fault::TimedOut { waiting_for, wait: Wait::Connect, limit }
}

fn refusal((address, fault): &(SocketAddr, Fault)) -> String {
    match fault {
        Fault::Broken { error, .. } => format!("{address}: {error}"),
        _ => format!("{address}: no answer"),
    }
}

async fn to(
    address: SocketAddr,
    source: Option<IpAddr>,
    keepalive: Option<Duration>,
    limit: Duration,
) -> Result<TcpStream, Fault> {
    let broken = |error| Fault::Broken { what: format!("connecting to {address}"), error };
    let waiting = || format!("a connection to {address}");
    let socket = bound(address, source).map_err(broken)?;
    let stream = within(Wait::Connect, limit, waiting, socket.connect(address)).await?.map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    keep_alive(&stream, keepalive)?;
    Ok(stream)
}

/// In the form that a resolver accepts: an IPv6 address without brackets.
fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn bound(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    Ok(socket)
}

/// Keeps firewalls and NAT gateways from dropping a silent connection: a control connection during a long transfer
/// (when NOOP is not safe to send) or between two; a data connection whose server stalls. Also detects a dead peer.
fn keep_alive(stream: &TcpStream, after: Option<Duration>) -> Result<(), Fault> {
    let Some(after) = after else { return Ok(()) };
    let keepalive = TcpKeepalive::new()
        .with_time(after)
        .with_interval(KEEPALIVE_INTERVAL.min(after))
        .with_retries(KEEPALIVE_RETRIES);
    let set = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    set.map_err(|error| Fault::Broken { what: "keepalive".to_owned(), error })
}

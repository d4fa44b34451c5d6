//! Names → addresses → sockets, for control and data connections, directly or through a proxy.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::Instant;

use crate::config::{FtpConnection, NetworkOptions, ProxyServer};
use crate::tunnel::EntranceKind;

use super::fault::{Fault, Wait, within};
use super::proxy;

/// Of a name's addresses only the first few are tried.
const ADDRESSES_TRIED: usize = 8;

/// How often, and how far apart, a silent peer is asked before it is taken for gone.
const KEEPALIVE_RETRIES: u32 = 4;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Connects the control connection; one deadline over all.
pub(super) async fn control(connection: &FtpConnection) -> Result<TcpStream, Fault> {
    let host = connection.host.trim_start_matches('[').trim_end_matches(']');
    let limit = connection.timeouts.connect;
    let entrance = connection.network.entrance.as_ref().map(|entrance| entrance.kind);
    let stream = match (entrance, &connection.network.proxy) {
        // the peer is then this address, and so data connections go there, too
        (Some(EntranceKind::Ports(address)), _) => to(address, &connection.network, limit).await?,
        (_, Some(proxy)) => through(proxy, host, connection.port, &connection.network, limit).await?,
        (_, None) => to_name(host, connection.port, &connection.network, limit).await?,
    };
    keep_alive(&stream, connection.network.keepalive)?;
    Ok(stream)
}

/// Connects a data connection to where the server listens: `address` directly, or what a proxy finds there.
pub(super) async fn data(
    connection: &FtpConnection,
    address: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, Fault> {
    match &connection.network.proxy {
        Some(proxy) => {
            through(proxy, &address.ip().to_string(), address.port(), &connection.network, limit).await
        }
        None => to(address, &connection.network, limit).await,
    }
}

/// Connects a data connection to a port of the server's, of which only the proxy knows the address.
pub(super) async fn data_by_name(
    connection: &FtpConnection,
    proxy: &ProxyServer,
    port: u16,
    limit: Duration,
) -> Result<TcpStream, Fault> {
    through(proxy, &connection.host, port, &connection.network, limit).await
}

async fn through(
    proxy: &ProxyServer,
    host: &str,
    port: u16,
    way: &NetworkOptions,
    limit: Duration,
) -> Result<TcpStream, Fault> {
    let deadline = Instant::now() + limit;
    let mut stream = to_name(&proxy.host, proxy.port, way, limit).await?;
    let left = deadline.saturating_duration_since(Instant::now());
    let waiting = || format!("a connection to {host}:{port} through the proxy {}:{}", proxy.host, proxy.port);
    let tunnel = proxy::tunnel(&mut stream, proxy, host, port);
    let tunnelled = within(Wait::Connect, left, waiting, tunnel).await?;
    let what = format!("connecting to {host}:{port} through {}:{}", proxy.host, proxy.port);
    tunnelled.map_err(|error| Fault::Broken { what, error })?;
    Ok(stream)
}

/// Tries a name's addresses in order.
async fn to_name(host: &str, port: u16, way: &NetworkOptions, limit: Duration) -> Result<TcpStream, Fault> {
    let deadline = Instant::now() + limit;
    let lookup = format!("looking up {host}");
    let waiting = || format!("the address of {host}");
    let addresses: Vec<SocketAddr> = within(Wait::Connect, limit, waiting, lookup_host((host, port)))
        .await?
        .map_err(|error| Fault::Broken { what: lookup.clone(), error })?
        .filter(|address| way.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4()))
        .take(ADDRESSES_TRIED)
        .collect();

    let nowhere = io::Error::new(io::ErrorKind::NotFound, "it has no address that can be reached");
    let mut last = Fault::Broken { what: lookup.clone(), error: nowhere };
    for (tried, address) in addresses.iter().enumerate() {
        // An address that swallows packets must leave time for the next one.
        let left = u32::try_from(addresses.len() - tried).unwrap_or(1);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match to(*address, way, share).await {
            Ok(stream) => return Ok(stream),
            Err(Fault::TimedOut { waiting_for, wait, .. }) => {
                last = Fault::TimedOut { waiting_for, wait, limit }
            }
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

async fn to(address: SocketAddr, way: &NetworkOptions, limit: Duration) -> Result<TcpStream, Fault> {
    let broken = |error| Fault::Broken { what: format!("connecting to {address}"), error };
    let waiting = || format!("a connection to {address}");
    let socket = bound(address, way.source).map_err(broken)?;
    let stream = within(Wait::Connect, limit, waiting, socket.connect(address)).await?.map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    Ok(stream)
}

fn bound(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    Ok(socket)
}

/// Keeps firewalls from forgetting a control connection during a long transfer, when NOOP is not safe to send, and
/// finds a peer that is gone. A data connection does without: it is never idle for longer than `stall`.
fn keep_alive(stream: &TcpStream, after: Option<Duration>) -> Result<(), Fault> {
    let Some(after) = after else { return Ok(()) };
    let keepalive = TcpKeepalive::new()
        .with_time(after)
        .with_interval(KEEPALIVE_INTERVAL.min(after))
        .with_retries(KEEPALIVE_RETRIES);
    let set = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    set.map_err(|error| Fault::Broken { what: "keepalive".to_owned(), error })
}

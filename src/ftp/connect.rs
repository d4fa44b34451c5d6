//! Names → addresses → sockets, for control and data connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::Instant;

use crate::config::FtpConnection;

use super::fault::{Fault, Wait, within};

/// Of a name's addresses only the first few are tried.
const ADDRESSES_TRIED: usize = 8;

/// Keeps firewalls from forgetting a control connection during a long transfer, when NOOP is not safe to send,
/// and finds a peer that is gone.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// Connects the control connection: the name's addresses in order, one deadline over all.
pub(super) async fn control(connection: &FtpConnection) -> Result<TcpStream, Fault> {
    let limit = connection.timeouts.connect;
    let deadline = Instant::now() + limit;
    let host = connection.host.trim_start_matches('[').trim_end_matches(']');
    let lookup = format!("looking up {host}");
    let waiting = || format!("the address of {host}");
    let addresses: Vec<SocketAddr> =
        within(Wait::Connect, limit, waiting, lookup_host((host, connection.port)))
            .await?
            .map_err(|error| Fault::Broken { what: lookup.clone(), error })?
            .take(ADDRESSES_TRIED)
            .collect();

    let nowhere = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    let mut last = Fault::Broken { what: lookup.clone(), error: nowhere };
    for (tried, address) in addresses.iter().enumerate() {
        // An address that swallows packets must leave time for the next one.
        let left = u32::try_from(addresses.len() - tried).unwrap_or(1);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match connect(*address, share).await {
            Ok(stream) => return keep_alive(stream, *address),
            Err(Fault::TimedOut { waiting_for, wait, .. }) => {
                last = Fault::TimedOut { waiting_for, wait, limit }
            }
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

fn keep_alive(stream: TcpStream, address: SocketAddr) -> Result<TcpStream, Fault> {
    let broken = |error| Fault::Broken { what: format!("connecting to {address}"), error };
    SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE).map_err(broken)?;
    Ok(stream)
}

/// Connects a data connection to the address that the server is listening on. No keepalive: it is never idle for
/// longer than `stall`.
pub(super) async fn data(address: SocketAddr, limit: Duration) -> Result<TcpStream, Fault> {
    connect(address, limit).await
}

async fn connect(address: SocketAddr, limit: Duration) -> Result<TcpStream, Fault> {
    let broken = |error| Fault::Broken { what: format!("connecting to {address}"), error };
    let waiting = || format!("a connection to {address}");
    let stream = within(Wait::Connect, limit, waiting, TcpStream::connect(address)).await?.map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    Ok(stream)
}

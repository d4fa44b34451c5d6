//! Active mode: the server opens the data connection (EPRT, RFC 2428; PORT, RFC 959).

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use tokio::net::{TcpListener, TcpStream};

use super::fault::Fault;

/// Listens for the server's data connection.
#[derive(Debug)]
pub(super) struct ActiveListener {
    listener: TcpListener,
    server: IpAddr,
}

/// The address in EPRT's format.
pub(super) fn eprt_argument(at: SocketAddr) -> String {
    let family = if at.is_ipv4() { 1 } else { 2 };
    format!("|{family}|{}|{}|", at.ip(), at.port())
}

/// The address in PORT's format.
pub(super) fn port_argument(at: SocketAddr) -> String {
    let [high, low] = at.port().to_be_bytes();
    format!("{},{high},{low}", at.ip().to_string().replace('.', ","))
}

impl ActiveListener {
    pub fn new(listener: TcpListener, server: IpAddr) -> ActiveListener {
        ActiveListener { listener, server }
    }

    /// Accepts the server's connection; one from any other address is closed at once. Has no deadline of its own.
    pub async fn accept(&self) -> Result<TcpStream, Fault> {
        let broken = |error| Fault::Broken { what: "the server's data connection".to_owned(), error };
        loop {
            let (stream, from) = self.listener.accept().await.map_err(broken)?;
            if from.ip().to_canonical() == self.server {
                stream.set_nodelay(true).map_err(broken)?;
                return Ok(stream);
            }
            tracing::warn!(
                event = "data_connection_rejected", %from, server = %self.server,
                "closed a data connection from an unexpected address"
            );
        }
    }
}

/// Binds a free port; of a range, the first free one from a random start.
pub(super) async fn bind(own: IpAddr, ports: Option<RangeInclusive<u16>>) -> io::Result<TcpListener> {
    let Some(ports) = ports else { return TcpListener::bind((own, 0)).await };
    let count = usize::from(ports.end() - ports.start()) + 1;
    let first = rand::random_range(0..count);
    for port in ports.cycle().skip(first).take(count) {
        match TcpListener::bind((own, port)).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    Err(ErrorKind::AddrInUse.into())
}

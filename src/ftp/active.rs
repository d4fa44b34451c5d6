//! Active mode: the server opens the data connection (EPRT, RFC 2428; PORT, RFC 959).

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use tokio::net::{TcpListener, TcpStream};

use super::fault::{Fault, Step, StepFault};
use super::session::Session;

/// Where the server's data connection is waited for.
pub(super) struct Listening {
    listener: TcpListener,
    server: IpAddr,
}

impl Session {
    /// Listens, and tells the server where.
    pub(super) async fn listen(
        &mut self,
        announced: Option<IpAddr>,
        ports: Option<RangeInclusive<u16>>,
    ) -> Result<Listening, StepFault> {
        let broken = |error| {
            StepFault::new(
                Step::Eprt,
                Fault::Broken { what: "listening for the data connection".to_owned(), error },
            )
        };
        let own = self.ftp.get_ref().await.local_addr().map_err(broken)?.ip();
        let listener = bind(own, ports).await.map_err(broken)?;
        let port = listener.local_addr().map_err(broken)?.port();
        let address = announced.unwrap_or(own).to_canonical();
        self.announce(SocketAddr::new(address, port)).await?;
        Ok(Listening { listener, server: self.peer().ip().to_canonical() })
    }

    /// EPRT; where the server does not know it, PORT.
    async fn announce(&mut self, at: SocketAddr) -> Result<(), StepFault> {
        if !self.lacks.eprt {
            let family = if at.is_ipv4() { 1 } else { 2 };
            let reply = self.announced(Step::Eprt, &format!("|{family}|{}|{}|", at.ip(), at.port())).await?;
            match reply.code {
                200..=299 => return Ok(()),
                500..=599 if at.is_ipv4() => self.lacks.eprt = true,
                _ => return Err(StepFault::new(Step::Eprt, Fault::Reply(reply))),
            }
        }
        let [high, low] = at.port().to_be_bytes();
        let dotted = at.ip().to_string().replace('.', ",");
        let reply = self.announced(Step::Port, &format!("{dotted},{high},{low}")).await?;
        match reply.code {
            200..=299 => Ok(()),
            _ => Err(StepFault::new(Step::Port, Fault::Reply(reply))),
        }
    }

    async fn announced(&mut self, step: Step, argument: &str) -> Result<super::reply::Reply, StepFault> {
        self.exchange(step, Some(argument)).await.map_err(|fault| StepFault::new(step, fault))
    }
}

impl Listening {
    /// The server's connection; anybody else's is closed at once. Has no deadline of its own.
    pub async fn accept(&self) -> Result<TcpStream, Fault> {
        let broken = |error| Fault::Broken { what: "the server's data connection".to_owned(), error };
        loop {
            let (stream, from) = self.listener.accept().await.map_err(broken)?;
            if from.ip().to_canonical() == self.server {
                stream.set_nodelay(true).map_err(broken)?;
                return Ok(stream);
            }
            tracing::warn!(%from, server = %self.server, "a data connection from elsewhere was closed");
        }
    }
}

/// A free port; of a range, the first free one behind one that is chosen at random.
async fn bind(own: IpAddr, ports: Option<RangeInclusive<u16>>) -> io::Result<TcpListener> {
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

//! Active mode: the server opens the data connection (EPRT, RFC 2428; PORT, RFC 959).

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use tokio::net::{TcpListener, TcpStream};

use super::fault::{Fault, Step, StepFault};
use super::session::{Session, command_line};

/// Where the server's data connection is waited for.
#[derive(Debug)]
pub(super) struct Listening {
    listener: TcpListener,
    server: IpAddr,
}

impl Session {
    /// Listens, and tells the server where.
    pub(super) async fn listen_and_say(
        &mut self,
        announced: Option<IpAddr>,
        ports: Option<RangeInclusive<u16>>,
    ) -> Result<Listening, StepFault> {
        let failed = |fault| StepFault::new(Step::Eprt, fault);
        loop {
            let (listening, step, line) = self.listen(announced, ports.clone()).await.map_err(failed)?;
            let reply = self.exchange_as(step, &line).await.map_err(|fault| StepFault::new(step, fault))?;
            match reply.code {
                200..=299 => return Ok(listening),
                500..=599 if step == Step::Eprt && !self.lacks.eprt => self.lacks.eprt = true,
                _ => return Err(StepFault::new(step, Fault::Reply(reply))),
            }
        }
    }

    /// Listens; says what is to tell the server where: EPRT, or PORT where the server does not know that.
    pub(super) async fn listen(
        &mut self,
        announced: Option<IpAddr>,
        ports: Option<RangeInclusive<u16>>,
    ) -> Result<(Listening, Step, String), Fault> {
        let broken = |error| Fault::Broken { what: "listening for the data connection".to_owned(), error };
        let own = self.ftp.get_ref().await.local_addr().map_err(broken)?.ip();
        let listener = bind(own, ports).await.map_err(broken)?;
        let port = listener.local_addr().map_err(broken)?.port();
        let at = SocketAddr::new(announced.unwrap_or(own).to_canonical(), port);
        let (step, argument) =
            if self.lacks.eprt && at.is_ipv4() { (Step::Port, dotted(at)) } else { (Step::Eprt, barred(at)) };
        let line = command_line(step, Some(&argument))?;
        Ok((Listening { listener, server: self.peer().ip().to_canonical() }, step, line))
    }
}

/// As EPRT has it.
fn barred(at: SocketAddr) -> String {
    let family = if at.is_ipv4() { 1 } else { 2 };
    format!("|{family}|{}|{}|", at.ip(), at.port())
}

/// As PORT has it.
fn dotted(at: SocketAddr) -> String {
    let [high, low] = at.port().to_be_bytes();
    format!("{},{high},{low}", at.ip().to_string().replace('.', ","))
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

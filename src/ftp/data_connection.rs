//! How a data connection is established (EPSV, else PASV; EPRT or PORT in active mode), and its TLS.
//!
//! A server may support EPSV while its firewall does not, so that EPSV's port is closed or silent and PASV's is not.
//! The command that uses the port would be lost with it; so on a connection's first transfer the data connection is
//! established before the command is sent, and if that fails PASV is tried in the same session. The result is
//! remembered for the connection.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use suppaftp::tokio::{AsyncDataStream, AsyncRustlsStream};
use tokio::net::TcpStream;

use crate::config::{DataConnectionMode, FtpConnection, ProxyServer};

use super::active_listener::{ActiveListener, bind, eprt_argument, port_argument};
use super::command::{Command, Step};
use super::connect;
use super::fault::{Fault, StepFault, Wait, within};
use super::reply::Reply;
use super::server_profile::EpsvPorts;
use super::session::Session;
use super::tls::SessionTls;

/// How long an unproven EPSV port is tried before PASV is.
const EPSV_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Plain or with TLS.
pub(super) type DataConnection = AsyncDataStream<AsyncRustlsStream>;

/// The server's end of a data connection, or ours.
#[derive(Debug)]
pub(super) enum DataEndpoint {
    At(SocketAddr),
    /// A host and port to which the proxy, reached `at` this address, is asked to connect.
    Beyond {
        proxy: ProxyServer,
        at: SocketAddr,
        host: String,
        port: u16,
    },
    Here(ActiveListener),
    /// Already connected.
    Made(TcpStream),
}

/// The TLS of a session's data connections, and what has been observed of it.
#[derive(Debug)]
pub(super) struct DataSecurity {
    tls: Option<SessionTls>,
    /// A data connection has completed its TLS handshake.
    was_secured: bool,
    /// The latest data connection was connected, so a failure was due to its TLS.
    was_connected: bool,
}

impl DataSecurity {
    pub fn new(tls: Option<SessionTls>) -> DataSecurity {
        DataSecurity { tls, was_secured: false, was_connected: false }
    }

    pub fn tls(&self) -> Option<&SessionTls> {
        self.tls.as_ref()
    }

    pub fn was_secured(&self) -> bool {
        self.was_secured
    }

    /// Records how far the latest data connection got.
    pub fn record_connection(&mut self, was_connected: bool, data: Option<&DataConnection>) {
        self.was_connected = was_connected;
        self.was_secured |= matches!(data, Some(DataConnection::Ssl(_)));
    }

    /// Whether this fault is about a data connection's TLS; `Some(true)` where that is TLS 1.3.
    pub fn is_tls_fault(&self, fault: &Fault) -> Option<bool> {
        let tls = self.tls.as_ref()?;
        let is_about_tls = match fault {
            Fault::Reply(reply) => reply.code == 522 || reply.code == 425 && self.was_connected,
            Fault::Tls(_) | Fault::NotTls => true,
            _ => false,
        };
        is_about_tls.then(|| tls.is_13())
    }
}

impl Session {
    /// Where the next data connection goes; `port` is the server's, if it was requested ahead.
    pub(super) async fn data_endpoint(&mut self, port: Option<u16>) -> Result<DataEndpoint, StepFault> {
        match (port, self.connection().network.data.clone()) {
            (Some(port), _) => Ok(self.at_peer(port)),
            (None, DataConnectionMode::Passive) => self.passive_endpoint().await,
            (None, DataConnectionMode::Active { announced, ports }) => {
                self.active_endpoint(announced, ports).await
            }
        }
    }

    /// Where the server listens for the data connection.
    async fn passive_endpoint(&mut self) -> Result<DataEndpoint, StepFault> {
        if !self.lacks(Step::Epsv) {
            let reply = self.plain_exchange(Step::Epsv).await?;
            match (reply.code, reply.extended_passive_port()) {
                (_, Some(port)) if self.profile().epsv_ports() == EpsvPorts::Reachable => {
                    return Ok(self.at_peer(port));
                }
                (_, Some(port)) => return self.unproven_endpoint(port).await,
                (229 | 500..=599, _) => self.found_missing(Step::Epsv),
                _ => return Err(StepFault::new(Step::Epsv, Fault::Reply(reply))),
            }
        }
        self.pasv_endpoint().await
    }

    /// The address in PASV's reply is not used unless the connection's settings say so: behind NAT it is wrong, and a
    /// hostile server may name another machine.
    async fn pasv_endpoint(&mut self) -> Result<DataEndpoint, StepFault> {
        let reply = self.plain_exchange(Step::Pasv).await?;
        match (reply.code, reply.passive_address()) {
            (227, Some(address)) if self.connection().network.trusts_pasv => {
                Ok(match self.beyond_proxy(address.ip().to_string(), address.port()) {
                    Some(beyond) => beyond,
                    None => DataEndpoint::At(address.into()),
                })
            }
            (227, Some(address)) => Ok(self.at_peer(address.port())),
            _ => Err(StepFault::new(Step::Pasv, Fault::Reply(reply))),
        }
    }

    /// Connects to an EPSV port before any command needs it, and to a PASV port if that one is closed or silent.
    async fn unproven_endpoint(&mut self, port: u16) -> Result<DataEndpoint, StepFault> {
        let connection = self.connection_handle();
        let limit = connection.timeouts.connect;
        let endpoint = self.at_peer(port);
        let fault = match endpoint.connect_within(&connection, limit.min(EPSV_ATTEMPT_TIMEOUT)).await {
            Ok(stream) => {
                self.profile().epsv_ports_are(EpsvPorts::Reachable);
                return Ok(DataEndpoint::Made(stream));
            }
            Err(fault) => fault,
        };
        let refused = match self.pasv_endpoint().await {
            Ok(endpoint) => match endpoint.connect_within(&connection, limit).await {
                Ok(stream) => {
                    let connection = &connection.name;
                    tracing::info!(
                        event = "epsv_unreachable",
                        connection,
                        ?fault,
                        "EPSV's port is unreachable, PASV's is not; falling back to PASV"
                    );
                    self.profile().epsv_ports_are(EpsvPorts::Unreachable);
                    return Ok(DataEndpoint::Made(stream));
                }
                Err(_) => None,
            },
            Err(StepFault { fault: Fault::Reply(reply), .. }) if reply.code != 421 => Some(reply),
            Err(lost) => return Err(lost),
        };
        Err(StepFault { step: Step::DataConnect, fault, afterwards: refused })
    }

    pub(super) fn at_peer(&self, port: u16) -> DataEndpoint {
        // Only the proxy knows the server's address.
        match self.beyond_proxy(self.connection().host.clone(), port) {
            Some(beyond) => beyond,
            None => DataEndpoint::At(SocketAddr::new(self.peer().ip(), port)),
        }
    }

    fn beyond_proxy(&self, host: String, port: u16) -> Option<DataEndpoint> {
        let proxy = self.connection().network.proxy.clone()?;
        Some(DataEndpoint::Beyond { proxy, at: self.peer(), host, port })
    }

    async fn plain_exchange(&mut self, step: Step) -> Result<Reply, StepFault> {
        self.exchange(&Command::plain(step)).await.map_err(|fault| StepFault::new(step, fault))
    }

    /// Listens, and tells the server where.
    async fn active_endpoint(
        &mut self,
        announced: Option<IpAddr>,
        ports: Option<RangeInclusive<u16>>,
    ) -> Result<DataEndpoint, StepFault> {
        loop {
            let listening = self.listen(announced, ports.clone()).await;
            let (listener, command) = listening.map_err(|fault| StepFault::new(Step::Eprt, fault))?;
            let step = command.step;
            let reply = self.exchange(&command).await.map_err(|fault| StepFault::new(step, fault))?;
            match reply.code {
                200..=299 => return Ok(DataEndpoint::Here(listener)),
                500..=599 if step == Step::Eprt && !self.lacks(Step::Eprt) => self.found_missing(Step::Eprt),
                _ => return Err(StepFault::new(step, Fault::Reply(reply))),
            }
        }
    }

    /// Listens; returns the command that tells the server where: EPRT, or PORT if the server does not support that.
    pub(super) async fn listen(
        &mut self,
        announced: Option<IpAddr>,
        ports: Option<RangeInclusive<u16>>,
    ) -> Result<(ActiveListener, Command), Fault> {
        let broken = |error| Fault::Broken { what: "listening for the data connection".to_owned(), error };
        let own = self.own_address().map_err(broken)?;
        let socket = bind(own, ports).await.map_err(broken)?;
        let port = socket.local_addr().map_err(broken)?.port();
        let at = SocketAddr::new(announced.unwrap_or(own).to_canonical(), port);
        let command = if self.lacks(Step::Eprt) && at.is_ipv4() {
            Command::with(Step::Port, &port_argument(at))?
        } else {
            Command::with(Step::Eprt, &eprt_argument(at))?
        };
        Ok((ActiveListener::new(socket, self.peer().ip().to_canonical()), command))
    }
}

impl DataEndpoint {
    pub async fn connect(self, connection: &FtpConnection) -> Result<TcpStream, Fault> {
        self.connect_within(connection, connection.timeouts.connect).await
    }

    async fn connect_within(self, connection: &FtpConnection, limit: Duration) -> Result<TcpStream, Fault> {
        let network = &connection.network;
        match self {
            DataEndpoint::Made(stream) => Ok(stream),
            DataEndpoint::At(address) => connect::data(address, network, limit).await,
            DataEndpoint::Beyond { proxy, at, host, port } => {
                connect::data_through((&proxy, at), (&host, port), network, limit).await
            }
            DataEndpoint::Here(listener) => {
                // Most servers connect when they have read the command, some only when they have opened the file.
                let waiting = || "the server's data connection".to_owned();
                let limit = limit + connection.timeouts.reply;
                within(Wait::Connect, limit, waiting, listener.accept()).await?
            }
        }
    }

    /// Establishes a data connection with its TLS: the server takes part in the handshake once it has answered the
    /// command, or (like `ProFTPD`) before it does. `is_connected` is set as soon as there is a connection.
    pub async fn connect_secured(
        self,
        connection: &FtpConnection,
        tls: Option<SessionTls>,
        is_connected: &AtomicBool,
    ) -> Result<DataConnection, Fault> {
        let stream = self.connect(connection).await?;
        is_connected.store(true, Ordering::Relaxed);
        let Some(tls) = tls else { return Ok(DataConnection::Tcp(stream)) };
        let waiting = || "the TLS handshake of the data connection".to_owned();
        let handshake = within(Wait::Reply, connection.timeouts.reply, waiting, tls.handshake(stream));
        Ok(DataConnection::Ssl(Box::new(AsyncRustlsStream::from(handshake.await??))))
    }
}

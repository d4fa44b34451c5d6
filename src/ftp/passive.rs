//! A data connection (EPSV, else PASV; or active mode), and the command that uses it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use suppaftp::tokio::{AsyncDataStream, AsyncRustlsStream};

use crate::config::{Data, FtpConnection, Proxy};

use super::active::Listening;
use super::connect;
use super::fault::{Fault, Step, StepFault, Wait, within};
use super::reply::Reply;
use super::session::{Session, command_line};
use super::tls::SessionTls;

/// After a data connection stalled, the reply that ends the transfer is waited for no longer than this.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(5);

/// Plain or with TLS.
pub(super) type DataConnection = AsyncDataStream<AsyncRustlsStream>;

/// A transfer that the server has accepted.
pub(super) struct Opened {
    pub data: DataConnection,
    /// The final reply, where the server sent it without a preliminary one.
    pub early: Option<Reply>,
}

impl Session {
    /// Asks for a data connection and sends RETR or STOR, which the server refuses or accepts.
    ///
    /// The command goes out while the data connection is still being connected: one round trip less.
    pub(super) async fn open_transfer(&mut self, step: Step, path: &str) -> Result<Opened, StepFault> {
        let line = command_line(step, Some(path)).map_err(|fault| StepFault::new(step, fault))?;
        let waiting = || "the reply to OPTS UTF8".to_owned();
        let reply_limit = self.connection().timeouts.reply;
        let told = within(Wait::Reply, reply_limit, waiting, self.speak_utf8(path)).await;
        told.and_then(|told| told).map_err(|fault| StepFault::new(step, fault))?;
        let end = match self.connection().way.data.clone() {
            Data::Passive => self.passive_end().await?,
            Data::Active { announced, ports } => End::Here(self.listen(announced, ports).await?),
        };
        let connection = self.connection_handle();
        let timeouts = &connection.timeouts;

        self.had_data_socket = false;
        let stands = AtomicBool::new(false);
        let mut connecting = pin!(data_connection(end, &connection, self.tls.clone(), &stands));
        let mut connected = None;
        let sent = {
            let waiting = || format!("the reply to {}", step.verb());
            self.unfinished = true;
            let sending = within(Wait::Reply, timeouts.reply, waiting, self.ftp.custom_command(line, &[]));
            let mut sending = pin!(sending);
            loop {
                tokio::select! {
                    biased;
                    sent = &mut sending => break sent,
                    data = &mut connecting, if connected.is_none() => connected = Some(data),
                }
            }
        };
        self.had_data_socket = stands.load(Ordering::Relaxed);
        let reply = match sent.and_then(|read| self.heard_reply(read)) {
            Ok(reply) => reply,
            // The server waits for a data connection that cannot be made.
            Err(fault) => return Err(data_fault(connected).unwrap_or(StepFault::new(step, fault))),
        };
        let early = match step {
            _ if reply.is_preliminary() => None,
            Step::Retr if reply.is_done() => Some(reply),
            _ => return Err(StepFault::new(step, Fault::Reply(reply))),
        };
        self.unfinished = true;
        let connected = match connected {
            Some(connected) => connected,
            None => connecting.await,
        };
        self.had_data_socket = stands.load(Ordering::Relaxed);
        match connected {
            Ok(data) => {
                self.had_secure_data |= matches!(data, DataConnection::Ssl(_));
                Ok(Opened { data, early })
            }
            Err(fault) => Err(self.lost_data(Step::DataConnect, fault, early).await),
        }
    }

    /// After the data connection broke (or never stood): the control connection's reply is still read, and
    /// decides unless it only says that the data connection broke.
    pub(super) async fn lost_data(&mut self, step: Step, fault: Fault, early: Option<Reply>) -> StepFault {
        let close = self.connection().timeouts.close;
        // A server that was silent on one connection for so long may be silent on the other too.
        let limit = if matches!(fault, Fault::TimedOut { .. }) { close.min(LAST_WORD_WITHIN) } else { close };
        let reply = match early {
            Some(reply) => Some(reply),
            None => self.final_reply(limit).await.ok(),
        };
        // 425 on a data connection that stood: its TLS is not what the server wants.
        let decides = |reply: &Reply| match reply.code {
            425 => self.tls.is_some(),
            426 => false,
            _ => reply.is_refusal(),
        };
        match reply {
            Some(reply) if decides(&reply) => StepFault::new(step, Fault::Reply(reply)),
            afterwards => StepFault { step, fault, afterwards },
        }
    }

    /// Where the server waits for the data connection. The address that PASV names is not used unless the
    /// connection says so: behind NAT it is wrong, and from a hostile server it is somebody else's.
    async fn passive_end(&mut self) -> Result<End, StepFault> {
        let (proxy, server) = (self.connection().way.proxy.clone(), self.peer().ip());
        let at_peer = |port| match proxy {
            Some(proxy) => End::Beyond(proxy, port),
            None => End::At(SocketAddr::new(server, port)),
        };
        if !self.lacks.epsv {
            let reply = self.passive_reply(Step::Epsv).await?;
            match (reply.code, reply.extended_passive_port()) {
                (229, Some(port)) => return Ok(at_peer(port)),
                (229 | 500..=599, _) => self.lacks.epsv = true,
                _ => return Err(StepFault::new(Step::Epsv, Fault::Reply(reply))),
            }
        }
        let reply = self.passive_reply(Step::Pasv).await?;
        match (reply.code, reply.passive_address()) {
            (227, Some(address)) if self.connection().way.trusts_pasv => Ok(End::At(address.into())),
            (227, Some(address)) => Ok(at_peer(address.port())),
            _ => Err(StepFault::new(Step::Pasv, Fault::Reply(reply))),
        }
    }

    async fn passive_reply(&mut self, step: Step) -> Result<Reply, StepFault> {
        self.exchange(step, None).await.map_err(|fault| StepFault::new(step, fault))
    }
}

/// The server's end of a data connection, or ours.
enum End {
    At(SocketAddr),
    /// A port of the server, which only the proxy can find.
    Beyond(Proxy, u16),
    Here(Listening),
}

/// A data connection, with its TLS: the server takes part in that once it has answered the command, or (as
/// `ProFTPD`) before it does. `stands` tells when there is a connection.
async fn data_connection(
    end: End,
    connection: &FtpConnection,
    tls: Option<SessionTls>,
    stands: &AtomicBool,
) -> Result<DataConnection, Fault> {
    let timeouts = &connection.timeouts;
    let limit = timeouts.connect;
    let stream = match end {
        End::At(address) => connect::data(connection, address, limit).await?,
        End::Beyond(proxy, port) => connect::data_by_name(connection, &proxy, port, limit).await?,
        End::Here(listening) => {
            // A server connects when it has read the command; some do so when they have opened the file.
            let waiting = || "the server's data connection".to_owned();
            let accepting = listening.accept(connection.way.keepalive);
            within(Wait::Connect, limit + timeouts.reply, waiting, accepting).await??
        }
    };
    stands.store(true, Ordering::Relaxed);
    let Some(tls) = tls else { return Ok(DataConnection::Tcp(stream)) };
    let waiting = || "the TLS handshake of the data connection".to_owned();
    let secured = within(Wait::Reply, timeouts.reply, waiting, tls.handshake(stream)).await??;
    Ok(DataConnection::Ssl(Box::new(secured)))
}

fn data_fault(connected: Option<Result<DataConnection, Fault>>) -> Option<StepFault> {
    connected?.err().map(|fault| StepFault::new(Step::DataConnect, fault))
}

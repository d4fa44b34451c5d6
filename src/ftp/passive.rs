//! A data connection (EPSV, else PASV), and the command that uses it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use suppaftp::tokio::{AsyncDataStream, AsyncRustlsStream};

use crate::config::Timeouts;

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
        let address = SocketAddr::new(self.peer().ip(), self.passive_port().await?);
        let timeouts = self.connection().timeouts.clone();

        self.had_data_socket = false;
        let stands = AtomicBool::new(false);
        let mut connecting = pin!(data_connection(address, &timeouts, self.tls.clone(), &stands));
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

    /// The port on which the server waits for the data connection. The address that PASV names is not
    /// used: behind NAT it is wrong, and from a hostile server it is somebody else's.
    async fn passive_port(&mut self) -> Result<u16, StepFault> {
        if !self.lacks.epsv {
            let reply = self.passive_reply(Step::Epsv).await?;
            match (reply.code, reply.extended_passive_port()) {
                (229, Some(port)) => return Ok(port),
                (229 | 500..=599, _) => self.lacks.epsv = true,
                _ => return Err(StepFault::new(Step::Epsv, Fault::Reply(reply))),
            }
        }
        let reply = self.passive_reply(Step::Pasv).await?;
        match (reply.code, reply.passive_port()) {
            (227, Some(port)) => Ok(port),
            _ => Err(StepFault::new(Step::Pasv, Fault::Reply(reply))),
        }
    }

    async fn passive_reply(&mut self, step: Step) -> Result<Reply, StepFault> {
        self.exchange(step, None).await.map_err(|fault| StepFault::new(step, fault))
    }
}

/// A data connection, with its TLS: the server takes part in that once it has answered the command, or (as
/// `ProFTPD`) before it does. `stands` tells when there is a connection.
async fn data_connection(
    address: SocketAddr,
    timeouts: &Timeouts,
    tls: Option<SessionTls>,
    stands: &AtomicBool,
) -> Result<DataConnection, Fault> {
    let stream = connect::data(address, timeouts.connect).await?;
    stands.store(true, Ordering::Relaxed);
    let Some(tls) = tls else { return Ok(DataConnection::Tcp(stream)) };
    let waiting = || "the TLS handshake of the data connection".to_owned();
    let secured = within(Wait::Reply, timeouts.reply, waiting, tls.handshake(stream)).await??;
    Ok(DataConnection::Ssl(Box::new(secured)))
}

fn data_fault(connected: Option<Result<DataConnection, Fault>>) -> Option<StepFault> {
    connected?.err().map(|fault| StepFault::new(Step::DataConnect, fault))
}

//! A data connection (EPSV, else PASV; or active mode), and the command that uses it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use suppaftp::FtpError;
use suppaftp::tokio::{AsyncDataStream, AsyncRustlsStream};
use suppaftp::types::Response;
use tokio::net::TcpStream;

use crate::config::{DataConnectionMode, FtpConnection, ProxyServer};

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
    /// The replies to SIZE and MDTM, where they were sent in one burst with the command.
    pub size: Option<Reply>,
    pub modified: Option<Reply>,
}

/// How the command that uses a data connection is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Alone,
    /// Behind SIZE, and MDTM where the server has it, in one burst with them.
    BehindSize,
    /// STOR, and the bytes follow without waiting for its 150.
    Unaccepted,
    /// Behind REST, which was accepted: from this byte on.
    From(u64),
}

/// What was sent for a transfer, beside the command itself.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent commands, not a state")]
struct Sent {
    /// EPRT or PORT, first of all.
    announced: bool,
    /// SIZE, before the command.
    size: bool,
    /// MDTM, between the two.
    modified: bool,
    /// The port is one that was asked for ahead.
    is_port_ahead: bool,
}

/// The replies to SIZE and MDTM, where they were asked, and to the command.
type Heard = (Option<Reply>, Option<Reply>, Reply);

impl Sent {
    fn replies(self) -> usize {
        1 + usize::from(self.announced) + usize::from(self.size) + usize::from(self.modified)
    }
}

impl Session {
    /// Asks for a data connection and sends RETR or STOR, which the server refuses or accepts.
    ///
    /// The command goes out while the data connection is still being connected: one round trip less. In active
    /// mode it goes out with EPRT, where the server bears that.
    pub(super) async fn open_transfer(
        &mut self,
        step: Step,
        path: &str,
        manner: Manner,
    ) -> Result<Opened, StepFault> {
        let failed = |fault| StepFault::new(step, fault);
        if let Some(end) = self.ahead.take_begun(path) {
            // The command is under way; its reply is still to come.
            let is_unaccepted = step == Step::Stor && self.tls.is_none();
            (self.ahead.unaccepted, self.ahead.is_hasty) = (is_unaccepted, true);
            if is_unaccepted {
                return self.open_unaccepted(end, true).await;
            }
            let sent = Sent { size: manner == Manner::BehindSize, ..Sent::default() };
            return self.open_sent(step, end, sent).await;
        }
        let line = command_line(step, Some(path)).map_err(failed)?;
        self.speak_utf8(path).await.map_err(failed)?;
        (self.ahead.unaccepted, self.ahead.is_hasty) = (false, false);
        let asks = |step| command_line(step, Some(path));
        let is_behind = manner == Manner::BehindSize;
        let size = if is_behind { Some(asks(Step::Size).map_err(failed)?) } else { None };
        let asks_time =
            is_behind && self.connection().resume && !self.lacks.mdtm && self.features.has("MDTM");
        let modified = if asks_time { Some(asks(Step::Mdtm).map_err(failed)?) } else { None };
        let before = size.iter().chain(&modified).map(String::as_str);
        let lines: Vec<&str> = before.chain([line.as_str()]).collect();
        let sent = Sent { size: size.is_some(), modified: asks_time, ..Sent::default() };
        let is_active = matches!(self.connection().network.data, DataConnectionMode::Active { .. });
        if self.may_hurry() && is_active && !matches!(manner, Manner::From(_)) {
            return self.open_announced(step, &lines, sent).await;
        }
        let port_ahead = self.ahead.take_port();
        let end = self.data_end(port_ahead).await?;
        if let Manner::From(offset) = manner {
            self.restart_at(offset).await?;
        }
        self.send_ahead(&lines).await.map_err(failed)?;
        if manner == Manner::Unaccepted && self.tls.is_none() {
            self.ahead.unaccepted = true;
            return self.open_unaccepted(end, port_ahead.is_some()).await;
        }
        self.open_sent(step, end, Sent { is_port_ahead: port_ahead.is_some(), ..sent }).await
    }

    /// Active mode: EPRT and the commands behind it in one burst; where the server does not know it, PORT.
    async fn open_announced(&mut self, step: Step, lines: &[&str], sent: Sent) -> Result<Opened, StepFault> {
        loop {
            let announced = self.announce_ahead().await.map_err(|fault| StepFault::new(Step::Eprt, fault))?;
            let burst: Vec<&str> = [announced.line.as_str()].iter().chain(lines).copied().collect();
            self.send_ahead(&burst).await.map_err(|fault| StepFault::new(step, fault))?;
            let Some(listening) = announced.listening else {
                return Err(StepFault::new(step, Fault::Garbled));
            };
            let sent = Sent { announced: true, ..sent };
            match self.open_sent(step, End::Here(listening), sent).await {
                Err(StepFault { step: Step::Eprt, fault: Fault::Reply(reply), .. })
                    if announced.step == Step::Eprt && !self.lacks.eprt && reply.code >= 500 =>
                {
                    self.lacks.eprt = true;
                }
                opened => return opened,
            }
        }
    }

    /// Connects, and reads what the server says meanwhile to the commands that were sent.
    async fn open_sent(&mut self, step: Step, end: End, sent: Sent) -> Result<Opened, StepFault> {
        let connection = self.connection_handle();
        self.had_data_socket = false;
        let stands = AtomicBool::new(false);
        let mut connecting = pin!(data_connection(end, &connection, self.tls.clone(), &stands));
        let mut connected = None;
        let read = {
            let waiting = || format!("the reply to {}", step.verb());
            self.unfinished = true;
            let ftp = &mut self.ftp;
            let reading = async {
                let mut replies = Vec::with_capacity(sent.replies());
                while replies.len() < sent.replies() {
                    let read = ftp.read_response_in(&[]).await;
                    let is_reply = matches!(read, Err(FtpError::UnexpectedResponse(_)));
                    replies.push(read);
                    if !is_reply {
                        break;
                    }
                }
                replies
            };
            let mut reading = pin!(within(Wait::Reply, connection.timeouts.reply, waiting, reading));
            loop {
                tokio::select! {
                    biased;
                    read = &mut reading => break read,
                    data = &mut connecting, if connected.is_none() => connected = Some(data),
                }
            }
        };
        self.had_data_socket = stands.load(Ordering::Relaxed);
        let (size, modified, reply) = match read.and_then(|read| self.heard_burst(sent, read)) {
            Ok(replies) => replies,
            Err(refused @ Fault::Reply(_)) if sent.announced && !self.unfinished => {
                return Err(StepFault::new(Step::Eprt, refused));
            }
            // What came behind it was taken all the same.
            Err(Fault::Reply(refused)) if sent.announced && refused.code != 421 => {
                let fault = self.out_of_place(&refused);
                return Err(StepFault::new(Step::Eprt, fault));
            }
            // The server waits for a data connection that cannot be made.
            Err(fault @ Fault::TimedOut { .. }) => {
                return Err(data_fault(connected).unwrap_or(StepFault::new(step, fault)));
            }
            Err(fault) => return Err(StepFault::new(step, fault)),
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
                Ok(Opened { data, early, size, modified })
            }
            Err(fault) => Err(self.no_data(fault, early, sent.is_port_ahead).await),
        }
    }

    /// Connects; STOR was sent. Its 150, or the refusal, is read with the final reply.
    async fn open_unaccepted(&mut self, end: End, is_port_ahead: bool) -> Result<Opened, StepFault> {
        self.unfinished = true;
        match end.connect(self.connection()).await {
            Ok(stream) => {
                Ok(Opened { data: DataConnection::Tcp(stream), early: None, size: None, modified: None })
            }
            Err(fault) => Err(self.no_data(fault, None, is_port_ahead).await),
        }
    }

    /// The data connection could not be made; it may be that the server did not keep its port for so long.
    async fn no_data(&mut self, fault: Fault, early: Option<Reply>, is_port_ahead: bool) -> StepFault {
        let mut at = self.lost_data(Step::DataConnect, fault, early).await;
        if is_port_ahead && !matches!(at.fault, Fault::Reply(_)) {
            at.fault = self.too_hasty("no data connection on a port that was asked for ahead".to_owned());
            at.afterwards = None;
        }
        at
    }

    /// The replies to a burst, or to one command, in their order: SIZE's, where it was in it, and the last one.
    fn heard_burst(&mut self, sent: Sent, read: Vec<Result<Response, FtpError>>) -> Result<Heard, Fault> {
        let mut heard = Vec::with_capacity(read.len());
        for read in read {
            let reply = self.heard_reply(read)?;
            if reply.code == 421 {
                return Err(Fault::Reply(reply));
            }
            heard.push(reply);
        }
        let mut replies = heard.into_iter();
        if sent.announced {
            match replies.next().ok_or(Fault::Garbled)? {
                reply if reply.is_done() && reply.code != 213 => {}
                // What came behind it is refused as well, or leaves the session in doubt.
                reply if reply.is_refusal() => return Err(Fault::Reply(reply)),
                reply => return Err(self.out_of_place(&reply)),
            }
        }
        let mut asked = |was_asked: bool| {
            if was_asked { replies.next().map(Some).ok_or(Fault::Garbled) } else { Ok(None) }
        };
        let (size, modified) = (asked(sent.size)?, asked(sent.modified)?);
        let reply = replies.next().ok_or(Fault::Garbled)?;
        let is_answer = |reply: &Reply| reply.code == 213 || reply.is_refusal();
        if let Some(misplaced) = size.iter().chain(&modified).find(|reply| !is_answer(reply)) {
            return Err(self.out_of_place(misplaced));
        }
        // 226 for RETR may come first, but neither for a question.
        if size.is_some() && reply.code == 213 {
            return Err(self.out_of_place(&reply));
        }
        Ok((size, modified, reply))
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

    /// Where the next data connection comes about; `port` is the server's, where it was asked for ahead.
    async fn data_end(&mut self, port: Option<u16>) -> Result<End, StepFault> {
        match (port, self.connection().network.data.clone()) {
            (Some(port), _) => Ok(self.at_peer(port)),
            (None, DataConnectionMode::Passive) => self.passive_end().await,
            (None, DataConnectionMode::Active { announced, ports }) => {
                Ok(End::Here(self.listen_and_say(announced, ports).await?))
            }
        }
    }

    /// Where the server waits for the data connection. The address that PASV names is not used unless the
    /// connection says so: behind NAT it is wrong, and from a hostile server it is somebody else's.
    async fn passive_end(&mut self) -> Result<End, StepFault> {
        if !self.lacks.epsv {
            let reply = self.passive_reply(Step::Epsv).await?;
            match (reply.code, reply.extended_passive_port()) {
                (229, Some(port)) => return Ok(self.at_peer(port)),
                (229 | 500..=599, _) => self.lacks.epsv = true,
                _ => return Err(StepFault::new(Step::Epsv, Fault::Reply(reply))),
            }
        }
        let reply = self.passive_reply(Step::Pasv).await?;
        match (reply.code, reply.passive_address()) {
            (227, Some(address)) if self.connection().network.trusts_pasv => Ok(End::At(address.into())),
            (227, Some(address)) => Ok(self.at_peer(address.port())),
            _ => Err(StepFault::new(Step::Pasv, Fault::Reply(reply))),
        }
    }

    pub(super) fn at_peer(&self, port: u16) -> End {
        match &self.connection().network.proxy {
            Some(proxy) => End::Beyond(proxy.clone(), port),
            None => End::At(SocketAddr::new(self.peer().ip(), port)),
        }
    }

    async fn passive_reply(&mut self, step: Step) -> Result<Reply, StepFault> {
        self.exchange(step, None).await.map_err(|fault| StepFault::new(step, fault))
    }
}

/// The server's end of a data connection, or ours.
#[derive(Debug)]
pub(super) enum End {
    At(SocketAddr),
    /// A port of the server, which only the proxy can find.
    Beyond(ProxyServer, u16),
    Here(Listening),
}

impl End {
    async fn connect(self, connection: &FtpConnection) -> Result<TcpStream, Fault> {
        let limit = connection.timeouts.connect;
        match self {
            End::At(address) => connect::data(connection, address, limit).await,
            End::Beyond(proxy, port) => connect::data_by_name(connection, &proxy, port, limit).await,
            End::Here(listening) => {
                // A server connects when it has read the command; some do so when they have opened the file.
                let waiting = || "the server's data connection".to_owned();
                let limit = limit + connection.timeouts.reply;
                within(Wait::Connect, limit, waiting, listening.accept()).await?
            }
        }
    }
}

/// A data connection, with its TLS: the server takes part in that once it has answered the command, or (as
/// `ProFTPD`) before it does. `stands` tells when there is a connection.
async fn data_connection(
    end: End,
    connection: &FtpConnection,
    tls: Option<SessionTls>,
    stands: &AtomicBool,
) -> Result<DataConnection, Fault> {
    let stream = end.connect(connection).await?;
    stands.store(true, Ordering::Relaxed);
    let Some(tls) = tls else { return Ok(DataConnection::Tcp(stream)) };
    let waiting = || "the TLS handshake of the data connection".to_owned();
    let limit = connection.timeouts.reply;
    let secured = within(Wait::Reply, limit, waiting, tls.handshake(stream)).await??;
    Ok(DataConnection::Ssl(Box::new(secured)))
}

fn data_fault(connected: Option<Result<DataConnection, Fault>>) -> Option<StepFault> {
    connected?.err().map(|fault| StepFault::new(Step::DataConnect, fault))
}

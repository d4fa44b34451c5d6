//! How a transfer starts: its data connection, and the command that uses it.
//!
//! The command goes out while the data connection is still being connected, which saves one round trip.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bare_names::BareNameTrial;
use super::command::{Command, Step};
use super::data_connection::{DataConnection, DataEndpoint};
use super::fault::{Fault, StepFault, Wait, within};
use super::reply::Reply;
use super::server_profile::EpsvPorts;
use super::session::Session;
use super::tls::HANDSHAKE;

/// How long to wait for the reply that ends the transfer after a data connection stalled.
const LAST_REPLY_WITHIN: Duration = Duration::from_secs(5);

/// A transfer that the server has accepted.
pub(super) struct OpenedTransfer {
    /// `None` if the server has nothing to send, and closed the data connection before its TLS handshake.
    pub data: Option<DataConnection>,
    /// The final reply, if the server sent it without a preliminary one.
    pub early: Option<Reply>,
    /// The replies to SIZE and MDTM, if they were sent in one burst with the command.
    pub size: Option<Reply>,
    pub modified: Option<Reply>,
}

/// How the command that uses a data connection is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenMode {
    Alone,
    /// After SIZE, and MDTM if the server has it, in one burst.
    BehindSize,
    /// STOR, with the bytes following without waiting for its 150.
    BytesAtOnce,
    /// After REST, which was accepted: from this byte on.
    From(u64),
}

/// What was sent for a transfer, besides the command itself.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent commands, not a state")]
struct OpeningBurst {
    /// EPRT or PORT, first of all.
    announced: bool,
    /// SIZE, before the command.
    size: bool,
    /// MDTM, between the two.
    modified: bool,
    /// The port was requested ahead.
    is_port_ahead: bool,
    /// SIZE has reported that the file is empty.
    is_empty: bool,
}

/// The replies to SIZE and MDTM, if they were sent, and to the command.
type OpeningReplies = (Option<Reply>, Option<Reply>, Reply);

impl OpeningBurst {
    fn replies(self) -> usize {
        1 + usize::from(self.announced) + usize::from(self.size) + usize::from(self.modified)
    }
}

impl Session {
    /// Establishes a data connection and sends RETR, STOR, MLSD or LIST, which the server refuses or accepts. In active
    /// mode the command goes out in one burst with EPRT, if pipelining pays off.
    ///
    /// If EPSV's port could not be reached and the server has reported it, PASV is tried before the transfer fails.
    pub(super) async fn open_transfer(
        &mut self,
        step: Step,
        path: &str,
        mode: OpenMode,
    ) -> Result<OpenedTransfer, StepFault> {
        let is_of_file = matches!(step, Step::Retr | Step::Stor);
        let argument = match if is_of_file { self.name_of(path).await } else { Ok(path.to_owned()) } {
            Ok(argument) => argument,
            Err(fault) => return Err(StepFault::new(Step::Cwd, fault)),
        };
        match self.open_transfer_at(step, &argument, mode).await {
            Err(refused) if step == Step::Retr && self.may_try_bare_name(step, path, &refused) => {
                match self.try_bare_name(step, path, OpenMode::Alone).await? {
                    BareNameTrial::Accepted(opened) => Ok(*opened),
                    BareNameTrial::NoDirectory | BareNameTrial::NoHelp => Err(refused),
                }
            }
            opened => opened,
        }
    }

    /// Like [`Session::open_transfer`], with the command's argument for the file: its path or its bare name.
    pub(super) async fn open_transfer_at(
        &mut self,
        step: Step,
        path: &str,
        mode: OpenMode,
    ) -> Result<OpenedTransfer, StepFault> {
        let opened = self.open_transfer_by_any_port(step, path, mode).await;
        if opened.is_ok() {
            self.accepted(step, path);
        }
        opened
    }

    async fn open_transfer_by_any_port(
        &mut self,
        step: Step,
        path: &str,
        mode: OpenMode,
    ) -> Result<OpenedTransfer, StepFault> {
        match self.open_transfer_once(step, path, mode).await {
            Err(lost) if self.may_be_epsv(&lost) => {
                self.profile().epsv_ports_are(EpsvPorts::Unproven);
                match self.open_transfer_once(step, path, mode).await {
                    Err(again) if again.step == Step::DataConnect => Err(lost),
                    opened => opened,
                }
            }
            opened => opened,
        }
    }

    /// Whether the failure was to connect to a port that EPSV has named, and the session is in order.
    fn may_be_epsv(&self, lost: &StepFault) -> bool {
        lost.step == Step::DataConnect
            && matches!(lost.fault, Fault::TimedOut { wait: Wait::Connect, .. } | Fault::Broken { .. })
            && !self.is_active()
            && !self.lacks(Step::Epsv)
            && self.profile().epsv_ports() == EpsvPorts::Reachable
            && self.is_usable()
    }

    async fn open_transfer_once(
        &mut self,
        step: Step,
        path: &str,
        mode: OpenMode,
    ) -> Result<OpenedTransfer, StepFault> {
        let failed = |fault| StepFault::new(step, fault);
        let is_plain = self.data_security().tls().is_none();
        if let Some(endpoint) = self.pipelining().take_started(path) {
            // The command was sent; its reply is still to come.
            if step == Step::Stor && is_plain {
                return self.connect_at_once(endpoint, true).await;
            }
            let burst = OpeningBurst {
                size: mode == OpenMode::BehindSize,
                is_empty: self.is_known_to_be_empty(path),
                ..OpeningBurst::default()
            };
            return self.connect_and_read_replies(step, endpoint, burst).await;
        }
        let command = Command::with(step, path).map_err(failed)?;
        self.announce_utf8(path).await.map_err(failed)?;
        let asks_size = mode == OpenMode::BehindSize;
        let asks_time =
            asks_size && self.connection().resume && !self.lacks(Step::Mdtm) && self.features().has("MDTM");
        let mut commands = Vec::new();
        for (asks, question) in [(asks_size, Step::Size), (asks_time, Step::Mdtm)] {
            if asks {
                commands.push(Command::with(question, path).map_err(failed)?);
            }
        }
        commands.push(command);
        let is_empty = step == Step::Retr && self.is_known_to_be_empty(path);
        let burst =
            OpeningBurst { size: asks_size, modified: asks_time, is_empty, ..OpeningBurst::default() };
        if self.may_pipeline() && self.is_active() && !matches!(mode, OpenMode::From(_)) {
            return self.open_announced(step, &commands, burst).await;
        }
        let port_ahead = self.pipelining().take_port();
        let endpoint = self.data_endpoint(port_ahead).await?;
        if let OpenMode::From(offset) = mode {
            self.restart_at(offset).await?;
        }
        self.send_burst(&commands).await.map_err(failed)?;
        if mode == OpenMode::BytesAtOnce && is_plain {
            return self.connect_at_once(endpoint, port_ahead.is_some()).await;
        }
        let is_port_ahead = port_ahead.is_some();
        self.connect_and_read_replies(step, endpoint, OpeningBurst { is_port_ahead, ..burst }).await
    }

    /// Active mode: EPRT and the commands after it in one burst; if the server does not support EPRT, PORT.
    async fn open_announced(
        &mut self,
        step: Step,
        commands: &[Command],
        burst: OpeningBurst,
    ) -> Result<OpenedTransfer, StepFault> {
        loop {
            let announcement =
                self.announce_data().await.map_err(|fault| StepFault::new(Step::Eprt, fault))?;
            let announced_by = announcement.command.step;
            let Some(listener) = announcement.listener else {
                return Err(StepFault::new(step, Fault::Garbled));
            };
            let all = [&[announcement.command], commands].concat();
            self.send_burst(&all).await.map_err(|fault| StepFault::new(step, fault))?;
            let burst = OpeningBurst { announced: true, ..burst };
            match self.connect_and_read_replies(step, DataEndpoint::Here(listener), burst).await {
                Err(StepFault { step: Step::Eprt, fault: Fault::Reply(reply), .. })
                    if announced_by == Step::Eprt && !self.lacks(Step::Eprt) && reply.code >= 500 =>
                {
                    self.found_missing(Step::Eprt);
                }
                opened => return opened,
            }
        }
    }

    /// Connects, and meanwhile reads the replies to the commands that were sent.
    async fn connect_and_read_replies(
        &mut self,
        step: Step,
        endpoint: DataEndpoint,
        burst: OpeningBurst,
    ) -> Result<OpenedTransfer, StepFault> {
        let connection = self.connection_handle();
        let (is_connected, tls) = (AtomicBool::new(false), self.data_security().tls().cloned());
        let mut connecting = pin!(endpoint.connect_secured(&connection, tls, &is_connected));
        let mut connected = None;
        let read = {
            let (limit, waiting) = (connection.timeouts.reply, || format!("the reply to {}", step.verb()));
            let mut reading = pin!(within(Wait::Reply, limit, waiting, self.replies(burst.replies())));
            loop {
                tokio::select! {
                    biased;
                    read = &mut reading => break read,
                    data = &mut connecting, if connected.is_none() => connected = Some(data),
                }
            }
        };
        self.data_security().record_connection(is_connected.load(Ordering::Relaxed), None);
        let received = read.and_then(|replies| replies).and_then(|replies| self.sort_replies(burst, replies));
        let (size, modified, reply) = match received {
            Ok(replies) => replies,
            Err(refused @ Fault::Reply(_)) if burst.announced && self.is_usable() => {
                return Err(StepFault::new(Step::Eprt, refused));
            }
            // The commands after it were accepted all the same.
            Err(Fault::Reply(refused)) if burst.announced && refused.code != 421 => {
                let fault = self.unexpected_reply(&refused);
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
            Step::Retr | Step::Mlsd | Step::List if reply.is_done() => Some(reply),
            _ => return Err(StepFault::new(step, Fault::Reply(reply))),
        };
        let connected = match connected {
            Some(connected) => connected,
            None => connecting.await,
        };
        self.data_security().record_connection(is_connected.load(Ordering::Relaxed), connected.as_ref().ok());
        match connected {
            Ok(data) => Ok(OpenedTransfer { data: Some(data), early, size, modified }),
            Err(fault) => {
                let was_closed = step != Step::Stor && was_closed_before_tls(&fault);
                let is_empty = burst.is_empty || size.as_ref().is_some_and(|size| size.size() == Some(0));
                let lost = self.data_failed(fault, early, burst.is_port_ahead).await;
                match lost.afterwards {
                    Some(ended) if was_closed && ended.is_done() => {
                        Ok(OpenedTransfer { data: None, early: Some(ended), size, modified })
                    }
                    _ if was_closed && is_empty && self.is_usable() => {
                        let early = Some(Reply::nothing_sent());
                        Ok(OpenedTransfer { data: None, early, size, modified })
                    }
                    _ => Err(lost),
                }
            }
        }
    }

    /// Connects after STOR was sent. Its 150, or the refusal, is read with the final reply.
    async fn connect_at_once(
        &mut self,
        endpoint: DataEndpoint,
        is_port_ahead: bool,
    ) -> Result<OpenedTransfer, StepFault> {
        match endpoint.connect(self.connection()).await {
            Ok(stream) => {
                let data = Some(DataConnection::Tcp(stream));
                Ok(OpenedTransfer { data, early: None, size: None, modified: None })
            }
            Err(fault) => Err(self.data_failed(fault, None, is_port_ahead).await),
        }
    }

    /// The data connection could not be established; the server may not have kept its port for so long.
    async fn data_failed(&mut self, fault: Fault, early: Option<Reply>, is_port_ahead: bool) -> StepFault {
        let mut at = self.data_lost(Step::DataConnect, fault, early).await;
        if is_port_ahead && !matches!(at.fault, Fault::Reply(_)) {
            let how = "no data connection on a port that was asked for ahead".to_owned();
            at.fault = self.reject_pipelining(how);
            at.afterwards = None;
        }
        at
    }

    /// Assigns the replies to a burst, or to one command, in order: SIZE's, if it was in it, and the last one.
    fn sort_replies(&mut self, burst: OpeningBurst, replies: Vec<Reply>) -> Result<OpeningReplies, Fault> {
        if let Some(ended) = replies.iter().find(|reply| reply.code == 421) {
            return Err(Fault::Reply(ended.clone()));
        }
        let mut replies = replies.into_iter();
        if burst.announced {
            match replies.next().ok_or(Fault::Garbled)? {
                reply if reply.is_done() && reply.code != 213 => {}
                // The commands after it are refused as well, or left outstanding.
                reply if reply.is_refusal() => return Err(Fault::Reply(reply)),
                reply => return Err(self.unexpected_reply(&reply)),
            }
        }
        let mut asked = |was_asked: bool| {
            if was_asked { replies.next().map(Some).ok_or(Fault::Garbled) } else { Ok(None) }
        };
        let (size, modified) = (asked(burst.size)?, asked(burst.modified)?);
        let reply = replies.next().ok_or(Fault::Garbled)?;
        let is_answer = |reply: &Reply| reply.code == 213 || reply.is_refusal();
        if let Some(misplaced) = size.iter().chain(&modified).find(|reply| !is_answer(reply)) {
            return Err(self.unexpected_reply(misplaced));
        }
        // 226 for RETR may come first, but not for SIZE or MDTM.
        if size.is_some() && reply.code == 213 {
            return Err(self.unexpected_reply(&reply));
        }
        Ok((size, modified, reply))
    }

    /// After the data connection broke (or was never established): still reads the control connection's reply, which
    /// decides unless it only says that the data connection broke.
    pub(super) async fn data_lost(&mut self, step: Step, fault: Fault, early: Option<Reply>) -> StepFault {
        let close = self.connection().timeouts.close;
        // A server that was silent on one connection for so long may be silent on the other too.
        let limit =
            if matches!(fault, Fault::TimedOut { .. }) { close.min(LAST_REPLY_WITHIN) } else { close };
        let reply = match early {
            Some(reply) => Some(reply),
            None => self.final_reply(limit).await.ok(),
        };
        // 425 on a data connection that was established: the server rejects its TLS.
        let has_tls = self.data_security().tls().is_some();
        let decides = |reply: &Reply| match reply.code {
            425 => has_tls,
            426 => false,
            _ => reply.is_refusal(),
        };
        match reply {
            Some(reply) if decides(&reply) => StepFault::new(step, Fault::Reply(reply)),
            afterwards => StepFault { step, fault, afterwards },
        }
    }
}

/// Whether the server closed a data connection before its TLS handshake, as some do that have nothing to send. An
/// attacker on the path could do the same, so the control connection must confirm that there is nothing.
fn was_closed_before_tls(fault: &Fault) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(fault, Fault::Broken { what, error } if what == HANDSHAKE
        && matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe))
}

fn data_fault(connected: Option<Result<DataConnection, Fault>>) -> Option<StepFault> {
    connected?.err().map(|fault| StepFault::new(Step::DataConnect, fault))
}

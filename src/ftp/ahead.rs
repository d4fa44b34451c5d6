//! Commands that go out before it is their turn: fewer round trips to a server that is far away.
//!
//! What depends on no reply need not wait for one. So SIZE and RETR go in one burst; EPSV for the next file when
//! the data connection has ended, while the reply that ends the transfer is still on its way; SIZE and RNFR
//! likewise after an upload, and RNTO only once SIZE's reply was right, with the next EPSV behind it. In a row of
//! uploads the next file's EPSV and STOR go out with SIZE, and RNFR and RNTO one file later (see `ending`). Into a
//! directory that has taken a file before, bytes follow STOR without waiting for its 150. In active mode EPRT goes
//! out with the command that it is for.
//!
//! Servers may object (Pure-FTPd swallows what comes during a transfer), so nothing is lost where they do: a
//! refusal of what was sent ahead only means that it is asked again in its turn, a reply out of its place ends
//! the session and not the file, and either way the connection speaks one command at a time from then on.
//! Where a round trip costs next to nothing, on a LAN, no command is sent ahead at all.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::DataConnectionMode;

use super::active::Listening;
use super::fault::{CONTROL, Fault, Step, Wait, within};
use super::known::Known;
use super::names;
use super::passive::End;
use super::reply::Reply;
use super::session::Session;
use super::tls::SessionTls;

/// From this round trip on a server is far away.
const FAR: Duration = Duration::from_millis(5);

/// A port that was asked for ahead is used within this time: servers and firewalls forget it after a while.
const PORT_KEEPS: Duration = Duration::from_secs(5);

/// What was asked ahead on one session, and what came of it.
#[derive(Debug)]
pub(super) struct Ahead {
    known: Arc<Known>,
    /// The quickest reply so far.
    round_trip: Duration,
    /// Final replies that the server owes; a future dropped in between leaves it above 0.
    pub owed: u32,
    /// STOR went out and bytes followed it: its 150 is still to come.
    pub unaccepted: bool,
    /// EPSV's port, and when it came.
    port: Option<(u16, Instant)>,
    /// SIZE's reply for a path.
    size: Option<(String, Reply)>,
    /// RNFR was accepted for this path, and no command came after it.
    renaming: Option<String>,
    /// STOR (or SIZE and RETR) went out for this path, and its data connection comes about there.
    begun: Option<(String, End)>,
    /// The present transfer is one that was begun so.
    pub is_hasty: bool,
}

impl Ahead {
    pub fn new(known: &Arc<Known>, round_trip: Duration) -> Ahead {
        Ahead {
            known: Arc::clone(known),
            round_trip,
            owed: 0,
            unaccepted: false,
            port: None,
            size: None,
            renaming: None,
            begun: None,
            is_hasty: false,
        }
    }

    pub fn is_worth_it(&self) -> bool {
        (self.round_trip >= FAR || self.known.is_far()) && !self.known.objects()
    }

    /// A reply came after so long.
    pub fn took(&mut self, round_trip: Duration) {
        self.round_trip = self.round_trip.min(round_trip);
    }

    /// No command is sent ahead any more on any session of the connection.
    pub fn objected(&self, connection: &str, what: &str) {
        if self.known.objected() {
            tracing::info!(connection, what, "the server wants one command at a time");
        }
    }

    /// Forgets what the next command makes void.
    fn next_command(&mut self) {
        (self.size, self.renaming) = (None, None);
    }

    pub fn command_goes_out(&mut self) {
        self.next_command();
        self.owed += 1;
    }

    pub fn keep_port(&mut self, reply: &Reply) -> bool {
        self.port =
            reply.extended_passive_port().filter(|_| reply.code == 229).map(|port| (port, Instant::now()));
        self.port.is_some()
    }

    pub fn take_port(&mut self) -> Option<u16> {
        self.port.take().filter(|(_, since)| since.elapsed() < PORT_KEEPS).map(|(port, _)| port)
    }

    pub fn keep_size(&mut self, path: &str, size: Reply) {
        self.size = Some((path.to_owned(), size));
    }

    pub fn keep_renaming(&mut self, path: &str) {
        self.renaming = Some(path.to_owned());
    }

    /// RNFR still holds after it: nothing was sent for this.
    pub fn take_size(&mut self, path: &str) -> Option<Reply> {
        self.size.take_if(|(of, _)| of == path).map(|(_, reply)| reply)
    }

    pub fn take_renaming(&mut self, path: &str) -> bool {
        self.renaming.take_if(|of| of == path).is_some()
    }

    /// STOR (or SIZE and RETR) went out for `path`, and its data connection comes about at `end`.
    pub fn begin(&mut self, path: &str, end: End) {
        self.begun = Some((path.to_owned(), end));
    }

    pub fn has_begun(&self, path: &str) -> bool {
        self.begun.as_ref().is_some_and(|(of, _)| of == path)
    }

    pub fn take_begun(&mut self, path: &str) -> Option<End> {
        self.begun.take_if(|(of, _)| of == path).map(|(_, end)| end)
    }
}

/// A data connection that the server is told of, or asked for, in one burst with the command that uses it.
pub(super) struct Announced {
    /// EPSV, EPRT or PORT.
    pub line: String,
    pub step: Step,
    /// In active mode.
    pub listening: Option<Listening>,
}

impl Session {
    /// Whether a command may go out before its turn.
    pub(super) fn may_hurry(&self) -> bool {
        self.ahead.is_worth_it()
    }

    /// Whether the next file's port may be asked for before that file is known.
    pub(super) fn may_send_epsv_ahead(&self) -> bool {
        self.may_hurry() && !self.lacks.epsv && self.connection().network.data == DataConnectionMode::Passive
    }

    /// Whether a data connection can be announced in one burst with the command that uses it: not by PASV, whose
    /// reply the command may have to wait for where it comes from elsewhere.
    pub(super) fn announces_ahead(&self) -> bool {
        match self.connection().network.data {
            DataConnectionMode::Passive => !self.lacks.epsv,
            DataConnectionMode::Active { .. } => true,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.connection().network.data, DataConnectionMode::Active { .. })
    }

    /// Whether RETR or STOR of this path went out with the end of the file before.
    pub(crate) fn has_begun(&self, path: &str) -> bool {
        self.ahead.has_begun(path)
    }

    /// What announces the next data connection.
    pub(super) async fn announce_ahead(&mut self) -> Result<Announced, Fault> {
        match self.connection().network.data.clone() {
            DataConnectionMode::Passive => {
                Ok(Announced { line: Step::Epsv.verb().to_owned(), step: Step::Epsv, listening: None })
            }
            DataConnectionMode::Active { announced, ports } => {
                let (listening, step, line) = self.listen(announced, ports).await?;
                Ok(Announced { line, step, listening: Some(listening) })
            }
        }
    }

    /// Where the data connection comes about; `None` where the server refused to.
    pub(super) fn announced_end(&mut self, announced: Announced, reply: &Reply) -> Option<End> {
        if let Some(listening) = announced.listening {
            self.lacks.eprt |= announced.step == Step::Eprt && (500..600).contains(&reply.code);
            return reply.is_done().then_some(End::Here(listening));
        }
        let port = reply.extended_passive_port().filter(|_| reply.code == 229)?;
        Some(self.at_peer(port))
    }

    /// Writes commands in one burst; their replies are then owed, and read by [`Session::owed_reply`].
    pub(super) async fn send_ahead(&mut self, lines: &[&str]) -> Result<(), Fault> {
        let charset = self.connection().charset;
        let mut burst = Vec::with_capacity(lines.iter().map(|line| line.len() + 2).sum());
        for line in lines {
            burst.extend(names::on_the_wire(charset, line).map_err(|_| Fault::Unsendable)?);
            burst.extend_from_slice(b"\r\n");
        }
        self.unfinished = true;
        for _ in lines {
            self.ahead.command_goes_out();
        }
        let written = match self.tls.as_ref().and_then(SessionTls::control) {
            Some(control) => {
                let waiting = || "the server to take commands".to_owned();
                within(Wait::Reply, self.connection().timeouts.reply, waiting, control.write(&burst)).await?
            }
            // The control connection's send buffer is empty but for what the server has not acknowledged yet.
            None => match self.ftp.get_ref().await.try_write(&burst) {
                Ok(written) if written < burst.len() => Err(std::io::ErrorKind::WriteZero.into()),
                written => written.map(|_| ()),
            },
        };
        written.map_err(|error| Fault::Broken { what: CONTROL.to_owned(), error })
    }

    /// The next reply to what was sent ahead.
    pub(super) async fn owed_reply(&mut self, verb: &str) -> Result<Reply, Fault> {
        let limit = self.connection().timeouts.reply;
        let waiting = || format!("the reply to {verb}");
        let read = within(Wait::Reply, limit, waiting, self.ftp.read_response_in(&[])).await?;
        self.heard_reply(read)
    }

    /// Whether a refusal is one of sending it before its turn, as far as can be told: in its turn it will
    /// tell.
    pub(super) fn refused_for_haste(&self, step: Step, fault: &Fault) -> bool {
        let Fault::Reply(reply) = fault else { return false };
        let is_about_turns = matches!(reply.code, 425 | 450 | 500..=504);
        self.ahead.is_hasty
            && matches!(step, Step::Stor | Step::Sending | Step::Retr | Step::Receiving)
            && is_about_turns
    }

    pub(super) fn objected(&self, what: &str) {
        self.ahead.objected(&self.connection().name, what);
    }

    /// A reply came that answers another command than its turn's: the session is over.
    pub(super) fn out_of_place(&mut self, reply: &Reply) -> Fault {
        self.too_hasty(format!("the reply is out of its place: {reply}"))
    }

    /// The session is over, and the next one takes its turns.
    pub(super) fn too_hasty(&mut self, how: String) -> Fault {
        self.objected(&how);
        self.unfinished = true;
        Fault::TooHasty(how)
    }

    /// Reads EPSV's reply, and keeps the port for the next file. Without one it is asked in its turn.
    pub(super) async fn port_ahead(&mut self) {
        match self.owed_reply("EPSV").await {
            Ok(reply) => {
                if !self.ahead.keep_port(&reply) {
                    self.objected(&reply.to_string());
                }
            }
            // What is still owed has put the session in doubt.
            Err(_) => self.objected("no reply to EPSV"),
        }
    }
}

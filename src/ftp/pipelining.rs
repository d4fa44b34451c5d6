//! Pipelining: commands that are sent before the replies to earlier ones have arrived, which saves round trips to a
//! distant server.
//!
//! What depends on no reply need not wait for one. SIZE and RETR go out in one burst; EPSV for the next file when the
//! data connection has ended, while the reply that ends the transfer is still on its way; SIZE and RNFR likewise after
//! an upload, and RNTO only once SIZE's reply was right, with the next EPSV after it. Of consecutive uploads the end of
//! one is joined with the start of the next: see `crate::transfer::upload_pipeline`. In a directory that has accepted a
//! file before, bytes follow STOR without waiting for its 150. In active mode EPRT goes out with the command that it is
//! for.
//!
//! A server may reject this (Pure-FTPd swallows what arrives during a transfer), so nothing is lost if it does: a
//! command that was refused early is sent again in order, an unexpected reply ends the session but not the file, and
//! either way the connection's sessions send one command at a time from then on. If a round trip costs next to nothing,
//! on a LAN, no command is sent ahead at all.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{DataConnectionMode, RenameOver, UploadMode};

use super::active_listener::ActiveListener;
use super::command::{Command, Step};
use super::data_connection::DataEndpoint;
use super::fault::Fault;
use super::reply::Reply;
use super::session::Session;

/// A port that was requested ahead must be used within this time: servers and firewalls forget it after a while.
const PORT_VALID_FOR: Duration = Duration::from_secs(5);

/// What one session has sent ahead, and the replies to it that are still unused.
#[derive(Debug, Default)]
pub(super) struct Pipelining {
    /// EPSV's port, and when it arrived.
    port: Option<(u16, Instant)>,
    /// SIZE's reply, and the path that it is for.
    size: Option<(String, Reply)>,
    /// RNFR was accepted for this path, and no command has followed it.
    renaming: Option<String>,
    /// STOR (or SIZE and RETR) was sent for this path, with this data connection.
    started: Option<(String, DataEndpoint)>,
    /// The present transfer was started ahead.
    is_ahead: bool,
}

impl Pipelining {
    /// Discards what the next command invalidates.
    pub fn next_command(&mut self) {
        (self.size, self.renaming) = (None, None);
    }

    pub fn keep_port(&mut self, reply: &Reply) -> bool {
        self.port = reply.extended_passive_port().map(|port| (port, Instant::now()));
        self.port.is_some()
    }

    pub fn take_port(&mut self) -> Option<u16> {
        self.port.take().filter(|(_, since)| since.elapsed() < PORT_VALID_FOR).map(|(port, _)| port)
    }

    pub fn keep_size(&mut self, path: &str, size: Reply) {
        self.size = Some((path.to_owned(), size));
    }

    /// RNFR remains valid afterwards: nothing was sent for this.
    pub fn take_size(&mut self, path: &str) -> Option<Reply> {
        self.size.take_if(|(of, _)| of == path).map(|(_, reply)| reply)
    }

    pub fn keep_renaming(&mut self, path: &str) {
        self.renaming = Some(path.to_owned());
    }

    pub fn take_renaming(&mut self, path: &str) -> bool {
        self.renaming.take_if(|of| of == path).is_some()
    }

    /// STOR (or SIZE and RETR) was sent for `path`.
    pub fn start(&mut self, path: &str, endpoint: DataEndpoint) {
        self.started = Some((path.to_owned(), endpoint));
    }

    pub fn has_started(&self, path: &str) -> bool {
        self.started.as_ref().is_some_and(|(of, _)| of == path)
    }

    /// The transfer of `path` begins: returns its data connection if it was started ahead.
    pub fn take_started(&mut self, path: &str) -> Option<DataEndpoint> {
        let started = self.started.take_if(|(of, _)| of == path).map(|(_, endpoint)| endpoint);
        self.is_ahead = started.is_some();
        started
    }

    /// Whether a transfer was refused for being started ahead, as far as can be judged; sending it again in order will
    /// show.
    pub fn was_refused(&self, step: Step, fault: &Fault) -> bool {
        let Fault::Reply(reply) = fault else { return false };
        self.is_ahead
            && matches!(step, Step::Stor | Step::Sending | Step::Retr | Step::Receiving)
            && matches!(reply.code, 425 | 450 | 500..=504)
    }
}

/// The command that announces or asks for a data connection, to be sent in one burst with the command that uses it.
pub(super) struct DataAnnouncement {
    /// EPSV, EPRT or PORT.
    pub command: Command,
    /// In active mode.
    pub listener: Option<ActiveListener>,
}

impl Session {
    pub(super) fn is_active(&self) -> bool {
        matches!(self.connection().network.data, DataConnectionMode::Active { .. })
    }

    /// Whether the next file's port may be asked for before that file is known.
    pub(super) fn may_ask_port_ahead(&self) -> bool {
        self.may_pipeline() && !self.lacks(Step::Epsv) && !self.is_active()
    }

    /// Whether consecutive uploads may be pipelined. Not with PASV, whose reply may be needed before the next command
    /// can be sent.
    pub(super) fn may_pipeline_uploads(&self) -> bool {
        self.may_pipeline()
            && !self.is_expired()
            && !self.lacks(Step::Size)
            && (self.is_active() || !self.lacks(Step::Epsv))
            && self.connection().rename_over == RenameOver::Auto
            && self.connection().upload == UploadMode::TempName
            && self.connection().temp_dir.is_none()
            && !self.connection().no_check_upload
            && !self.has_data_sets()
    }

    pub(super) async fn announce_data(&mut self) -> Result<DataAnnouncement, Fault> {
        match self.connection().network.data.clone() {
            DataConnectionMode::Passive => {
                Ok(DataAnnouncement { command: Command::plain(Step::Epsv), listener: None })
            }
            DataConnectionMode::Active { announced, ports } => {
                let (listener, command) = self.listen(announced, ports).await?;
                Ok(DataAnnouncement { command, listener: Some(listener) })
            }
        }
    }

    /// The endpoint of the data connection; `None` if the server refused the announcement.
    pub(super) fn announced_endpoint(
        &mut self,
        announcement: DataAnnouncement,
        reply: &Reply,
    ) -> Option<DataEndpoint> {
        if let Some(listener) = announcement.listener {
            if announcement.command.step == Step::Eprt && (500..600).contains(&reply.code) {
                self.found_missing(Step::Eprt);
            }
            return reply.is_done().then_some(DataEndpoint::Here(listener));
        }
        reply.extended_passive_port().map(|port| self.at_peer(port))
    }

    /// A reply that cannot belong to its command: ends the session, and the next one sends one command at a time.
    pub(super) fn unexpected_reply(&mut self, reply: &Reply) -> Fault {
        self.reject_pipelining(format!("unexpected reply: {reply}"))
    }

    /// Ends the session; the next one sends one command at a time.
    pub(super) fn reject_pipelining(&mut self, how: String) -> Fault {
        self.pipelining_rejected(&how);
        self.retire("the server rejects pipelining");
        Fault::PipeliningRejected(how)
    }

    /// Reads EPSV's reply, and keeps the port for the next file. Without one, EPSV is sent again in order.
    pub(super) async fn keep_port_ahead(&mut self) {
        match self.reply().await {
            Ok(reply) => {
                if !self.pipelining().keep_port(&reply) {
                    self.pipelining_rejected(&reply.to_string());
                }
            }
            // The outstanding reply makes the session unusable.
            Err(_) => self.pipelining_rejected("no reply to EPSV"),
        }
    }
}

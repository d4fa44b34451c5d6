//! RNFR and RNTO: renames a file, within its directory or to another one.

use std::fmt::Write as _;

use crate::failure::TryError;

use super::command::{Command, Step};
use super::fault::Fault;
use super::reply::Reply;
use super::session::Session;

/// The outcome of a rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenameOutcome {
    Done,
    /// No longer wanted: RNTO was not sent.
    Abandoned,
    /// RNFR was accepted, RNTO was not: often because the name is already taken.
    TargetRefused(TryError),
}

impl Session {
    /// RNFR and RNTO. Whether a file at `to` is replaced is up to the server. `may_still_rename` is checked before each
    /// RNTO: RNFR alone changes nothing, and the next command cancels it.
    ///
    /// If the server accepts names but no paths, the directory of `to` is made the current one in between.
    pub async fn rename(
        &mut self,
        from: &str,
        to: &str,
        may_still_rename: impl Fn() -> bool + Send,
    ) -> Result<RenameOutcome, TryError> {
        if !self.pipelining().take_renaming(from) {
            self.rename_from(from).await?;
        }
        if !may_still_rename() {
            return Ok(RenameOutcome::Abandoned);
        }
        let reply = match self.rename_to(to).await {
            Ok(reply) => reply,
            Err(fault) => return Err(self.fail(Step::Rnto, Some(to), &fault)),
        };
        let is_for_its_path = matches!(reply.code, 501 | 550 | 553) && self.lacks_directory_of(to);
        match self.rename_meaning(to, reply)? {
            RenameOutcome::TargetRefused(refused) if is_for_its_path => {
                self.rename_by_names(from, to, may_still_rename, refused).await
            }
            outcome => Ok(outcome),
        }
    }

    async fn rename_from(&mut self, from: &str) -> Result<(), TryError> {
        let reply = self.ask(Step::Rnfr, from).await?;
        if reply.code == 350 { Ok(()) } else { Err(self.fail(Step::Rnfr, Some(from), &Fault::Reply(reply))) }
    }

    /// RNFR in one directory, RNTO in the other. Some servers forget RNFR in between, as the standard permits.
    async fn rename_by_names(
        &mut self,
        from: &str,
        to: &str,
        may_still_rename: impl Fn() -> bool + Send,
        mut refused: TryError,
    ) -> Result<RenameOutcome, TryError> {
        self.rename_from(from).await?;
        let entered = self.name_of(to).await;
        let name = entered.map_err(|fault| self.fail(Step::Cwd, Some(to), &fault))?;
        if self.lacks_directory_of(to) {
            return Ok(RenameOutcome::TargetRefused(refused)); // there is no such directory
        }
        if !may_still_rename() {
            return Ok(RenameOutcome::Abandoned);
        }
        let reply = match Command::with(Step::Rnto, &name) {
            Ok(command) => self.exchange(&command).await,
            Err(fault) => Err(fault),
        };
        let reply = reply.map_err(|fault| self.fail(Step::Rnto, Some(to), &fault))?;
        if !reply.is_refusal() || reply.code == 421 {
            return self.rename_meaning(to, reply);
        }
        let _ = write!(
            refused.failure.message,
            "; the server takes names and no paths, and does not rename into a directory that is entered between RNFR \
             and RNTO either: {reply}"
        );
        Ok(RenameOutcome::TargetRefused(refused))
    }

    /// What a reply to RNTO means.
    pub(super) fn rename_meaning(&mut self, to: &str, reply: Reply) -> Result<RenameOutcome, TryError> {
        // SIZE's reply, or EPSV's: it says nothing about the file.
        if matches!(reply.code, 213 | 229) {
            let fault = self.unexpected_reply(&reply);
            return Err(self.fail(Step::Rnto, Some(to), &fault));
        }
        // Pure-FTPd replies 451 if the directory is missing.
        let is_missing = reply.code == 451 && reply.hints(Some(to)).missing;
        match reply.code {
            200..=299 => Ok(RenameOutcome::Done),
            450 | 451 | 550..=553 if reply.code != 451 || is_missing => {
                Ok(RenameOutcome::TargetRefused(self.fail(Step::Rnto, Some(to), &Fault::Reply(reply))))
            }
            _ => Err(self.fail(Step::Rnto, Some(to), &Fault::Reply(reply))),
        }
    }

    /// RNTO's reply; EPSV for the next file follows the command, if that saves time.
    async fn rename_to(&mut self, to: &str) -> Result<Reply, Fault> {
        let rnto = Command::with(Step::Rnto, &self.name_in_current(to))?;
        if !self.may_ask_port_ahead() {
            return self.exchange(&rnto).await;
        }
        self.send_burst(&[rnto, Command::plain(Step::Epsv)]).await?;
        let reply = self.reply().await?;
        if reply.code == 229 || reply.code == 421 {
            return Err(if reply.code == 421 { Fault::Reply(reply) } else { self.unexpected_reply(&reply) });
        }
        self.keep_port_ahead().await;
        Ok(reply)
    }
}

//! Servers that accept a file's name but no path: its directory is made the current one first.
//!
//! Either the key `change_directory = always` says so, or it is found out: where RETR or STOR of a path is refused, the
//! session enters the directory and tries the bare name. If that works, all commands of the connection use bare names
//! from then on, one command at a time; if not, the session returns to its previous directory. A server that has
//! accepted a path once is never tried this way.

use ftp_listing::data_set;

use crate::config::ChangeDirectory;

use super::command::{Command, Step};
use super::fault::{Fault, StepFault};
use super::open_transfer::{OpenMode, OpenedTransfer};
use super::server_profile::PathSupport;
use super::session::Session;

/// The result of entering the directory of a refused path and trying the bare name.
pub(super) enum BareNameTrial {
    Accepted(Box<OpenedTransfer>),
    /// CWD was refused: there is no such directory.
    NoDirectory,
    /// The name was refused like the path, or nothing was tried.
    NoHelp,
}

impl Session {
    /// Whether files are addressed by name within their directory, not by path.
    pub(super) fn enters_directories(&self) -> bool {
        self.connection().change_directory == ChangeDirectory::Always || self.profile().refuses_paths()
    }

    /// The argument that commands use for the file at `path`: its bare name if its directory is the current one now. If
    /// the directory cannot be entered, the path stays as it is and the command will be refused.
    pub(super) async fn name_of(&mut self, path: &str) -> Result<String, Fault> {
        if !self.enters_directories() {
            self.return_for(path).await?;
            return Ok(path.to_owned());
        }
        let (directory, name) = split(path);
        // Ask now, while the session is still in its first directory: a relative path may come later.
        self.first_directory().await?;
        let Some(directory) = self.absolute(directory).await? else { return Ok(path.to_owned()) };
        let is_there = self.current.as_deref() == Some(&*directory) || self.change_to(&directory).await?;
        Ok(if is_there { name } else { path }.to_owned())
    }

    /// If a listing has changed the directory and `path` is relative, returns to the login directory.
    async fn return_for(&mut self, path: &str) -> Result<(), Fault> {
        let is_relative = !path.starts_with('/') && !data_set::is_quoted(path);
        if is_relative
            && self.has_left_home
            && let Some(home) = self.home.clone()
            && self.current.as_deref() != Some(&*home)
        {
            self.change_to(&home).await?;
        }
        Ok(())
    }

    /// Like [`Session::name_of`] but sends no command, since none may come between RNFR and RNTO.
    pub(super) fn name_in_current(&self, path: &str) -> String {
        let (_, name) = split(path);
        match self.directory_of(path) {
            Some(directory) if self.enters_directories() && self.current.as_deref() != Some(&*directory) => {
                // A bare name would refer to a file in another directory.
                let is_bare = name == path;
                if is_bare { format!("{}/{name}", directory.trim_end_matches('/')) } else { path.to_owned() }
            }
            Some(_) if self.enters_directories() => name.to_owned(),
            _ => path.to_owned(),
        }
    }

    /// Whether bare names are used and this path's directory is not the current one.
    pub(super) fn lacks_directory_of(&self, path: &str) -> bool {
        self.enters_directories() && self.directory_of(path) != self.current
    }

    /// The absolute directory of a file, if the login directory is known or does not matter.
    fn directory_of(&self, path: &str) -> Option<String> {
        let (directory, _) = split(path);
        match &self.home {
            _ if directory.starts_with('/') => Some(directory.to_owned()),
            Some(home) if directory.is_empty() => Some(home.clone()),
            Some(home) => Some(format!("{}/{directory}", home.trim_end_matches('/'))),
            None => None,
        }
    }

    /// Whether a refused path should be retried as a bare name in its directory.
    pub(super) fn may_try_bare_name(&self, step: Step, path: &str, refused: &StepFault) -> bool {
        let Fault::Reply(reply) = &refused.fault else { return false };
        refused.step == step
            && matches!(reply.code, 501 | 550 | 553)
            && path.contains('/')
            && !(step == Step::Retr && reply.hints(Some(path)).missing)
            && self.is_usable()
            && !self.enters_directories()
            && !self.lacks(Step::Cwd)
            && self.profile().may_enter_for(step)
    }

    /// Enters the directory of a path that was refused, and tries the name.
    pub(super) async fn try_bare_name(
        &mut self,
        step: Step,
        path: &str,
        mode: OpenMode,
    ) -> Result<BareNameTrial, StepFault> {
        let failed = |fault| StepFault::new(Step::Cwd, fault);
        let (directory, name) = split(path);
        // The directory to return to.
        let home = self.absolute("").await.map_err(failed)?;
        let Some(directory) = self.absolute(directory).await.map_err(failed)? else {
            return Ok(BareNameTrial::NoHelp);
        };
        if !self.change_to(&directory).await.map_err(failed)? {
            let is_refused = !self.lacks(Step::Cwd);
            return Ok(if is_refused { BareNameTrial::NoDirectory } else { BareNameTrial::NoHelp });
        }
        let refused = match self.open_transfer_at(step, name, mode).await {
            Ok(opened) => {
                let connection = &self.connection().name;
                tracing::info!(
                    event = "paths_rejected",
                    connection,
                    "server rejects paths; each file's directory is entered first"
                );
                self.profile().paths_refused();
                return Ok(BareNameTrial::Accepted(Box::new(opened)));
            }
            Err(refused) => refused,
        };
        if !matches!(&refused.fault, Fault::Reply(reply) if reply.is_refusal()) || !self.is_usable() {
            return Err(refused);
        }
        self.profile().entry_failed();
        let is_back = match &home {
            Some(home) => self.change_to(home).await.map_err(failed)?,
            None => false,
        };
        if !is_back {
            // Relative paths would resolve elsewhere.
            self.retire("the session cannot go back to its first directory");
        }
        Ok(BareNameTrial::NoHelp)
    }

    /// RETR or STOR was accepted.
    pub(super) fn accepted(&self, step: Step, argument: &str) {
        if matches!(step, Step::Retr | Step::Stor)
            && argument.contains('/')
            && self.profile().path_support(step) == PathSupport::Unknown
        {
            self.profile().path_taken(step);
        }
    }

    /// CWD. Returns false if it is refused.
    async fn change_to(&mut self, directory: &str) -> Result<bool, Fault> {
        if self.lacks(Step::Cwd) {
            return Ok(false);
        }
        let reply = self.exchange(&Command::with(Step::Cwd, directory)?).await?;
        if reply.is_done() {
            self.has_left_home = true;
            self.current = Some(directory.to_owned());
            return Ok(true);
        }
        if !reply.is_refusal() || reply.code == 421 {
            return Err(Fault::Reply(reply));
        }
        if matches!(reply.code, 500 | 502 | 504) {
            self.found_missing(Step::Cwd);
        }
        Ok(false)
    }
}

/// Splits a path into its directory (`/` for the root; empty if there is none) and its name.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((directory, name)) => (directory, name),
        None => ("", path),
    }
}

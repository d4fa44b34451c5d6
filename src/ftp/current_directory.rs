//! The current directory: PWD and CWD, on servers whose paths have their own syntax.

use ftp_listing::data_set;

use crate::failure::TryError;

use super::command::{Command, Step};
use super::fault::Fault;
use super::session::Session;

impl Session {
    /// The login directory; `None` if PWD does not report it, or is asked too late. LIST depends on the current
    /// directory, which changes with each CWD.
    async fn home(&mut self) -> Result<Option<String>, TryError> {
        self.first_directory().await.map_err(|fault| self.fail(Step::Pwd, None, &fault))
    }

    pub(super) async fn first_directory(&mut self) -> Result<Option<String>, Fault> {
        if self.home.is_some() || self.has_left_home || self.lacks(Step::Pwd) {
            return Ok(self.home.clone());
        }
        let reply = self.exchange(&Command::plain(Step::Pwd)).await?;
        if reply.code == 421 || !(reply.is_done() || reply.is_refusal()) {
            return Err(Fault::Reply(reply));
        }
        self.home = reply.quoted_path().filter(|_| reply.code == 257);
        if self.home.is_none() {
            self.found_missing(Step::Pwd);
        }
        Ok(self.home.clone())
    }

    /// The absolute path of a directory, if the login directory is known or does not matter.
    pub(super) async fn absolute(&mut self, directory: &str) -> Result<Option<String>, Fault> {
        if directory.starts_with('/') {
            return Ok(Some(directory.to_owned()));
        }
        Ok(match self.first_directory().await? {
            Some(home) if directory.is_empty() => Some(home),
            Some(home) if home.starts_with('/') => {
                Some(format!("{}/{directory}", home.trim_end_matches('/')))
            }
            _ => None,
        })
    }

    /// Makes `directory` the current one. Returns false if that is impossible: it is then listed by its path.
    pub(super) async fn enter(&mut self, directory: &str) -> Result<bool, TryError> {
        let has_moved = self.has_left_home;
        if directory.is_empty() && !has_moved {
            return Ok(true);
        }
        let path = if directory.starts_with('/') || data_set::is_quoted(directory) {
            directory.to_owned()
        } else {
            // It is relative to the login directory, so the session must be able to get back there before the next one.
            match self.home().await? {
                None => return Ok(false),
                Some(home) if directory.is_empty() => home,
                Some(home) if home.starts_with('/') => {
                    format!("{}/{directory}", home.trim_end_matches('/'))
                }
                Some(home) => {
                    // On z/OS, VMS or Windows paths are not joined with a slash.
                    if has_moved && !self.change_directory(&home).await? {
                        return Ok(false);
                    }
                    directory.to_owned()
                }
            }
        };
        self.change_directory(&path).await
    }

    /// CWD. Returns false if the server has no such directory.
    async fn change_directory(&mut self, path: &str) -> Result<bool, TryError> {
        if self.lacks(Step::Cwd) {
            return Ok(false);
        }
        let reply = self.ask(Step::Cwd, path).await?;
        if reply.is_done() {
            self.has_left_home = true;
            self.current = Some(path.to_owned());
            return Ok(true);
        }
        if matches!(reply.code, 500 | 502 | 504) {
            self.found_missing(Step::Cwd);
            return Ok(false);
        }
        Err(self.fail(Step::Cwd, Some(path), &Fault::Reply(reply)))
    }

    /// Called before a session that tasks use is used for a listing, which enters directories: asks for the current
    /// one, so that the session can return to it. No round trip if that is known.
    pub async fn remember_home(&mut self) -> Result<(), TryError> {
        self.home().await.map(drop)
    }

    /// Returns to the login directory, on which relative paths depend. Returns false if it cannot be entered.
    pub async fn go_home(&mut self) -> Result<bool, TryError> {
        if !self.has_left_home || self.home == self.current && self.home.is_some() {
            return Ok(true);
        }
        self.enter("").await
    }

    /// Whether `path` is a directory. Only CWD can tell: some servers report a size for directories as well. False if
    /// CWD is refused. Changes the current directory.
    ///
    /// # Errors
    /// Those of RETR; also if the path is relative and the login directory is not known.
    pub async fn is_directory(&mut self, path: &str) -> Result<bool, TryError> {
        match self.enter(path).await {
            Err(error) if self.is_usable() && error.failure.ftp_code.is_some_and(|code| code >= 400) => {
                Ok(false)
            }
            entered => entered,
        }
    }
}

//! Commands about files that need no data connection: SIZE, MKD, RNFR and RNTO, DELE.

use crate::failure::{Code, Failure, Remedy, TryError};

use super::fault::{Fault, Step};
use super::reply::Reply;
use super::session::{Session, command_line};

/// More directories above one file are not made.
const DIRECTORIES_MADE: usize = 100;

/// What a server says about a file's size (RFC 3659, 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Size {
    Bytes(u64),
    /// The server has no SIZE.
    Unsupported,
    /// Refused for this path: not there, not readable or no file. Many servers do not say which; `missing`
    /// is true where the server's words are clear.
    Refused {
        error: TryError,
        missing: bool,
    },
}

/// What became of a rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renamed {
    Done,
    /// It was not wanted any more: RNTO was not sent.
    GivenUp,
    /// RNFR was accepted, RNTO was not: often because something has that name already.
    TargetRefused(TryError),
}

/// What became of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    Done,
    /// The file may well not be there.
    Refused(TryError),
}

impl Session {
    /// SIZE. A server that has said once that it has none is not asked again.
    pub async fn size(&mut self, path: &str) -> Result<Size, TryError> {
        if self.lacks.size {
            return Ok(Size::Unsupported);
        }
        let reply = match self.ahead.take_size(path) {
            Some(reply) => reply,
            None => self.about(Step::Size, path).await?,
        };
        self.size_said(path, reply)
    }

    /// What a reply to SIZE means.
    pub(super) fn size_said(&mut self, path: &str, reply: Reply) -> Result<Size, TryError> {
        match (reply.code, reply.size()) {
            (213, Some(bytes)) => Ok(Size::Bytes(bytes)),
            (500 | 502 | 504, _) if !reply.says(Some(path)).oops => {
                self.lacks.size = true;
                Ok(Size::Unsupported)
            }
            (450 | 550 | 553, _) => {
                let missing = reply.says(Some(path)).missing;
                Ok(Size::Refused { error: self.fail(Step::Size, Some(path), &Fault::Reply(reply)), missing })
            }
            _ => Err(self.fail(Step::Size, Some(path), &Fault::Reply(reply))),
        }
    }

    /// Whether a file is there: by SIZE, or where there is none by RNFR, which the next command takes back.
    pub async fn exists(&mut self, path: &str) -> Result<bool, TryError> {
        match self.size(path).await? {
            Size::Bytes(_) => Ok(true),
            Size::Refused { .. } => Ok(false),
            Size::Unsupported => {
                let reply = self.about(Step::Rnfr, path).await?;
                match reply.code {
                    350 => Ok(true),
                    450 | 550 | 553 => Ok(false),
                    _ => Err(self.fail(Step::Rnfr, Some(path), &Fault::Reply(reply))),
                }
            }
        }
    }

    /// Whether a file that once was there is there no more. `had_size`: SIZE told it then, so that a refusal now
    /// tells enough; otherwise RNFR is asked.
    ///
    /// # Errors
    /// A refusal that proves nothing: for now, or for want of a permission.
    pub async fn is_gone(&mut self, path: &str, had_size: bool) -> Result<bool, TryError> {
        match self.size(path).await? {
            Size::Bytes(_) => return Ok(false),
            Size::Refused { missing: true, .. } => return Ok(true),
            Size::Refused { error, .. } if proves_nothing(&error) => return Err(error),
            Size::Refused { .. } if had_size => return Ok(true),
            Size::Refused { .. } | Size::Unsupported => {}
        }
        let reply = self.about(Step::Rnfr, path).await?;
        let says = reply.says(Some(path));
        match reply.code {
            350 => Ok(false),
            450 | 550 | 553 if says.missing => Ok(true),
            550 | 553 if !says.denied => Ok(true),
            _ => Err(self.fail(Step::Rnfr, Some(path), &Fault::Reply(reply))),
        }
    }

    /// RNFR and RNTO. Whether a file at `to` is replaced is up to the server. `still_wanted` is asked between
    /// the two: RNFR alone changes nothing, and the next command takes it back.
    pub async fn rename(
        &mut self,
        from: &str,
        to: &str,
        still_wanted: impl FnOnce() -> bool + Send,
    ) -> Result<Renamed, TryError> {
        if !self.ahead.take_renaming(from) {
            let reply = self.about(Step::Rnfr, from).await?;
            if reply.code != 350 {
                return Err(self.fail(Step::Rnfr, Some(from), &Fault::Reply(reply)));
            }
        }
        if !still_wanted() {
            return Ok(Renamed::GivenUp);
        }
        let reply = match self.rename_to(to).await {
            Ok(reply) => reply,
            Err(fault) => return Err(self.fail(Step::Rnto, Some(to), &fault)),
        };
        self.renamed_said(to, reply)
    }

    /// What a reply to RNTO means.
    pub(super) fn renamed_said(&mut self, to: &str, reply: Reply) -> Result<Renamed, TryError> {
        // SIZE's, or EPSV's: nothing is known of the file.
        if matches!(reply.code, 213 | 229) {
            let fault = self.out_of_place(&reply);
            return Err(self.fail(Step::Rnto, Some(to), &fault));
        }
        // Pure-FTPd says 451 where the directory is missing.
        let is_missing = reply.code == 451 && reply.says(Some(to)).missing;
        match reply.code {
            200..=299 => Ok(Renamed::Done),
            450 | 451 | 550..=553 if reply.code != 451 || is_missing => {
                Ok(Renamed::TargetRefused(self.fail(Step::Rnto, Some(to), &Fault::Reply(reply))))
            }
            _ => Err(self.fail(Step::Rnto, Some(to), &Fault::Reply(reply))),
        }
    }

    /// RNTO's reply; behind the command goes EPSV for the next file, where that saves time.
    async fn rename_to(&mut self, to: &str) -> Result<Reply, Fault> {
        if self.lacks.epsv || !self.may_send_epsv_ahead() {
            return self.exchange(Step::Rnto, Some(to)).await;
        }
        let line = command_line(Step::Rnto, Some(to))?;
        self.send_ahead(&[&line, Step::Epsv.verb()]).await?;
        let reply = self.owed_reply(Step::Rnto.verb()).await?;
        if reply.code == 229 || reply.code == 421 {
            return Err(if reply.code == 421 { Fault::Reply(reply) } else { self.out_of_place(&reply) });
        }
        self.port_ahead().await;
        Ok(reply)
    }

    /// DELE. A refusal is no error where the file may well not be there (550, 450): `false`.
    pub async fn delete(&mut self, path: &str) -> Result<bool, TryError> {
        self.remove(path).await.map(|deleted| deleted == Deleted::Done)
    }

    /// [`Session::delete`], with the server's words.
    pub async fn remove(&mut self, path: &str) -> Result<Deleted, TryError> {
        let reply = self.about(Step::Dele, path).await?;
        match reply.code {
            200..=299 => Ok(Deleted::Done),
            450 | 550 if !reply.says(Some(path)).denied => {
                Ok(Deleted::Refused(self.fail(Step::Dele, Some(path), &Fault::Reply(reply))))
            }
            _ => Err(self.fail(Step::Dele, Some(path), &Fault::Reply(reply))),
        }
    }

    /// Makes the directories above `path`, as far as they are missing and the server lets us.
    ///
    /// Upwards from the nearest one until one can be made or is there, then down again. A refusal is no
    /// error: it may mean that the directory is there (vsftpd does not say), and STOR will tell.
    pub async fn make_dirs(&mut self, path: &str) -> Result<(), TryError> {
        let directories = directories_above(path);
        if directories.len() > DIRECTORIES_MADE {
            let message = format!("more than {DIRECTORIES_MADE} directories in {}", path.escape_debug());
            let failure = Failure::new(Code::PathNotAllowed, message);
            return Err(TryError { failure, remedy: Remedy::GiveUp });
        }
        let mut missing = Vec::new();
        for directory in directories {
            if self.make_dir(directory).await? {
                break;
            }
            missing.push(directory);
        }
        // The topmost one was refused just now: another MKD cannot help it.
        let made_one = missing.len() < directories_above(path).len();
        let again = if made_one { missing.len() } else { missing.len().saturating_sub(1) };
        for directory in missing.into_iter().take(again).rev() {
            self.make_dir(directory).await?;
        }
        Ok(())
    }

    /// True where the directory was made, or is there by the server's own words.
    async fn make_dir(&mut self, path: &str) -> Result<bool, TryError> {
        let reply = self.about(Step::Mkd, path).await?;
        match reply.code {
            200..=299 | 521 => Ok(true),
            450 | 550 | 553 => Ok(reply.says(Some(path)).exists),
            _ => Err(self.fail(Step::Mkd, Some(path), &Fault::Reply(reply))),
        }
    }

    pub(super) async fn about(&mut self, step: Step, path: &str) -> Result<Reply, TryError> {
        match self.exchange(step, Some(path)).await {
            Ok(reply) => Ok(reply),
            Err(fault) => Err(self.fail(step, Some(path), &fault)),
        }
    }
}

/// A refusal of SIZE that a file which is there could have, too.
fn proves_nothing(refused: &TryError) -> bool {
    refused.failure.code == Code::PermissionDenied || refused.failure.ftp_code.is_some_and(|code| code < 500)
}

/// The directories above a file, the nearest first: `/a/b/c` → `/a/b`, `/a`.
fn directories_above(path: &str) -> Vec<&str> {
    let mut directories = Vec::new();
    let mut rest = path;
    while let Some((above, _)) = rest.rsplit_once('/') {
        rest = above.trim_end_matches('/');
        if rest.is_empty() {
            break;
        }
        directories.push(rest);
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_listed_from_the_nearest_up() {
        assert_eq!(directories_above("/a/b/c"), ["/a/b", "/a"]);
        assert_eq!(directories_above("a/b//c"), ["a/b", "a"]);
        assert!(directories_above("/c").is_empty());
        assert!(directories_above("c").is_empty());
        assert!(directories_above("").is_empty());
    }
}

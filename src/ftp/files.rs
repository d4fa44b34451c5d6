//! Commands about files that need no data connection: SIZE, MKD, DELE.

use crate::failure::{Code, Failure, Remedy, TryError};
use crate::text::shown;

use super::command::Step;
use super::fault::Fault;
use super::reply::Reply;
use super::session::Session;

/// How many directories above one file are created at most.
const MAX_CREATED_DIRECTORIES: usize = 100;

/// What a server reports about a file's size (RFC 3659, 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SizeReply {
    Bytes(u64),
    /// The server has no SIZE, or its reply contains no size.
    Unsupported,
    /// Refused for this path: missing, not readable or not a file. Many servers do not say which; `missing` is true if
    /// the reply's text is clear.
    Refused {
        error: TryError,
        missing: bool,
    },
}

/// The outcome of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    Done,
    /// The file may well be missing.
    Refused(TryError),
}

/// A directory that was not created. It may exist: few servers say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedDirectory {
    error: TryError,
    /// The reply's text leaves no doubt.
    is_forbidden: bool,
}

impl RefusedDirectory {
    /// The error for a file that was refused afterwards: the directory's, if it is known to be missing, with the file's
    /// refusal as its consequence; otherwise the file's, with the directory's added.
    #[must_use]
    pub fn before(self, refused: TryError, is_missing: bool) -> TryError {
        let RefusedDirectory { error: mkd, is_forbidden } = self;
        let is_cause = is_missing || is_forbidden;
        let (mut told, other) = if is_cause { (mkd, refused) } else { (refused, mkd) };
        let joined = if is_cause { "; so " } else { "; before that " };
        told.failure.message.push_str(joined);
        told.failure.message.push_str(&other.failure.message);
        told
    }
}

impl Session {
    /// SIZE. A server that has once replied that it has none is not asked again.
    pub async fn size(&mut self, path: &str) -> Result<SizeReply, TryError> {
        if self.lacks(Step::Size) {
            return Ok(SizeReply::Unsupported);
        }
        let reply = match self.pipelining().take_size(path) {
            Some(reply) => reply,
            None => self.ask(Step::Size, path).await?,
        };
        self.size_meaning(path, reply)
    }

    /// What a reply to SIZE means.
    pub(super) fn size_meaning(&mut self, path: &str, reply: Reply) -> Result<SizeReply, TryError> {
        match (reply.code, reply.size()) {
            (213, Some(bytes)) => {
                self.has_bytes(path, bytes);
                Ok(SizeReply::Bytes(bytes))
            }
            (500 | 502 | 504, _) if !reply.hints(Some(path)).oops => {
                self.found_missing(Step::Size);
                Ok(SizeReply::Unsupported)
            }
            // The question is optional: a reply without a size says nothing about the file. (Servers with 32-bit
            // counters report a negative one beyond 2 GiB.) 226 and the like belong to another command.
            (200 | 202 | 211 | 212 | 214 | 220 | 501 | 503, _) if !reply.hints(Some(path)).oops => {
                Ok(SizeReply::Unsupported)
            }
            (213, None) if !reply.begins_with_digit() => Ok(SizeReply::Unsupported),
            (450 | 550 | 553, _) => {
                let missing = reply.hints(Some(path)).missing;
                Ok(SizeReply::Refused {
                    error: self.fail(Step::Size, Some(path), &Fault::Reply(reply)),
                    missing,
                })
            }
            _ => Err(self.fail(Step::Size, Some(path), &Fault::Reply(reply))),
        }
    }

    /// Whether a file exists: by SIZE, or if the server has none by RNFR, which the next command cancels.
    pub async fn exists(&mut self, path: &str) -> Result<bool, TryError> {
        match self.size(path).await? {
            SizeReply::Bytes(_) => Ok(true),
            SizeReply::Refused { .. } => Ok(false),
            SizeReply::Unsupported => {
                let reply = self.ask(Step::Rnfr, path).await?;
                match reply.code {
                    350 => Ok(true),
                    450 | 550 | 553 => Ok(false),
                    _ => Err(self.fail(Step::Rnfr, Some(path), &Fault::Reply(reply))),
                }
            }
        }
    }

    /// Whether a file that existed is gone. `had_size`: SIZE worked for it then, so that a refusal now is proof enough;
    /// otherwise RNFR is asked.
    ///
    /// # Errors
    /// A refusal that proves nothing: a temporary one, or for lack of permission.
    pub async fn is_gone(&mut self, path: &str, had_size: bool) -> Result<bool, TryError> {
        match self.size(path).await? {
            SizeReply::Bytes(_) => return Ok(false),
            SizeReply::Refused { missing: true, .. } => return Ok(true),
            SizeReply::Refused { error, .. } if proves_nothing(&error) => return Err(error),
            SizeReply::Refused { .. } if had_size => return Ok(true),
            SizeReply::Refused { .. } | SizeReply::Unsupported => {}
        }
        let reply = self.ask(Step::Rnfr, path).await?;
        let hints = reply.hints(Some(path));
        match reply.code {
            350 => Ok(false),
            450 | 550 | 553 if hints.missing => Ok(true),
            550 | 553 if !hints.denied => Ok(true),
            _ => Err(self.fail(Step::Rnfr, Some(path), &Fault::Reply(reply))),
        }
    }

    /// DELE. A refusal is not an error if the file may well be missing (550, 450): returns `false`.
    pub async fn delete(&mut self, path: &str) -> Result<bool, TryError> {
        self.remove(path).await.map(|deleted| deleted == DeleteOutcome::Done)
    }

    /// Like [`Session::delete`], with the server's reply.
    pub async fn remove(&mut self, path: &str) -> Result<DeleteOutcome, TryError> {
        let reply = self.ask(Step::Dele, path).await?;
        match reply.code {
            200..=299 => Ok(DeleteOutcome::Done),
            450 | 550 if !reply.hints(Some(path)).denied => {
                Ok(DeleteOutcome::Refused(self.fail(Step::Dele, Some(path), &Fault::Reply(reply))))
            }
            _ => Err(self.fail(Step::Dele, Some(path), &Fault::Reply(reply))),
        }
    }

    /// Creates the missing directories above `path`, as far as the server permits it.
    ///
    /// Goes up from the nearest one until one can be created or exists, then down again. A refusal is not an error: it
    /// may mean that the directory exists (vsftpd does not say), and STOR will show. The last refusal is returned.
    pub async fn make_dirs(&mut self, path: &str) -> Result<Option<RefusedDirectory>, TryError> {
        let directories = directories_above(path);
        if directories.len() > MAX_CREATED_DIRECTORIES {
            let message = format!("more than {MAX_CREATED_DIRECTORIES} directories in {}", shown(path));
            let failure = Failure::new(Code::PathNotAllowed, message);
            return Err(TryError { failure, remedy: Remedy::GiveUp });
        }
        let (mut missing, mut last_refusal) = (Vec::new(), None);
        for directory in directories {
            match self.make_dir(directory).await? {
                None => break,
                refused => last_refusal = refused,
            }
            missing.push(directory);
        }
        // The topmost one was refused just now: another MKD cannot help.
        let made_one = missing.len() < directories_above(path).len();
        let again = if made_one { missing.len() } else { missing.len().saturating_sub(1) };
        if made_one {
            last_refusal = None;
        }
        for directory in missing.into_iter().take(again).rev() {
            last_refusal = self.make_dir(directory).await?;
        }
        Ok(last_refusal)
    }

    /// The refusal, unless the directory was created, or exists according to the reply.
    async fn make_dir(&mut self, path: &str) -> Result<Option<RefusedDirectory>, TryError> {
        let reply = self.ask(Step::Mkd, path).await?;
        match reply.code {
            200..=299 | 521 => Ok(None),
            450 | 550 | 553 if reply.hints(Some(path)).exists => Ok(None),
            450 | 550 | 553 => {
                let is_forbidden = reply.hints(Some(path)).denied;
                let error = self.fail(Step::Mkd, Some(path), &Fault::Reply(reply));
                Ok(Some(RefusedDirectory { error, is_forbidden }))
            }
            _ => Err(self.fail(Step::Mkd, Some(path), &Fault::Reply(reply))),
        }
    }
}

/// A refusal of SIZE that an existing file could get, too.
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

//! The burst that ends an upload: SIZE of the file, RNFR and RNTO of the one before, STOR of the next one.
//!
//! `crate::transfer::upload_pipeline` explains when and why; this file has the commands and what their replies mean.

use std::fmt;

use crate::failure::{Remedy, TryError};

use super::command::{Command, Step};
use super::data_transfer::DataTransfer;
use super::fault::Fault;
use super::pipelining::DataAnnouncement;
use super::rename::RenameOutcome;
use super::reply::Reply;
use super::session::Session;

/// What goes out with the end of an upload, besides its SIZE. Without a next upload, RNFR of this file goes out too.
#[derive(Clone, Copy, Default)]
pub struct EndBurst<'a> {
    /// The previous upload, whose SIZE was right: its temp name, and its final name.
    pub rename: Option<(&'a str, &'a str)>,
    /// Whether it may still be renamed: checked right before the burst is written, after all waiting.
    pub may_rename: Option<&'a (dyn Fn() -> bool + Send + Sync)>,
    /// The path of the next upload.
    pub next: Option<&'a str>,
}

/// The result of an [`EndBurst`].
#[derive(Debug)]
pub struct BurstOutcome {
    /// `None` if there was nothing to rename.
    pub renamed: Option<Result<RenameOutcome, TryError>>,
    /// Whether the server has the file. Its SIZE is known to the session, and so is RNFR's reply if no upload follows.
    pub stored: Result<(), TryError>,
    /// STOR of the next file is in progress: the next call must be [`Session::store`] of it.
    pub next_started: bool,
}

/// The replies to one burst, in order.
struct BurstReplies {
    ended: Reply,
    announced: Option<Reply>,
    renames: Option<(Reply, Reply)>,
    size: Reply,
    /// RNFR of this file; not sent if another upload follows.
    from: Option<Reply>,
}

impl fmt::Debug for EndBurst<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndBurst")
            .field("rename", &self.rename)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl EndBurst<'_> {
    fn may_still_rename(&self) -> bool {
        self.may_rename.is_none_or(|ask| ask())
    }

    /// Sends the burst. The server has closed the data connection, and its final reply is on its way.
    pub(super) async fn run(mut self, mut transfer: DataTransfer<'_>) -> BurstOutcome {
        let abandoned = if self.may_still_rename() { None } else { self.rename.take() };
        let replies = self.send(transfer.session, &transfer.path).await;
        let outcome = match replies {
            Ok((replies, next_started)) => self.judge(transfer, replies, next_started),
            Err(fault) => self.failed(transfer.fail(&fault)),
        };
        let abandoned = abandoned.map(|_| Ok(RenameOutcome::Abandoned));
        BurstOutcome { renamed: abandoned.or(outcome.renamed), ..outcome }
    }

    /// One command at a time, and nothing of the next upload.
    pub(super) async fn run_in_order(self, transfer: DataTransfer<'_>) -> BurstOutcome {
        let path = transfer.path.clone();
        let session = match transfer.finish().await {
            Ok(session) => session,
            Err(error) => return self.failed(error),
        };
        session.profile().remember_directory(&path);
        let renamed = match self.rename {
            Some((from, to)) => Some(session.rename(from, to, || self.may_still_rename()).await),
            None => None,
        };
        BurstOutcome { renamed, stored: Ok(()), next_started: false }
    }

    /// The session is lost, and it is unknown whether anything was renamed.
    fn failed(self, error: TryError) -> BurstOutcome {
        let renamed = self.rename.map(|_| Err(error.clone()));
        BurstOutcome { renamed, stored: Err(error), next_started: false }
    }

    /// Sends the commands, and reads all replies except the one to the next file's STOR.
    async fn send(&self, session: &mut Session, path: &str) -> Result<(BurstReplies, bool), Fault> {
        // What the next step waits for goes first.
        let announcement = match self.next {
            Some(_) => Some(session.announce_data().await?),
            None => None,
        };
        let mut commands: Vec<Command> =
            announcement.iter().map(|announcement| announcement.command.clone()).collect();
        if let Some((from, to)) = self.rename {
            commands.push(Command::with(Step::Rnfr, from)?);
            commands.push(Command::with(Step::Rnto, to)?);
        }
        commands.push(Command::with(Step::Size, path)?);
        commands.push(match self.next {
            Some(next) => Command::with(Step::Stor, next)?,
            None => Command::with(Step::Rnfr, path)?,
        });
        session.send_burst(&commands).await?;
        let replies = self.replies(session).await?;
        let next_started = match (self.next, announcement, &replies.announced) {
            (Some(next), Some(announcement), Some(reply)) => {
                session.next_upload_started(next, announcement, reply).await?
            }
            _ => false,
        };
        Ok((replies, next_started))
    }

    /// Reads the replies in order; an unexpected one ends the session.
    async fn replies(&self, session: &mut Session) -> Result<BurstReplies, Fault> {
        let ended = session.transfer_end_in_burst().await?;
        let announced = match self.next {
            Some(_) => Some(session.reply_in_burst(|code| matches!(code, 200 | 229)).await?),
            None => None,
        };
        let renames = match self.rename {
            Some(_) => Some((
                session.reply_in_burst(|code| code == 350).await?,
                session.reply_in_burst(|code| matches!(code, 200..=212 | 214..=228 | 250..=299)).await?,
            )),
            None => None,
        };
        let size = session.reply_in_burst(|code| code == 213).await?;
        let from = match self.next {
            Some(_) => None,
            None => Some(session.reply_in_burst(|code| code == 350).await?),
        };
        Ok(BurstReplies { ended, announced, renames, size, from })
    }

    fn judge(
        self,
        mut transfer: DataTransfer<'_>,
        replies: BurstReplies,
        next_started: bool,
    ) -> BurstOutcome {
        let session = &mut *transfer.session;
        let renamed = self.rename.zip(replies.renames).map(|((from, to), (rnfr, rnto))| {
            if rnfr.code == 350 {
                session.rename_meaning(to, rnto)
            } else {
                Err(session.fail(Step::Rnfr, Some(from), &Fault::Reply(rnfr)))
            }
        });
        let stored = if replies.ended.is_done() {
            session.profile().remember_directory(&transfer.path);
            let is_named = replies.from.as_ref().is_some_and(|from| from.code == 350);
            if replies.size.code != 213 || replies.from.is_some() && !is_named {
                // Sent again in order; a refusal then is a real one.
                session.pipelining_rejected(&replies.size.to_string());
            }
            if is_named {
                session.pipelining().keep_renaming(&transfer.path);
            }
            if replies.size.code == 213 {
                session.pipelining().keep_size(&transfer.path, replies.size);
                Ok(())
            } else if next_started {
                // It cannot be sent in order now, and no file may stay unverified for the sake of pipelining.
                let error = session.fail(Step::Size, Some(&transfer.path), &Fault::Reply(replies.size));
                Err(TryError { remedy: Remedy::FreshSession, ..error })
            } else {
                Ok(())
            }
        } else {
            session.profile().forget_directory(&transfer.path);
            let mut error = transfer.fail(&Fault::Reply(replies.ended));
            if next_started && matches!(error.failure.ftp_code, Some(550 | 553)) {
                // The directory may be gone; it cannot be created now.
                error.remedy = Remedy::FreshSession;
            }
            Err(error)
        };
        BurstOutcome { renamed, stored, next_started }
    }
}

impl Session {
    /// The reply that ends a transfer, with further replies behind it.
    pub(super) async fn transfer_end_in_burst(&mut self) -> Result<Reply, Fault> {
        let ended = self.final_reply(self.connection().timeouts.close).await?;
        self.must_fit(&ended, |code| (200..300).contains(&code) && !matches!(code, 213 | 229))?;
        // A command that was swallowed is refused as unknown before the reply that ends the transfer.
        if (500..=504).contains(&ended.code) {
            return Err(self.unexpected_reply(&ended));
        }
        Ok(ended)
    }

    /// The next reply in a burst: a refusal, or one that `fits` its command. Any other ends the session.
    pub(super) async fn reply_in_burst(&mut self, fits: impl Fn(u16) -> bool) -> Result<Reply, Fault> {
        let reply = self.reply().await?;
        self.must_fit(&reply, fits)?;
        Ok(reply)
    }

    fn must_fit(&mut self, reply: &Reply, fits: impl Fn(u16) -> bool) -> Result<(), Fault> {
        match reply.code {
            421 => Err(Fault::Reply(reply.clone())),
            code if fits(code) || reply.is_refusal() => Ok(()),
            _ => Err(self.unexpected_reply(reply)),
        }
    }

    /// Whether the next file's STOR is in progress, now that the reply to its data connection's announcement has
    /// arrived.
    async fn next_upload_started(
        &mut self,
        next: &str,
        announcement: DataAnnouncement,
        reply: &Reply,
    ) -> Result<bool, Fault> {
        if let Some(endpoint) = self.announced_endpoint(announcement, reply) {
            self.pipelining().start(next, endpoint);
            return Ok(true);
        }
        self.pipelining_rejected(&reply.to_string());
        // Without a data connection STOR is refused, mostly with 425; if accepted, it is left outstanding.
        self.reply().await?;
        Ok(false)
    }
}

//! How a transfer ends, and what goes out with its end where the server is far away: see `ahead`.

use std::fmt;

use tokio::io::AsyncReadExt;
use tokio::time::{Duration, timeout};

use crate::config::RenameOver;
use crate::failure::{Remedy, TryError};

use super::ahead::Announced;
use super::data::{GOODBYE_WITHIN, Transfer};
use super::fault::{Fault, Step};
use super::files::Renamed;
use super::passive::DataConnection;
use super::reply::Reply;
use super::session::{Session, command_line};

/// How long a server may take to close the data connection of an upload, before it is closed from here without
/// anything being asked ahead.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// What goes out with the end of an upload in a row.
#[derive(Clone, Copy, Default)]
pub struct Row<'a> {
    /// The upload before, whose SIZE was right: its temp name, and its name.
    pub renames: Option<(&'a str, &'a str)>,
    /// Asked right before that is sent, after all waiting; without it the answer is yes.
    pub still_wanted: Option<&'a (dyn Fn() -> bool + Send + Sync)>,
    /// The path of the upload behind.
    pub next: Option<&'a str>,
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("renames", &self.renames)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl<'a> Row<'a> {
    fn is_wanted(self) -> bool {
        self.still_wanted.is_none_or(|ask| ask())
    }

    /// Without the upload before, where that is not wanted any more.
    fn of_now(self) -> Row<'a> {
        if self.is_wanted() { self } else { Row { renames: None, ..self } }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Ended {
    /// `None` where nothing was to be renamed.
    pub renamed: Option<Result<Renamed, TryError>>,
    /// Whether the server has the file. Its SIZE is known to the session, and so is RNFR where no file follows.
    pub stored: Result<(), TryError>,
    /// STOR of the next file is under way: nothing but [`Session::store`] may come now.
    pub next_begun: bool,
}

/// The replies to one burst, in their order.
struct Replies {
    ended: Reply,
    announced: Option<Reply>,
    renames: Option<(Reply, Reply)>,
    size: Reply,
    /// RNFR of this file; not where another follows.
    from: Option<Reply>,
}

impl Session {
    /// Whether uploads may be joined into rows.
    pub(super) fn may_stand_in_row(&self) -> bool {
        self.may_hurry()
            && !self.is_expired()
            && !self.lacks.size
            && self.announces_ahead()
            && self.connection().rename_over == RenameOver::Auto
    }
}

impl Transfer<'_> {
    /// Ends a download. EPSV for the next file goes out while the final reply is on its way: it arrives after the
    /// server is done, since it waits for our end of the data connection to close.
    pub async fn finish_download(mut self) -> Result<(), TryError> {
        if self.early.is_some() || self.session.lacks.epsv || !self.session.may_send_epsv_ahead() {
            return self.finish().await.map(|_| ());
        }
        self.say_goodbye().await;
        if let Err(fault) = self.session.send_ahead(&[Step::Epsv.verb()]).await {
            return Err(self.session.fail(self.step, Some(&self.path), &fault));
        }
        let close = self.session.connection().timeouts.close;
        match self.session.final_reply(close).await {
            Ok(reply) if reply.code == 421 => self.refused(reply),
            Ok(reply) if reply.is_done() && reply.code != 229 => {
                self.session.port_ahead().await;
                Ok(())
            }
            // Either the transfer failed, or it was EPSV that came too early: the next reply tells.
            Ok(reply) => match self.session.owed_reply(Step::Epsv.verb()).await {
                Ok(second) if second.is_done() && second.code != 229 => {
                    self.session.objected(&reply.to_string());
                    Ok(())
                }
                Ok(second) => {
                    self.session.ahead.keep_port(&second);
                    self.refused(reply)
                }
                Err(_) => self.refused(reply),
            },
            Err(fault) => Err(self.session.fail(self.step, Some(&self.path), &fault)),
        }
    }

    /// Ends a download in active mode, and asks for the next one with that.
    pub async fn finish_download_before(mut self, next: &str) -> Result<(), TryError> {
        self.say_goodbye().await;
        match self.session.begin_retrieving(next).await {
            Ok(ended) if ended.is_done() => Ok(()),
            Ok(ended) => {
                let unfinished = self.session.unfinished;
                let error = self.session.fail(self.step, Some(&self.path), &Fault::Reply(ended));
                self.session.unfinished |= unfinished;
                Err(error)
            }
            Err(fault) => Err(self.session.fail(self.step, Some(&self.path), &fault)),
        }
    }

    /// Closes the data connection of a file that has been received, with TLS's `close_notify`.
    async fn say_goodbye(&mut self) {
        if let Some(DataConnection::Ssl(data)) = &mut self.data {
            let _ = timeout(GOODBYE_WITHIN, tokio::io::AsyncWriteExt::shutdown(data)).await;
        }
        self.data = None;
    }

    /// Ends an upload. SIZE and RNFR go out when the server has closed the data connection, while the final
    /// reply is on its way.
    pub async fn finish_upload(mut self, then_rename: bool) -> Result<(), TryError> {
        let renames_at_once = self.session.connection().rename_over == RenameOver::Auto;
        let hurries = then_rename && renames_at_once && !self.session.lacks.size && self.session.may_hurry();
        if hurries && self.closed_by_server().await {
            return self.finish_with(Row::default()).await.stored;
        }
        let directory = self.path.clone();
        let ended = self.finish().await;
        ended.map(|session| session.known.directory_took(&directory))
    }

    /// Ends an upload, and lets go out with that what its neighbours in the row need.
    pub async fn finish_in_row(mut self, row: Row<'_>) -> Ended {
        if self.session.may_stand_in_row() && self.closed_by_server().await {
            let now = row.of_now();
            let given_up = row.renames.filter(|_| now.renames.is_none()).map(|_| Ok(Renamed::GivenUp));
            let ended = self.finish_with(now).await;
            return Ended { renamed: given_up.or(ended.renamed), ..ended };
        }
        match self.finish().await {
            Ok(session) => {
                let renamed = match row.renames {
                    Some(_) if !row.is_wanted() => Some(Ok(Renamed::GivenUp)),
                    Some((from, to)) => Some(session.rename(from, to, || row.is_wanted()).await),
                    None => None,
                };
                Ended { renamed, stored: Ok(()), next_begun: false }
            }
            Err(error) => Ended::failed(row, error),
        }
    }

    async fn finish_with(mut self, row: Row<'_>) -> Ended {
        self.data = None;
        match self.burst(row).await {
            Ok((replies, next_begun)) => self.judge(row, replies, next_begun),
            Err(fault) => Ended::failed(row, self.session.fail(self.step, Some(&self.path), &fault)),
        }
    }

    /// Sends what is due, and reads all replies but the one to the next file's STOR.
    async fn burst(&mut self, row: Row<'_>) -> Result<(Replies, bool), Fault> {
        let session = &mut *self.session;
        // What the next step waits for goes first.
        let announced = match row.next {
            Some(_) => Some(session.announce_ahead().await?),
            None => None,
        };
        let mut lines: Vec<String> = announced.iter().map(|announced| announced.line.clone()).collect();
        if let Some((from, to)) = row.renames {
            lines.push(command_line(Step::Rnfr, Some(from))?);
            lines.push(command_line(Step::Rnto, Some(to))?);
        }
        lines.push(command_line(Step::Size, Some(&self.path))?);
        lines.push(match row.next {
            Some(next) => command_line(Step::Stor, Some(next))?,
            None => command_line(Step::Rnfr, Some(&self.path))?,
        });
        session.send_ahead(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let replies = session.replies(row).await?;
        let next_begun = match (row.next, announced, &replies.announced) {
            (Some(next), Some(announced), Some(reply)) => session.begun_ahead(next, announced, reply).await?,
            _ => false,
        };
        Ok((replies, next_begun))
    }

    fn judge(self, row: Row<'_>, replies: Replies, next_begun: bool) -> Ended {
        let session = self.session;
        // What the session says of itself is said by the last reply, not by the one that is judged.
        let unfinished = session.unfinished;
        let renamed = row.renames.zip(replies.renames).map(|((from, to), (rnfr, rnto))| {
            if rnfr.code == 350 {
                session.renamed_said(to, rnto)
            } else {
                Err(session.fail(Step::Rnfr, Some(from), &Fault::Reply(rnfr)))
            }
        });
        let stored = if replies.ended.is_done() {
            session.known.directory_took(&self.path);
            let is_named = replies.from.as_ref().is_some_and(|from| from.code == 350);
            if replies.size.code != 213 || replies.from.is_some() && !is_named {
                // Asked again in their turns, where a refusal is meant.
                session.objected(&replies.size.to_string());
            }
            if is_named {
                session.ahead.keep_renaming(&self.path);
            }
            if replies.size.code == 213 {
                session.ahead.keep_size(&self.path, replies.size);
                Ok(())
            } else if next_begun {
                // It cannot be asked in its turn now, and no file goes unverified for haste.
                let error = session.fail(Step::Size, Some(&self.path), &Fault::Reply(replies.size));
                Err(TryError { remedy: Remedy::FreshSession, ..error })
            } else {
                Ok(())
            }
        } else {
            session.known.forget_directory(&self.path);
            let mut error = session.fail(self.step, Some(&self.path), &Fault::Reply(replies.ended));
            if next_begun && matches!(error.failure.ftp_code, Some(550 | 553)) {
                // The directory may be gone; it cannot be made now.
                error.remedy = Remedy::FreshSession;
            }
            Err(error)
        };
        session.unfinished |= unfinished || next_begun;
        Ended { renamed, stored, next_begun }
    }

    /// Waits until the server has closed the data connection; false where it waits for ours to close first.
    async fn closed_by_server(&mut self) -> bool {
        let Some(data) = &mut self.data else { return false };
        let closing = data.read_u8();
        timeout(CLOSED_WITHIN, closing).await.is_ok_and(|read| read.is_err())
    }

    fn refused(self, reply: Reply) -> Result<(), TryError> {
        Err(self.session.fail(self.step, Some(&self.path), &Fault::Reply(reply)))
    }
}

impl Ended {
    /// The session is lost, and whether anything was renamed is not known.
    fn failed(row: Row<'_>, error: TryError) -> Ended {
        let renamed = row.renames.map(|_| Err(error.clone()));
        Ended { renamed, stored: Err(error), next_begun: false }
    }
}

impl Session {
    /// EPRT, SIZE and RETR in one burst, while the reply that ends the present transfer is on its way: that one is
    /// returned.
    async fn begin_retrieving(&mut self, next: &str) -> Result<Reply, Fault> {
        let announced = self.announce_ahead().await?;
        let size = command_line(Step::Size, Some(next))?;
        let retr = command_line(Step::Retr, Some(next))?;
        self.send_ahead(&[&announced.line, &size, &retr]).await?;
        let ended = self.end_in_place().await?;
        let reply = self.reply_in_place("EPRT", |code| code == 200).await?;
        if let Some(end) = self.announced_end(announced, &reply) {
            self.ahead.begin(next, end);
            self.unfinished = true;
        } else {
            self.objected(&reply.to_string());
            // Refused as well, or the session is in doubt.
            self.owed_reply(Step::Size.verb()).await?;
            self.owed_reply(Step::Retr.verb()).await?;
        }
        Ok(ended)
    }

    /// The reply that ends a transfer, with other replies behind it.
    async fn end_in_place(&mut self) -> Result<Reply, Fault> {
        let ended = self.final_reply(self.connection().timeouts.close).await?;
        self.in_place(&ended, |code| {
            (200..300).contains(&code) && !matches!(code, 213 | 229) || code >= 400
        })?;
        // A command that was swallowed is refused as one, before the transfer's end is told.
        if (500..=504).contains(&ended.code) {
            return Err(self.out_of_place(&ended));
        }
        Ok(ended)
    }

    /// The replies to a burst at an upload's end; one out of its place ends the session.
    async fn replies(&mut self, row: Row<'_>) -> Result<Replies, Fault> {
        let ended = self.end_in_place().await?;
        let announced = match row.next {
            Some(_) => Some(self.reply_in_place("EPSV", |code| matches!(code, 200 | 229)).await?),
            None => None,
        };
        let renames = match row.renames {
            Some(_) => Some((
                self.reply_in_place("RNFR", |code| code == 350).await?,
                self.reply_in_place("RNTO", |code| matches!(code, 200..=212 | 214..=228 | 250..=299)).await?,
            )),
            None => None,
        };
        let size = self.reply_in_place("SIZE", |code| code == 213).await?;
        let from = match row.next {
            Some(_) => None,
            None => Some(self.reply_in_place("RNFR", |code| code == 350).await?),
        };
        Ok(Replies { ended, announced, renames, size, from })
    }

    async fn reply_in_place(&mut self, verb: &str, fits: impl Fn(u16) -> bool) -> Result<Reply, Fault> {
        let reply = self.owed_reply(verb).await?;
        self.in_place(&reply, |code| fits(code) || code >= 400)?;
        Ok(reply)
    }

    fn in_place(&mut self, reply: &Reply, fits: impl Fn(u16) -> bool) -> Result<(), Fault> {
        match reply.code {
            421 => Err(Fault::Reply(reply.clone())),
            code if fits(code) => Ok(()),
            _ => Err(self.out_of_place(reply)),
        }
    }

    /// Whether the next file's STOR is under way, now that the reply to what announced its data connection is in.
    async fn begun_ahead(&mut self, next: &str, announced: Announced, reply: &Reply) -> Result<bool, Fault> {
        if let Some(end) = self.announced_end(announced, reply) {
            self.ahead.begin(next, end);
            return Ok(true);
        }
        self.objected(&reply.to_string());
        // Without a data connection STOR is refused, mostly by 425; accepted, it leaves the session in doubt.
        self.owed_reply(Step::Stor.verb()).await?;
        Ok(false)
    }
}

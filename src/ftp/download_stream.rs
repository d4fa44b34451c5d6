//! RETR, MLSD and LIST: what the server sends.

use std::sync::Arc;

use bytes::BufMut;
use jiff::Timestamp;

use crate::config::FtpConnection;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::text::shown;

use super::command::{Command, Step};
use super::data_transfer::{DataEnd, DataTransfer};
use super::fault::Fault;
use super::files::SizeReply;
use super::open_transfer::OpenMode;
use super::reply::Reply;
use super::session::Session;

/// A file that the server is sending.
///
/// If it is dropped without [`DownloadStream::finish`] or [`DownloadStream::abort`], its session is no longer usable.
#[derive(Debug)]
pub struct DownloadStream<'s>(pub(super) DataTransfer<'s>);

impl DownloadStream<'_> {
    /// Reads received bytes into `room`, waiting for the first one; returns their number, 0 at the end.
    ///
    /// # Errors
    /// `timeout` if no byte arrives for the connection's `stall`; otherwise what the server reports.
    pub async fn read(&mut self, room: &mut (impl BufMut + Send)) -> Result<usize, TryError> {
        self.0.read(room).await
    }

    /// The settings of the session that transfers the file.
    #[must_use]
    pub fn connection(&self) -> Arc<FtpConnection> {
        self.0.session.connection_handle()
    }

    /// When the file was last changed, if that was asked in one burst with RETR.
    #[must_use]
    pub fn modified(&self) -> Option<Timestamp> {
        self.0.modified
    }

    /// Closes the data connection at once (vsftpd and `ProFTPD` wait for that), then reads the final reply.
    /// Returns how the bytes ended.
    ///
    /// EPSV for the next file goes out while the final reply is on its way, if pipelining pays off: it reaches the
    /// server after the transfer has ended, since that waits for our end of the data connection to close.
    pub async fn finish(self) -> Result<DataEnd, TryError> {
        let DownloadStream(mut transfer) = self;
        let end = transfer.end;
        if transfer.early.is_some() || !transfer.session.may_ask_port_ahead() {
            return transfer.finish().await.map(|_| end);
        }
        transfer.close_received().await;
        transfer.session.finish_with_port_ahead().await.map_err(|fault| transfer.fail(&fault))?;
        Ok(end)
    }

    /// [`DownloadStream::finish`]; in active mode SIZE and RETR of `next` go out with it, so the next call must be
    /// [`Session::retrieve_sized`] of that path.
    pub async fn finish_before(self, next: &str) -> Result<DataEnd, TryError> {
        let DownloadStream(mut transfer) = self;
        let end = transfer.end;
        transfer.close_received().await;
        match transfer.session.start_retrieving(next).await {
            Ok(ended) if ended.is_done() => Ok(end),
            Ok(ended) => Err(transfer.fail(&Fault::Reply(ended))),
            Err(fault) => Err(transfer.fail(&fault)),
        }
    }

    /// Whether the next file may be requested together with the end of this one.
    #[must_use]
    pub fn may_start_next(&self) -> bool {
        let session = &*self.0.session;
        self.0.early.is_none()
            && session.may_pipeline()
            && session.is_active()
            && !session.lacks(Step::Size)
            && !session.is_expired()
    }

    /// Aborts the transfer: closes the data connection and waits at most two seconds for the final reply; if it
    /// arrives, the session stays usable. Returns the reply's code.
    pub async fn abort(self) -> Option<u16> {
        self.0.abort().await
    }
}

impl Session {
    /// RETR: requests the file at `path`.
    pub async fn retrieve(&mut self, path: &str) -> Result<DownloadStream<'_>, TryError> {
        self.download(Step::Retr, path).await
    }

    /// RETR, MLSD or LIST; a listing's `argument` may begin with options.
    pub(super) async fn download(
        &mut self,
        step: Step,
        argument: &str,
    ) -> Result<DownloadStream<'_>, TryError> {
        let under_way = if step == Step::Retr { Step::Receiving } else { step };
        match self.open_transfer(step, argument, OpenMode::Alone).await {
            Ok(opened) => Ok(DownloadStream(DataTransfer::new(self, under_way, argument, opened))),
            Err(fault) => Err(self.fail_at(argument, fault)),
        }
    }

    /// SIZE, then RETR; in one burst if pipelining pays off.
    ///
    /// # Errors
    /// Those of both; a file that is missing according to SIZE is not requested.
    pub async fn retrieve_sized(&mut self, path: &str) -> Result<(SizeReply, DownloadStream<'_>), TryError> {
        if self.asks_size_separately() && !self.has_started(path) {
            let size = self.size_to_retrieve(path).await?;
            return Ok((size, self.retrieve(path).await?));
        }
        let mut opened = match self.open_transfer(Step::Retr, path, OpenMode::BehindSize).await {
            Ok(opened) => opened,
            Err(fault) => return Err(self.fail_at(path, fault)),
        };
        let size = match opened.size.take() {
            Some(reply) => self.size_meaning(path, reply)?,
            None => SizeReply::Unsupported,
        };
        let why = match size {
            SizeReply::Bytes(bytes) => self.connection().too_large(bytes),
            _ => None,
        };
        let download = DownloadStream(DataTransfer::new(self, Step::Receiving, path, opened));
        if let Some(why) = why {
            download.abort().await;
            return Err(too_large(path, &why));
        }
        Ok((size, download))
    }

    /// SIZE before RETR.
    ///
    /// # Errors
    /// Those of both; a file that is missing or too large according to SIZE must not be requested.
    pub async fn size_to_retrieve(&mut self, path: &str) -> Result<SizeReply, TryError> {
        match self.size(path).await? {
            SizeReply::Refused { error, missing: true } => Err(error),
            SizeReply::Bytes(bytes) => match self.connection().too_large(bytes) {
                Some(why) => Err(too_large(path, &why)),
                None => Ok(SizeReply::Bytes(bytes)),
            },
            size => Ok(size),
        }
    }

    /// Whether SIZE and RETR take two round trips in any case, so that a question in between delays nothing else.
    #[must_use]
    pub fn asks_size_separately(&self) -> bool {
        self.lacks(Step::Size) || !self.may_pipeline()
    }

    /// Sends EPSV for the next file, and reads the reply that ends the present transfer.
    async fn finish_with_port_ahead(&mut self) -> Result<(), Fault> {
        self.send_burst(&[Command::plain(Step::Epsv)]).await?;
        let is_end = |reply: &Reply| reply.is_done() && reply.code != 229;
        let ended = self.final_reply(self.connection().timeouts.close).await?;
        if is_end(&ended) {
            self.keep_port_ahead().await;
            return Ok(());
        }
        if ended.code != 421 {
            // Either the transfer failed, or EPSV came too early: the next reply shows which.
            match self.reply().await {
                Ok(second) if is_end(&second) => {
                    self.pipelining_rejected(&ended.to_string());
                    return Ok(());
                }
                Ok(second) => {
                    self.pipelining().keep_port(&second);
                }
                Err(_) => {}
            }
        }
        Err(Fault::Reply(ended))
    }

    /// Sends EPRT, SIZE and RETR in one burst, while the reply that ends the present transfer is on its way; returns
    /// that reply.
    async fn start_retrieving(&mut self, next: &str) -> Result<Reply, Fault> {
        let announcement = self.announce_data().await?;
        let size = Command::with(Step::Size, next)?;
        let retr = Command::with(Step::Retr, next)?;
        self.send_burst(&[announcement.command.clone(), size, retr]).await?;
        let ended = self.transfer_end_in_burst().await?;
        let reply = self.reply_in_burst(|code| code == 200).await?;
        if let Some(endpoint) = self.announced_endpoint(announcement, &reply) {
            self.pipelining().start(next, endpoint);
        } else {
            self.pipelining_rejected(&reply.to_string());
            // Refused as well, or left outstanding.
            self.reply().await?;
            self.reply().await?;
        }
        Ok(ended)
    }
}

/// A file that is larger than the connection's `max_file_size`.
fn too_large(path: &str, why: &str) -> TryError {
    let failure = Failure::new(Code::FileTooLarge, format!("RETR {}: {why}", shown(path)));
    TryError { failure, remedy: Remedy::GiveUp }
}

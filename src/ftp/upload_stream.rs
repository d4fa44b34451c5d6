//! STOR: what the server receives.

use crate::config::{FtpConnection, RenameOver};
use crate::failure::{Remedy, TryError};

use super::bare_names::BareNameTrial;
use super::command::Step;
use super::data_transfer::DataTransfer;
use super::end_burst::{BurstOutcome, EndBurst};
use super::fault::{Fault, StepFault};
use super::open_transfer::OpenMode;
use super::session::Session;
use super::zos;

/// A file that the server is receiving.
///
/// If it is dropped without [`UploadStream::finish`] or [`UploadStream::abort`], its session is no longer usable.
#[derive(Debug)]
pub struct UploadStream<'s>(pub(super) DataTransfer<'s>);

impl UploadStream<'_> {
    /// Sends all of `chunk`.
    ///
    /// # Errors
    /// `timeout` if the server accepts no byte for the connection's `stall`; otherwise what it replies.
    pub async fn write(&mut self, mut chunk: &[u8]) -> Result<(), TryError> {
        while !chunk.is_empty() {
            let written = self.0.write(chunk).await?;
            chunk = chunk.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends a whole file, and waits for its final reply.
    pub(super) async fn send(mut self, content: &[u8]) -> Result<(), TryError> {
        self.write(content).await?;
        self.close().await?;
        self.finish(false).await
    }

    /// Closes the data connection, which marks the end of the file. The final reply is read by [`UploadStream::finish`]
    /// or [`UploadStream::finish_pipelined`].
    pub async fn close(&mut self) -> Result<(), TryError> {
        self.0.end_of_file().await
    }

    /// Reads the final reply, once the data connection is closed. With `then_rename` the caller states that SIZE and
    /// RNFR of this file come next: both are sent ahead if pipelining pays off, when the server has closed the data
    /// connection and its final reply is on its way.
    pub async fn finish(self, then_rename: bool) -> Result<(), TryError> {
        let UploadStream(mut transfer) = self;
        let session = &*transfer.session;
        let renames_at_once = session.connection().rename_over == RenameOver::Auto;
        let may_pipeline = renames_at_once && !session.lacks(Step::Size) && session.may_pipeline();
        if then_rename && may_pipeline && transfer.was_closed_by_server().await {
            return EndBurst::default().run(transfer).await.stored;
        }
        finish_alone(transfer).await
    }

    /// [`UploadStream::finish`], joined with the rename of the previous upload and the start of the next one: see
    /// `crate::transfer::upload_pipeline`.
    pub async fn finish_pipelined(self, burst: EndBurst<'_>) -> BurstOutcome {
        let UploadStream(mut transfer) = self;
        if transfer.session.may_pipeline_uploads() && transfer.was_closed_by_server().await {
            return burst.run(transfer).await;
        }
        burst.run_in_order(transfer).await
    }

    /// The settings of the session's connection.
    #[must_use]
    pub fn connection(&self) -> &FtpConnection {
        self.0.session.connection()
    }

    /// The path of the file on the server.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Whether [`UploadStream::finish_pipelined`] can join this upload with the next one.
    #[must_use]
    pub fn may_pipeline_next(&self) -> bool {
        self.0.session.may_pipeline_uploads()
    }

    /// Whether the next file can be sent to `path` at once: its directory is known to exist.
    #[must_use]
    pub fn may_be_followed_by(&self, path: &str) -> bool {
        let session = &*self.0.session;
        session.profile().has_directory(path) && session.may_send_at_once(path)
    }

    /// Aborts the transfer, like `DownloadStream::abort`. The server takes the bytes so far for the whole file.
    pub async fn abort(self) -> Option<u16> {
        self.0.abort().await
    }
}

/// Reads the final reply, and sends nothing ahead.
pub(super) async fn finish_alone(transfer: DataTransfer<'_>) -> Result<(), TryError> {
    let path = transfer.path.clone();
    transfer.finish().await.map(|session| session.profile().remember_directory(&path))
}

impl Session {
    /// STOR: sends a file to `path`. If the server refuses, which may mean that the directory is missing, the
    /// directories above `path` are created and STOR is sent once more; if that is refused too, the directory is
    /// entered and the bare name tried.
    pub async fn store(&mut self, path: &str) -> Result<UploadStream<'_>, TryError> {
        let is_known = self.may_pipeline() && self.profile().has_directory(path);
        let mode = if is_known { OpenMode::BytesAtOnce } else { OpenMode::Alone };
        let mut not_made = None;
        let opened = match self.open_transfer(Step::Stor, path, mode).await {
            Err(refused) if may_lack_directory(&refused, path) => {
                not_made = self.make_dirs(path).await?;
                self.open_transfer(Step::Stor, path, OpenMode::Alone).await
            }
            opened => opened,
        };
        let opened = match opened {
            Err(refused) if self.may_try_bare_name(Step::Stor, path, &refused) => {
                match self.try_bare_name(Step::Stor, path, OpenMode::Alone).await {
                    Ok(BareNameTrial::Accepted(opened)) => Ok(*opened),
                    Ok(BareNameTrial::NoDirectory) => Err((refused, true)),
                    Ok(BareNameTrial::NoHelp) => Err((refused, false)),
                    Err(lost) => Err((lost, false)),
                }
            }
            opened => opened.map_err(|fault| (fault, false)),
        };
        match opened {
            Ok(opened) => Ok(UploadStream(DataTransfer::new(self, Step::Sending, path, opened))),
            Err((fault, has_no_directory)) => {
                let is_missing =
                    matches!(&fault.fault, Fault::Reply(reply) if reply.hints(Some(path)).missing);
                if let Fault::Reply(reply) = &fault.fault
                    && zos::is_refusal_of_zos(&reply.text, path)
                {
                    self.profile().data_sets_seen();
                }
                let error = self.fail_at(path, fault);
                Err(match not_made.filter(|_| error.remedy == Remedy::GiveUp) {
                    Some(directory) => directory.before(error, has_no_directory || is_missing),
                    None => error,
                })
            }
        }
    }
}

/// `ProFTPD` replies 550 with the reason, vsftpd 553 without one, IIS 550, others 450 or 451.
fn may_lack_directory(refused: &StepFault, path: &str) -> bool {
    let Fault::Reply(reply) = &refused.fault else { return false };
    let hints = reply.hints(Some(path));
    refused.step == Step::Stor
        && path.trim_start_matches('/').contains('/')
        && match reply.code {
            550 | 553 => hints.missing || !hints.denied,
            450 | 451 | 501 => hints.missing,
            _ => false,
        }
}

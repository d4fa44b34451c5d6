//! REST: a transfer that starts in the middle of its file (RFC 3659, 5).

use bytes::BufMut;

use crate::failure::TryError;

use super::command::{Command, Step};
use super::data_transfer::DataTransfer;
use super::download_stream::DownloadStream;
use super::fault::{Fault, StepFault};
use super::files::SizeReply;
use super::open_transfer::OpenMode;
use super::session::Session;
use super::upload_stream::UploadStream;

/// What a server's STOR does to a file after REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartSupport {
    /// It overwrites from that offset, and changes nothing else (vsftpd, `ProFTPD`).
    InPlace,
    /// It truncates the file there first (Pure-FTPd): if another connection is still writing beyond that offset, a gap
    /// remains.
    Cut,
    /// Anything else, such as always appending.
    Otherwise,
}

/// The content of the test file.
const TEST_CONTENT: &[u8] = b"abc";
/// More than that, and more than a server would turn it into.
const MAX_TEST_BYTES: usize = 64;

impl Session {
    /// What STOR does after REST on this server, if that was tested recently.
    #[must_use]
    pub fn known_restart_support(&self) -> Option<RestartSupport> {
        if self.may_restart_store() {
            self.profile().restart_support()
        } else {
            Some(RestartSupport::Otherwise)
        }
    }

    /// Tests what STOR does after REST: with a file of three bytes, of which one is sent again. `scratch` is its path;
    /// it may exist afterwards.
    ///
    /// # Errors
    /// Those of STOR and SIZE.
    pub async fn try_restart_support(&mut self, scratch: &str) -> Result<RestartSupport, TryError> {
        let (first, rest) = TEST_CONTENT.split_at(1);
        self.store(scratch).await?.send(TEST_CONTENT).await?;
        let whole = self.size(scratch).await?;
        let again = match self.store_from(scratch, first.len() as u64).await? {
            Some(store) => {
                store.send(rest.get(..1).unwrap_or_default()).await?;
                self.size(scratch).await?
            }
            None => SizeReply::Unsupported,
        };
        // The size alone does not show it: ftp-srv truncates the whole file, and puts the byte after a gap of zeros.
        let content = self.small_content(scratch).await?;
        let seen = match (whole, again, content.as_deref()) {
            (SizeReply::Bytes(3), SizeReply::Bytes(3), Some(b"abc")) => RestartSupport::InPlace,
            (SizeReply::Bytes(3), SizeReply::Bytes(2), Some(b"ab")) => RestartSupport::Cut,
            _ => RestartSupport::Otherwise,
        };
        let connection = &self.connection().name;
        tracing::debug!(
            event = "restart_tested",
            connection,
            ?seen,
            "tested whether uploads can start at an offset"
        );
        self.profile().restart_support_found(seen);
        Ok(seen)
    }

    /// The content that the server sends for a small file; `None` if it refuses.
    async fn small_content(&mut self, path: &str) -> Result<Option<Vec<u8>>, TryError> {
        let mut retrieved = match self.retrieve(path).await {
            Ok(retrieved) => retrieved,
            Err(error) if error.failure.ftp_code.is_some_and(|code| (500..600).contains(&code)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut content = Vec::with_capacity(MAX_TEST_BYTES);
        while content.len() < MAX_TEST_BYTES {
            if retrieved.read(&mut (&mut content).limit(MAX_TEST_BYTES)).await? == 0 {
                retrieved.finish().await?;
                return Ok(Some(content));
            }
        }
        retrieved.abort().await;
        Ok(None)
    }

    /// Whether the server may support REST for downloads: it has not refused it yet.
    #[must_use]
    pub fn may_restart_retrieval(&self) -> bool {
        !self.profile().refuses_rest(Step::Retr)
    }

    /// The same for uploads, which many servers refuse (`ProFTPD`, unless it has `AllowStoreRestart`).
    #[must_use]
    pub fn may_restart_store(&self) -> bool {
        !self.profile().refuses_rest(Step::Stor)
    }

    /// Records that the server does not do what REST asks for, whatever it replies.
    pub fn distrust_rest(&self) {
        self.profile().rest_refused(Step::Retr);
        self.profile().rest_refused(Step::Stor);
    }

    /// RETR of everything after the first `offset` bytes. `None` if the server cannot start there: then it is not asked
    /// again, and the whole file must be transferred.
    ///
    /// Beyond the end, vsftpd for one sends nothing and replies 226: the caller knows the size.
    pub async fn retrieve_from(
        &mut self,
        path: &str,
        offset: u64,
    ) -> Result<Option<DownloadStream<'_>>, TryError> {
        match self.open_transfer(Step::Retr, path, OpenMode::From(offset)).await {
            Ok(opened) => Ok(Some(DownloadStream(DataTransfer::new(self, Step::Receiving, path, opened)))),
            Err(refused) if self.is_about_rest(Step::Retr, &refused) => {
                self.forget_restart(path, &refused).await?;
                Ok(None)
            }
            Err(fault) => Err(self.fail_at(path, fault)),
        }
    }

    /// STOR of everything after the first `offset` bytes, which the server has. `None` as for
    /// [`Session::retrieve_from`].
    ///
    /// Never APPE: bytes that an earlier connection still has in flight would come in between.
    pub async fn store_from(
        &mut self,
        path: &str,
        offset: u64,
    ) -> Result<Option<UploadStream<'_>>, TryError> {
        match self.open_transfer(Step::Stor, path, OpenMode::From(offset)).await {
            Ok(opened) => Ok(Some(UploadStream(DataTransfer::new(self, Step::Sending, path, opened)))),
            Err(refused) if self.is_about_rest(Step::Stor, &refused) => {
                self.forget_restart(path, &refused).await?;
                Ok(None)
            }
            Err(fault) => Err(self.fail_at(path, fault)),
        }
    }

    /// REST, right before the command that it applies to.
    pub(super) async fn restart_at(&mut self, offset: u64) -> Result<(), StepFault> {
        let failed = |fault| StepFault::new(Step::Rest, fault);
        let rest = Command::with(Step::Rest, &offset.to_string()).map_err(failed)?;
        let reply = self.exchange(&rest).await.map_err(failed)?;
        if reply.code == 350 { Ok(()) } else { Err(failed(Fault::Reply(reply))) }
    }

    /// A server that accepted REST and refused the next command may still remember the offset.
    async fn forget_restart(&mut self, path: &str, refused: &StepFault) -> Result<(), TryError> {
        if refused.step != Step::Rest
            && let Err(fault) = self.restart_at(0).await
            && !matches!(&fault.fault, Fault::Reply(reply) if reply.is_refusal() && reply.code != 421)
        {
            return Err(self.fail_at(path, fault));
        }
        Ok(())
    }

    /// Whether the refusal is about the offset rather than the file. `ProFTPD` accepts REST and replies 451 to STOR.
    fn is_about_rest(&mut self, step: Step, refused: &StepFault) -> bool {
        let Fault::Reply(reply) = &refused.fault else { return false };
        let is_about_rest = self.is_usable()
            && match (refused.step, reply.code) {
                (Step::Rest, code) => code != 421 && !reply.is_preliminary(),
                (_, 501..=504 | 551 | 554) | (Step::Stor, 451) => true,
                (_, 451) => reply.mentions_rest(),
                _ => false,
            };
        // One offset may be refused for its value; the command, permanently.
        let is_for_ever = !matches!(reply.code, 551 | 554);
        if is_about_rest && is_for_ever {
            let connection = &self.connection().name;
            tracing::info!(
                event = "restart_unsupported", connection, %reply,
                "server cannot start an upload at an offset"
            );
            self.profile().rest_refused(step);
        }
        is_about_rest
    }
}

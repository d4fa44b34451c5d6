//! What an interrupted transfer leaves for the next try to resume, and whether it may.
//!
//! It may only if the source is provably the same: a server's file by SIZE and MDTM, a local one by size, times and
//! inode. A resumed file is verified like any other.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::FtpConnection;
use crate::failure::{Code, Remedy, TryError};
use crate::ftp::{ModifiedReply, RestartSupport, Session, SizeReply};
use crate::storage::{
    EarlierBytes, LocalStorage, RemoteSourceId, SharedOrphanTracker, SourceFile, SourceIdentity, SourceStamp,
    TempFile, TempName,
};

use super::{TransferContext, TransferError};

/// Smaller files start over: asking for their time costs a round trip, and there is little to gain.
pub(super) const MIN_RESUMED_SIZE: u64 = 4 << 20;
/// Fewer bytes are not worth keeping.
const MIN_PARTIAL_BYTES: u64 = 1 << 20;
/// How many interrupted transfers are kept for their next tries in one pod at most; each has a temp file, and open
/// descriptors.
const MAX_PARTIAL_TRANSFERS: usize = 100;
/// Modification times are in seconds: a file may have changed twice within one.
const SETTLED: Duration = Duration::from_secs(2);

/// What a failed try leaves for the next one at the same task. It is removed on drop.
#[derive(Debug, Default)]
pub struct ResumeState {
    what: Option<PartialTransfer>,
    of: Option<TransferEndpoints>,
}

/// The server and the local storage that the try used.
#[derive(Debug)]
struct TransferEndpoints {
    server: Arc<FtpConnection>,
    storage: Arc<LocalStorage>,
}

#[derive(Debug)]
enum PartialTransfer {
    Download(Box<TempFile>, #[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    Upload(Box<SentUpload>, #[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

/// Limits how many partial transfers are kept.
#[derive(Clone, Debug)]
pub(super) struct PartialTransferLimit(Arc<Semaphore>);

impl Default for PartialTransferLimit {
    fn default() -> Self {
        PartialTransferLimit(Arc::new(Semaphore::new(MAX_PARTIAL_TRANSFERS)))
    }
}

impl ResumeState {
    /// Drops the state of a try with another server or storage: their connections' settings have changed.
    pub(super) fn drop_unless_of(&mut self, session: &Session, storage: &Arc<LocalStorage>) {
        let is_elsewhere = |of: &TransferEndpoints| {
            !Arc::ptr_eq(&of.storage, storage) || !session.connection().has_the_files_of(&of.server)
        };
        if self.what.is_some() && self.of.as_ref().is_some_and(is_elsewhere) {
            *self = ResumeState::default();
        }
    }

    /// Records which server and storage the try used.
    pub(super) fn belongs_to(&mut self, session: &Session, storage: &Arc<LocalStorage>) {
        let ends = || TransferEndpoints { server: session.connection_handle(), storage: Arc::clone(storage) };
        self.of = self.what.is_some().then(ends);
    }

    /// The file that an earlier try has started.
    pub(super) fn download(&mut self) -> Option<TempFile> {
        match self.what.take()? {
            PartialTransfer::Download(file, _) => Some(*file),
            PartialTransfer::Upload(..) => None,
        }
    }

    /// What an earlier try of this process has sent of this source: the temp file's name, and who has written to it. It
    /// remains here until it is taken over: a try that fails before that leaves it to the next one.
    pub(super) fn sent(&mut self, source: &SourceFile) -> Option<(TempName, PartWriters)> {
        match &self.what {
            Some(PartialTransfer::Upload(sent, _)) if sent.source == source.identity() => {
                Some((sent.temp.clone()?, sent.writers))
            }
            _ => {
                self.what = None;
                None
            }
        }
    }

    /// Passes what was sent to the caller, who is then responsible for removing it.
    pub(super) fn take_sent(&mut self) {
        if let Some(PartialTransfer::Upload(mut sent, _)) = self.what.take() {
            sent.temp = None;
        }
    }

    /// Keeps the file for the next try if that can resume it, otherwise removes it.
    pub(super) async fn keep_download(
        &mut self,
        context: &TransferContext<'_>,
        mut file: TempFile,
        why: &TransferError,
    ) {
        let is_of_use =
            is_broken(why) && file.earlier().is_some_and(|earlier| earlier.bytes >= MIN_PARTIAL_BYTES);
        let permit =
            if is_of_use { Arc::clone(&context.partial_limit.0).try_acquire_owned().ok() } else { None };
        match permit {
            Some(permit) if file.rest().await.is_ok() => {
                self.what = Some(PartialTransfer::Download(Box::new(file), permit));
            }
            _ => file.discard().await,
        }
    }

    /// Keeps what was sent for the next try if that can resume it. Returns false if it cannot: the file must still be
    /// removed.
    pub(super) fn keep_upload(
        &mut self,
        context: &TransferContext<'_>,
        part: &UploadedPart<'_>,
        source: &SourceFile,
        why: &TransferError,
    ) -> bool {
        let is_large = source.size() >= MIN_RESUMED_SIZE && part.bytes >= MIN_PARTIAL_BYTES;
        let is_of_use = is_broken(why) && is_large && context.resumes;
        let permit =
            if is_of_use { Arc::clone(&context.partial_limit.0).try_acquire_owned().ok() } else { None };
        let Some(permit) = permit else { return false };
        let (orphans, directory) = (context.orphans.clone(), part.directory.to_owned());
        let (temp, writers) = (Some(part.temp.clone()), part.writers);
        let sent = SentUpload { orphans, directory, temp, source: source.identity(), writers };
        self.what = Some(PartialTransfer::Upload(Box::new(sent), permit));
        true
    }
}

/// What a failed try has sent.
pub(super) struct UploadedPart<'a> {
    pub directory: &'a str,
    pub temp: &'a TempName,
    /// An estimate; SIZE will give the exact number.
    pub bytes: u64,
    pub writers: PartWriters,
}

/// A temp file on the server that an earlier try of this process has started or resumed. If it is dropped before it is
/// taken, it is removed.
#[derive(Debug)]
struct SentUpload {
    orphans: SharedOrphanTracker,
    directory: String,
    temp: Option<TempName>,
    source: SourceIdentity,
    writers: PartWriters,
}

impl Drop for SentUpload {
    fn drop(&mut self) {
        if let Some(temp) = self.temp.take() {
            self.orphans.lock().left(&self.directory, temp);
        }
    }
}

/// The tries that have written to a temp file on a server, all from the same source. One whose connection broke may
/// continue for a while with bytes in flight: the same bytes at the same offsets.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartWriters {
    /// The server has confirmed the end of each.
    ended: bool,
    /// This many bytes are certainly there, whatever the file's size. A server that truncates the file where another
    /// writer begins leaves a gap before a writer that continues beyond that offset.
    sure: Option<u64>,
}

impl PartWriters {
    /// A single writer, whose end is unknown.
    pub const UNKNOWN: PartWriters = PartWriters { ended: false, sure: None };

    /// After the first try: `end_confirmed` if the server has confirmed its end.
    pub fn first(end_confirmed: bool) -> PartWriters {
        PartWriters { ended: end_confirmed, sure: None }
    }

    /// After one more try, which began at `from`.
    pub fn and(self, from: u64, restarts: Option<RestartSupport>, end_confirmed: bool) -> PartWriters {
        let leaves_no_gap = self.ended || restarts == Some(RestartSupport::InPlace);
        let sure = if leaves_no_gap { None } else { Some(from) };
        PartWriters { ended: self.ended && end_confirmed, sure }
    }

    pub fn have_ended(self) -> bool {
        self.ended
    }

    /// How many bytes of a file of this size can be relied on.
    pub fn sure_of(self, size: u64) -> u64 {
        self.sure.map_or(size, |sure| sure.min(size))
    }
}

/// Whether the try was interrupted, rather than failed for its content.
fn is_broken(why: &TransferError) -> bool {
    let TransferError::Failed(error) = why else { return false };
    error.remedy != Remedy::GiveUp
        && matches!(
            error.failure.code,
            Code::Timeout | Code::ProtocolError | Code::ConnectFailed | Code::TlsFailed | Code::ServerBusy
        )
}

/// Where a download is resumed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResumePoint {
    /// How many bytes exist.
    pub offset: u64,
    /// The size of the whole file.
    pub size: u64,
}

/// Checks whether the partial file is a prefix of the server's file, and if so keeps its bytes; otherwise the file is
/// emptied.
pub(super) async fn point(
    session: &mut Session,
    context: &TransferContext<'_>,
    file: &mut TempFile,
) -> Result<Option<ResumePoint>, TransferError> {
    let Some(EarlierBytes { source, bytes }) = file.earlier() else { return Ok(None) };
    if context.resumes && session.may_restart_retrieval() && bytes > 0 {
        let now = context.stop.or(described(session, context)).await?;
        if now.as_ref() == Some(&source) {
            // Of a complete file the last byte is requested again: its end was not confirmed.
            let wanted = bytes.min(source.size.saturating_sub(1));
            let offset = context.stop.or(file.resume_from(wanted)).await?;
            if offset > 0 && offset <= wanted {
                return Ok(Some(ResumePoint { offset, size: source.size }));
            }
        }
    }
    file.start_over().await?;
    Ok(None)
}

/// The source as the server describes it; `None` if that is incomplete or unreliable.
async fn described(
    session: &mut Session,
    context: &TransferContext<'_>,
) -> Result<Option<SourceStamp>, TryError> {
    let SizeReply::Bytes(size) = session.size_to_retrieve(&context.path).await? else { return Ok(None) };
    stamp(session, context, size).await
}

/// For a source of this size, the evidence that will later prove that it has not changed.
pub(super) async fn stamp(
    session: &mut Session,
    context: &TransferContext<'_>,
    size: u64,
) -> Result<Option<SourceStamp>, TryError> {
    if !context.resumes || size < MIN_RESUMED_SIZE {
        return Ok(None);
    }
    Ok(match session.modified(&context.path).await? {
        ModifiedReply::At(modified) => stamped(session.connection(), context, size, modified),
        _ => None,
    })
}

/// [`stamp`], if the time is already known.
pub(super) fn stamped(
    connection: &FtpConnection,
    context: &TransferContext<'_>,
    size: u64,
    modified: Timestamp,
) -> Option<SourceStamp> {
    let is_proof = context.resumes && size >= MIN_RESUMED_SIZE && is_settled(modified, Timestamp::now());
    is_proof.then(|| SourceStamp { place: source_id(connection, context), size, modified })
}

/// Which file the source is.
pub(super) fn source_id(connection: &FtpConnection, context: &TransferContext<'_>) -> RemoteSourceId {
    RemoteSourceId::new(&connection.host, connection.port, &connection.user, &context.path)
}

/// Whether a later change would have a different time.
pub(super) fn is_settled(modified: Timestamp, now: Timestamp) -> bool {
    now.duration_since(modified).unsigned_abs() >= SETTLED && now > modified
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn a_file_that_changed_a_moment_ago_may_change_again_within_its_second() {
        let now: Timestamp = "2025-01-15T10:30:00.9Z".parse().unwrap();
        for (modified, settled) in [
            ("2025-01-15T10:30:00Z", false),
            ("2025-01-15T10:29:59Z", false),
            ("2025-01-15T10:29:58Z", true),
            ("2024-01-15T10:29:58Z", true),
            // A clock that is ahead proves nothing.
            ("2025-01-15T11:30:00Z", false),
        ] {
            assert_eq!(is_settled(modified.parse().unwrap(), now), settled, "{modified}");
        }
    }

    #[test]
    fn only_what_broke_on_the_way_is_worth_to_be_kept() {
        let failed = |code, remedy| {
            is_broken(&TransferError::Failed(TryError { failure: Failure::new(code, "x"), remedy }))
        };
        assert!(failed(Code::Timeout, Remedy::Wait) && failed(Code::ProtocolError, Remedy::FreshSession));
        assert!(failed(Code::ConnectFailed, Remedy::OpenBreaker));
        for code in [Code::IntegrityMismatch, Code::SourceChanged, Code::StorageFull, Code::LocalIo] {
            assert!(!failed(code, Remedy::Wait), "{code}");
        }
        assert!(!failed(Code::ProtocolError, Remedy::GiveUp));
        assert!(!is_broken(&TransferError::Cancelled) && !is_broken(&TransferError::LeaseEnded));
    }
}

//! What of a transfer that broke off the next try goes on from, and whether it may.
//!
//! It may only where the source is provably the same: a server's file by SIZE and MDTM, a local one by size, times and
//! inode. What goes on is verified as any other file is.

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

use super::{Job, Stopped};

/// Files below this size begin anew: to ask for their time costs a round trip, and there is little to win.
pub(super) const RESUME_FROM: u64 = 4 << 20;
/// Fewer bytes are not worth to be kept.
const KEPT_FROM: u64 = 1 << 20;
/// Broken transfers that wait for their next tries in one pod at most; each has a temp file, and open descriptors.
const MAX_KEPT: usize = 100;
/// A time of change counts seconds: within the same one a file may have changed twice.
const SETTLED: Duration = Duration::from_secs(2);

/// What a try that failed leaves for the next one at the same task. Dropped, it is removed.
#[derive(Debug, Default)]
pub struct Kept {
    what: Option<What>,
    of: Option<Ends>,
}

/// Between which server and which directory the try was.
#[derive(Debug)]
struct Ends {
    server: Arc<FtpConnection>,
    storage: Arc<LocalStorage>,
}

#[derive(Debug)]
enum What {
    Download(Box<TempFile>, #[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    Upload(Box<Sent>, #[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

/// Room for what is kept.
#[derive(Clone, Debug)]
pub(super) struct Shelf(Arc<Semaphore>);

impl Default for Shelf {
    fn default() -> Self {
        Shelf(Arc::new(Semaphore::new(MAX_KEPT)))
    }
}

impl Kept {
    /// What a try between other ends has left is of no use to this one: their connections' settings have changed.
    pub(super) fn drop_unless_of(&mut self, session: &Session, storage: &Arc<LocalStorage>) {
        let is_elsewhere = |of: &Ends| {
            !Arc::ptr_eq(&of.storage, storage) || !session.connection().has_the_files_of(&of.server)
        };
        if self.what.is_some() && self.of.as_ref().is_some_and(is_elsewhere) {
            *self = Kept::default();
        }
    }

    /// The try was between these ends.
    pub(super) fn belongs_to(&mut self, session: &Session, storage: &Arc<LocalStorage>) {
        let ends = || Ends { server: session.connection_handle(), storage: Arc::clone(storage) };
        self.of = self.what.is_some().then(ends);
    }

    /// The file that an earlier try has begun.
    pub(super) fn download(&mut self) -> Option<TempFile> {
        match self.what.take()? {
            What::Download(file, _) => Some(*file),
            What::Upload(..) => None,
        }
    }

    /// What an earlier try of this process has sent of this source.
    pub(super) fn upload(&mut self, source: &SourceFile) -> Option<Sent> {
        match self.what.take()? {
            What::Upload(sent, _) if sent.source == source.identity() => Some(*sent),
            _ => None,
        }
    }

    /// Keeps the file for the next try if it is of use to it, else removes it.
    pub(super) async fn keep_download(&mut self, job: &Job<'_>, mut file: TempFile, why: &Stopped) {
        let is_of_use = is_broken(why) && file.earlier().is_some_and(|earlier| earlier.bytes >= KEPT_FROM);
        let place = if is_of_use { Arc::clone(&job.shelf.0).try_acquire_owned().ok() } else { None };
        match place {
            Some(place) if file.rest().await.is_ok() => {
                self.what = Some(What::Download(Box::new(file), place));
            }
            _ => file.discard().await,
        }
    }

    /// Keeps what was sent for the next try if it is of use to it. False where it is not: it is still to be removed.
    pub(super) fn keep_upload(
        &mut self,
        job: &Job<'_>,
        part: &Part<'_>,
        source: &SourceFile,
        why: &Stopped,
    ) -> bool {
        let is_large = source.size() >= RESUME_FROM && part.bytes >= KEPT_FROM;
        let is_of_use = is_broken(why) && is_large && job.resumes;
        let place = if is_of_use { Arc::clone(&job.shelf.0).try_acquire_owned().ok() } else { None };
        let Some(place) = place else { return false };
        let (strays, directory) = (job.strays.clone(), part.directory.to_owned());
        let (temp, writers) = (Some(part.temp.clone()), part.writers);
        let sent = Sent { strays, directory, temp, source: source.identity(), writers };
        self.what = Some(What::Upload(Box::new(sent), place));
        true
    }
}

/// What a try that failed has sent.
pub(super) struct Part<'a> {
    pub directory: &'a str,
    pub temp: &'a TempName,
    /// About so many; SIZE will tell.
    pub bytes: u64,
    pub writers: Writers,
}

/// A temp file on the server, which an earlier try of this process has begun or gone on with. Dropped before it is
/// taken, it is removed.
#[derive(Debug)]
pub(super) struct Sent {
    strays: SharedOrphanTracker,
    directory: String,
    temp: Option<TempName>,
    source: SourceIdentity,
    writers: Writers,
}

impl Sent {
    pub fn take(mut self) -> Option<(TempName, Writers)> {
        Some((self.temp.take()?, self.writers))
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(temp) = self.temp.take() {
            self.strays.lock().left(&self.directory, temp);
        }
    }
}

/// Those who have written to a temp file on a server, all of the same source. One whose connection broke may go on for
/// a while with what is under way to the server: the same bytes at the same places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writers {
    /// The server has told the end of each.
    ended: bool,
    /// So many bytes are sure to be there, whatever the file's size. A server that cuts the file where another writer
    /// begins has a gap between him and one who writes on behind that.
    sure: Option<u64>,
}

impl Writers {
    /// One of whose end nothing is known.
    pub const UNKNOWN: Writers = Writers { ended: false, sure: None };

    /// The first one, after his try: `is_sound` where the server has told its end.
    pub fn first(is_sound: bool) -> Writers {
        Writers { ended: is_sound, sure: None }
    }

    /// One more, after his try, who began at `from`.
    pub fn and(self, from: u64, restarts: Option<RestartSupport>, is_sound: bool) -> Writers {
        let leaves_no_gap = self.ended || restarts == Some(RestartSupport::InPlace);
        let sure = if leaves_no_gap { None } else { Some(from) };
        Writers { ended: self.ended && is_sound, sure }
    }

    pub fn have_ended(self) -> bool {
        self.ended
    }

    /// How many bytes of a file can be relied on that has so many.
    pub fn sure_of(self, size: u64) -> u64 {
        self.sure.map_or(size, |sure| sure.min(size))
    }
}

/// Whether the try ended on the way, and not for what it carried.
fn is_broken(why: &Stopped) -> bool {
    let Stopped::Failed(error) = why else { return false };
    error.remedy != Remedy::GiveUp
        && matches!(
            error.failure.code,
            Code::Timeout | Code::ProtocolError | Code::ConnectFailed | Code::TlsFailed | Code::ServerBusy
        )
}

/// Where a download goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Bytes that are there.
    pub offset: u64,
    /// Of the whole file.
    pub size: u64,
}

/// Asks whether what is there is the begin of what the server has, and if so makes it the file's; else the file is
/// empty afterwards.
pub(super) async fn point(
    session: &mut Session,
    job: &Job<'_>,
    file: &mut TempFile,
) -> Result<Option<Point>, Stopped> {
    let Some(EarlierBytes { source, bytes }) = file.earlier() else { return Ok(None) };
    if job.resumes && session.may_restart_retrieval() && bytes > 0 {
        let now = job.stop.or(described(session, job)).await?;
        if now.as_ref() == Some(&source) {
            // Of a file that is there wholly the last byte comes again: its end was not heard of.
            let wanted = bytes.min(source.size.saturating_sub(1));
            let offset = job.stop.or(file.go_on_from(wanted)).await?;
            if offset > 0 && offset <= wanted {
                return Ok(Some(Point { offset, size: source.size }));
            }
        }
    }
    file.start_over().await?;
    Ok(None)
}

/// The source as the server describes it; `None` where it does not say all, or not what can be relied on.
async fn described(session: &mut Session, job: &Job<'_>) -> Result<Option<SourceStamp>, TryError> {
    let SizeReply::Bytes(size) = session.size_to_retrieve(&job.path).await? else { return Ok(None) };
    stamp(session, job, size).await
}

/// Of a source of this size, what proves later that it is the same still.
pub(super) async fn stamp(
    session: &mut Session,
    job: &Job<'_>,
    size: u64,
) -> Result<Option<SourceStamp>, TryError> {
    if !job.resumes || size < RESUME_FROM {
        return Ok(None);
    }
    Ok(match session.modified(&job.path).await? {
        ModifiedReply::At(modified) => stamped(session.connection(), job, size, modified),
        _ => None,
    })
}

/// [`stamp`], where the time is known already.
pub(super) fn stamped(
    connection: &FtpConnection,
    job: &Job<'_>,
    size: u64,
    modified: Timestamp,
) -> Option<SourceStamp> {
    let is_proof = job.resumes && size >= RESUME_FROM && is_settled(modified, Timestamp::now());
    is_proof.then(|| SourceStamp { place: place(connection, job), size, modified })
}

/// Where the source stands.
pub(super) fn place(connection: &FtpConnection, job: &Job<'_>) -> RemoteSourceId {
    RemoteSourceId::new(&connection.host, connection.port, &connection.user, &job.path)
}

/// Whether a change after this one would have another time.
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
        let failed =
            |code, remedy| is_broken(&Stopped::Failed(TryError { failure: Failure::new(code, "x"), remedy }));
        assert!(failed(Code::Timeout, Remedy::Wait) && failed(Code::ProtocolError, Remedy::FreshSession));
        assert!(failed(Code::ConnectFailed, Remedy::OpenBreaker));
        for code in [Code::IntegrityMismatch, Code::SourceChanged, Code::StorageFull, Code::LocalIo] {
            assert!(!failed(code, Remedy::Wait), "{code}");
        }
        assert!(!failed(Code::ProtocolError, Remedy::GiveUp));
        assert!(!is_broken(&Stopped::Cancelled) && !is_broken(&Stopped::LeaseEnded));
    }
}

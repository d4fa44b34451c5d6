//! Uploads in a row on one session: the last commands of one file go out with the first ones of the next.
//!
//! RNFR and RNTO of a file are sent only once its SIZE was right. To a far server they go out in the burst that
//! ends the next file, so that they cost no round trip of their own: that file is due until then. A row is for
//! small files that are tried for the first time; whatever goes wrong with one's last commands, it is tried
//! again by itself, at no cost.

use std::time::Instant;

use crate::failure::{Code, Failure, Remedy, TryError};
use crate::ftp::{DataEnd, DownloadStream, EndBurst, RenameOutcome, Session, UploadStream};
use crate::offsets::Lease;
use crate::record::{Origin, Record};
use crate::storage::{FileOwner, SourceFile};
use crate::task::{After, Operation, Task, Verify};

use super::tidy::Leftover;
use super::upload::{self, Begun};
use super::{Files, Job, Stopped, Transfer, Transferred};

/// A larger file is not begun while the one before it is due: that one's answer would wait for too long.
const LARGEST: u64 = 1 << 20;

/// What a try has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Done(Transferred),
    /// The file is on the server, and verified. Its last commands go out with those of the task that was taken
    /// from [`Neighbours::next`] and must be carried next, which ends it by [`Neighbours::before_ended`].
    Due,
}

/// A task to be tried.
#[derive(Clone, Copy, Debug)]
pub struct Errand<'a> {
    pub task: &'a Task,
    pub record: &'a Record,
    /// Where all its tries work: what an earlier one has done is there.
    pub files: &'a Files,
}

/// The tasks before and behind the one that is carried, on the same session.
pub trait Neighbours: Send {
    /// Whether the task that is carried may be due for a while.
    fn may_wait(&self) -> bool;

    /// Takes the next task, which is then the next that is carried; `None` where there is none for the row.
    fn next(&mut self) -> Option<Errand<'_>>;

    /// The task before, which was due, has come to its end.
    fn before_ended(&mut self, ended: Result<Transferred, Stopped>);
}

/// No neighbours.
pub(super) struct Alone;

impl Neighbours for Alone {
    fn may_wait(&self) -> bool {
        false
    }

    fn next(&mut self) -> Option<Errand<'_>> {
        None
    }

    fn before_ended(&mut self, _: Result<Transferred, Stopped>) {}
}

/// What stands open on a session between two uploads.
#[derive(Debug, Default)]
pub struct Row {
    due: Option<Due>,
    next: Option<Next>,
}

/// A file that is verified, but for its name.
#[derive(Debug)]
pub(super) struct Due {
    pub temp: String,
    pub path: String,
    pub leftover: Leftover,
    pub transferred: Transferred,
    pub lease: Lease,
}

/// A file whose STOR is under way.
#[derive(Debug)]
struct Next {
    origin: Origin,
    /// Its temp file's path.
    temp: String,
    owner: FileOwner,
    begun: Begun,
}

impl Row {
    /// Whose try was begun, where it is this record's.
    pub(super) fn owner_of(&self, record: &Record) -> Option<FileOwner> {
        let next = self.next.as_ref()?;
        (next.origin == record.origin).then(|| next.owner.clone())
    }

    /// What was begun for this try.
    pub(super) fn take_begun(&mut self, job: &Job<'_>) -> Option<Begun> {
        self.next.take_if(|next| next.owner.temp == job.owner.temp).map(|next| next.begun)
    }

    /// Whether nothing may be asked of the server now but the next file.
    pub(super) fn has_begun_next(&self) -> bool {
        self.next.is_some()
    }

    pub(super) fn set_due(&mut self, due: Due) {
        self.due = Some(due);
    }
}

/// A try's place in its row.
pub(super) struct Place<'a> {
    pub transfer: &'a Transfer,
    pub row: &'a mut Row,
    pub beside: &'a mut dyn Neighbours,
}

impl Place<'_> {
    /// Ends the upload whose bytes have all been sent, together with the end of the one before and the begin of
    /// the one behind.
    pub async fn finish(
        &mut self,
        mut store: UploadStream<'_>,
        job: &Job<'_>,
        is_renamed_next: bool,
    ) -> Result<(), Stopped> {
        job.stop.or_soon(store.close()).await?;
        let may_wait = is_plain(job.task) && self.beside.may_wait() && store.may_pipeline_next();
        let next = if may_wait { self.open_next(&store, job).await? } else { None };
        if next.is_none() && self.row.due.is_none() {
            return job.stop.or_soon(store.finish(is_renamed_next)).await;
        }
        let due = self.row.due.take();
        // Asked after all waiting.
        let still_wanted = || due.as_ref().is_some_and(|due| due.stopped(job).is_none());
        let burst = EndBurst {
            rename: due.as_ref().map(|due| (due.temp.as_str(), due.path.as_str())),
            may_rename: Some(&still_wanted),
            next: next.as_ref().map(|next| next.temp.as_str()),
        };
        let ended = async { Ok::<_, Stopped>(store.finish_pipelined(burst).await) };
        let ended = job.stop.or_soon(ended).await;
        if let Some(due) = due {
            self.beside.before_ended(match &ended {
                Ok(ended) => match &ended.renamed {
                    Some(renamed) => due.ended(renamed.clone(), job),
                    None => Err(due.failed(job, nameless("its session was lost before RNFR"))),
                },
                // What ended this try is nothing to the task before.
                Err(_) => Err(due.failed(job, nameless("its burst was cut short"))),
            });
        }
        let ended = ended?;
        if ended.next_started {
            self.row.next = next;
        }
        Ok(ended.stored?)
    }

    /// Ends the download whose bytes have all come; in active mode together with the begin of the next one.
    pub async fn finish_download(
        &mut self,
        retrieve: DownloadStream<'_>,
        job: &Job<'_>,
    ) -> Result<DataEnd, Stopped> {
        let may_go_on = is_plain_download(job.task) && self.beside.may_wait() && retrieve.may_start_next();
        match if may_go_on { self.next_download(&retrieve) } else { None } {
            Some(next) => job.stop.or(retrieve.finish_before(&next)).await,
            None => job.stop.or(retrieve.finish()).await,
        }
    }

    /// Takes the next task; its path on the server, where it is a download for the row.
    fn next_download(&mut self, retrieve: &DownloadStream<'_>) -> Option<String> {
        let Errand { task, record, .. } = self.beside.next()?;
        let path = retrieve.connection().on_server(&task.remote_path)?;
        (is_plain_download(task) && record.lease.is_live() && path.is_ascii()).then_some(path)
    }

    /// Takes the next task, and opens its source; `None` where it is not one for the row.
    async fn open_next(&mut self, store: &UploadStream<'_>, job: &Job<'_>) -> Result<Option<Next>, Stopped> {
        let Some(Errand { task, record, files }) = self.beside.next() else { return Ok(None) };
        let Some(path) = store.connection().on_server(&task.remote_path) else { return Ok(None) };
        let Ok(directory) = upload::directory_of(&path) else { return Ok(None) };
        let owner = FileOwner::of(record, &self.transfer.names);
        let temp = format!("{directory}{}", owner.temp);
        let may_follow = is_plain(task) && record.lease.is_live() && store.may_be_followed_by(&temp);
        let (true, true, Ok(storage)) = (may_follow, path.is_ascii(), files.storage(&task.local)) else {
            return Ok(None);
        };
        // What is wrong with it is told when it is carried.
        let Ok(target) = storage.resolve(&task.local_path) else { return Ok(None) };
        let opened = job.stop.or(async { Ok::<_, Stopped>(storage.open_source(&target).await) }).await?;
        let fits = |source: &SourceFile| {
            source.size() <= LARGEST && store.connection().too_large(source.size()).is_none()
        };
        let Some(source) = opened.ok().filter(fits) else { return Ok(None) };
        job.strays.lock().begun(directory, &owner, Instant::now());
        let leftover = Leftover::of(&job.strays, directory, &owner.temp);
        let begun = Begun { name: owner.temp.clone(), going: None, source, leftover };
        Ok(Some(Next { origin: record.origin.clone(), temp, owner, begun }))
    }

    /// Ends the file that is due, where the one behind it has not: it is renamed by itself, if that can still be.
    pub async fn settle(&mut self, session: &mut Session, job: &Job<'_>) {
        let Some(due) = self.row.due.take() else { return };
        let ended = match due.stopped(job) {
            Some(stopped) => Err(stopped),
            None if session.is_usable() => {
                let renamed = session.rename(&due.temp, &due.path, || due.stopped(job).is_none()).await;
                due.ended(renamed, job)
            }
            None => Err(nameless("its session was lost before RNFR").into()),
        };
        self.beside.before_ended(ended);
    }
}

impl Due {
    /// Why it must not be renamed any more.
    fn stopped(&self, job: &Job<'_>) -> Option<Stopped> {
        if self.lease.is_live() {
            job.stop.is_cancelled().then_some(Stopped::Cancelled)
        } else {
            Some(Stopped::LeaseEnded)
        }
    }

    fn ended(
        mut self,
        renamed: Result<RenameOutcome, TryError>,
        job: &Job<'_>,
    ) -> Result<Transferred, Stopped> {
        match renamed {
            Ok(RenameOutcome::Done) => {
                self.leftover.gone();
                Ok(std::mem::take(&mut self.transferred))
            }
            Ok(RenameOutcome::Abandoned) => Err(self.stopped(job).unwrap_or(Stopped::Cancelled)),
            Ok(RenameOutcome::TargetRefused(error)) | Err(error) => {
                Err(self.failed(job, TryError { remedy: Remedy::FreshSession, ..error }))
            }
        }
    }

    /// What fails once the task is not ours any more is nobody's answer.
    fn failed(&self, job: &Job<'_>, error: TryError) -> Stopped {
        self.stopped(job).unwrap_or(error.into())
    }
}

/// Whether nothing but SIZE comes between a task's STOR and its RNFR, and it may be tried again for nothing.
fn is_plain(task: &Task) -> bool {
    let options = &task.options;
    task.operation == Operation::Upload
        && options.overwrite
        && options.verify == Verify::Size
        && !options.preserve_mtime
}

/// Whether nothing but SIZE and RETR is asked about it.
fn is_plain_download(task: &Task) -> bool {
    let options = &task.options;
    task.operation == Operation::Download
        && options.verify == Verify::Size
        && options.after == After::Keep
        && !options.preserve_mtime
}

/// Why a file that is on the server has no name yet.
fn nameless(why: &str) -> TryError {
    again(&format!("the file is on the server but for its name: {why}"))
}

/// A try that is made again on a fresh session, for nothing.
pub(super) fn again(why: &str) -> TryError {
    let failure = Failure::new(Code::ConnectFailed, why);
    TryError { failure, remedy: Remedy::FreshSession }
}

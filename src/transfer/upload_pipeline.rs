//! Pipelined uploads: on one session, the last commands of one upload go out with the first ones of the next.
//!
//! An upload is STOR to a temp name, SIZE to verify it, and RNFR and RNTO to its name. RNTO must not be sent before
//! SIZE's reply was right, so done one by one an upload waits for five round trips. But what waits for a reply of file
//! 2 can travel with the commands of file 3: so the rename of each file is postponed by one file, and goes out in the
//! burst that ends the next one. `t1` is file 1's temp name, `f1` its name:
//!
//! ```text
//! EPSV, STOR t1 ─▶
//!                 ◀─ 229, 150
//! bytes of t1, end of the data connection ─▶
//!                 ◀─ the server closes it; 226 of t1 is on its way
//! EPSV, SIZE t1, STOR t2 ─▶                             first burst: nothing to rename yet
//!                 ◀─ 226 t1, 229, 213 t1                file 1 is verified: its rename is pending
//! bytes of t2, end of the data connection ─▶            they follow STOR t2 without waiting for its 150
//!                 ◀─ 150 t2; closed; 226 of t2 is on its way
//! EPSV, RNFR t1, RNTO f1, SIZE t2, STOR t3 ─▶
//!                 ◀─ 226 t2, 229, 350, 250, 213 t2      file 1 is done, and answered; file 2's rename is pending
//!     …
//! RNFR t8, RNTO f8, SIZE t9, RNFR t9 ─▶                 last burst: no task is queued
//!                 ◀─ 226 t9, 350, 250, 213 t9, 350
//! RNTO f9 ─▶
//!                 ◀─ 250                                file 9 is done
//! ```
//!
//! Three round trips a file: data connection, bytes, burst. In active mode EPRT takes EPSV's place; with TLS each data
//! connection has its handshake as well.
//!
//! # Who does what
//! - `dispatch::pipelined_tasks` holds the tasks: the one whose rename is pending, the one that is running, and the
//!   next one, which is taken from the queue before the running one has ended. It implements [`NextTask`].
//! - [`UploadPipeline`], here, is what is open on the session between two tries: a [`PendingRename`] and a
//!   `StartedUpload`. [`PipelineContext::finish`] ends an upload: it decides what the burst contains, and reports the
//!   previous upload.
//! - [`EndBurst`] (in `ftp`) writes the burst, reads its replies, and evaluates them.
//!
//! # What may be pipelined, and what happens on failure
//! Tasks that are tried for the first time, replace an existing file, and are verified by size; a file above
//! [`LARGEST_NEXT`] is not started while another one's rename is pending, since that one's answer would wait for too
//! long. At most one rename is pending on a session. If no task is queued, it goes out at once.
//!
//! Whatever goes wrong with a pending rename (its session is lost, RNTO is refused, its lease ends) concerns that task
//! only: it is tried again, alone, without counting as a try, or left to its new owner. It is never sent for a task
//! whose lease has ended. A server that rejects such bursts gets one command at a time from then on: see
//! `ftp::pipelining`.

use std::time::Instant;

use crate::failure::{Remedy, TryError};
use crate::ftp::{EndBurst, RenameOutcome, Session, UploadStream};
use crate::lease::Lease;
use crate::record::{Origin, Record};
use crate::storage::{FileOwner, SourceFile};
use crate::task::{Operation, Task, Verify};

use super::orphan_cleanup::RemoteTempFile;
use super::upload::PreparedUpload;
use super::{
    LocalFiles, TransferContext, TransferError, TransferExecutor, TransferredFile, retry_on_fresh_session,
    temp_place,
};

/// A larger file is not started while the previous one's rename is pending.
const LARGEST_NEXT: u64 = 1 << 20;

/// The outcome of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferProgress {
    Done(TransferredFile),
    /// The file is on the server, and verified. It is renamed with the task that was taken from [`NextTask::next`] and
    /// must run next, which reports it by [`NextTask::previous_ended`].
    RenamePending,
}

/// A task to be tried.
#[derive(Clone, Copy, Debug)]
pub struct TransferRequest<'a> {
    pub task: &'a Task,
    pub record: &'a Record,
    /// The storages that all its tries use, with what an earlier one has written.
    pub files: &'a LocalFiles,
}

/// The tasks before and after the one that is running, on the same session.
pub trait NextTask: Send {
    /// Whether the running task may be pipelined.
    fn may_pipeline(&self) -> bool;

    /// Takes the next task, which must then run next; `None` if there is none that can be pipelined.
    fn next(&mut self) -> Option<TransferRequest<'_>>;

    /// The previous task, whose rename was pending, has ended.
    fn previous_ended(&mut self, ended: Result<TransferredFile, TransferError>);
}

/// The running task is alone.
pub(super) struct NoNextTask;

impl NextTask for NoNextTask {
    fn may_pipeline(&self) -> bool {
        false
    }

    fn next(&mut self) -> Option<TransferRequest<'_>> {
        None
    }

    fn previous_ended(&mut self, _: Result<TransferredFile, TransferError>) {}
}

/// What is open on a session between two uploads.
#[derive(Debug, Default)]
pub struct UploadPipeline {
    pending: Option<PendingRename>,
    started: Option<StartedUpload>,
}

/// A file that is verified, and awaits its rename.
#[derive(Debug)]
pub(super) struct PendingRename {
    pub temp: String,
    pub path: String,
    pub remote_temp: RemoteTempFile,
    pub transferred: TransferredFile,
    pub lease: Lease,
}

/// A file whose STOR is in progress.
#[derive(Debug)]
struct StartedUpload {
    origin: Origin,
    /// Its temp file's path.
    temp: String,
    owner: FileOwner,
    prepared: PreparedUpload,
}

impl UploadPipeline {
    /// The owner of the upload that was started for this record.
    pub(super) fn owner_of(&self, record: &Record) -> Option<FileOwner> {
        let started = self.started.as_ref()?;
        (started.origin == record.origin).then(|| started.owner.clone())
    }

    /// The upload that was started for this try.
    pub(super) fn take_started(&mut self, context: &TransferContext<'_>) -> Option<PreparedUpload> {
        let is_this = |started: &mut StartedUpload| started.owner.temp == context.owner.temp;
        self.started.take_if(is_this).map(|started| started.prepared)
    }

    /// Whether only the next file may be sent to the server now.
    pub(super) fn has_started_next(&self) -> bool {
        self.started.is_some()
    }

    pub(super) fn set_pending(&mut self, pending: PendingRename) {
        self.pending = Some(pending);
    }
}

/// A try's view of its pipeline.
pub(super) struct PipelineContext<'a> {
    pub executor: &'a TransferExecutor,
    pub pipeline: &'a mut UploadPipeline,
    pub next_task: &'a mut dyn NextTask,
}

impl PipelineContext<'_> {
    /// Ends the upload whose bytes have all been sent, together with the rename of the previous one and the start of
    /// the next one.
    pub async fn finish(
        &mut self,
        mut upload: UploadStream<'_>,
        context: &TransferContext<'_>,
        is_renamed_next: bool,
    ) -> Result<(), TransferError> {
        context.stop.or_soon(upload.close()).await?;
        let may_pipeline =
            may_be_pipelined(context.task) && self.next_task.may_pipeline() && upload.may_pipeline_next();
        let next = if may_pipeline { self.open_next(&upload, context).await? } else { None };
        if next.is_none() && self.pipeline.pending.is_none() {
            return context.stop.or_soon(upload.finish(is_renamed_next)).await;
        }
        let pending = self.pipeline.pending.take();
        // Checked after all waiting.
        let may_rename = || pending.as_ref().is_some_and(|pending| pending.stopped(context).is_none());
        let burst = EndBurst {
            rename: pending.as_ref().map(|pending| (pending.temp.as_str(), pending.path.as_str())),
            may_rename: Some(&may_rename),
            next: next.as_ref().map(|next| next.temp.as_str()),
        };
        let ended = async { Ok::<_, TransferError>(upload.finish_pipelined(burst).await) };
        let ended = context.stop.or_soon(ended).await;
        if let Some(pending) = pending {
            self.next_task.previous_ended(match &ended {
                Ok(ended) => match &ended.renamed {
                    Some(renamed) => pending.ended(renamed.clone(), context),
                    None => Err(pending.failed(context, not_renamed("its session was lost before RNFR"))),
                },
                // What ended this try does not concern the previous task.
                Err(_) => Err(pending.failed(context, not_renamed("its burst was interrupted"))),
            });
        }
        let ended = ended?;
        if ended.next_started {
            self.pipeline.started = next;
        }
        Ok(ended.stored?)
    }

    /// Takes the next task, and opens its source; `None` if it cannot be pipelined.
    async fn open_next(
        &mut self,
        upload: &UploadStream<'_>,
        context: &TransferContext<'_>,
    ) -> Result<Option<StartedUpload>, TransferError> {
        let Some(TransferRequest { task, record, files }) = self.next_task.next() else { return Ok(None) };
        let Some(path) = upload.connection().on_server(&task.remote_path) else { return Ok(None) };
        let connection = upload.connection();
        let Ok(directory) = temp_place::directory(connection, &path) else { return Ok(None) };
        let directory = directory.as_ref();
        let owner = FileOwner::of(record, &self.executor.names);
        let temp = temp_place::path(connection, directory, &owner.temp);
        let may_follow = may_be_pipelined(task) && record.lease.is_live() && upload.may_be_followed_by(&temp);
        let (true, true, Ok(storage)) = (may_follow, path.is_ascii(), files.storage(&task.local)) else {
            return Ok(None);
        };
        // Any error in it is reported when it runs.
        let Ok(target) = storage.resolve(&task.local_path) else { return Ok(None) };
        let opening = async { Ok::<_, TransferError>(storage.open_source(&target).await) };
        let opened = context.stop.or(opening).await?;
        let fits = |source: &SourceFile| {
            source.size() <= LARGEST_NEXT && upload.connection().too_large(source.size()).is_none()
        };
        let Some(source) = opened.ok().filter(fits) else { return Ok(None) };
        context.orphans.lock().begun(directory, &owner, Instant::now());
        let remote_temp = RemoteTempFile::of(&context.orphans, directory, &owner.temp);
        let prepared = PreparedUpload { name: owner.temp.clone(), resumed: None, source, remote_temp };
        Ok(Some(StartedUpload { origin: record.origin.clone(), temp, owner, prepared }))
    }

    /// Ends the upload whose rename is pending, if no burst did: it is renamed alone, if that is still possible.
    pub async fn settle(&mut self, session: &mut Session, context: &TransferContext<'_>) {
        let Some(pending) = self.pipeline.pending.take() else { return };
        let ended = match pending.stopped(context) {
            Some(stopped) => Err(stopped),
            None if session.is_usable() => {
                let may_rename = || pending.stopped(context).is_none();
                let renamed = session.rename(&pending.temp, &pending.path, may_rename).await;
                pending.ended(renamed, context)
            }
            None => Err(not_renamed("its session was lost before RNFR").into()),
        };
        self.next_task.previous_ended(ended);
    }
}

impl PendingRename {
    /// Why it must no longer be renamed.
    fn stopped(&self, context: &TransferContext<'_>) -> Option<TransferError> {
        if self.lease.is_live() {
            context.stop.is_cancelled().then_some(TransferError::Cancelled)
        } else {
            Some(TransferError::LeaseEnded)
        }
    }

    fn ended(
        mut self,
        renamed: Result<RenameOutcome, TryError>,
        context: &TransferContext<'_>,
    ) -> Result<TransferredFile, TransferError> {
        match renamed {
            Ok(RenameOutcome::Done) => {
                self.remote_temp.gone();
                Ok(std::mem::take(&mut self.transferred))
            }
            Ok(RenameOutcome::Abandoned) => Err(self.stopped(context).unwrap_or(TransferError::Cancelled)),
            Ok(RenameOutcome::TargetRefused(error)) | Err(error) => {
                Err(self.failed(context, TryError { remedy: Remedy::FreshSession, ..error }))
            }
        }
    }

    /// A failure after the task has left this pod is not its answer.
    fn failed(&self, context: &TransferContext<'_>, error: TryError) -> TransferError {
        let failure = temp_place::by_destination(error.failure, &self.path, &self.temp);
        self.stopped(context).unwrap_or(TryError { failure, ..error }.into())
    }
}

/// Whether only SIZE comes between a task's STOR and its RNFR, and it may be tried again without counting.
fn may_be_pipelined(task: &Task) -> bool {
    let options = &task.options;
    task.operation == Operation::Upload
        && options.overwrite
        && options.verify == Verify::Size
        && !options.preserve_mtime
}

/// Why a file that is on the server has not been renamed.
fn not_renamed(why: &str) -> TryError {
    retry_on_fresh_session(&format!("the file is on the server but for its name: {why}"))
}

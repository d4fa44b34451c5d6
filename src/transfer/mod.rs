//! One try at one task on one session: the file arrives complete, or not at all.
//!
//! ```text
//! download             server → local storage: into a temp file, verified, renamed
//! upload               local storage → server: stored under a temp name, verified, renamed
//! in_place             an upload without a temp name
//! temp_place           the directory of temp files on servers, and their names there
//! upload_rename        the last step of an upload that is alone on its session: the temp file is renamed (`ftp::end_burst`
//!                      renames pipelined ones)
//! write_only           directories in which a temp file would remain: none is sent there
//! upload_pipeline      consecutive uploads on one session: a rename that is pending until the next file's end, and the
//!                      whole story of how their commands are joined
//! integrity_check      what a file is compared by; hashes over its bytes
//! mtime                a file's modification time: read, and preserved
//!
//! resume_state         what a failed try leaves for the next one, and whether that may use it
//! resume_upload        an upload resumes what an earlier try has sent
//! adopt_upload         an upload resumes what another process has sent
//!
//! redo_record          what a published file records of its result, for a task that is redone
//! compare_destination  what already exists at an upload's destination
//! source_disposal      a download's source is deleted or moved
//!
//! orphan_cleanup       orphaned temp files on servers are removed
//! local_storages       the local connections' storages, by name
//! throttled            bytes on the data connection, within the bandwidth limits
//! stop_signal          what ends a try from outside: its lease, or its caller
//! ```
//!
//! Transfer never names Kafka, and never speaks FTP or touches a file itself: it decides what happens in which order,
//! and what is undone when it stops half-way.

mod download;
mod in_place;
mod integrity_check;
mod mtime;
mod temp_place;
mod upload;
mod upload_pipeline;
mod upload_rename;
mod write_only;

mod adopt_upload;
mod resume_state;
mod resume_upload;

mod compare_destination;
mod redo_record;
mod source_disposal;

mod local_storages;
mod orphan_cleanup;
mod stop_signal;
mod throttled;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ftp_listing::data_set;
use tokio_util::sync::CancellationToken;

use crate::bandwidth::{BandwidthLimits, TransferBandwidth};
use crate::digest::Algorithm;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::ftp::Session;
use crate::insight::ProgressGauge;
use crate::metrics::Metrics;
use crate::outcome::TransferDetails;
use crate::record::Record;
use crate::storage::{FileOwner, LocalStorage, SWEEP_INTERVAL, SharedOrphanTracker, StorageError, TempNames};
use crate::task::{Operation, Task};
use crate::text::shown;

pub use crate::storage::CallWatch;
pub use local_storages::{LocalFiles, LocalStorages};
use resume_state::PartialTransferLimit;
pub use resume_state::ResumeState;
use stop_signal::StopSignal;
pub use upload_pipeline::{NextTask, TransferProgress, TransferRequest, UploadPipeline};
use upload_pipeline::{NoNextTask, PipelineContext};

/// What a successful try did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferredFile {
    pub bytes: u64,
    /// Remarks for the result, such as `size not verified: the server has no SIZE`.
    pub notes: Vec<String>,
    pub details: TransferDetails,
}

/// Why a try ended without its file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Failed(#[from] TryError),
    /// The record's partition left this pod, which may no longer answer it.
    #[error("the task's partition left this pod")]
    LeaseEnded,
    /// The caller cancelled; the task is as it was before the try.
    #[error("cancelled")]
    Cancelled,
}

/// Carries out tasks between sessions and local storage.
#[derive(Clone, Debug)]
pub struct TransferExecutor {
    storages: LocalStorages,
    names: TempNames,
    metrics: Metrics,
    bandwidth: BandwidthLimits,
    /// Which hash results contain.
    hash: Option<Algorithm>,
    sweep_every: Duration,
    /// The orphaned temp files on each FTP connection's server.
    orphans: Arc<Mutex<BTreeMap<String, SharedOrphanTracker>>>,
    partial_limit: PartialTransferLimit,
}

impl TransferExecutor {
    /// `storages` by local connection name; `names` is for temp files.
    pub fn new(storages: impl Into<LocalStorages>, names: TempNames, metrics: Metrics) -> TransferExecutor {
        TransferExecutor {
            storages: storages.into(),
            names,
            metrics,
            bandwidth: BandwidthLimits::default(),
            hash: None,
            sweep_every: SWEEP_INTERVAL,
            orphans: Arc::default(),
            partial_limit: PartialTransferLimit::default(),
        }
    }

    /// Hashes every file during its transfer, for its result.
    #[must_use]
    pub fn hashing(self, hash: Option<Algorithm>) -> TransferExecutor {
        TransferExecutor { hash, ..self }
    }

    /// Limits how fast bytes move.
    #[must_use]
    pub fn throttled_by(self, bandwidth: BandwidthLimits) -> TransferExecutor {
        TransferExecutor { bandwidth, ..self }
    }

    /// Changes how often directories on servers are searched for orphaned temp files (normally every hour).
    #[must_use]
    pub fn sweeping_every(self, sweep_every: Duration) -> TransferExecutor {
        TransferExecutor { sweep_every, ..self }
    }

    /// A try at a single task: see [`TransferExecutor::run_pipelined`].
    ///
    /// # Errors
    /// [`TransferError::Failed`] with its remedy; the message names the command or file, and the reason.
    pub async fn run(
        &self,
        session: &mut Session,
        task: &Task,
        record: &Record,
        cancel: &CancellationToken,
    ) -> Result<TransferredFile, TransferError> {
        self.run_again(session, task, record, &mut ResumeState::default(), cancel).await
    }

    /// [`TransferExecutor::run`], which resumes what an earlier try at the same task and record has left in
    /// `resume_state`, and leaves there what the next one may resume if it fails.
    ///
    /// # Errors
    /// Those of [`TransferExecutor::run`].
    pub async fn run_again(
        &self,
        session: &mut Session,
        task: &Task,
        record: &Record,
        resume_state: &mut ResumeState,
        cancel: &CancellationToken,
    ) -> Result<TransferredFile, TransferError> {
        let mut pipeline = UploadPipeline::default();
        let gauge = ProgressGauge::default();
        let files = self.files(&task.local);
        let request = TransferRequest { task, record, files: &files };
        let mut next_task = NoNextTask;
        let run = self.run_pipelined(
            session,
            &mut pipeline,
            (request, &gauge),
            resume_state,
            &mut next_task,
            cancel,
        );
        match run.await? {
            TransferProgress::Done(transferred) => Ok(transferred),
            TransferProgress::RenamePending => {
                Err(give_up(Code::Internal, "the rename of a single task was left pending".to_owned()).into())
            }
        }
    }

    /// One try at a task between others on the same session: `pipeline` is what the previous one left open.
    ///
    /// Stops in an orderly way, within some seconds, when `cancel` is cancelled or the lease ends: the data connection
    /// is closed, its last reply read, and no temp file remains, here or on the server. Dropping the future stops at
    /// once: no temp file remains here, one may remain on the server. In both cases [`Session::is_usable`] shows
    /// whether the session can serve another task.
    ///
    /// A try that was past its last step when it was cancelled has succeeded, and returns that.
    ///
    /// # Errors
    /// Those of [`TransferExecutor::run`].
    pub async fn run_pipelined(
        &self,
        session: &mut Session,
        pipeline: &mut UploadPipeline,
        (request, gauge): (TransferRequest<'_>, &ProgressGauge),
        resume_state: &mut ResumeState,
        next_task: &mut dyn NextTask,
        cancel: &CancellationToken,
    ) -> Result<TransferProgress, TransferError> {
        let TransferRequest { task, record, files } = request;
        let stop = StopSignal::new(&record.lease, cancel);
        stop.check()?;
        let path = on_server(session, &task.remote_path)?;
        // The previous try has made it unusable, and has started nothing of this one.
        if !session.is_usable() && pipeline.owner_of(record).is_none() && !session.has_started(&path) {
            return Err(retry_on_fresh_session("the session was lost before the try began").into());
        }
        session.begin_task();
        let storage = files.storage(&task.local)?;
        resume_state.drop_unless_of(session, storage);
        let watched = storage.watched_by(files.watch());
        let bandwidth = self.bandwidth.of(&task.remote);
        let context = TransferContext {
            storage: &watched,
            task,
            path,
            hash: self.hash,
            owner: pipeline.owner_of(record).unwrap_or_else(|| FileOwner::of(record, &self.names)),
            names: &self.names,
            metrics: &self.metrics,
            bandwidth: &bandwidth,
            gauge,
            stop: &stop,
            orphans: self.orphans_at(&task.remote),
            partial_limit: &self.partial_limit,
            resumes: task.options.resume
                && session.connection().resume
                && (task.operation == Operation::Download || !session.connection().no_check_upload),
        };
        let mut pipeline = PipelineContext { executor: self, pipeline, next_task };
        let ended = run(session, &context, resume_state, &mut pipeline).await;
        if !matches!(ended, Ok(TransferProgress::RenamePending)) {
            pipeline.settle(session, &context).await;
        }
        resume_state.belongs_to(session, storage);
        // A failure while the try is being stopped is not its answer.
        let mut ended = ended.map_err(|stopped| stop.check().err().unwrap_or(stopped))?;
        if let TransferProgress::Done(done) = &mut ended {
            done.details.connection.clone_from(&task.remote);
        }
        Ok(ended)
    }

    /// The FTP connection was removed: files on its server are left to the next pod that connects to it.
    pub fn forget(&self, connection: &str) {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
    }

    fn orphans_at(&self, connection: &str) -> SharedOrphanTracker {
        let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        match orphans.get(connection) {
            Some(there) => there.clone(),
            None => orphans
                .entry(connection.to_owned())
                .or_insert_with(|| SharedOrphanTracker::new(self.sweep_every))
                .clone(),
        }
    }

    /// The storages in which the tries of a task that is accepted now work.
    #[must_use]
    pub fn files(&self, local: &str) -> LocalFiles {
        self.storages.files(local)
    }
}

async fn run(
    session: &mut Session,
    context: &TransferContext<'_>,
    resume_state: &mut ResumeState,
    pipeline: &mut PipelineContext<'_>,
) -> Result<TransferProgress, TransferError> {
    context.stop.or(session.announce_utf8_for(&context.path)).await?;
    match context.task.operation {
        Operation::Download => {
            download::run(session, context, resume_state, pipeline).await.map(TransferProgress::Done)
        }
        Operation::Upload => upload::run(session, context, resume_state, pipeline).await,
    }
}

/// A task's remote path as this server has it.
fn on_server(session: &Session, path: &str) -> Result<String, TryError> {
    let there = session.connection().on_server(path).ok_or_else(|| {
        let message = format!("{}: `encoding` makes a `..` of it", shown(path));
        give_up(Code::PathNotAllowed, message)
    })?;
    Ok(if session.has_data_sets() { data_set::of_path(&there) } else { there })
}

/// What one try needs.
struct TransferContext<'a> {
    storage: &'a LocalStorage,
    task: &'a Task,
    /// On the server, including the connection's `path_root`.
    path: String,
    owner: FileOwner,
    names: &'a TempNames,
    hash: Option<Algorithm>,
    metrics: &'a Metrics,
    bandwidth: &'a TransferBandwidth,
    /// The try's progress, for observers.
    gauge: &'a ProgressGauge,
    stop: &'a StopSignal<'a>,
    /// On the server.
    orphans: SharedOrphanTracker,
    partial_limit: &'a PartialTransferLimit,
    /// Both the task and its connection allow interrupted transfers to be resumed.
    resumes: bool,
}

impl TransferContext<'_> {
    /// Logs where the transfer resumes, if an earlier try or another pod has transferred a part.
    fn log_resumed(&self, bytes: Option<u64>) {
        let Some(bytes) = bytes else { return };
        let (task_id, connection) = (&*self.task.task_id, &*self.task.remote);
        tracing::info!(event = "transfer_resumed", task_id, connection, bytes, "resumed at {bytes} bytes");
    }
}

impl From<StorageError> for TransferError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::LeaseEnded => TransferError::LeaseEnded,
            error => TransferError::Failed(error.into()),
        }
    }
}

fn give_up(code: Code, message: String) -> TryError {
    TryError { failure: Failure::new(code, message), remedy: Remedy::GiveUp }
}

fn try_again(code: Code, message: String) -> TryError {
    TryError { failure: Failure::new(code, message), remedy: Remedy::Wait }
}

/// A try that is repeated on a fresh session without counting.
fn retry_on_fresh_session(why: &str) -> TryError {
    TryError { failure: Failure::new(Code::ConnectFailed, why), remedy: Remedy::FreshSession }
}

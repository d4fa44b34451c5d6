//! One try at one task on one session: the file comes whole, or not at all.
//!
//! Transfer never names Kafka, and never speaks FTP or touches a file itself: it says what happens in which
//! order, and what is undone when it stops half-way.

mod after;
mod claim;
mod compare;
mod download;
mod go_on;
mod memory;
mod mtime;
mod resume;
mod row;
mod stop;
mod storages;
mod tidy;
mod upload;
mod verify;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::digest::Algorithm;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::ftp::Session;
use crate::insight::ProgressGauge;
use crate::metrics::Metrics;
use crate::outcome::Facts;
use crate::record::Record;
use crate::storage::{FileOwner, LocalStorage, SWEEP_INTERVAL, SharedOrphanTracker, StorageError, TempNames};
use crate::task::{Operation, Task};

pub use resume::Kept;
use resume::Shelf;
use row::{Alone, Place};
pub use row::{Errand, Neighbours, Progress, Row};
use stop::Stop;
pub use storages::{Files, Storages};

/// What a try that succeeded did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transferred {
    pub bytes: u64,
    /// Remarks for the result, such as `size not verified: the server has no SIZE`.
    pub notes: Vec<String>,
    pub facts: Facts,
}

/// Why a try ended without its file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    #[error(transparent)]
    Failed(#[from] TryError),
    /// The record's partition left this pod: nobody here may answer it.
    #[error("the task's partition left this pod")]
    LeaseEnded,
    /// The caller cancelled; the task is as it was before the try.
    #[error("cancelled")]
    Cancelled,
}

/// Carries out tasks between sessions and local storage.
#[derive(Clone, Debug)]
pub struct Transfer {
    storages: Storages,
    names: TempNames,
    metrics: Metrics,
    /// Of each file, for its result.
    hash: Option<Algorithm>,
    sweep_every: Duration,
    /// By FTP connection: what stands on its server without an owner.
    strays: Arc<Mutex<BTreeMap<String, SharedOrphanTracker>>>,
    shelf: Shelf,
}

impl Transfer {
    /// `storages` by the local connections' names; `names` are for temp files.
    pub fn new(storages: impl Into<Storages>, names: TempNames, metrics: Metrics) -> Transfer {
        Transfer {
            storages: storages.into(),
            names,
            metrics,
            hash: None,
            sweep_every: SWEEP_INTERVAL,
            strays: Arc::default(),
            shelf: Shelf::default(),
        }
    }

    /// Every file is hashed on its way, for its result.
    #[must_use]
    pub fn hashing(self, hash: Option<Algorithm>) -> Transfer {
        Transfer { hash, ..self }
    }

    /// The same, with directories on servers looked at for temp files of the dead after this time, not after an
    /// hour.
    #[must_use]
    pub fn sweeping_every(self, sweep_every: Duration) -> Transfer {
        Transfer { sweep_every, ..self }
    }

    /// One try at a task by itself: see [`Transfer::run_in_row`].
    ///
    /// # Errors
    /// [`Stopped::Failed`] with what the try asks for; its message names the command or file, and the reason.
    pub async fn run(
        &self,
        session: &mut Session,
        task: &Task,
        record: &Record,
        cancel: &CancellationToken,
    ) -> Result<Transferred, Stopped> {
        self.run_again(session, task, record, &mut Kept::default(), cancel).await
    }

    /// [`Transfer::run`], which goes on from what an earlier try at the same task and record has left in `kept`, and
    /// where it fails leaves there what the next one may go on from.
    ///
    /// # Errors
    /// As [`Transfer::run`].
    pub async fn run_again(
        &self,
        session: &mut Session,
        task: &Task,
        record: &Record,
        kept: &mut Kept,
        cancel: &CancellationToken,
    ) -> Result<Transferred, Stopped> {
        let mut row = Row::default();
        let gauge = ProgressGauge::default();
        let files = self.files(&task.local);
        let errand = Errand { task, record, files: &files };
        match self.run_in_row(session, &mut row, (errand, &gauge), kept, &mut Alone, cancel).await? {
            Progress::Done(transferred) => Ok(transferred),
            Progress::Due => Err(give_up(Code::Internal, "a task by itself was left due".to_owned()).into()),
        }
    }

    /// One try, at a task between others on the same session: `row` is what the one before left open.
    ///
    /// Stops in an orderly way, within some seconds, when `cancel` is cancelled or the lease ends: the data
    /// connection is closed, its last reply read, and no temp file stays, here or on the server. Dropping the
    /// future stops at once: no temp file stays here, one may stay on the server. In both cases
    /// [`Session::is_sound`] tells whether the session can serve another task.
    ///
    /// A try that was past its last step when it was cancelled has succeeded, and says so.
    ///
    /// # Errors
    /// As [`Transfer::run`].
    pub async fn run_in_row(
        &self,
        session: &mut Session,
        row: &mut Row,
        (errand, gauge): (Errand<'_>, &ProgressGauge),
        kept: &mut Kept,
        beside: &mut dyn Neighbours,
        cancel: &CancellationToken,
    ) -> Result<Progress, Stopped> {
        let Errand { task, record, files } = errand;
        let stop = Stop::new(&record.lease, cancel);
        stop.check()?;
        let path = on_server(session, &task.remote_path)?;
        // The try before has left it in doubt, and it has nothing of this one.
        if !session.is_usable() && row.owner_of(record).is_none() && !session.has_started(&path) {
            return Err(row::again("the session was lost before the try began").into());
        }
        session.begin_task();
        let storage = files.storage(&task.local)?;
        kept.drop_unless_of(session, storage);
        let job = Job {
            storage,
            task,
            path,
            hash: self.hash,
            owner: row.owner_of(record).unwrap_or_else(|| FileOwner::of(record, &self.names)),
            names: &self.names,
            metrics: &self.metrics,
            gauge,
            stop: &stop,
            strays: self.strays_at(&task.remote),
            shelf: &self.shelf,
            resumes: task.options.resume && session.connection().resume,
        };
        let mut place = Place { transfer: self, row, beside };
        let ended = run(session, &job, kept, &mut place).await;
        if !matches!(ended, Ok(Progress::Due)) {
            place.settle(session, &job).await;
        }
        kept.belongs_to(session, storage);
        // What fails while the try is being stopped is nobody's answer.
        let mut ended = ended.map_err(|stopped| stop.check().err().unwrap_or(stopped))?;
        if let Progress::Done(done) = &mut ended {
            done.facts.connection.clone_from(&task.remote);
        }
        Ok(ended)
    }

    /// The FTP connection is no more: what stands on its server is left to whoever comes to it again.
    pub fn forget(&self, connection: &str) {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
    }

    fn strays_at(&self, connection: &str) -> SharedOrphanTracker {
        let mut strays = self.strays.lock().unwrap_or_else(PoisonError::into_inner);
        match strays.get(connection) {
            Some(there) => there.clone(),
            None => strays
                .entry(connection.to_owned())
                .or_insert_with(|| SharedOrphanTracker::new(self.sweep_every))
                .clone(),
        }
    }

    /// What the tries of a task work in that gets its place now.
    #[must_use]
    pub fn files(&self, local: &str) -> Files {
        self.storages.files(local)
    }
}

async fn run(
    session: &mut Session,
    job: &Job<'_>,
    kept: &mut Kept,
    place: &mut Place<'_>,
) -> Result<Progress, Stopped> {
    job.stop.or(session.announce_utf8_for(&job.path)).await?;
    match job.task.operation {
        Operation::Download => download::run(session, job, kept, place).await.map(Progress::Done),
        Operation::Upload => upload::run(session, job, kept, place).await,
    }
}

/// A task's remote path as this server has it.
fn on_server(session: &Session, path: &str) -> Result<String, TryError> {
    session.connection().on_server(path).ok_or_else(|| {
        let message = format!("{}: `encoding` makes a `..` of it", path.escape_debug());
        give_up(Code::PathNotAllowed, message)
    })
}

/// What one try needs to know.
struct Job<'a> {
    storage: &'a LocalStorage,
    task: &'a Task,
    /// On the server, beneath the connection's `path_root`.
    path: String,
    owner: FileOwner,
    names: &'a TempNames,
    hash: Option<Algorithm>,
    metrics: &'a Metrics,
    /// How far it is, for whoever looks.
    gauge: &'a ProgressGauge,
    stop: &'a Stop<'a>,
    /// On the server.
    strays: SharedOrphanTracker,
    shelf: &'a Shelf,
    /// Both the task and its connection want broken transfers to go on where they were.
    resumes: bool,
}

impl From<StorageError> for Stopped {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::LeaseEnded => Stopped::LeaseEnded,
            error => Stopped::Failed(error.into()),
        }
    }
}

fn give_up(code: Code, message: String) -> TryError {
    TryError { failure: Failure::new(code, message), remedy: Remedy::GiveUp }
}

fn try_again(code: Code, message: String) -> TryError {
    TryError { failure: Failure::new(code, message), remedy: Remedy::Wait }
}

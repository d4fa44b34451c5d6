//! Local files, confined beneath a connection's `base_path` by the kernel. Only this module touches them.
//!
//! ```text
//! target              a task's local path, resolved against `base_path`: lexical
//! confined_dir        the open `base_path`; opens what is beneath it, and nothing else
//! disk_executor       blocking calls off the runtime's threads, bounded and with deadlines
//! call_watch          how long a task's try has been waiting for one of them
//! error               errno → the contract's code, with operation, path and reason
//! temp_file           a download's destination: buffered, written, published when complete
//!   temp_file_handle  the file on the disk, until it is renamed or removed
//!   final_file_metadata  what a file gets before it is renamed to its final name: origin mark, time
//!   resume            a download that resumes where an earlier try ended
//!   partial_download  what an earlier owner of the record has downloaded
//! source              an upload's source: read once, checked for changes
//! origin_mark         the record that a published file was made for, in an extended attribute
//! file_owner          for which record, and under which lease, a file is made
//! temp_name           the names of temp files, here and on servers, which identify their owner
//! temp_names          generates and parses them for this process; checks whether their records are done
//! orphans             which temp files are orphaned, and which directories to search for them: pure
//!   adoption          orphans that their record's next owner resumes instead
//! orphan_cleaner      removes orphaned temp files beneath `base_path`
//! listing             the contents of a directory, for `submit`
//! check               what `ftp-pooler check` reports
//! ```
//!
//! A path is resolved lexically first ([`LocalTarget`]), then by the kernel: directories are opened with openat2's
//! `RESOLVE_BENEATH`, and everything else is done by name relative to their descriptors. So a symlink that leads out is
//! refused even if it appears in the middle of an operation. A relative symlink to a directory beneath `base_path` is
//! followed (the kernel refuses absolute ones, wherever they lead); so is a source that is one. A destination that is a
//! symlink is replaced itself, never written through.
//!
//! A download is a [`TempFile`] until it is complete and durable: write, fsync, rename, fsync of the directory. An
//! upload reads a [`SourceFile`]. Every call into the file system is made off the runtime's threads and has a deadline.

mod call_watch;
mod check;
mod confined_dir;
mod disk_executor;
mod error;
mod file_owner;
mod final_file_metadata;
mod listing;
mod origin_mark;
mod orphan_cleaner;
mod orphans;
mod partial_download;
mod resume;
mod source;
mod target;
mod temp_file;
mod temp_file_handle;
mod temp_name;
mod temp_names;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use call_watch::{CallWatch, WatchedWait};
pub use check::StorageCheck;
pub use confined_dir::Confinement;
pub use error::StorageError;
pub use file_owner::FileOwner;
pub use final_file_metadata::FinalFileMetadata;
pub use listing::LocalEntry;
pub use origin_mark::OriginMark;
pub use orphan_cleaner::SharedOrphanTracker;
pub use orphans::{AdoptionSearch, CleanupAction, SWEEP_INTERVAL, TempFileStamp};
pub use partial_download::{RemoteSourceId, SourceStamp};
pub use source::{SourceFile, SourceIdentity};
pub use target::LocalTarget;
pub use temp_file::{CHUNK, EarlierBytes, TempFile};
pub use temp_name::{Incarnation, TempName};
pub use temp_names::TempNames;

use crate::config::LocalConnection;
use confined_dir::ConfinedDir;
use disk_executor::{DiskExecutor, DiskOperation};
use error::{OperationContext, PathRole};
use origin_mark::MarkedFile;
use partial_download::PartialDownloads;
use temp_file_handle::{TargetProbe, TempFilePlan};

/// References to a storage that is not used by any task.
const OWNER_AND_SWEEP: usize = 2;

/// The files of one local connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalStorage {
    connection: Arc<LocalConnection>,
    confined_dir: Arc<ConfinedDir>,
    disk: DiskExecutor,
    orphans: SharedOrphanTracker,
    remembers: bool,
    parts: PartialDownloads,
}

/// How a download starts.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "taken apart at once; a box would cost each file an allocation")]
pub enum DownloadStart {
    Now(TempFile),
    /// It was done before: the file exists, complete and durable.
    Before {
        bytes: u64,
        /// What was stored with it ([`FinalFileMetadata::redo_record`]).
        redo_record: String,
    },
}

impl LocalStorage {
    /// Opens `base_path`, which must be a directory. If another directory is moved to its name, or mounted over it,
    /// that one is used from then on. Blocks.
    ///
    /// # Errors
    /// Those of any local path; the message names `base_path`.
    pub fn open(connection: &LocalConnection) -> Result<LocalStorage, StorageError> {
        let confined_dir = ConfinedDir::open(&connection.base_path).map_err(|errno| {
            let path = connection.base_path.to_string_lossy();
            OperationContext { what: "open base_path", path: &path, side: PathRole::Base }.failed(errno)
        })?;
        if confined_dir.confinement() == Confinement::CapStd {
            tracing::warn!(
                event = "openat2_missing",
                connection = connection.name,
                "openat2 is not available; paths are confined by cap-std"
            );
        }
        let storage = LocalStorage::with(
            connection,
            confined_dir,
            DiskExecutor::new(connection, disk_executor::CALLS, disk_executor::CALL_DEADLINE),
        );
        if !storage.remembers {
            tracing::warn!(
                event = "xattrs_missing",
                connection = connection.name,
                "no user extended attributes: a download repeated after a crash is transferred again, and \
                 finds its own file at the destination where `overwrite` is false; one with an `after` \
                 other than `keep` is refused"
            );
        }
        Ok(storage)
    }

    fn with(connection: &LocalConnection, confined_dir: ConfinedDir, disk: DiskExecutor) -> LocalStorage {
        LocalStorage {
            remembers: confined_dir.base().is_ok_and(origin_mark::can_be_put),
            connection: Arc::new(connection.clone()),
            confined_dir: Arc::new(confined_dir),
            disk,
            orphans: SharedOrphanTracker::new(SWEEP_INTERVAL),
            parts: PartialDownloads::default(),
        }
    }

    /// Sets how often directories are scanned for orphaned temp files (normally every hour).
    #[must_use]
    pub fn sweeping_every(self, scan_interval: Duration) -> LocalStorage {
        LocalStorage { orphans: SharedOrphanTracker::new(scan_interval), ..self }
    }

    /// The same storage for one task, whose waits for calls are monitored by `watch`.
    #[must_use]
    pub fn watched_by(&self, watch: &Arc<CallWatch>) -> LocalStorage {
        LocalStorage { disk: self.disk.watched_by(watch), ..self.clone() }
    }

    /// Checks whether files can be written now, as far as can be determined without writing one.
    ///
    /// # Errors
    /// If nothing exists at `base_path`, or it is read-only or full, or does not answer.
    pub async fn condition(&self) -> Result<(), StorageError> {
        let (confined_dir, path) = (self.confined_dir(), self.connection.base_path.clone());
        let target = LocalTarget::directory(&path.to_string_lossy());
        let operation = DiskOperation { what: "check", target, side: PathRole::Base };
        self.disk.call(operation, move |_| check::condition(&confined_dir, &path)).await
    }

    /// The call that has been in the file system for longest, and for how long; `None` if there is none.
    #[must_use]
    pub fn longest_call(&self) -> Option<(String, Duration)> {
        self.disk.longest_call(tokio::time::Instant::now())
    }

    /// As on a file system without extended attributes.
    #[cfg(test)]
    pub(crate) fn without_memory(self) -> LocalStorage {
        LocalStorage { remembers: false, ..self }
    }

    /// The connection's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.connection.name
    }

    /// Whether published files carry the origin mark of their record: without it, it cannot be determined whether a
    /// file was downloaded once its source is gone.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.remembers
    }

    /// Resolves a task's local path; lexical, see [`LocalTarget::resolve`].
    ///
    /// # Errors
    /// [`StorageError::PathNotAllowed`].
    pub fn resolve(&self, path: &str) -> Result<LocalTarget, StorageError> {
        LocalTarget::resolve(&self.connection.base_path, path)
    }

    /// Starts a file at `target`. What is bound to fail is refused now, before a byte is fetched; nothing is created
    /// before bytes have arrived (see [`TempFile`]). Missing parents are created with it.
    ///
    /// An existing file that was created for the same record is left as it is, regardless of `overwrite`: its answer
    /// was lost, not the file.
    ///
    /// # Errors
    /// [`StorageError::DestinationExists`] if something exists there and `overwrite` is false; `PathNotAllowed` if it
    /// is a directory, has a file among its parents, or leads out.
    pub async fn create(
        &self,
        target: &LocalTarget,
        owner: FileOwner,
        overwrite: bool,
    ) -> Result<DownloadStart, StorageError> {
        self.create_or_resume(target, owner, overwrite, None).await
    }

    /// [`LocalStorage::create`]; also searches for what an earlier owner of the record has downloaded of the source at
    /// `place`: see [`TempFile::earlier`].
    pub async fn create_or_resume(
        &self,
        target: &LocalTarget,
        owner: FileOwner,
        overwrite: bool,
        place: Option<RemoteSourceId>,
    ) -> Result<DownloadStart, StorageError> {
        let plan = TempFilePlan { target: target.clone(), owner, overwrite, source: None };
        let (confined_dir, parts, early) = (self.confined_dir(), self.parts.clone(), plan.clone());
        let operation = DiskOperation { what: "create", target: target.clone(), side: PathRole::Destination };
        let look = move |_: &disk_executor::IsAbandoned<'_>| {
            early.probe(&confined_dir, place.as_ref().map(|place| (&parts, place)))
        };
        let look = self.disk.call(operation, look).await;
        // Only now: files that an earlier owner has left may be removed from here on.
        self.orphans.lock().begun(target.parent(), &plan.owner, Instant::now());
        Ok(match look? {
            TargetProbe::Before(MarkedFile { size, redo_record }) => {
                DownloadStart::Before { bytes: size, redo_record }
            }
            TargetProbe::Now(part) => DownloadStart::Now(TempFile::new(self.clone(), plan, part)),
        })
    }

    /// Opens the regular file at `target` for reading; a FIFO, a device, a socket or a directory is
    /// [`StorageError::PathNotAllowed`], and never waited for.
    pub async fn open_source(&self, target: &LocalTarget) -> Result<SourceFile, StorageError> {
        SourceFile::open(self.clone(), target.clone()).await
    }

    /// Checks the directory: reads its free space, creates a file and removes it. Blocks.
    ///
    /// # Errors
    /// If not even the free space can be read.
    pub fn check(&self) -> Result<StorageCheck, StorageError> {
        StorageCheck::of(&self.confined_dir, &self.connection.base_path)
    }

    /// True once no call into the file system is in progress, including the removal of cancelled tasks' temp files;
    /// false if that takes longer than `within`. For the end of a pod, when no task is left.
    pub async fn settled(&self, within: Duration) -> bool {
        self.disk.settled(within).await
    }

    /// Whether anything besides its owner and its orphan cleaner uses it, or a call into the file system is in
    /// progress.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        // A file has a clone of the storage.
        Arc::strong_count(&self.confined_dir) > OWNER_AND_SWEEP || !self.disk.is_idle()
    }

    fn confined_dir(&self) -> Arc<ConfinedDir> {
        Arc::clone(&self.confined_dir)
    }

    fn disk(&self) -> &DiskExecutor {
        &self.disk
    }
}

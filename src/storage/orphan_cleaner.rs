//! Removes orphaned temp files while tasks run: see [`super::orphans`] for which, and where.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::LocalStorage;
use super::confined_dir::{self, ConfinedDir};
use super::disk_executor::DiskOperation;
use super::error::{PathRole, StorageError};
use super::orphans::{CleanupAction, OrphanTracker, TempFileStamp};
use super::target::LocalTarget;
use super::temp_name::TempName;
use super::temp_names::TempNames;

/// How often the cleaner checks for work when it has none.
const IDLE: Duration = Duration::from_millis(200);
/// The pause between two scans: at most a hundred directories a second.
const PACE: Duration = Duration::from_millis(10);
/// How long the cleaner continues with due actions at shutdown.
const LAST: Duration = Duration::from_secs(1);
/// How many entries of one directory are read at most.
const MAX_ENTRIES: usize = 1_000_000;
/// How many temp files of one directory are recorded at most.
const MAX_FOUND: usize = 10_000;

/// [`OrphanTracker`] behind a lock that is never held across I/O. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedOrphanTracker(Arc<Mutex<OrphanTracker>>);

impl SharedOrphanTracker {
    /// Directories are checked again after `scan_interval`.
    pub fn new(scan_interval: Duration) -> SharedOrphanTracker {
        SharedOrphanTracker(Arc::new(Mutex::new(OrphanTracker::new(scan_interval))))
    }

    /// A scan of `directory` has ended: determines which of its temp files are orphaned.
    pub async fn judge(&self, directory: &str, found: Vec<(TempName, TempFileStamp)>, names: &TempNames) {
        let doubtful = self.note(directory, found, names);
        self.ask(directory, doubtful, names).await;
    }

    /// The first half of [`SharedOrphanTracker::judge`]: returns those about which Kafka must be asked.
    pub fn note(
        &self,
        directory: &str,
        found: Vec<(TempName, TempFileStamp)>,
        names: &TempNames,
    ) -> Vec<TempName> {
        self.lock().scanned(directory, found, names.incarnation(), Instant::now())
    }

    /// The second half.
    pub async fn ask(&self, directory: &str, doubtful: Vec<TempName>, names: &TempNames) {
        match names.of_done_records(doubtful).await {
            Some(dead) => self.lock().judged(directory, dead),
            None => self.lock().scan_failed(directory, Instant::now()),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, OrphanTracker> {
        // Nothing panics while holding the lock; at worst a directory is not swept.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalStorage {
    /// Sweeps the directories in which tasks work, until `stop`, and then finishes what is due.
    pub async fn sweep(self, names: TempNames, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = if self.run_next_action(&names).await { PACE } else { IDLE };
            stop.run_until_cancelled(sleep(pause)).await;
        }
        let _ = timeout(LAST, async { while self.run_next_action(&names).await {} }).await; // the rest is left to the next process
    }

    async fn run_next_action(&self, names: &TempNames) -> bool {
        let action = self.orphans.lock().next(Instant::now());
        match action {
            Some(CleanupAction::Remove { directory, temp, tries }) => {
                self.remove_orphan(directory, temp, tries).await;
            }
            Some(CleanupAction::Scan { directory }) => self.scan_directory(&directory, names).await,
            None => return false,
        }
        true
    }

    async fn remove_orphan(&self, directory: Arc<str>, temp: TempName, tries: u8) {
        let (confined_dir, at, name) = (self.confined_dir(), Arc::clone(&directory), temp.clone());
        let operation = sweeping("remove a temp file from", &directory);
        let removed = self.disk().call(operation.clone(), move |_| {
            let unlinked = confined_dir
                .dir(&at)
                .and_then(|dir| rustix::fs::unlinkat(&dir, name.as_str(), AtFlags::empty()));
            match unlinked {
                Ok(()) => Ok(true),
                Err(Errno::NOENT) => Ok(false),
                Err(errno) => Err(operation.doing().failed(errno)),
            }
        });
        match removed.await {
            Ok(true) => {
                tracing::info!(event = "orphan_removed", %directory, %temp, "removed orphaned temp file");
            }
            Ok(false) => {}
            Err(error) => {
                if !self.orphans.lock().removal_failed(directory, temp.clone(), tries, Instant::now()) {
                    tracing::warn!(
                        event = "orphan_removal_failed", %error, %temp,
                        "could not remove orphaned temp file"
                    );
                }
            }
        }
    }

    async fn scan_directory(&self, directory: &str, names: &TempNames) {
        let (confined_dir, at, reader) = (self.confined_dir(), directory.to_owned(), names.clone());
        let operation = sweeping("scan for temp files in", directory);
        let found = self.disk().call(operation.clone(), move |_| {
            temp_files(&confined_dir, &at, &reader).map_err(|errno| operation.doing().failed(errno))
        });
        match found.await {
            Ok(found) => self.orphans.judge(directory, found, names).await,
            Err(StorageError::SourceNotFound(_) | StorageError::PathNotAllowed(_)) => {
                self.orphans.lock().forget(directory);
            }
            Err(error) => {
                tracing::warn!(event = "orphan_scan_failed", %error, "orphaned temp files may remain");
                self.orphans.lock().scan_failed(directory, Instant::now());
            }
        }
    }
}

fn sweeping(what: &'static str, directory: &str) -> DiskOperation {
    DiskOperation { what, target: LocalTarget::directory(directory), side: PathRole::Source }
}

fn temp_files(
    confined_dir: &ConfinedDir,
    directory: &str,
    names: &TempNames,
) -> Result<Vec<(TempName, TempFileStamp)>, Errno> {
    let dir = confined_dir.dir(directory)?;
    let mut found = Vec::new();
    for entry in Dir::read_from(&dir)?.take(MAX_ENTRIES) {
        let entry = entry?;
        let Some(temp) = entry.file_name().to_str().ok().and_then(|name| names.read(name)) else { continue };
        if found.len() < MAX_FOUND
            && let Some(stat) = confined_dir::stat_entry(&dir, temp.as_str())?
        {
            found.push((temp, stamp(&stat)));
        }
    }
    Ok(found)
}

// The fields' types differ between architectures.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion, clippy::cast_possible_wrap)]
fn stamp(stat: &rustix::fs::Stat) -> TempFileStamp {
    let nanoseconds = i64::from(stat.st_mtime).wrapping_mul(1_000_000_000);
    Some((u64::try_from(stat.st_size).ok()?, nanoseconds.wrapping_add(stat.st_mtime_nsec as i64)))
}

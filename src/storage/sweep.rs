//! Removes the temp files of the dead, beside the tasks: see [`super::strays`] for which, and where.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Storage;
use super::beneath::{self, Beneath};
use super::disk::Job;
use super::error::{Side, StorageError};
use super::names::Names;
use super::strays::{Errand, Stamp, Strays};
use super::target::Target;
use super::temp_name::TempName;

/// With nothing to do, the sweeper looks up this often.
const IDLE: Duration = Duration::from_millis(200);
/// Between two looks: a hundred directories a second at most.
const PACE: Duration = Duration::from_millis(10);
/// At the end, what is due is still done for so long.
const LAST: Duration = Duration::from_secs(1);
/// Entries of one directory that are read at most.
const MAX_ENTRIES: usize = 1_000_000;
/// Temp files of one directory that are taken note of at most.
const MAX_FOUND: usize = 10_000;

/// [`Strays`] behind a lock that is never held across I/O. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedStrays(Arc<Mutex<Strays>>);

impl SharedStrays {
    /// Directories are looked at again after `look_every`.
    pub fn new(look_every: Duration) -> SharedStrays {
        SharedStrays(Arc::new(Mutex::new(Strays::new(look_every))))
    }

    /// A look into `directory` has ended: finds out which of the temp files there are nobody's.
    pub async fn judge(&self, directory: &str, found: Vec<(TempName, Stamp)>, names: &Names) {
        let doubtful = self.note(directory, found, names);
        self.ask(directory, doubtful, names).await;
    }

    /// The first half of [`SharedStrays::judge`]: those of which Kafka is to be asked.
    pub fn note(&self, directory: &str, found: Vec<(TempName, Stamp)>, names: &Names) -> Vec<TempName> {
        self.lock().looked(directory, found, names.incarnation(), Instant::now())
    }

    /// The second half.
    pub async fn ask(&self, directory: &str, doubtful: Vec<TempName>, names: &Names) {
        match names.of_done_records(doubtful).await {
            Some(dead) => self.lock().judged(directory, dead),
            None => self.lock().not_looked(directory, Instant::now()),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Strays> {
        // Nothing panics while it holds the lock; at worst a directory is not swept.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage {
    /// Sweeps the directories in which tasks work, until `stop`, and then does what is due.
    pub async fn sweep(self, names: Names, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = if self.next_errand(&names).await { PACE } else { IDLE };
            stop.run_until_cancelled(sleep(pause)).await;
        }
        let _ = timeout(LAST, async { while self.next_errand(&names).await {} }).await; // the rest is the next one's
    }

    async fn next_errand(&self, names: &Names) -> bool {
        let errand = self.strays.lock().next(Instant::now());
        match errand {
            Some(Errand::Remove { directory, temp, tries }) => {
                self.remove_stray(directory, temp, tries).await;
            }
            Some(Errand::Look { directory }) => self.look_for_strays(&directory, names).await,
            None => return false,
        }
        true
    }

    async fn remove_stray(&self, directory: Arc<str>, temp: TempName, tries: u8) {
        let (beneath, at, name) = (self.beneath(), Arc::clone(&directory), temp.clone());
        let job = sweeping("remove a temp file from", &directory);
        let removed = self.disk().call(job.clone(), move |_| {
            let unlinked =
                beneath.dir(&at).and_then(|dir| rustix::fs::unlinkat(&dir, name.as_str(), AtFlags::empty()));
            match unlinked {
                Ok(()) => Ok(true),
                Err(Errno::NOENT) => Ok(false),
                Err(errno) => Err(job.doing().failed(errno)),
            }
        });
        match removed.await {
            Ok(true) => tracing::info!(%directory, %temp, "a temp file of a dead owner was removed"),
            Ok(false) => {}
            Err(error) => {
                if !self.strays.lock().stands(directory, temp.clone(), tries, Instant::now()) {
                    tracing::warn!(%error, %temp, "a temp file of a dead owner stands");
                }
            }
        }
    }

    async fn look_for_strays(&self, directory: &str, names: &Names) {
        let (beneath, at, reader) = (self.beneath(), directory.to_owned(), names.clone());
        let job = sweeping("look for temp files in", directory);
        let found = self.disk().call(job.clone(), move |_| {
            temp_files(&beneath, &at, &reader).map_err(|errno| job.doing().failed(errno))
        });
        match found.await {
            Ok(found) => self.strays.judge(directory, found, names).await,
            Err(StorageError::SourceNotFound(_) | StorageError::PathNotAllowed(_)) => {
                self.strays.lock().forget(directory);
            }
            Err(error) => {
                tracing::warn!(%error, "temp files of dead owners may stand");
                self.strays.lock().not_looked(directory, Instant::now());
            }
        }
    }
}

fn sweeping(what: &'static str, directory: &str) -> Job {
    Job { what, target: Target::directory(directory), side: Side::Source }
}

fn temp_files(beneath: &Beneath, directory: &str, names: &Names) -> Result<Vec<(TempName, Stamp)>, Errno> {
    let dir = beneath.dir(directory)?;
    let mut found = Vec::new();
    for entry in Dir::read_from(&dir)?.take(MAX_ENTRIES) {
        let entry = entry?;
        let Some(temp) = entry.file_name().to_str().ok().and_then(|name| names.read(name)) else { continue };
        if found.len() < MAX_FOUND
            && let Some(stat) = beneath::look_at(&dir, temp.as_str())?
        {
            found.push((temp, stamp(&stat)));
        }
    }
    Ok(found)
}

// The fields' types differ between architectures.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion, clippy::cast_possible_wrap)]
fn stamp(stat: &rustix::fs::Stat) -> Stamp {
    let nanoseconds = i64::from(stat.st_mtime).wrapping_mul(1_000_000_000);
    Some((u64::try_from(stat.st_size).ok()?, nanoseconds.wrapping_add(stat.st_mtime_nsec as i64)))
}

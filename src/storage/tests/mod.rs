//! The storage as its users see it, over both means of confinement.
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod cancelled;
mod confined;
mod disk_frozen;
mod disk_full;
mod downloads;
mod listing;
#[allow(dead_code, reason = "suites that run pods use more of it")]
#[path = "../../../tests/support/mounted.rs"]
mod mounted;
mod orphan_cleaning;
mod redo;
mod sources;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::confined_dir::ConfinedDir;
use super::disk_executor::{CALL_DEADLINE, CALLS, DiskExecutor};
use super::{
    CHUNK, Confinement, DownloadStart, FileOwner, FinalFileMetadata, LocalStorage, StorageError, TempFile,
    TempNames,
};
use crate::config::LocalConnection;
use crate::lease::Lease;
use crate::record::{Origin, Record};

const LONG: Duration = Duration::from_secs(30);

/// A `base_path` with something beside it that must never be touched.
struct Place {
    base: PathBuf,
    outside: PathBuf,
    storage: LocalStorage,
    names: TempNames,
    _dir: Arc<TempDir>,
}

impl Place {
    /// One place for each means of confinement that there is here. (Where openat2 is forbidden, as by
    /// seccomp, cap-std does without it too.)
    fn each() -> Vec<Place> {
        let here = ConfinedDir::open(Path::new("/")).unwrap().confinement();
        let all = [Confinement::Openat2, Confinement::CapStd];
        all.into_iter()
            .filter(|means| *means == here || *means == Confinement::CapStd)
            .map(Place::by)
            .collect()
    }

    fn by(confinement: Confinement) -> Place {
        let dir = TempDir::new().unwrap();
        let (base, outside) = (dir.path().join("base"), dir.path().join("outside"));
        std::fs::create_dir(&base).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        let connection = LocalConnection { name: "local".into(), base_path: base.clone() };
        let confined_dir = ConfinedDir::open_by(&base, confinement).unwrap();
        let storage = LocalStorage::with(
            &connection,
            confined_dir,
            DiskExecutor::new(&connection, CALLS, CALL_DEADLINE),
        );
        Place { base, outside, storage, names: names(), _dir: Arc::new(dir) }
    }

    /// The owner of a record that nobody else has.
    fn owner(&self) -> FileOwner {
        static OFFSETS: AtomicI64 = AtomicI64::new(1_000);
        FileOwner::of(&record(OFFSETS.fetch_add(1, Ordering::Relaxed)), &self.names)
    }

    async fn begin(&self, path: &str, overwrite: bool) -> Result<TempFile, StorageError> {
        let target = self.storage.resolve(path)?;
        match self.storage.create(&target, self.owner(), overwrite).await? {
            DownloadStart::Now(file) => Ok(file),
            DownloadStart::Before { bytes, .. } => panic!("{path} has {bytes} bytes of a record that is new"),
        }
    }

    async fn download(&self, path: &str, bytes: &[u8], overwrite: bool) -> Result<(), StorageError> {
        let mut file = self.begin(path, overwrite).await?;
        file.write(bytes).await?;
        file.finalize(FinalFileMetadata::default(), || true).await
    }

    async fn upload(&self, path: &str) -> Result<Vec<u8>, StorageError> {
        let mut source = self.storage.open_source(&self.storage.resolve(path)?).await?;
        let mut bytes = Vec::new();
        loop {
            match source.read().await? {
                [] => return Ok(bytes),
                chunk => bytes.extend_from_slice(chunk),
            }
        }
    }

    fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.base.join(path)).unwrap()
    }

    /// Every file beneath the base, temp files included, sorted.
    async fn files(&self) -> Vec<String> {
        assert!(self.storage.settled(LONG).await);
        files_under(&self.base)
    }

    fn nothing_outside_was_touched(&self) {
        assert_eq!(std::fs::read_dir(&self.outside).unwrap().count(), 1);
        assert_eq!(std::fs::read(self.outside.join("secret")).unwrap(), b"secret");
    }
}

/// The place again, with `base` opened after a mount.
fn reopened(place: Place) -> Place {
    reopened_with(place, CALL_DEADLINE)
}

/// The same, with calls that are waited for no longer than `deadline`.
fn reopened_with(mut place: Place, deadline: Duration) -> Place {
    let confinement = place.storage.check().unwrap().confinement;
    let confined_dir = ConfinedDir::open_by(&place.base, confinement).unwrap();
    let connection = LocalConnection { name: "local".into(), base_path: place.base.clone() };
    let disk = DiskExecutor::new(&connection, CALLS, deadline);
    place.storage = LocalStorage::with(&connection, confined_dir, disk);
    place
}

pub(super) fn record(offset: i64) -> Record {
    Record {
        origin: Origin { topic: "ftp-tasks".into(), partition: 0, offset },
        key: None,
        headers: Vec::new(),
        payload: None,
        timestamp_ms: Some(1_700_000_000_000),
        retry: None,
        lease: Lease::new(1),
    }
}

/// Those of another process.
pub(super) fn names() -> TempNames {
    TempNames::new(Arc::new(()), "group", ["ftp-tasks".into()]).unwrap()
}

/// Another process's try at the record with this offset.
pub(super) fn owner(offset: i64) -> FileOwner {
    FileOwner::of(&record(offset), &names())
}

fn files_under(root: &Path) -> Vec<String> {
    let (mut files, mut dirs) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(root).unwrap().to_path_buf();
                files.push(path.into_os_string().into_string().unwrap());
            }
        }
    }
    files.sort();
    files
}

/// Bytes that differ from place to place, so that a shifted or doubled chunk shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8)).to_le_bytes()[0]).collect()
}

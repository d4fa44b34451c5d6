//! The contents of a directory beneath `base_path`, with sizes and times: for `ftp-pooler submit`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::LocalStorage;
use super::confined_dir::{self, ConfinedDir};
use super::disk_executor::DiskOperation;
use super::error::{PathRole, StorageError};
use super::target::LocalTarget;
use super::temp_name::TempName;

/// How many entries of one directory are listed at most.
const MAX_ENTRIES: usize = 5_000_000;

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalEntry {
    File {
        bytes: u64,
        modified: SystemTime,
    },
    Directory,
    /// Neither: a socket, a device, a symlink that is broken or leads out.
    Other,
    /// A file or directory whose name is not UTF-8, which no task can express.
    NotUtf8,
}

impl LocalStorage {
    /// The entries of `directory` (relative to `base_path`, empty for it itself), by name. Symlinks to files are files,
    /// as a task would read them; symlinks to directories are not followed. The pooler's own temp files are omitted.
    ///
    /// # Errors
    /// Those of a task's source.
    pub async fn list(&self, directory: &str) -> Result<Vec<(String, LocalEntry)>, StorageError> {
        let (confined_dir, at) = (self.confined_dir(), directory.to_owned());
        let target = LocalTarget::directory(directory);
        let operation = DiskOperation { what: "list", target, side: PathRole::Source };
        self.disk()
            .call(operation.clone(), move |_| {
                list(&confined_dir, &at).map_err(|errno| operation.doing().failed(errno))
            })
            .await
    }

    /// The entry at `target`; `None` if it does not exist.
    ///
    /// # Errors
    /// Those of a task's source.
    pub async fn entry(&self, target: &LocalTarget) -> Result<Option<LocalEntry>, StorageError> {
        let (confined_dir, at) = (self.confined_dir(), target.relative().to_owned());
        let operation = DiskOperation { what: "check", target: target.clone(), side: PathRole::Source };
        self.disk()
            .call(operation.clone(), move |_| match followed(&confined_dir, &at) {
                Ok(found) => Ok(Some(found)),
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
                Err(errno) => Err(operation.doing().failed(errno)),
            })
            .await
    }
}

fn list(confined_dir: &ConfinedDir, directory: &str) -> Result<Vec<(String, LocalEntry)>, Errno> {
    let dir = confined_dir.dir(directory)?;
    let mut found = Vec::new();
    for entry in Dir::read_from(&dir)?.take(MAX_ENTRIES) {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            found.push((entry.file_name().to_string_lossy().into_owned(), LocalEntry::NotUtf8));
            continue;
        };
        if name == "." || name == ".." || TempName::is_one(name) {
            continue;
        }
        let stat = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue, // removed since
            Err(errno) => return Err(errno),
        };
        let listed = if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            match followed(confined_dir, &path) {
                Ok(LocalEntry::Directory) | Err(_) => LocalEntry::Other,
                Ok(listed) => listed,
            }
        } else {
            listed(&stat)
        };
        found.push((name.to_owned(), listed));
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

/// The entry that a task's path leads to, following symlinks as far as they stay beneath.
fn followed(confined_dir: &ConfinedDir, path: &str) -> Result<LocalEntry, Errno> {
    Ok(listed(&rustix::fs::fstat(confined_dir.source(path)?)?))
}

// The fields' types differ between architectures.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion, clippy::cast_sign_loss)]
fn listed(stat: &rustix::fs::Stat) -> LocalEntry {
    if confined_dir::is_dir(stat) {
        return LocalEntry::Directory;
    }
    if !confined_dir::is_file(stat) {
        return LocalEntry::Other;
    }
    let since = Duration::new(
        i64::from(stat.st_mtime).unsigned_abs(),
        u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    );
    let modified = if i64::from(stat.st_mtime) < 0 { UNIX_EPOCH } else { UNIX_EPOCH + since };
    LocalEntry::File { bytes: stat.st_size as u64, modified }
}

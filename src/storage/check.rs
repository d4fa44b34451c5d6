//! What `ftp-pooler check` reports about a local connection.

use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::confined_dir::{ConfinedDir, Confinement};
use super::error::{OperationContext, PathRole, StorageError};
use super::temp_name::Incarnation;

/// The result of checking `base_path`.
#[derive(Debug)]
pub struct StorageCheck {
    pub confinement: Confinement,
    /// How many bytes an ordinary user may still write.
    pub free: u64,
    /// Why no file can be created in `base_path` itself, if none can.
    pub writable: Result<(), StorageError>,
}

impl StorageCheck {
    pub(super) fn of(confined_dir: &ConfinedDir, base_path: &Path) -> Result<StorageCheck, StorageError> {
        let path = base_path.to_string_lossy();
        let doing = |what| OperationContext { what, path: &path, side: PathRole::Base };
        let failed = |errno| doing("ask for the room left in").failed(errno);
        let room = rustix::fs::fstatvfs(confined_dir.base().map_err(failed)?).map_err(failed)?;
        Ok(StorageCheck {
            confinement: confined_dir.confinement(),
            free: room.f_bavail.saturating_mul(room.f_frsize),
            writable: try_writing(confined_dir, &doing("make a file in")),
        })
    }
}

/// What prevents files from being written, as far as can be determined without writing one.
pub(super) fn condition(confined_dir: &ConfinedDir, base_path: &Path) -> Result<(), StorageError> {
    let path = base_path.to_string_lossy();
    let doing = OperationContext { what: "check", path: &path, side: PathRole::Base };
    let failed = |errno| doing.failed(errno);
    let room = rustix::fs::fstatvfs(confined_dir.base().map_err(failed)?).map_err(failed)?;
    if room.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(failed(Errno::ROFS));
    }
    // A file system that reports no size, or no number of files, has no such limit.
    let is_full = room.f_blocks > 0 && room.f_bavail == 0 || room.f_files > 0 && room.f_favail == 0;
    if is_full { Err(failed(Errno::NOSPC)) } else { Ok(()) }
}

/// Creates a file of one byte and removes it. Permissions alone are not sufficient evidence (quotas, NFS's root).
fn try_writing(confined_dir: &ConfinedDir, doing: &OperationContext<'_>) -> Result<(), StorageError> {
    let failed = |errno| doing.failed(errno);
    let incarnation = Incarnation::random().map_err(|error| StorageError::Fault(doing.says(error)))?;
    let name = format!(".ftp-pooler-check-{incarnation}.tmp");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let base = confined_dir.base().map_err(failed)?;
    let file = rustix::fs::openat(&base, &*name, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
    let written = rustix::io::write(&file, b"x").and_then(|_| rustix::fs::fsync(&file)).map_err(failed);
    rustix::fs::unlinkat(&base, &*name, AtFlags::empty()).map_err(failed)?;
    written
}

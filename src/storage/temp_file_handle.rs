//! A temp file on disk, until it is renamed to its target or removed. Blocking: called off the runtime.

use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, SeekFrom};
use rustix::io::{Errno, retry_on_intr};

use super::confined_dir::{self, ConfinedDir};
use super::error::{OperationContext, PathRole, StorageError};
use super::file_owner::FileOwner;
use super::final_file_metadata::FinalFileMetadata;
use super::origin_mark::MarkedFile;
use super::partial_download::{self, PartialDownload, PartialDownloads, RemoteSourceId, SourceStamp};
use super::source::fill;
use super::target::LocalTarget;
use super::temp_file::CHUNK;

/// After this many written bytes, write-back to disk is started early, so that the last sync of a huge file stays well
/// within a call's deadline.
const SYNC_EVERY: u64 = 64 << 20;

/// The target of a download, and its temp name until it is complete.
#[derive(Clone, Debug)]
pub(super) struct TempFilePlan {
    pub target: LocalTarget,
    pub owner: FileOwner,
    pub overwrite: bool,
    /// The source that it is a part of until it is complete, if known.
    pub source: Option<SourceStamp>,
}

/// The result of checking the target.
#[derive(Debug)]
pub(super) enum TargetProbe {
    /// The file exists already, with this many bytes.
    Before(MarkedFile),
    /// It must be created; an earlier owner of the record may have downloaded a part of it.
    Now(Option<PartialDownload>),
}

impl TempFilePlan {
    pub fn doing(&self, what: &'static str) -> OperationContext<'_> {
        OperationContext { what, path: self.target.as_written(), side: PathRole::Destination }
    }

    /// Checks the target before a byte is fetched, without changing anything: returns the mark of the existing file if
    /// it was created for this very record already, or otherwise, if a part of `place` may be useful, searches for one.
    ///
    /// # Errors
    /// If the target exists and must not be replaced, is a directory, or exists where nothing may be written.
    pub fn probe(
        &self,
        confined_dir: &ConfinedDir,
        sought: Option<(&PartialDownloads, &RemoteSourceId)>,
    ) -> Result<TargetProbe, StorageError> {
        let doing = self.doing("create");
        let failed = |errno| doing.failed(errno);
        let (dir, missing) = confined_dir.nearest(self.target.parent()).map_err(failed)?;
        if missing.is_empty() {
            match confined_dir::stat_entry(&dir, self.target.name()).map_err(failed)? {
                Some(stat) if confined_dir::is_dir(&stat) => return Err(failed(Errno::ISDIR)),
                Some(stat) if confined_dir::is_file(&stat) => {
                    if let Some(remembered) = self.owner.mark.on(&dir, self.target.name()) {
                        // The process that published it may have died before its directory was synced.
                        confined_dir::sync_dir(&dir).map_err(failed)?;
                        return Ok(TargetProbe::Before(remembered));
                    }
                    if !self.overwrite {
                        return Err(self.exists());
                    }
                }
                Some(_) if !self.overwrite => return Err(self.exists()),
                _ => {}
            }
        }
        confined_dir::may_write(&dir).map_err(failed)?;
        let sought = sought.filter(|_| missing.is_empty());
        let find = |(parts, place): (&PartialDownloads, &RemoteSourceId)| {
            parts.find(&dir, self.target.parent(), &self.owner, place)
        };
        Ok(TargetProbe::Now(sought.and_then(find)))
    }

    fn temp(&self) -> &str {
        self.owner.temp.as_str()
    }

    fn exists(&self) -> StorageError {
        StorageError::DestinationExists(self.doing("create").says("it exists, and `overwrite` is false"))
    }
}

/// A temp file in its target's directory. If dropped unpublished, it removes itself.
#[derive(Debug)]
pub(super) struct TempFileHandle {
    confined_dir: Arc<ConfinedDir>,
    plan: TempFilePlan,
    parent: OwnedFd,
    file: OwnedFd,
    size: u64,
    unsynced: u64,
    /// False once the temp name is gone.
    exists: bool,
}

impl TempFileHandle {
    /// Creates the target's parents, durably, and an empty temp file in the last one.
    pub fn create(
        confined_dir: Arc<ConfinedDir>,
        plan: TempFilePlan,
    ) -> Result<TempFileHandle, StorageError> {
        let parent = confined_dir
            .make(plan.target.parent())
            .map_err(|errno| plan.doing("make the directories of").failed(errno))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let file = retry_on_intr(|| rustix::fs::openat(&parent, plan.temp(), flags, mode))
            .map_err(|errno| plan.doing("create a temp file beside").failed(errno))?;
        Ok(TempFileHandle { confined_dir, plan, parent, file, size: 0, unsynced: 0, exists: true })
    }

    /// Fails if a file of this size cannot fit, before anything is written.
    pub fn check_space(&self, expected: Option<u64>) -> Result<(), StorageError> {
        let doing = self.plan.doing("write");
        let Some(expected) = expected else { return Ok(()) };
        let space = rustix::fs::fstatvfs(&self.parent).map_err(|errno| doing.failed(errno))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        // A file system that reports no size at all, as some network and memory file systems do, is not checked.
        if space.f_blocks == 0 || expected <= free {
            return Ok(());
        }
        Err(StorageError::Full(doing.says(format!("the file has {expected} bytes, {free} are free"))))
    }

    /// Writes all of `data` at the end.
    pub fn append(&mut self, data: &[u8]) -> Result<(), StorageError> {
        let failed = |errno| self.plan.doing("write").failed(errno);
        let mut rest = data;
        while !rest.is_empty() {
            let written = retry_on_intr(|| rustix::io::write(&self.file, rest)).map_err(failed)?;
            if written == 0 {
                return Err(failed(Errno::IO));
            }
            rest = rest.get(written..).unwrap_or_default();
        }
        self.size += data.len() as u64;
        self.unsynced += data.len() as u64;
        if self.unsynced >= SYNC_EVERY {
            retry_on_intr(|| rustix::fs::fdatasync(&self.file)).map_err(failed)?;
            self.unsynced = 0;
            self.remember(self.size);
        }
        Ok(())
    }

    /// Marks the file with the source that it is a part of, if known; this many bytes of it are durable.
    pub fn remember(&self, durable: u64) {
        let Some(source) = &self.plan.source else { return };
        if let Err(errno) = partial_download::remember(&self.file, &self.plan.owner.mark, source, durable) {
            let path = self.plan.target.as_written();
            tracing::debug!(
                event = "partial_mark_failed", path, error = %errno,
                "could not mark the temp file as a partial download"
            );
        }
    }

    /// Appends what `from` has beyond this file's size, up to `end`, some 64 MiB at most; false once nothing is left.
    pub fn append_from(&mut self, from: &OwnedFd, end: u64) -> Result<bool, StorageError> {
        let failed = |errno| self.plan.doing("copy what was there of").failed(errno);
        let before = self.size;
        let piece_ends = end.min(before + SYNC_EVERY);
        while self.size < piece_ends {
            let copied = copy(from, &self.file, self.size, piece_ends - self.size).map_err(failed)?;
            if copied == 0 {
                return Ok(false);
            }
            self.size += copied;
        }
        retry_on_intr(|| rustix::fs::fdatasync(&self.file)).map_err(failed)?;
        self.remember(self.size);
        rustix::fs::seek(&self.file, SeekFrom::Start(self.size)).map_err(failed)?;
        Ok(self.size > before)
    }

    /// Truncates the file to its first `size` bytes.
    pub fn truncate(&mut self, size: u64) -> Result<(), StorageError> {
        let failed = |errno| self.plan.doing("shorten").failed(errno);
        retry_on_intr(|| rustix::fs::ftruncate(&self.file, size)).map_err(failed)?;
        rustix::fs::seek(&self.file, SeekFrom::Start(size)).map_err(failed)?;
        self.size = size;
        Ok(())
    }

    /// Bytes written.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads from `offset` until `buffer` is full or the file ends.
    pub fn read(&self, buffer: Vec<u8>, offset: u64) -> Result<Vec<u8>, StorageError> {
        fill(&self.file, buffer, offset).map_err(|errno| self.plan.doing("read again").failed(errno))
    }

    /// Marks the file, makes it durable, renames it to its target, and makes that durable too. `may_continue` is called
    /// as late as possible.
    pub fn finalize(
        mut self,
        finish: &FinalFileMetadata,
        may_continue: impl FnOnce() -> bool,
    ) -> Result<(), StorageError> {
        finish.apply(&self.plan, &self.file, self.size)?;
        if self.plan.source.is_some()
            && let Err(errno) = partial_download::forget(&self.file)
        {
            let path = self.plan.target.as_written();
            tracing::debug!(
                event = "partial_mark_kept", path, error = %errno,
                "the published file is still marked as a partial download"
            );
        }
        retry_on_intr(|| rustix::fs::fsync(&self.file))
            .map_err(|errno| self.plan.doing("sync").failed(errno))?;
        self.check_parent()?;
        if !may_continue() {
            return Err(StorageError::LeaseEnded);
        }
        if self.plan.overwrite { self.rename_over() } else { self.rename_new() }?;
        confined_dir::sync_dir(&self.parent)
            .map_err(|errno| self.plan.doing("sync the directory of").failed(errno))
    }

    /// The directory may have been moved since it was opened, even out of `base_path`: then the file would be published
    /// in the wrong place.
    fn check_parent(&self) -> Result<(), StorageError> {
        let doing = self.plan.doing("rename");
        let failed = |errno| doing.failed(errno);
        let now = self.confined_dir.dir(self.plan.target.parent()).map_err(failed)?;
        if same_file(&now, &self.parent).map_err(failed)? {
            return Ok(());
        }
        Err(StorageError::Io(doing.says("its directory was replaced by another meanwhile")))
    }

    fn rename_over(&mut self) -> Result<(), StorageError> {
        let (temp, name) = (self.plan.temp(), self.plan.target.name());
        rustix::fs::renameat(&self.parent, temp, &self.parent, name)
            .map_err(|errno| self.plan.doing("rename a temp file to").failed(errno))?;
        self.exists = false;
        Ok(())
    }

    fn rename_new(&mut self) -> Result<(), StorageError> {
        let (temp, name) = (self.plan.temp(), self.plan.target.name());
        match rustix::fs::renameat_with(&self.parent, temp, &self.parent, name, RenameFlags::NOREPLACE) {
            Ok(()) => self.exists = false,
            Err(Errno::EXIST) if self.was_published_before() => {}
            Err(Errno::EXIST) => return Err(self.plan.exists()),
            // The file system (NFS, for one) or the kernel has no such rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.finalize_by_link()?,
            Err(errno) => return Err(self.plan.doing("rename a temp file to").failed(errno)),
        }
        Ok(())
    }

    /// A hard link fails if the name is taken, as the rename should have.
    fn finalize_by_link(&mut self) -> Result<(), StorageError> {
        let (temp, name) = (self.plan.temp(), self.plan.target.name());
        match rustix::fs::linkat(&self.parent, temp, &self.parent, name, AtFlags::empty()) {
            Ok(()) => {}
            // Over NFS a reply may be lost, and the call repeated by the client.
            Err(Errno::EXIST) if self.is_at(name) || self.was_published_before() => {}
            Err(Errno::EXIST) => return Err(self.plan.exists()),
            Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {
                let why = "the file system can neither rename without replacing nor make hard links, \
                           so `overwrite: false` cannot be kept there";
                return Err(StorageError::Unsupported(self.plan.doing("rename").says(why)));
            }
            Err(errno) => return Err(self.plan.doing("link a temp file to").failed(errno)),
        }
        self.remove();
        Ok(())
    }

    /// Another owner of the same record was first: the same file, and no reason to refuse it.
    fn was_published_before(&self) -> bool {
        let there = self.plan.owner.mark.on(&self.parent, self.plan.target.name());
        there.is_some_and(|there| there.size == self.size)
    }

    fn is_at(&self, name: &str) -> bool {
        let (Ok(Some(there)), Ok(ours)) =
            (confined_dir::stat_entry(&self.parent, name), rustix::fs::fstat(&self.file))
        else {
            return false;
        };
        (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
    }

    fn remove(&mut self) {
        let temp = self.plan.temp();
        match rustix::fs::unlinkat(&self.parent, temp, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                let beside = self.plan.target.as_written();
                tracing::warn!(
                    event = "temp_file_may_remain", temp, beside, error = %errno,
                    "could not remove temp file"
                );
            }
        }
        self.exists = false;
    }
}

impl Drop for TempFileHandle {
    fn drop(&mut self) {
        if self.exists {
            self.remove();
        }
    }
}

/// Copies at most `length` bytes at `offset`, using the file system's own copy operation if it has one.
fn copy(from: &OwnedFd, to: &OwnedFd, offset: u64, length: u64) -> Result<u64, Errno> {
    let (mut at, mut into) = (offset, offset);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let copied =
        retry_on_intr(|| rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut into), length));
    match copied {
        Ok(copied) => Ok(copied as u64),
        Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
            let bytes = fill(from, Vec::with_capacity(length.min(CHUNK)), offset)?;
            let mut written = 0;
            while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
                written += retry_on_intr(|| rustix::io::pwrite(to, rest, offset + written as u64))?;
            }
            Ok(written as u64)
        }
        Err(errno) => Err(errno),
    }
}

fn same_file(one: &OwnedFd, other: &OwnedFd) -> Result<bool, Errno> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::storage::tests::owner;

    fn handle(base: &Path) -> TempFileHandle {
        let target = LocalTarget::resolve(base, "/x").unwrap();
        let plan = TempFilePlan { target, owner: owner(0), overwrite: false, source: None };
        let mut handle = TempFileHandle::create(Arc::new(ConfinedDir::open(base).unwrap()), plan).unwrap();
        handle.append(b"new").unwrap();
        handle
    }

    fn names(base: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(base).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn where_there_is_no_exclusive_rename_a_link_keeps_what_is_there() {
        let base = tempfile::tempdir().unwrap();
        handle(base.path()).finalize_by_link().unwrap();
        assert_eq!(std::fs::read(base.path().join("x")).unwrap(), b"new");

        std::fs::write(base.path().join("x"), "old").unwrap();
        let error = handle(base.path()).finalize_by_link().unwrap_err();
        assert!(matches!(error, StorageError::DestinationExists(_)), "{error}");
        assert_eq!(std::fs::read(base.path().join("x")).unwrap(), b"old");
        assert_eq!(names(base.path()), ["x"]);
    }

    #[test]
    fn a_link_whose_reply_was_lost_is_known_again() {
        let base = tempfile::tempdir().unwrap();
        let mut handle = handle(base.path());
        std::fs::hard_link(base.path().join(handle.plan.temp()), base.path().join("x")).unwrap();
        handle.finalize_by_link().unwrap();
        drop(handle);
        assert_eq!(names(base.path()), ["x"]);
    }
}

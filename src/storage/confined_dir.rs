//! Opens paths beneath `base_path`: the kernel (openat2) refuses those that lead out, including by symlinks.
//!
//! Only directories, and sources, are opened by a path of several components. Everything else is done by
//! name, relative to the parent's descriptor, and follows no symlink.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use cap_std::fs::Dir;
use rustix::fd::OwnedFd;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

/// How often an open is retried that the kernel could not prove safe because of a concurrent rename.
const OPEN_TRIES: usize = 16;
/// How often creating a directory's path starts again because a part of it was removed concurrently.
const MAKE_TRIES: usize = 4;

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// NONBLOCK: opening a FIFO must not wait for its writer.
const SOURCE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The mechanism that keeps paths beneath `base_path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Linux's openat2 with `RESOLVE_BENEATH`.
    Openat2,
    /// cap-std, component by component: where there is no openat2 (before Linux 5.6, seccomp).
    CapStd,
}

/// An open `base_path`: always the directory that has this name now. Files written to a directory that was moved away
/// or mounted over would not be found by their readers.
#[derive(Debug)]
pub(super) struct ConfinedDir {
    path: PathBuf,
    root: RwLock<Arc<BaseDirectory>>,
}

/// One directory that was found at `base_path`.
#[derive(Debug)]
pub(super) struct BaseDirectory {
    base: OwnedFd,
    /// Device and inode.
    identity: (u64, u64),
    /// The same directory, if cap-std does the confining.
    cap: Option<Dir>,
}

impl ConfinedDir {
    /// Opens `base_path`, which may itself be a symlink, and determines the available confinement.
    pub fn open(base_path: &Path) -> Result<ConfinedDir, Errno> {
        let base = rustix::fs::open(base_path, DIRECTORY, Mode::empty())?;
        match rustix::fs::openat2(&base, ".", DIRECTORY, Mode::empty(), RESOLVE) {
            Ok(_) => ConfinedDir::open_by(base_path, Confinement::Openat2),
            Err(_) => ConfinedDir::open_by(base_path, Confinement::CapStd),
        }
    }

    /// Opens `base_path` with the given confinement.
    pub fn open_by(base_path: &Path, confinement: Confinement) -> Result<ConfinedDir, Errno> {
        let root = RwLock::new(Arc::new(BaseDirectory::open(base_path, confinement)?));
        Ok(ConfinedDir { path: base_path.to_owned(), root })
    }

    pub fn confinement(&self) -> Confinement {
        self.root().confinement()
    }

    /// The current directory at `base_path`.
    pub fn base(&self) -> Result<OwnedFd, Errno> {
        self.dir("")
    }

    /// Opens the directory at `path`, relative to the base; empty is the base. Symlinks are followed as long as they
    /// are relative and stay beneath the base, otherwise the error is XDEV. If nothing exists at `base_path`, it is
    /// STALE.
    pub fn dir(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.reopen_if_replaced(|root| root.dir(path))
    }

    /// Opens the file at `path` for reading; symlinks as in [`ConfinedDir::dir`]. It may be of any type.
    pub fn source(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.reopen_if_replaced(|root| root.source(path))
    }

    fn reopen_if_replaced<T>(&self, open: impl Fn(&BaseDirectory) -> Result<T, Errno>) -> Result<T, Errno> {
        let root = self.root();
        if !root.is_at(&self.path) {
            return open(&*self.replace(&root)?);
        }
        match open(&root) {
            Err(Errno::STALE) => open(&*self.replace(&root)?),
            opened => opened,
        }
    }

    fn root(&self) -> Arc<BaseDirectory> {
        Arc::clone(&self.root.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens `base_path` again, unless another thread has done so.
    fn replace(&self, gone: &Arc<BaseDirectory>) -> Result<Arc<BaseDirectory>, Errno> {
        let anew = BaseDirectory::open(&self.path, gone.confinement()).map_err(|_| Errno::STALE)?;
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&root, gone) {
            tracing::warn!(
                event = "base_path_replaced", base_path = %self.path.display(),
                "base_path was replaced; reopened"
            );
            *root = Arc::new(anew);
        }
        Ok(Arc::clone(&root))
    }

    /// Opens the directory at `path`, or the nearest existing one above it; also returns the missing part of the path,
    /// empty if nothing is missing.
    pub fn nearest<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str), Errno> {
        let mut above = path;
        loop {
            match self.dir(above) {
                Err(Errno::NOENT) if !above.is_empty() => {
                    above = above.rsplit_once('/').map_or("", |(above, _)| above);
                }
                Err(error) => return Err(error),
                Ok(dir) => {
                    let missing = path.strip_prefix(above).unwrap_or(path);
                    return Ok((dir, missing.trim_start_matches('/')));
                }
            }
        }
    }

    /// Opens the directory at `path` and creates its missing parts, durably. Others may be creating the same
    /// directories.
    pub fn make(&self, path: &str) -> Result<OwnedFd, Errno> {
        for _ in 0..MAKE_TRIES {
            let (dir, missing) = self.nearest(path)?;
            match self.make_missing(dir, path, missing) {
                Err(Errno::NOENT) => {}
                made => return made,
            }
        }
        Err(Errno::NOENT)
    }

    fn make_missing(&self, mut dir: OwnedFd, path: &str, missing: &str) -> Result<OwnedFd, Errno> {
        let mut rest = missing;
        while !rest.is_empty() {
            let (name, below) = rest.split_once('/').unwrap_or((rest, ""));
            match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o777)) {
                // Even if another process created it: that one may not have synced it yet.
                Ok(()) | Err(Errno::EXIST) => sync_dir(&dir)?,
                Err(error) => return Err(error),
            }
            let until = path.len() - below.len();
            let made = path.get(..until).unwrap_or(path).trim_end_matches('/');
            // By its path again: it may be a symlink by now, and may lead wherever the kernel allows.
            dir = match self.dir(made) {
                Err(Errno::NOENT) if is_symlink(&dir, name) => return Err(Errno::LOOP),
                opened => opened?,
            };
            rest = below;
        }
        Ok(dir)
    }
}

impl BaseDirectory {
    fn open(base_path: &Path, confinement: Confinement) -> Result<BaseDirectory, Errno> {
        let base = rustix::fs::open(base_path, DIRECTORY, Mode::empty())?;
        let cap = match confinement {
            Confinement::Openat2 => None,
            Confinement::CapStd => {
                let again = base.try_clone().map_err(|error| errno(&error))?;
                Some(Dir::from_std_file(again.into()))
            }
        };
        let identity = identity_of(&rustix::fs::fstat(&base)?);
        Ok(BaseDirectory { base, identity, cap })
    }

    fn confinement(&self) -> Confinement {
        if self.cap.is_some() { Confinement::CapStd } else { Confinement::Openat2 }
    }

    fn dir(&self, path: &str) -> Result<OwnedFd, Errno> {
        // A directory that was removed can still be opened through an open descriptor.
        if path.is_empty() && self.is_gone() {
            return Err(Errno::STALE);
        }
        self.open_dir(path).map_err(|errno| self.unless_gone(errno))
    }

    fn open_dir(&self, path: &str) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        match &self.cap {
            None => self.openat2(path, DIRECTORY),
            Some(cap) => {
                // cap-std opens with O_PATH, which cannot be synced.
                let dir = cap.open_dir(path).map_err(|error| errno(&error))?;
                retry_on_intr(|| rustix::fs::openat(&dir, ".", DIRECTORY, Mode::empty()))
            }
        }
    }

    fn source(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.open_source(path).map_err(|errno| self.unless_gone(errno))
    }

    fn open_source(&self, path: &str) -> Result<OwnedFd, Errno> {
        match &self.cap {
            None => self.openat2(path, SOURCE),
            Some(cap) => {
                use cap_std::fs::{OpenOptions, OpenOptionsExt};
                let mut options = OpenOptions::new();
                let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
                options.read(true).custom_flags(flags);
                cap.open_with(path, &options).map(OwnedFd::from).map_err(|error| errno(&error))
            }
        }
    }

    /// Nothing is found beneath a removed directory: that says nothing about the path.
    fn unless_gone(&self, errno: Errno) -> Errno {
        if errno == Errno::NOENT && self.is_gone() { Errno::STALE } else { errno }
    }

    /// Whether this is the directory that `path` leads to.
    fn is_at(&self, path: &Path) -> bool {
        rustix::fs::stat(path).is_ok_and(|stat| identity_of(&stat) == self.identity)
    }

    fn is_gone(&self) -> bool {
        match rustix::fs::fstat(&self.base) {
            Ok(base) => base.st_nlink == 0,
            Err(errno) => errno == Errno::STALE,
        }
    }

    fn openat2(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        for _ in 0..OPEN_TRIES {
            match rustix::fs::openat2(&self.base, path, flags, Mode::empty(), RESOLVE) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return opened,
            }
        }
        Err(Errno::AGAIN)
    }
}

// The fields' types differ between architectures.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn identity_of(stat: &rustix::fs::Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// The metadata of `name` in `dir`, without following a symlink; `None` if it does not exist.
pub(super) fn stat_entry(dir: &OwnedFd, name: &str) -> Result<Option<rustix::fs::Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether files may be created in `dir`, as far as the kernel reports beforehand.
pub(super) fn may_write(dir: &OwnedFd) -> Result<(), Errno> {
    // No flags: seccomp profiles that lack openat2 lack faccessat2 as well.
    rustix::fs::accessat(dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())
}

/// Makes the entries of `dir` durable. File systems that cannot sync a directory return INVAL, and do not need it.
pub(super) fn sync_dir(dir: &OwnedFd) -> Result<(), Errno> {
    match retry_on_intr(|| rustix::fs::fsync(dir)) {
        Err(Errno::INVAL) => Ok(()),
        done => done,
    }
}

pub(super) fn is_dir(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

pub(super) fn is_file(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn is_symlink(dir: &OwnedFd, name: &str) -> bool {
    let stat = stat_entry(dir, name).ok().flatten();
    stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// cap-std's error for a path that leads out is the only one without an errno.
fn errno(error: &std::io::Error) -> Errno {
    match Errno::from_io_error(error) {
        Some(errno) => errno,
        None if error.kind() == std::io::ErrorKind::PermissionDenied => Errno::XDEV,
        None => Errno::IO,
    }
}

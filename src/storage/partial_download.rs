//! The bytes of an interrupted download: a temp file marked with the source that it is a part of, so that the task's
//! next owner can resume it.
//!
//! Its owner may be suspended, not dead, and continue writing when it resumes. So another process's temp file is never
//! taken over itself: its content is copied into a new one (by reference, if the file system can). It only grows, and
//! its first bytes do not change.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Instant;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rustix::fd::OwnedFd;
use rustix::fs::{Dir, Mode, OFlags, XattrFlags};
use rustix::io::{Errno, retry_on_intr};
use sha2::{Digest, Sha256};

use super::file_owner::FileOwner;
use super::origin_mark::OriginMark;

/// The extended attribute's name.
const NAME: &str = "user.ftp-pooler.part";
/// The maximum size of a value: a mark, and less than 150 bytes more.
const VALUE_MAX: usize = 768;
/// How many entries of one directory are read at most.
const MAX_ENTRIES: usize = 1_000_000;
/// How many temp files of one directory are opened at most.
const MAX_OPENED: usize = 10_000;
/// How many directories are remembered; if there are more, all are forgotten, and read again.
const MAX_DIRECTORIES: usize = 10_000;

/// The id of this machine's current boot: what a killed process had written is visible to all others on the same
/// machine, but survives the machine's own end only if it was synced.
static BOOT: LazyLock<Option<String>> = LazyLock::new(|| {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty() && !id.contains(' '))
});

/// The location of a source: a server, an account, a path. Only its hash is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSourceId(String);

impl RemoteSourceId {
    #[must_use]
    pub fn new(host: &str, port: u16, user: &str, path: &str) -> RemoteSourceId {
        let mut hash = Sha256::new();
        for part in [host, &port.to_string(), user, path] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let mut hex = HEXLOWER.encode(&hash.finalize());
        hex.truncate(32);
        RemoteSourceId(hex)
    }
}

/// A source, as its server described it when a transfer began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStamp {
    pub place: RemoteSourceId,
    /// In bytes.
    pub size: u64,
    pub modified: Timestamp,
}

/// The first bytes of a source, as another owner of the record has downloaded them.
#[derive(Debug)]
pub(super) struct PartialDownload {
    pub file: OwnedFd,
    pub source: SourceStamp,
    /// How many bytes can be relied on.
    pub bytes: u64,
}

/// Marks a temp file with the source that it is a part of; `durable` bytes of it have been synced.
pub(super) fn remember(
    file: &OwnedFd,
    mark: &OriginMark,
    source: &SourceStamp,
    durable: u64,
) -> Result<(), Errno> {
    let SourceStamp { place, size, modified } = source;
    let (modified, boot) = (modified.as_nanosecond(), BOOT.as_deref().unwrap_or("-"));
    let value = format!("{mark} {size} {modified} {} {boot} {durable}", place.0);
    retry_on_intr(|| rustix::fs::fsetxattr(file, NAME, value.as_bytes(), XattrFlags::empty()))
}

/// Removes the mark: the file is complete.
pub(super) fn forget(file: &OwnedFd) -> Result<(), Errno> {
    match retry_on_intr(|| rustix::fs::fremovexattr(file, NAME)) {
        Err(Errno::NODATA) => Ok(()),
        done => done,
    }
}

/// The partial downloads in the directories of one storage, as found by the latest scan of each. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct PartialDownloads(Arc<Mutex<HashMap<Arc<str>, DirectoryScan>>>);

#[derive(Debug)]
struct DirectoryScan {
    at: Instant,
    /// File names by the part of their marks that identifies the record.
    names: HashMap<String, String>,
}

/// What the latest scan of a directory shows about a record.
enum ScanResult {
    /// The name of its partial download.
    PartialDownload(String),
    None,
    /// The directory has to be read.
    NotYet,
}

impl PartialDownloads {
    /// What an earlier owner of the record has left of `place` in `dir`, which is `directory`. The directory is read
    /// once per assignment: a partial download that is created later is not another owner's. Blocks.
    pub fn find(
        &self,
        dir: &OwnedFd,
        directory: &str,
        owner: &FileOwner,
        place: &RemoteSourceId,
    ) -> Option<PartialDownload> {
        let mark = owner.mark.to_string();
        let name = match self.known(directory, owner.lease.since(), &mark) {
            ScanResult::PartialDownload(name) => name,
            ScanResult::None => return None,
            ScanResult::NotYet => self.lookup(dir, directory, &mark)?,
        };
        open(dir, &name, &mark).filter(|part| part.source.place == *place && part.bytes > 0)
    }

    fn known(&self, directory: &str, since: Instant, mark: &str) -> ScanResult {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match looked.get_mut(directory).filter(|known| known.at >= since) {
            Some(known) => known.names.remove(mark).map_or(ScanResult::None, ScanResult::PartialDownload),
            None => ScanResult::NotYet,
        }
    }

    fn lookup(&self, dir: &OwnedFd, directory: &str, mark: &str) -> Option<String> {
        let at = Instant::now();
        let mut names = read(dir).ok()?;
        let found = names.remove(mark);
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.len() >= MAX_DIRECTORIES {
            looked.clear();
        }
        looked.insert(directory.into(), DirectoryScan { at, names });
        found
    }
}

/// The names of all partial downloads in a directory, by their marks.
fn read(dir: &OwnedFd) -> Result<HashMap<String, String>, Errno> {
    let mut names = HashMap::new();
    let mut opened = 0;
    for entry in Dir::read_from(dir)?.take(MAX_ENTRIES) {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !(name.starts_with(".ftp-pooler-") && name.strip_suffix(".tmp").is_some()) {
            continue;
        }
        opened += 1;
        if opened > MAX_OPENED {
            break;
        }
        if let Some((mark, _)) = open_any(dir, name).and_then(|(_, value)| split(&value)) {
            names.insert(mark, name.to_owned());
        }
    }
    Ok(names)
}

fn open(dir: &OwnedFd, name: &str, mark: &str) -> Option<PartialDownload> {
    let (file, value) = open_any(dir, name)?;
    let (_, PartialMark { source, boot, durable }) = split(&value).filter(|(whose, _)| whose == mark)?;
    let size = u64::try_from(rustix::fs::fstat(&file).ok()?.st_size).ok()?;
    let is_this_boot = BOOT.as_ref().is_some_and(|this| *this == boot);
    let bytes = if is_this_boot { size } else { durable.min(size) };
    Some(PartialDownload { file, bytes: bytes.min(source.size), source })
}

fn open_any(dir: &OwnedFd, name: &str) -> Option<(OwnedFd, String)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = retry_on_intr(|| rustix::fs::openat(dir, name, flags, Mode::empty())).ok()?;
    let mut value = [0; VALUE_MAX];
    let length = rustix::fs::fgetxattr(&file, NAME, value.as_mut_slice()).ok()?;
    let value = std::str::from_utf8(value.get(..length)?).ok()?.to_owned();
    Some((file, value))
}

/// What follows the mark.
struct PartialMark {
    source: SourceStamp,
    boot: String,
    durable: u64,
}

/// Splits a value into the mark and the rest.
fn split(value: &str) -> Option<(String, PartialMark)> {
    let mut fields = value.rsplitn(6, ' ');
    let durable = fields.next()?.parse().ok()?;
    let boot = fields.next()?.to_owned();
    let place = RemoteSourceId(fields.next()?.to_owned());
    let modified = Timestamp::from_nanosecond(fields.next()?.parse().ok()?).ok()?;
    let size = fields.next()?.parse().ok()?;
    let mark = fields.next()?.to_owned();
    Some((mark, PartialMark { source: SourceStamp { place, size, modified }, boot, durable }))
}

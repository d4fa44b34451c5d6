//! What a download that broke off has brought already: a temp file that remembers of which source it is a part,
//! so that whoever takes the task over can go on from there.
//!
//! Its owner may be frozen, not dead, and go on writing when it wakes. So another's temp file is never taken over
//! itself: what it has is copied into an own one (shared, not copied, where the file system can). It only grows, and
//! its first bytes stay what they are.

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
/// Room for a value: a mark, and less than 150 bytes more.
const VALUE_MAX: usize = 768;
/// Entries of one directory that are read at most.
const MAX_ENTRIES: usize = 1_000_000;
/// Temp files of one directory that are opened at most.
const MAX_OPENED: usize = 10_000;
/// Directories kept in mind; where there are more, all are forgotten, and checked again.
const MAX_DIRECTORIES: usize = 10_000;

/// This start of this machine: what a process that was killed had written is there for all others on the same
/// machine, and surely there after the machine's own end only where it was synced.
static BOOT: LazyLock<Option<String>> = LazyLock::new(|| {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty() && !id.contains(' '))
});

/// Where a source stands: a server, an account, a path. Only its hash is remembered.
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

/// The first bytes of a source, as another owner of the record has brought them.
#[derive(Debug)]
pub(super) struct PartialDownload {
    pub file: OwnedFd,
    pub source: SourceStamp,
    /// So many that can be relied on.
    pub bytes: u64,
}

/// Makes a temp file remember what it is a part of; `durable` bytes of it have been synced.
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

/// The file is whole, and a part of nothing.
pub(super) fn forget(file: &OwnedFd) -> Result<(), Errno> {
    match retry_on_intr(|| rustix::fs::fremovexattr(file, NAME)) {
        Err(Errno::NODATA) => Ok(()),
        done => done,
    }
}

/// The parts that stand in the directories of one storage, as found by the latest look into each. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct PartialDownloads(Arc<Mutex<HashMap<Arc<str>, DirectoryScan>>>);

#[derive(Debug)]
struct DirectoryScan {
    at: Instant,
    /// Names, by what the files remember before their sizes: their records.
    names: HashMap<String, String>,
}

/// What the latest look into a directory tells of a record.
enum ScanResult {
    /// The name of its part.
    PartialDownload(String),
    None,
    /// The directory has to be read.
    NotYet,
}

impl PartialDownloads {
    /// What an earlier owner of the record has left of `place` in `dir`, which is `directory`. The directory is read
    /// once in an assignment: a part that comes into being later is not another owner's. Blocks.
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
            ScanResult::NotYet => self.look(dir, directory, &mark)?,
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

    fn look(&self, dir: &OwnedFd, directory: &str, mark: &str) -> Option<String> {
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

/// The names of all parts in a directory, by their marks.
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

/// What stands behind the mark.
struct PartialMark {
    source: SourceStamp,
    boot: String,
    durable: u64,
}

/// Takes a value apart: the mark, and the rest.
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

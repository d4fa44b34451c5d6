//! An upload's source: a regular file, read once from start to end.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::LocalStorage;
use super::disk_executor::{CallSlot, DiskOperation, PendingCall};
use super::error::{PathRole, StorageError};
use super::target::LocalTarget;
use super::temp_file::CHUNK;

/// An open source. Its first chunk was read when it was opened, so a file below [`CHUNK`] costs one call; of a larger
/// one the next chunk is read while the last one is sent.
///
/// It remains the file that was opened, whatever takes its name meanwhile.
#[derive(Debug)]
pub struct SourceFile {
    storage: LocalStorage,
    target: LocalTarget,
    file: Arc<OwnedFd>,
    seen: SourceStat,
    /// When anything about it was last changed (ctime), at the time of opening.
    changed_at: (i64, u64),
    ahead: ReadAhead,
    /// The chunk lent to the caller.
    current: Vec<u8>,
    spare: Vec<u8>,
    /// How many bytes were returned, including `current`.
    read: u64,
}

/// Identifies one content of one file, as far as the file system permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceIdentity {
    seen: SourceStat,
    changed_at: (i64, u64),
}

/// A file's state when it was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SourceStat {
    size: u64,
    modified: (i64, u64),
    inode: u64,
}

/// The chunk after the current one.
#[derive(Debug)]
enum ReadAhead {
    Idle,
    Reading(PendingCall<Vec<u8>>),
    Ready(Vec<u8>),
    /// There is none.
    End,
    Failed,
}

impl SourceFile {
    pub(super) async fn open(storage: LocalStorage, target: LocalTarget) -> Result<SourceFile, StorageError> {
        let (confined_dir, path) = (storage.confined_dir(), target.clone());
        let operation = DiskOperation { what: "open", target: target.clone(), side: PathRole::Source };
        let opened = storage.disk().call(operation.clone(), move |_| {
            let doing = operation.doing();
            let file = confined_dir.source(path.relative()).map_err(|errno| doing.failed(errno))?;
            let stat = rustix::fs::fstat(&file).map_err(|errno| doing.failed(errno))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(doing.refuses("it is not a regular file"));
            }
            let seen = SourceStat::of(&stat);
            // Reading one byte more than the size detects the end of the file in the same call.
            let room = usize::try_from(seen.size).unwrap_or(CHUNK).saturating_add(1).min(CHUNK);
            let first = fill(&file, Vec::with_capacity(room), 0).map_err(|errno| doing.failed(errno))?;
            if seen.size > CHUNK as u64 {
                seen.check_unchanged(&file, &operation)?;
            }
            Ok((file, (seen, changed_at(&stat)), first))
        });
        let (file, (seen, changed_at), first) = opened.await?;
        let (ahead, file) = (ReadAhead::Ready(first), Arc::new(file));
        let (current, spare) = (Vec::new(), Vec::new());
        Ok(SourceFile { storage, target, file, seen, changed_at, ahead, current, spare, read: 0 })
    }

    /// Its size in bytes when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.seen.size
    }

    /// When its content was last changed, at the time of opening.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        let (seconds, nanoseconds) = self.seen.modified;
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let begin = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        begin.and_then(|at| at.checked_add(Duration::from_nanos(nanoseconds))).unwrap_or(UNIX_EPOCH)
    }

    #[must_use]
    pub fn inode(&self) -> u64 {
        self.seen.inode
    }

    /// Identifies the file as opened: another file, or another content, has another identity.
    #[must_use]
    pub fn identity(&self) -> SourceIdentity {
        SourceIdentity { seen: self.seen, changed_at: self.changed_at }
    }

    /// Everything that identifies this content of this file, for other processes too: the same bytes are the same
    /// content.
    #[must_use]
    pub fn description(&self) -> Vec<u8> {
        let SourceStat { size, modified, inode } = self.seen;
        let (seconds, changed_at) = ([modified.0, self.changed_at.0], [modified.1, self.changed_at.1]);
        let unsigned = [size, inode].into_iter().chain(changed_at).map(u64::to_be_bytes);
        unsigned.chain(seconds.map(i64::to_be_bytes)).flatten().collect()
    }

    /// How many bytes were returned so far, or skipped.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.read
    }

    /// The next bytes will be those from `offset` on; what was read ahead is dropped.
    pub fn skip_to(&mut self, offset: u64) {
        self.read = offset.min(self.seen.size);
        self.ahead = ReadAhead::Idle;
    }

    /// The next bytes, at most [`CHUNK`]; empty at the end, when as many were read as [`SourceFile::size`] says.
    /// Cancel-safe.
    ///
    /// For a file that takes more than one call, these are bytes of the content it was opened with: that is checked
    /// after each read. So whatever is sent to a server can be relied on by a process that resumes it.
    ///
    /// # Errors
    /// [`StorageError::SourceChanged`] if the file was changed, or turns out shorter or longer than it was; a file that
    /// grows while it is read is not followed.
    pub async fn read(&mut self) -> Result<&[u8], StorageError> {
        let next = loop {
            match std::mem::replace(&mut self.ahead, ReadAhead::Failed) {
                ReadAhead::Ready(chunk) => break chunk,
                ReadAhead::Reading(call) => {
                    self.ahead = ReadAhead::Reading(call);
                    self.finish_reading().await?;
                }
                ReadAhead::Idle => {
                    self.ahead = ReadAhead::Idle;
                    let slot = self.storage.disk().acquire_slot(&self.operation("read")).await?;
                    self.start_reading(slot);
                }
                ReadAhead::End => {
                    self.ahead = ReadAhead::End;
                    return Ok(&[]);
                }
                ReadAhead::Failed => {
                    return Err(StorageError::Io(
                        self.operation("read").doing().says("an earlier read failed"),
                    ));
                }
            }
        };
        self.hand_out(next)
    }

    /// Whether the file, checked again, still has the size and time it was opened with: call it after the last byte was
    /// read, before the upload is renamed.
    pub async fn still_same(&self) -> Result<bool, StorageError> {
        let (file, seen, operation) = (Arc::clone(&self.file), self.seen, self.operation("check"));
        let disk = self.storage.disk();
        let stat = disk.call(operation.clone(), move |_| {
            rustix::fs::fstat(&file).map_err(|errno| operation.doing().failed(errno))
        });
        Ok(SourceStat::of(&stat.await?) == seen)
    }

    async fn finish_reading(&mut self) -> Result<(), StorageError> {
        let ReadAhead::Reading(call) = &mut self.ahead else { return Ok(()) };
        let outcome = call.wait().await;
        self.ahead = ReadAhead::Failed;
        self.ahead = ReadAhead::Ready(outcome?);
        Ok(())
    }

    fn start_reading(&mut self, slot: CallSlot) {
        let (file, from, operation, seen) =
            (Arc::clone(&self.file), self.read, self.operation("read"), self.seen);
        let mut buffer = std::mem::take(&mut self.spare);
        self.ahead = ReadAhead::Reading(self.storage.disk().start(slot, operation.clone(), move |_| {
            buffer.clear();
            buffer.reserve_exact(CHUNK);
            let chunk = fill(&file, buffer, from).map_err(|errno| operation.doing().failed(errno))?;
            seen.check_unchanged(&file, &operation)?;
            Ok(chunk)
        }));
    }

    /// Makes `chunk` the current one, and starts reading the next one if there may be one.
    fn hand_out(&mut self, chunk: Vec<u8>) -> Result<&[u8], StorageError> {
        let at_end = chunk.len() < chunk.capacity().min(CHUNK);
        self.read += chunk.len() as u64;
        if self.read > self.seen.size || (at_end && self.read < self.seen.size) {
            let why = format!("it had {} bytes, and has more or fewer now", self.seen.size);
            return Err(StorageError::SourceChanged(self.operation("read").doing().says(why)));
        }
        self.spare = std::mem::replace(&mut self.current, chunk);
        self.ahead = if at_end { ReadAhead::End } else { ReadAhead::Idle };
        if !at_end && let Some(slot) = self.storage.disk().try_acquire_slot() {
            self.start_reading(slot);
        }
        Ok(&self.current)
    }

    fn operation(&self, what: &'static str) -> DiskOperation {
        DiskOperation { what, target: self.target.clone(), side: PathRole::Source }
    }
}

impl SourceStat {
    // The fields' types differ between architectures.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, clippy::useless_conversion)]
    fn of(stat: &Stat) -> SourceStat {
        let modified = (i64::from(stat.st_mtime), stat.st_mtime_nsec as u64);
        SourceStat { size: stat.st_size as u64, modified, inode: stat.st_ino as u64 }
    }

    /// Fails if the open file has been changed since. Blocks.
    fn check_unchanged(self, file: &OwnedFd, operation: &DiskOperation) -> Result<(), StorageError> {
        let stat = rustix::fs::fstat(file).map_err(|errno| operation.doing().failed(errno))?;
        if SourceStat::of(&stat) == self {
            return Ok(());
        }
        Err(StorageError::SourceChanged(
            operation.doing().says("it was changed while it was read".to_owned()),
        ))
    }
}

// As above.
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, clippy::useless_conversion)]
fn changed_at(stat: &Stat) -> (i64, u64) {
    (i64::from(stat.st_ctime), stat.st_ctime_nsec as u64)
}

/// Reads from `offset` until `buffer` is full or the file ends.
pub(super) fn fill(file: &OwnedFd, mut buffer: Vec<u8>, offset: u64) -> Result<Vec<u8>, Errno> {
    let room = buffer.capacity().min(CHUNK);
    while buffer.len() < room {
        let from = offset + buffer.len() as u64;
        let more =
            retry_on_intr(|| rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), from))?;
        if more == 0 {
            break;
        }
    }
    Ok(buffer)
}

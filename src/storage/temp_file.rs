//! A download's destination: written to a temp file in the target's directory, then published as a whole, or removed.

use std::time::{Duration, Instant};

use bytes::BufMut;

use super::LocalStorage;
use super::disk_executor::{DiskOperation, IsAbandoned, PendingCall};
use super::error::{PathRole, StorageError};
use super::final_file_metadata::FinalFileMetadata;
use super::partial_download::{PartialDownload, SourceStamp};
use super::temp_file_handle::{TempFileHandle, TempFilePlan};

/// How many bytes one call writes. A file of at most this size costs a single call: created, written, synced and
/// renamed at once. At most two such buffers per file.
pub const CHUNK: usize = 256 * 1024;

/// A file in progress is written to at least this often, or a stall timeout later at most, however slowly its bytes
/// arrive: a file that is idle for much longer is orphaned (see `orphans`).
const WRITE_EVERY: Duration = Duration::from_secs(300);

/// A file that is not published yet.
///
/// Nothing exists on disk before the first [`CHUNK`] is full, or [`TempFile::publish`] is called; a task that fails
/// earlier leaves not even a directory. A chunk is written while the next one arrives, so an error may be reported one
/// call late, but never after `publish`. If it is dropped (a cancelled task), it removes what it wrote; a call in
/// progress at that moment does so as soon as the file system lets it.
#[derive(Debug)]
pub struct TempFile {
    pub(super) storage: LocalStorage,
    pub(super) plan: TempFilePlan,
    pub(super) stage: WriteStage,
    /// Received, and not yet passed to a call.
    pub(super) buffer: Vec<u8>,
    /// The other buffer, while no call uses it.
    pub(super) spare: Vec<u8>,
    /// How many bytes were passed to calls.
    pub(super) given: u64,
    /// The expected size of the file, if known.
    expected: Option<u64>,
    /// When bytes were last passed to a call.
    written: Instant,
    /// What an earlier owner of the record has downloaded.
    pub(super) part: Option<PartialDownload>,
}

/// What exists of a source already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierBytes {
    pub source: SourceStamp,
    pub bytes: u64,
}

/// The location of the bytes before the buffer.
#[derive(Debug)]
pub(super) enum WriteStage {
    Nowhere,
    OnDisk(Box<TempFileHandle>),
    Writing(PendingCall<WrittenChunk>),
    /// An error was returned; the temp file has been removed.
    Failed,
}

pub(super) type WrittenChunk = (Box<TempFileHandle>, Vec<u8>);

impl TempFile {
    pub(super) fn new(storage: LocalStorage, plan: TempFilePlan, part: Option<PartialDownload>) -> TempFile {
        let (buffer, spare, written) = (Vec::new(), Vec::new(), Instant::now());
        let (stage, expected) = (WriteStage::Nowhere, None);
        TempFile { storage, plan, stage, buffer, spare, given: 0, expected, written, part }
    }

    /// Sets the expected size: a small file gets a small buffer.
    pub fn expect(&mut self, bytes: u64) {
        self.expected = Some(bytes);
    }

    /// Buffer space for the next bytes, never empty: read the network directly into it (`read_buf`).
    pub async fn room(&mut self) -> Result<impl BufMut, StorageError> {
        let is_on_disk = !matches!(self.stage, WriteStage::Nowhere) && !self.buffer.is_empty();
        if self.buffer.len() >= CHUNK || (is_on_disk && self.written.elapsed() >= WRITE_EVERY) {
            self.flush_chunk().await?;
        }
        if self.buffer.capacity() == 0 {
            // One byte more than expected detects the end without another buffer.
            let coming = self.expected.map(|bytes| bytes.saturating_sub(self.given).saturating_add(1));
            let room = coming.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(CHUNK);
            self.buffer.reserve_exact(room.min(CHUNK));
        }
        let free = CHUNK.saturating_sub(self.buffer.len());
        Ok((&mut self.buffer).limit(free))
    }

    /// Appends `data` by copying it; [`TempFile::room`] avoids the copy.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), StorageError> {
        let mut rest = data;
        while !rest.is_empty() {
            let mut room = self.room().await?;
            let (now, later) = rest.split_at(rest.len().min(room.remaining_mut()));
            room.put_slice(now);
            rest = later;
        }
        Ok(())
    }

    /// How many bytes were written so far, including buffered ones.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.given + self.buffer.len() as u64
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last `count` bytes that were put into the buffer space of [`TempFile::room`].
    #[must_use]
    pub fn latest(&self, count: usize) -> &[u8] {
        self.buffer.get(self.buffer.len().saturating_sub(count)..).unwrap_or_default()
    }

    /// Makes the file durable (fsync) and renames it to its target: with `overwrite` replacing whatever exists there (a
    /// symlink itself, not what it leads to), otherwise only if nothing does; then makes the name durable.
    /// `may_continue` is called on a blocking thread, right before the rename.
    ///
    /// If dropped before the rename, it does not happen. After an error none of our files is left; only if the error
    /// occurred in the directory's last sync is the file already in place.
    ///
    /// # Errors
    /// [`StorageError::LeaseEnded`] if `may_continue` returns false; `DestinationExists` if another was first.
    pub async fn finalize(
        mut self,
        finish: FinalFileMetadata,
        may_continue: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<(), StorageError> {
        self.settle().await?;
        let operation = self.operation("rename");
        let slot = self.storage.disk().acquire_slot(&operation).await?;
        let make = self.take_handle()?;
        let rest = std::mem::take(&mut self.buffer);
        let work = move |abandoned: &IsAbandoned<'_>| {
            let mut handle = make()?;
            handle.append(&rest)?;
            handle.finalize(&finish, || !abandoned() && may_continue())
        };
        self.storage.disk().start(slot, operation, work).wait().await
    }

    /// Removes what was written, and returns when it is gone. An error is only logged: no caller could act on it.
    pub async fn discard(mut self) {
        if self.settle().await.is_err() {
            return;
        }
        if let WriteStage::OnDisk(handle) = std::mem::replace(&mut self.stage, WriteStage::Failed) {
            let removed = self.storage.disk().call(self.operation("discard"), move |_| {
                drop(handle);
                Ok(())
            });
            if let Err(error) = removed.await {
                tracing::warn!(event = "temp_file_may_remain", %error, "a temp file may remain");
            }
        }
    }

    /// Starts writing the full buffer, once the previous one is written.
    pub(super) async fn flush_chunk(&mut self) -> Result<(), StorageError> {
        self.settle().await?;
        let operation = self.operation("write");
        let slot = self.storage.disk().acquire_slot(&operation).await?;
        let make = self.take_handle()?;
        let mut chunk = std::mem::replace(&mut self.buffer, std::mem::take(&mut self.spare));
        self.written = Instant::now();
        self.given += chunk.len() as u64;
        let expected = self.expected;
        let call = self.storage.disk().start(slot, operation, move |_| {
            let mut handle = make()?;
            if handle.size() == 0 {
                handle.check_space(expected)?;
                handle.remember(0);
            }
            handle.append(&chunk)?;
            chunk.clear();
            Ok((handle, chunk))
        });
        self.stage = WriteStage::Writing(call);
        Ok(())
    }

    /// Waits for the call in progress, if there is one.
    pub(super) async fn settle(&mut self) -> Result<(), StorageError> {
        let WriteStage::Writing(call) = &mut self.stage else { return Ok(()) };
        let written = call.wait().await;
        self.stage = WriteStage::Failed;
        let (handle, spare) = written?;
        self.stage = WriteStage::OnDisk(handle);
        self.spare = spare;
        Ok(())
    }

    /// A closure that creates the temp file, or returns the existing one; must be called where it may block.
    pub(super) fn take_handle(
        &mut self,
    ) -> Result<impl FnOnce() -> Result<Box<TempFileHandle>, StorageError> + Send + use<>, StorageError> {
        let there = match std::mem::replace(&mut self.stage, WriteStage::Failed) {
            WriteStage::Nowhere => None,
            WriteStage::OnDisk(handle) => Some(handle),
            WriteStage::Writing(_) | WriteStage::Failed => {
                return Err(StorageError::Io(self.plan.doing("write").says("an earlier write failed")));
            }
        };
        let (confined_dir, plan) = (self.storage.confined_dir(), self.plan.clone());
        Ok(move || there.map_or_else(|| TempFileHandle::create(confined_dir, plan).map(Box::new), Ok))
    }

    pub(super) fn operation(&self, what: &'static str) -> DiskOperation {
        DiskOperation { what, target: self.plan.target.clone(), side: PathRole::Destination }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let WriteStage::OnDisk(handle) = std::mem::replace(&mut self.stage, WriteStage::Failed) {
            self.storage.disk().dispose(handle);
        }
    }
}

//! A download that resumes where it was interrupted.

use super::disk_executor::IsAbandoned;
use super::error::StorageError;
use super::partial_download::SourceStamp;
use super::temp_file::{CHUNK, EarlierBytes, TempFile, WriteStage};
use super::temp_file_handle::TempFileHandle;

impl TempFile {
    /// Marks the file as a part of this source until it is complete. Must be called before its first byte.
    pub fn is_part_of(&mut self, source: SourceStamp) {
        self.plan.source = Some(source);
    }

    /// What exists of the source already: this file's own bytes, from an earlier try, or what an earlier owner of the
    /// record has left.
    #[must_use]
    pub fn earlier(&self) -> Option<EarlierBytes> {
        match (&self.part, &self.plan.source) {
            (Some(part), _) => Some(EarlierBytes { source: part.source.clone(), bytes: part.bytes }),
            (None, Some(source)) if !self.is_empty() => {
                Some(EarlierBytes { source: source.clone(), bytes: self.len() })
            }
            _ => None,
        }
    }

    /// Resumes after [`TempFile::earlier`]'s first `bytes` bytes; returns how many exist now, which is fewer if they
    /// were removed meanwhile. What another owner has left is copied, never taken: it may still be writing.
    pub async fn resume_from(&mut self, bytes: u64) -> Result<u64, StorageError> {
        match self.part.take() {
            Some(part) => {
                self.plan.source = Some(part.source);
                let mut is_more = true;
                let file = std::sync::Arc::new(part.file);
                while is_more && self.given < bytes {
                    let from = std::sync::Arc::clone(&file);
                    is_more = self.work("copy", move |handle| handle.append_from(&from, bytes)).await?;
                }
            }
            None if bytes < self.len() => {
                self.rest().await?;
                self.work("shorten", move |handle| handle.truncate(bytes)).await?;
            }
            None => {}
        }
        Ok(self.len())
    }

    /// Discards the existing bytes: the next byte is the first one.
    pub async fn start_over(&mut self) -> Result<(), StorageError> {
        self.part = None;
        self.plan.source = None;
        self.settle().await?;
        self.buffer.clear();
        self.given = 0;
        if let WriteStage::OnDisk(handle) = std::mem::replace(&mut self.stage, WriteStage::Nowhere) {
            // Its name is taken until it is removed.
            let discard = move |_: &IsAbandoned<'_>| {
                drop(handle);
                Ok(())
            };
            self.storage.disk().call(self.operation("discard"), discard).await?;
        }
        Ok(())
    }

    /// Writes out what has arrived, and frees the buffers until it resumes.
    pub async fn rest(&mut self) -> Result<(), StorageError> {
        if !self.buffer.is_empty() {
            self.flush_chunk().await?;
        }
        self.settle().await?;
        (self.buffer, self.spare) = (Vec::new(), Vec::new());
        Ok(())
    }

    /// The bytes from `offset` on, at most [`CHUNK`], of those that were written out; empty at their end. For a hash
    /// over what an earlier try has downloaded.
    pub async fn written(&mut self, offset: u64) -> Result<Vec<u8>, StorageError> {
        self.rest().await?;
        self.work("read again", move |handle| handle.read(Vec::with_capacity(CHUNK), offset)).await
    }

    /// Runs `work` on the file, which is created if it does not exist yet.
    async fn work<T: Send + 'static>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&mut TempFileHandle) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.settle().await?;
        let operation = self.operation(what);
        let slot = self.storage.disk().acquire_slot(&operation).await?;
        let make = self.take_handle()?;
        let call = self.storage.disk().start(slot, operation, move |_| {
            let mut handle = make()?;
            let done = work(&mut handle)?;
            Ok((handle, done))
        });
        // If it is dropped meanwhile, the call itself removes the file at its end.
        let mut call = call;
        let (handle, done) = call.wait().await?;
        self.given = handle.size();
        self.stage = WriteStage::OnDisk(handle);
        Ok(done)
    }
}

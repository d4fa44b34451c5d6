//! What a file is compared by, and the hashes that are computed while it is transferred.

use crate::digest::{Algorithm, FileHash, Hasher};
use crate::failure::{Code, TryError};
use crate::ftp::{ServerHash, Session};
use crate::outcome::TransferDetails;
use crate::storage::{SourceFile, TempFile};
use crate::task::{Operation, Verify};
use crate::text::shown;

use super::{TransferContext, TransferError, give_up, try_again};

/// The checks of one file, and what its result will report about them.
#[derive(Debug)]
pub(super) struct IntegrityCheck {
    hashers: Vec<Hasher>,
    /// The algorithm that the server is asked for.
    asked: Option<Algorithm>,
    pub notes: Vec<String>,
    pub details: TransferDetails,
}

impl IntegrityCheck {
    /// Decides which hashes to compute: the one that results contain, and the one that the server computes.
    ///
    /// # Errors
    /// `unsupported` if the server has none, and the task requires it.
    pub fn begin(session: &Session, context: &TransferContext<'_>) -> Result<IntegrityCheck, TryError> {
        let mut notes = Vec::new();
        let asked = match (context.task.options.verify, session.hashes_by()) {
            (Verify::None | Verify::Size, _) => None,
            // The account may not read what it has written.
            (Verify::Auto, _)
                if context.task.operation == Operation::Upload && session.connection().no_check_upload =>
            {
                None
            }
            (_, Some(algorithm)) => Some(algorithm),
            (Verify::Hash, None) => {
                let what = "options.verify: \"hash\": the server has none; \"size\" and \"auto\" do without";
                return Err(give_up(Code::Unsupported, what.to_owned()));
            }
            (Verify::Auto, None) => {
                notes.push("hash not verified: the server has none".to_owned());
                None
            }
        };
        let mut check =
            IntegrityCheck { hashers: Vec::new(), asked, notes, details: TransferDetails::default() };
        check.details.features.extend(session.data_command());
        check.begin_again(context);
        Ok(check)
    }

    /// The transfer starts again from the file's first byte.
    pub fn begin_again(&mut self, context: &TransferContext<'_>) {
        let mut algorithms: Vec<Algorithm> = context.hash.into_iter().chain(self.asked).collect();
        algorithms.dedup();
        self.hashers = algorithms.into_iter().map(Hasher::new).collect();
    }

    /// The file's next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for hasher in &mut self.hashers {
            hasher.update(bytes);
        }
    }

    /// The file's first bytes come from an earlier try: they are read again if a hash needs them.
    pub async fn add_received(
        &mut self,
        context: &TransferContext<'_>,
        file: &mut TempFile,
    ) -> Result<(), TransferError> {
        self.used("REST");
        let mut offset = 0;
        while !self.hashers.is_empty() && offset < file.len() {
            let bytes = context.stop.or(file.written(offset)).await?;
            if bytes.is_empty() {
                break;
            }
            self.update(&bytes);
            offset += bytes.len() as u64;
        }
        Ok(())
    }

    /// The server has the source's first `there` bytes: they are read if a hash needs them. The source's next bytes are
    /// those after them.
    pub async fn add_sent(
        &mut self,
        context: &TransferContext<'_>,
        source: &mut SourceFile,
        there: u64,
    ) -> Result<(), TransferError> {
        while !self.hashers.is_empty() && source.position() < there {
            let before = source.position();
            let bytes = context.stop.or(source.read()).await?;
            let wanted = usize::try_from(there - before).unwrap_or(usize::MAX).min(bytes.len());
            if wanted == 0 {
                break;
            }
            self.update(bytes.get(..wanted).unwrap_or_default());
        }
        source.skip_to(there);
        Ok(())
    }

    /// Whether the server will be asked for a hash.
    pub fn asks_for_hash(&self) -> bool {
        self.asked.is_some()
    }

    /// The file has the size that SIZE reports.
    pub fn has_size(&mut self) {
        self.details.verified_by = Some("size");
        self.used("SIZE");
    }

    /// The transfer made use of this command.
    pub fn used(&mut self, command: &'static str) {
        if !self.details.features.contains(&command) {
            self.details.features.push(command);
        }
    }

    /// All bytes have arrived: finishes their hashes.
    pub fn hashed(&mut self) {
        self.details.hashes = self.hashers.drain(..).map(Hasher::finish).collect();
    }

    /// Compares the file at `path` on the server with the transferred bytes; `verb` is the adjective that messages use
    /// for them.
    ///
    /// # Errors
    /// `integrity_mismatch` if they differ, `unsupported` if the server has no hash and the task requires it.
    pub async fn compare(
        &mut self,
        session: &mut Session,
        context: &TransferContext<'_>,
        path: &str,
        verb: &str,
    ) -> Result<(), TransferError> {
        self.hashed();
        let Some(asked) = self.asked else { return Ok(()) };
        let (said, command) = context.stop.or_soon(session.hash_of(path)).await?;
        self.used(command);
        let ours = self.details.hashes.iter().find(|hash| hash.algorithm == asked);
        match (said, ours) {
            (ServerHash::Value(theirs), Some(FileHash { value, .. })) if theirs == *value => {
                self.details.verified_by = Some(asked.name());
                Ok(())
            }
            (ServerHash::Value(theirs), ours) => {
                let ours = ours.map_or("none", |hash| hash.value.as_str());
                let (path, name) = (shown(path), asked.name());
                let message =
                    format!("{command} {path}: the server's {name} is {theirs}, that of {verb} bytes {ours}");
                Err(try_again(Code::IntegrityMismatch, message).into())
            }
            (ServerHash::Refused(error), _) if context.task.options.verify == Verify::Auto => {
                self.notes.push(format!("hash not verified: {}", error.failure.message));
                self.details.hashes.retain(|hash| Some(hash.algorithm) == context.hash);
                Ok(())
            }
            (ServerHash::Refused(error), _) => {
                let message = format!("options.verify: \"hash\": {}", error.failure.message);
                let mut refused = give_up(Code::Unsupported, message);
                refused.failure.ftp_code = error.failure.ftp_code;
                Err(refused.into())
            }
        }
    }
}

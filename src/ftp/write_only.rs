//! Directories in which the account may store files but neither rename nor remove them: a temp file would remain for
//! ever.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::failure::Failure;

use super::server_profile::directory_of;
use super::session::Session;

/// How long this is remembered; the account may be granted more rights.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
/// How many directories of one server are remembered.
const MAX_REMEMBERED_DIRECTORIES: usize = 1_000;

/// What showed that a directory is write-only.
#[derive(Clone, Debug)]
pub struct WriteOnlyDirectory {
    /// The path of the file that remains there.
    pub stays: String,
    /// Why it could not be renamed.
    pub refusal: Failure,
    found: Instant,
}

/// The write-only directories of one connection.
#[derive(Debug, Default)]
pub(super) struct WriteOnlyDirectories(Mutex<HashMap<String, WriteOnlyDirectory>>);

impl WriteOnlyDirectories {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, WriteOnlyDirectory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// A file was stored at `path`, and the server permits neither renaming nor removing it.
    pub(crate) fn found_write_only(&self, path: &str, refusal: &Failure) {
        let (directory, found) = (directory_of(path), Instant::now());
        // Nothing is pipelined into that directory any more.
        self.profile().forget_directory(path);
        let mut known = self.profile().write_only().lock();
        if known.len() >= MAX_REMEMBERED_DIRECTORIES {
            known.clear();
        }
        let stays = path.to_owned();
        if known
            .insert(directory.to_owned(), WriteOnlyDirectory { stays, refusal: refusal.clone(), found })
            .is_none()
        {
            let connection = &self.connection().name;
            tracing::warn!(
                event = "write_only_directory",
                connection,
                directory,
                stays = path,
                error = refusal.message,
                "files can be stored in {directory:?} and neither be renamed nor removed: no more temp files are sent there"
            );
        }
    }

    /// The evidence that the directory of `path` is write-only, if it is.
    pub(crate) fn write_only_directory(&self, path: &str) -> Option<WriteOnlyDirectory> {
        let known = self.profile().write_only().lock().get(directory_of(path)).cloned();
        known.filter(|known| known.found.elapsed() < REMEMBERED_FOR)
    }

    /// The file that remained in the directory of `path` could be removed.
    pub(crate) fn forget_write_only(&self, path: &str) {
        self.profile().write_only().lock().remove(directory_of(path));
    }
}

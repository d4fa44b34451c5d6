//! Lists a source, directory after directory.

mod patient_session;
mod server;

use std::collections::VecDeque;
use std::io;

use ftp_listing::TimeRange;
use jiff::Timestamp;

use super::filter::{Decision, FileFilter, ListedSource};
use super::passed_over::{PassReason, PassedOver};
use super::task_builder::{Location, LocationConnection, beneath};
use crate::config::LocalConnection;
use crate::failure::{Code, TryError};
use crate::storage::{LocalEntry, LocalStorage, StorageError};
use server::WalkFailure;

/// Directories that wait to be listed, at most.
const MAX_DIRECTORIES: usize = 1_000_000;
/// How deep directories lie in one another at most: a server may show a circle of symlinks as directories.
const MAX_DEPTH: usize = 100;

/// Why a source could not be listed. Nothing has been sent then.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    #[error("{connection}: {error}")]
    Ftp { connection: String, error: TryError },
    #[error("{connection}: {error}")]
    Local { connection: String, error: StorageError },
    #[error("cannot keep what was listed: {0}")]
    Spool(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
}

impl WalkError {
    /// There is no such directory or file.
    #[must_use]
    pub fn is_not_there(&self) -> bool {
        match self {
            WalkError::Ftp { error, .. } => error.failure.code == Code::SourceNotFound,
            WalkError::Local { error, .. } => matches!(error, StorageError::SourceNotFound(_)),
            WalkError::Refused(_) | WalkError::Spool(_) => false,
        }
    }

    /// Whether the source is not there, or not for us: as it was given no task can be made of it. (Else it could
    /// not be asked.)
    #[must_use]
    pub fn is_given_wrongly(&self) -> bool {
        match self {
            WalkError::Ftp { error, .. } => matches!(
                error.failure.code,
                Code::SourceNotFound | Code::PermissionDenied | Code::PathNotAllowed
            ),
            WalkError::Local { error, .. } => matches!(
                error,
                StorageError::SourceNotFound(_)
                    | StorageError::PermissionDenied(_)
                    | StorageError::PathNotAllowed(_)
            ),
            WalkError::Refused(_) => true,
            WalkError::Spool(_) => false,
        }
    }
}

/// What was seen on the way.
#[derive(Debug, Default)]
pub(super) struct WalkSummary {
    pub files: u64,
    pub directories: u64,
    /// Directories that were not entered, since nobody asked for them.
    pub left_out: u64,
    /// The source is one file.
    pub is_single: bool,
    /// Entries that no task was made of, and not for the filter.
    pub passed: PassedOver,
}

/// Takes a file, and whether the source is this one file.
type TakeFile<'a> = dyn FnMut(&ListedSource, bool) -> io::Result<()> + 'a;

/// Hands every file of `source` that `filter` takes to `take`; `say` gets lines for people.
///
/// # Errors
/// The source is not there, or could not be listed to its end.
pub(super) async fn walk(
    source: &Location,
    is_recursive: bool,
    filter: &FileFilter,
    take: &mut TakeFile<'_>,
    say: &dyn Fn(&str),
) -> Result<WalkSummary, WalkError> {
    let (seen, waiting) = (WalkSummary::default(), VecDeque::new());
    let mut walk = DirectoryWalk { filter, is_recursive, take, say, seen, waiting };
    match &source.connection {
        LocationConnection::Ftp(ftp) => {
            let failed = |error| WalkError::Ftp { connection: ftp.name.clone(), error };
            walk.server(ftp, source).await.map_err(|error| match error {
                WalkFailure::Try(error) => failed(error),
                WalkFailure::Walk(error) => error,
            })?;
        }
        LocationConnection::Local(local) => walk.local(local, source).await?,
    }
    Ok(walk.seen)
}

struct DirectoryWalk<'a, 't> {
    filter: &'a FileFilter,
    is_recursive: bool,
    take: &'a mut TakeFile<'t>,
    say: &'a dyn Fn(&str),
    seen: WalkSummary,
    /// Beneath the source, with their depth.
    waiting: VecDeque<(String, usize)>,
}

impl DirectoryWalk<'_, '_> {
    fn file(&mut self, found: &ListedSource, is_single: bool) -> io::Result<()> {
        self.seen.files += 1;
        if is_single || self.filter.decide(found) == Decision::Take {
            (self.take)(found, is_single)
        } else {
            Ok(())
        }
    }

    fn directory(&mut self, path: String, depth: usize) -> Result<(), WalkError> {
        if !self.filter.enters(&path) {
            return Ok(());
        }
        if !self.is_recursive {
            self.seen.left_out += 1;
            return Ok(());
        }
        if depth > MAX_DEPTH {
            return Err(WalkError::Refused(format!(
                "{path}: directories lie more than {MAX_DEPTH} deep in one another: is there a circle of symlinks?"
            )));
        }
        if self.waiting.len() >= MAX_DIRECTORIES {
            return Err(WalkError::Refused(format!(
                "more than {MAX_DIRECTORIES} directories wait to be listed"
            )));
        }
        self.waiting.push_back((path, depth));
        Ok(())
    }

    async fn local(&mut self, connection: &LocalConnection, source: &Location) -> Result<(), WalkError> {
        let failed = |error| WalkError::Local { connection: connection.name.clone(), error };
        let storage = LocalStorage::open(connection).map_err(failed)?;
        if !source.is_directory() {
            let target = storage.resolve(&source.path).map_err(failed)?;
            if let Some(LocalEntry::File { bytes, modified }) = storage.look(&target).await.map_err(failed)? {
                self.seen.is_single = true;
                self.file(&found(name_of(&source.path), bytes, modified), true)?;
                return Ok(());
            }
        }
        let root = root_of(&storage, &source.path).map_err(failed)?;
        self.waiting.push_back((String::new(), 0));
        while let Some((directory, depth)) = self.waiting.pop_front() {
            let path = if directory.is_empty() { root.clone() } else { beneath(&root, &directory) };
            for (name, listed) in storage.list(&path).await.map_err(failed)? {
                let path = beneath(&directory, &name);
                match listed {
                    LocalEntry::File { bytes, modified } => {
                        self.file(&found(path, bytes, modified), false)?;
                    }
                    LocalEntry::Directory => self.directory(path, depth + 1)?,
                    LocalEntry::Other => self.seen.passed.add(path, PassReason::NoFile),
                    LocalEntry::NotUtf8 => {
                        let entry = format!("{path}: its name is no UTF-8");
                        self.seen.passed.add(entry, PassReason::NotInCharset);
                    }
                }
            }
            self.seen.directories += 1;
        }
        Ok(())
    }
}

fn found(path: String, bytes: u64, modified: std::time::SystemTime) -> ListedSource {
    let exact_time = Timestamp::try_from(modified).ok();
    let modified = exact_time.map(|at| TimeRange { earliest: at, latest: at });
    ListedSource { path, size: Some(bytes), modified, exact_time }
}

fn name_of(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The directory that a local path means, relative to `base_path`: found as that of a file in it is.
fn root_of(storage: &LocalStorage, path: &str) -> Result<String, StorageError> {
    let target = storage.resolve(&beneath(path, "x"))?;
    Ok(target.relative().rsplit_once('/').map_or_else(String::new, |(directory, _)| directory.to_owned()))
}

//! Lists a source, directory by directory.

mod server;

use std::collections::VecDeque;
use std::io;
use std::ops::DerefMut;

use async_trait::async_trait;
use ftp_listing::TimeRange;
use jiff::Timestamp;

use super::filter::{FilterDecision, ListedSource};
use super::location::{Location, LocationConnection, beneath};
use super::passed_over::{PassReason, PassedOver};
use crate::config::{FileCriteria, LocalConnection};
use crate::failure::{Code, TryError};
use crate::ftp::Session;
use crate::storage::{LocalEntry, LocalStorage, StorageError};
use server::WalkFailure;

/// The maximum number of directories still to be listed.
const MAX_DIRECTORIES: usize = 1_000_000;
/// The maximum depth of nested directories: a server may show a cycle of symlinks as directories.
const MAX_DEPTH: usize = 100;

/// Why a source could not be listed completely.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    #[error("{connection}: {error}")]
    Ftp { connection: String, error: TryError },
    #[error("{connection}: {error}")]
    Local { connection: String, error: StorageError },
    #[error("cannot keep what was listed: {0}")]
    Unkept(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
}

impl WalkError {
    /// There is no such directory or file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            WalkError::Ftp { error, .. } => error.failure.code == Code::SourceNotFound,
            WalkError::Local { error, .. } => matches!(error, StorageError::SourceNotFound(_)),
            WalkError::Refused(_) | WalkError::Unkept(_) => false,
        }
    }

    /// Whether the source does not exist or is not accessible: no task can be created for it as given. (Otherwise it
    /// could not be determined.)
    #[must_use]
    pub fn is_input_error(&self) -> bool {
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
            WalkError::Unkept(_) => false,
        }
    }
}

/// A summary of the walk.
#[derive(Debug, Default)]
pub struct WalkSummary {
    pub files: u64,
    pub directories: u64,
    /// Directories that were not entered, since that was not requested.
    pub left_out: u64,
    /// The source is one file.
    pub is_single: bool,
    /// Entries for which no task was created, though the filter does not exclude them.
    pub passed: PassedOver,
}

/// Selects listed files, and receives them.
pub trait WalkVisitor {
    fn decide(&self, file: &ListedSource) -> FilterDecision;

    /// Whether a directory is listed at all.
    fn enters(&self, directory: &str) -> bool;

    /// Receives a selected file; `is_single` if the source is this one file.
    ///
    /// # Errors
    /// If it cannot be stored, which ends the listing.
    fn take(&mut self, file: &ListedSource, is_single: bool) -> io::Result<()>;

    /// A directory is about to be requested: its listing is not older than this call.
    fn begin_directory(&mut self) {}
}

/// The source of sessions for listings.
#[async_trait]
pub trait ListingSessions: Sync {
    type Session: DerefMut<Target = Session> + Send;

    async fn open(&self) -> Result<Self::Session, TryError>;

    /// Returns this session or another one to continue with: between two directories a session may be needed elsewhere.
    async fn keep_or_reopen(&self, session: Self::Session) -> Result<Self::Session, TryError> {
        Ok(session)
    }

    async fn close(&self, session: Self::Session);
}

/// Passes every selected file of `source` to `visitor`.
///
/// # Errors
/// If the source does not exist, or could not be listed completely.
pub async fn walk<V: WalkVisitor, S: ListingSessions>(
    source: &Location,
    criteria: &FileCriteria,
    visitor: &mut V,
    sessions: &S,
) -> Result<WalkSummary, WalkError> {
    let max_depth = criteria.max_depth.map_or(MAX_DEPTH, |most| most.saturating_sub(1));
    let (seen, waiting) = (WalkSummary::default(), VecDeque::new());
    let is_recursive = criteria.recursive;
    let mut walk = DirectoryWalk { visitor, is_recursive, max_depth, seen, waiting };
    match &source.connection {
        LocationConnection::Ftp(ftp) => {
            let failed = |error| WalkError::Ftp { connection: ftp.name.clone(), error };
            walk.server(sessions, ftp, source).await.map_err(|error| match error {
                WalkFailure::Try(error) => failed(error),
                WalkFailure::Walk(error) => error,
            })?;
        }
        LocationConnection::Local(local) => walk.local(local, source).await?,
    }
    Ok(walk.seen)
}

struct DirectoryWalk<'a, V> {
    visitor: &'a mut V,
    is_recursive: bool,
    /// Directories up to this depth are listed; deeper ones are skipped, unless they indicate a cycle.
    max_depth: usize,
    seen: WalkSummary,
    /// Paths beneath the source, with their depth.
    waiting: VecDeque<(String, usize)>,
}

impl<V: WalkVisitor> DirectoryWalk<'_, V> {
    fn file(&mut self, found: &ListedSource, is_single: bool) -> io::Result<()> {
        self.seen.files += 1;
        let is_taken =
            || matches!(self.visitor.decide(found), FilterDecision::Take | FilterDecision::TakeWithTime);
        if is_single || is_taken() { self.visitor.take(found, is_single) } else { Ok(()) }
    }

    fn directory(&mut self, path: String, depth: usize) -> Result<(), WalkError> {
        if !self.visitor.enters(&path) {
            return Ok(());
        }
        if !self.is_recursive {
            self.seen.left_out += 1;
            return Ok(());
        }
        if depth > self.max_depth && self.max_depth < MAX_DEPTH {
            self.seen.left_out += 1;
            return Ok(());
        }
        if depth > MAX_DEPTH {
            return Err(WalkError::Refused(format!(
                "{path}: directories are nested more than {MAX_DEPTH} deep: is there a loop of symlinks?"
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
            if let Some(LocalEntry::File { bytes, modified }) =
                storage.entry(&target).await.map_err(failed)?
            {
                self.seen.is_single = true;
                self.file(&found(name_of(&source.path), bytes, modified), true)?;
                return Ok(());
            }
        }
        let root = root_of(&storage, &source.path).map_err(failed)?;
        self.waiting.push_back((String::new(), 0));
        while let Some((directory, depth)) = self.waiting.pop_front() {
            let path = if directory.is_empty() { root.clone() } else { beneath(&root, &directory) };
            self.visitor.begin_directory();
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

/// The directory of a local path, relative to `base_path`: resolved like that of a file in it.
fn root_of(storage: &LocalStorage, path: &str) -> Result<String, StorageError> {
    let target = storage.resolve(&beneath(path, "x"))?;
    Ok(target.relative().rsplit_once('/').map_or_else(String::new, |(directory, _)| directory.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfiguredConnections;
    use crate::failure::{Failure, Remedy};

    struct NoSessions;

    #[async_trait]
    impl ListingSessions for NoSessions {
        type Session = Box<Session>;

        async fn open(&self) -> Result<Box<Session>, TryError> {
            let failure = Failure::new(Code::Internal, "nothing here is on a server");
            Err(TryError { failure, remedy: Remedy::GiveUp })
        }

        async fn close(&self, _: Box<Session>) {}
    }

    #[derive(Default)]
    struct Paths(Vec<String>);

    impl WalkVisitor for Paths {
        fn decide(&self, _: &ListedSource) -> FilterDecision {
            FilterDecision::Take
        }

        fn enters(&self, directory: &str) -> bool {
            directory != "left"
        }

        fn take(&mut self, file: &ListedSource, _: bool) -> io::Result<()> {
            self.0.push(file.path.clone());
            Ok(())
        }
    }

    /// The files listed, and how many directories were skipped.
    async fn listed(is_recursive: bool, max_depth: Option<usize>) -> (Vec<String>, u64) {
        let base = tempfile::tempdir().unwrap();
        for path in ["a", "one/b", "one/two/c", "left/d"] {
            let path = base.path().join("in").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let mut connections = ConfiguredConnections::default();
        let local = LocalConnection { name: "local".into(), base_path: base.path().to_owned() };
        connections.local.insert("local".into(), local.into());
        let source = Location::parse("local:/in/", &connections).unwrap();
        let criteria = FileCriteria { recursive: is_recursive, max_depth, ..FileCriteria::default() };
        let mut paths = Paths::default();
        let seen = walk(&source, &criteria, &mut paths, &NoSessions).await.unwrap();
        paths.0.sort();
        (paths.0, seen.left_out)
    }

    #[tokio::test]
    async fn directories_are_listed_as_deep_as_is_asked_for() {
        let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        assert_eq!(listed(false, None).await, (paths(&["a"]), 1));
        assert_eq!(listed(true, None).await, (paths(&["a", "one/b", "one/two/c"]), 0));
        assert_eq!(listed(true, Some(1)).await, (paths(&["a"]), 1));
        assert_eq!(listed(true, Some(2)).await, (paths(&["a", "one/b"]), 1));
        assert_eq!(listed(true, Some(3)).await, (paths(&["a", "one/b", "one/two/c"]), 0));
    }
}

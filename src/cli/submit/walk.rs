//! Lists a source, directory after directory.

use std::collections::VecDeque;
use std::io;

use jiff::Timestamp;

use super::filter::{FileFilter, ListedSource};
use super::task_builder::{Location, LocationConnection, beneath};
use crate::config::{FtpConnection, LocalConnection};
use crate::failure::{Code, TryError};
use crate::ftp::{EntryKind, ListedEntry, Session, SizeReply, UnreadLine};
use crate::storage::{LocalEntry, LocalStorage, StorageError, TempName};

/// Directories that wait to be listed, at most.
const MAX_DIRECTORIES: usize = 1_000_000;
/// How deep directories lie in one another at most: a server may show a circle of symlinks as directories.
const MAX_DEPTH: usize = 100;
/// Symlinks of one directory that are looked at.
const MAX_LINKS: usize = 100_000;
/// How often a directory is tried on a new session.
const TRIES: u32 = 3;
/// Entries that were passed over and are named; of more the number is told.
const NAMED: usize = 20;

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
    /// The source is one file.
    pub is_single: bool,
    /// Entries that no task can be made of: symlinks to directories, names that are no text.
    pub passed: Vec<String>,
    pub passed_count: u64,
}

impl WalkSummary {
    fn pass(&mut self, what: String) {
        self.passed_count += 1;
        if self.passed.len() < NAMED {
            self.passed.push(what);
        }
    }
}

/// Takes a file, and whether the source is this one file.
type TakeFile<'a> = dyn FnMut(&ListedSource, bool) -> io::Result<()> + 'a;

/// Hands every file of `source` that `filter` takes to `take`.
///
/// # Errors
/// The source is not there, or could not be listed to its end.
pub(super) async fn walk(
    source: &Location,
    is_recursive: bool,
    filter: &FileFilter,
    take: &mut TakeFile<'_>,
) -> Result<WalkSummary, WalkError> {
    let mut walk =
        DirectoryWalk { filter, is_recursive, take, seen: WalkSummary::default(), waiting: VecDeque::new() };
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
    seen: WalkSummary,
    /// Beneath the source, with their depth.
    waiting: VecDeque<(String, usize)>,
}

enum WalkFailure {
    Try(TryError),
    Walk(WalkError),
}

impl From<TryError> for WalkFailure {
    fn from(error: TryError) -> Self {
        WalkFailure::Try(error)
    }
}

impl From<WalkError> for WalkFailure {
    fn from(error: WalkError) -> Self {
        WalkFailure::Walk(error)
    }
}

impl From<io::Error> for WalkFailure {
    fn from(error: io::Error) -> Self {
        WalkFailure::Walk(error.into())
    }
}

impl DirectoryWalk<'_, '_> {
    fn file(&mut self, found: &ListedSource, is_single: bool) -> io::Result<()> {
        self.seen.files += 1;
        if is_single || self.filter.takes(found) { (self.take)(found, is_single) } else { Ok(()) }
    }

    fn directory(&mut self, path: String, depth: usize) -> Result<(), WalkError> {
        if !self.is_recursive || !self.filter.enters(&path) {
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

    async fn server(&mut self, connection: &FtpConnection, source: &Location) -> Result<(), WalkFailure> {
        let mut session = Session::open(connection).await?;
        if !source.is_directory()
            && let SizeReply::Bytes(bytes) = session.size(&on_server(connection, &source.path)?).await?
        {
            self.seen.is_single = true;
            let found = ListedSource {
                path: name_of(&source.path),
                size: Some(bytes),
                modified: None,
                is_exact: false,
            };
            self.file(&found, true)?;
            session.close().await;
            return Ok(());
        }
        self.waiting.push_back((String::new(), 0));
        while let Some((directory, depth)) = self.waiting.pop_front() {
            let path =
                if directory.is_empty() { source.path.clone() } else { beneath(&source.path, &directory) };
            let mut tries = 0;
            loop {
                tries += 1;
                let before = self.seen.files;
                let listed = self.server_directory(connection, &mut session, &path, &directory, depth).await;
                let Err(WalkFailure::Try(error)) = listed else { break listed? };
                // Half a directory cannot be taken back, and is not listed twice.
                if tries >= TRIES || session.is_usable() || self.seen.files > before {
                    return Err(WalkFailure::Try(error));
                }
                session = Session::open(connection).await?;
            }
            self.seen.directories += 1;
        }
        session.close().await;
        Ok(())
    }

    async fn server_directory(
        &mut self,
        connection: &FtpConnection,
        session: &mut Session,
        path: &str,
        directory: &str,
        depth: usize,
    ) -> Result<(), WalkFailure> {
        let mut links = Vec::new();
        let mut failed: Option<WalkError> = None;
        let listing = on_server(connection, path)?;
        session
            .list(directory_path(&listing), |entry| {
                let entry = entry.map(|entry| named(connection, entry));
                if failed.is_some() {
                    return;
                }
                failed = self.entry(entry, directory, depth, &mut links).err();
            })
            .await?;
        if let Some(error) = failed {
            return Err(WalkFailure::Walk(error));
        }
        // Whether a symlink is a file only RETR or SIZE can tell.
        for ListedEntry { name, modified, .. } in links {
            let relative = beneath(directory, &name);
            match session.size(&on_server(connection, &beneath(path, &name))?).await? {
                SizeReply::Bytes(bytes) => {
                    let found = ListedSource {
                        path: relative,
                        size: Some(bytes),
                        modified: modified.map(|modified| modified.at),
                        is_exact: false,
                    };
                    self.file(&found, false)?;
                }
                _ => self.seen.pass(format!("{relative}: a symlink that is no file")),
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: Result<ListedEntry, UnreadLine>,
        directory: &str,
        depth: usize,
        links: &mut Vec<ListedEntry>,
    ) -> Result<(), WalkError> {
        let entry = match entry {
            Ok(entry) => entry,
            Err(unread) => {
                self.seen.pass(format!("{directory}/: not understood: {}", unread.problem));
                return Ok(());
            }
        };
        if TempName::is_one(&entry.name) {
            return Ok(()); // an upload's, of some pod
        }
        let path = beneath(directory, &entry.name);
        match entry.kind {
            EntryKind::Directory => self.directory(path, depth + 1)?,
            EntryKind::File => {
                let modified = entry.modified.map(|modified| modified.at);
                let is_exact = entry.modified.is_some_and(|modified| modified.is_exact);
                self.file(&ListedSource { path, size: entry.size, modified, is_exact }, false)?;
            }
            EntryKind::Link if links.len() < MAX_LINKS => links.push(entry),
            EntryKind::Link | EntryKind::Other => self.seen.pass(format!("{path}: no file")),
        }
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
                    LocalEntry::Other => self.seen.pass(format!("{path}: no file")),
                    LocalEntry::NotUtf8 => self.seen.pass(format!("{path}: its name is no UTF-8")),
                }
            }
            self.seen.directories += 1;
        }
        Ok(())
    }
}

fn found(path: String, bytes: u64, modified: std::time::SystemTime) -> ListedSource {
    ListedSource { path, size: Some(bytes), modified: Timestamp::try_from(modified).ok(), is_exact: true }
}

fn name_of(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A path as the server takes it.
fn on_server(connection: &FtpConnection, path: &str) -> Result<String, WalkError> {
    let leads_up = || WalkError::Refused(format!("{}:{path} leads up (`..`)", connection.name));
    connection.on_server(path).ok_or_else(leads_up)
}

/// An entry by the name that a task says.
fn named(connection: &FtpConnection, entry: ListedEntry) -> ListedEntry {
    match connection.encoding {
        Some(encoding) => ListedEntry { name: encoding.from_server(&entry.name), ..entry },
        None => entry,
    }
}

/// A directory as servers take it: without a slash at its end.
fn directory_path(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => path.get(..1).unwrap_or_default(),
        trimmed => trimmed,
    }
}

/// The directory that a local path means, relative to `base_path`: found as that of a file in it is.
fn root_of(storage: &LocalStorage, path: &str) -> Result<String, StorageError> {
    let target = storage.resolve(&beneath(path, "x"))?;
    Ok(target.relative().rsplit_once('/').map_or_else(String::new, |(directory, _)| directory.to_owned()))
}

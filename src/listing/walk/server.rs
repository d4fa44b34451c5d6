//! Lists a source on a server: if the listing does not show what an entry is, that is queried for each one.

use ftp_listing::{EntryKind, TimeRange, data_set};

use super::{DirectoryWalk, ListingSessions, WalkError, WalkVisitor, name_of};
use crate::config::FtpConnection;
use crate::failure::{Code, TryError};
use crate::ftp::{ListedEntry, ModifiedReply, Session, SizeReply, UnreadLine, UnreadReason};
use crate::listing::filter::{FilterDecision, ListedSource};
use crate::listing::location::{Location, beneath};
use crate::listing::passed_over::PassReason;
use crate::storage::TempName;

/// How many entries of one directory are queried individually at most.
const MAX_ASKED: usize = 100_000;
/// How often a directory is tried on a new session.
const TRIES: u32 = 3;

/// Why the walk ends.
pub(super) enum WalkFailure {
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

impl From<std::io::Error> for WalkFailure {
    fn from(error: std::io::Error) -> Self {
        WalkFailure::Walk(error.into())
    }
}

/// A directory that is being listed.
struct ListedDirectory<'a> {
    connection: &'a FtpConnection,
    /// The path beneath the source.
    relative: &'a str,
    /// The path as a task writes it.
    path: &'a str,
    depth: usize,
    /// Entries that need a further query.
    asked: Vec<ListedEntry>,
    /// Whether the server reports a size for directories as well, once that was tested.
    sizes_directories: Option<bool>,
}

impl<V: WalkVisitor> DirectoryWalk<'_, V> {
    pub(super) async fn server<S: ListingSessions>(
        &mut self,
        sessions: &S,
        connection: &FtpConnection,
        source: &Location,
    ) -> Result<(), WalkFailure> {
        let mut session = sessions.open().await?;
        if !source.is_directory()
            && let Some(found) = single_file(connection, &mut session, &source.path).await?
        {
            self.seen.is_single = true;
            self.file(&found, true)?;
            sessions.close(session).await;
            return Ok(());
        }
        self.waiting.push_back((String::new(), 0));
        while let Some((relative, depth)) = self.waiting.pop_front() {
            session = sessions.keep_or_reopen(session).await?;
            let path = if relative.is_empty() { source.path.clone() } else { source.beneath(&relative) };
            let mut tries = 0;
            loop {
                tries += 1;
                let (relative, path) = (relative.as_str(), path.as_str());
                let before = self.seen.files;
                let (asked, sizes_directories) = (Vec::new(), None);
                let directory =
                    ListedDirectory { connection, relative, path, depth, asked, sizes_directories };
                let listed = self.server_directory(connection, &mut session, directory).await;
                let Err(WalkFailure::Try(mut error)) = listed else { break listed? };
                let is_untouched = self.seen.files == before;
                if depth > 0 && is_untouched && session.is_usable() && is_refusal(&error) {
                    self.seen.passed.add(error.failure.message, PassReason::DirectoryRefused);
                    break;
                }
                // A directory that was partly passed on cannot be undone, and is not listed twice.
                if depth == 0 && !source.is_directory() && error.failure.code == Code::SourceNotFound {
                    // CWD alone was refused: but the name may have been meant as a file's.
                    error.failure.message =
                        format!("there is neither a file nor a directory {path}: {}", error.failure.message);
                }
                if tries >= TRIES || session.is_usable() || !is_untouched {
                    return Err(WalkFailure::Try(error));
                }
                drop(session); // it may be the only one permitted
                session = sessions.open().await?;
            }
            self.seen.directories += 1;
        }
        sessions.close(session).await;
        Ok(())
    }

    async fn server_directory(
        &mut self,
        connection: &FtpConnection,
        session: &mut Session,
        mut directory: ListedDirectory<'_>,
    ) -> Result<(), WalkFailure> {
        let mut failed: Option<WalkError> = None;
        let listing = on_server(connection, directory.path)?;
        self.visitor.begin_directory();
        let clock_offset = session.clock_offset();
        let range = |entry: &ListedEntry| entry.modified.and_then(|at| at.range(clock_offset.as_ref()));
        session
            .list(directory_path(&listing), |entry| {
                if failed.is_none() {
                    failed = match entry {
                        Ok(entry) => self.entry(named(connection, entry), range, &mut directory).err(),
                        Err(unread) => {
                            self.unread(&unread, directory.relative);
                            None
                        }
                    };
                }
            })
            .await?;
        if let Some(error) = failed {
            return Err(WalkFailure::Walk(error));
        }
        for entry in std::mem::take(&mut directory.asked) {
            self.ask(connection, session, entry, &mut directory).await?;
        }
        Ok(())
    }

    fn unread(&mut self, unread: &UnreadLine, directory: &str) {
        let reason = match unread.reason {
            UnreadReason::NotUnderstood | UnreadReason::TooLong => PassReason::NotUnderstood,
            UnreadReason::NotInCharset => PassReason::NotInCharset,
            UnreadReason::NoFileName => PassReason::NoFileName,
        };
        self.seen.passed.add(format!("{directory}/: {unread}"), reason);
    }

    fn entry(
        &mut self,
        entry: ListedEntry,
        range: impl Fn(&ListedEntry) -> Option<TimeRange>,
        directory: &mut ListedDirectory<'_>,
    ) -> Result<(), WalkError> {
        if directory.connection.usual_temp_name(&entry.name).is_some_and(|name| TempName::is_one(&name)) {
            return Ok(()); // an upload's, of some pod
        }
        let path = beneath(directory.relative, &entry.name);
        match entry.kind {
            EntryKind::Directory => self.directory(path, directory.depth + 1)?,
            EntryKind::File => {
                let (size, modified, exact_time) = (entry.size, range(&entry), entry.exact_time());
                let found = ListedSource { path, size, modified, exact_time };
                match self.visitor.decide(&found) {
                    FilterDecision::Take | FilterDecision::Leave => self.file(&found, false)?,
                    // good enough, if too many queries would be needed
                    FilterDecision::TakeWithTime if directory.asked.len() >= MAX_ASKED => {
                        self.file(&found, false)?;
                    }
                    FilterDecision::TimeNotKnown
                    | FilterDecision::SizeNotKnown
                    | FilterDecision::TakeWithTime => {
                        self.ask_later(entry, directory);
                    }
                }
            }
            EntryKind::Symlink | EntryKind::Unknown => self.ask_later(entry, directory),
            EntryKind::Other => self.seen.passed.add(path, PassReason::NoFile),
        }
        Ok(())
    }

    fn ask_later(&mut self, entry: ListedEntry, directory: &mut ListedDirectory<'_>) {
        if directory.asked.len() < MAX_ASKED {
            directory.asked.push(entry);
        } else {
            self.seen.passed.add(beneath(directory.relative, &entry.name), PassReason::TooMany);
        }
    }

    /// Queries the server for an entry's type, size and modification time, as far as the decision depends on them.
    async fn ask(
        &mut self,
        connection: &FtpConnection,
        session: &mut Session,
        entry: ListedEntry,
        directory: &mut ListedDirectory<'_>,
    ) -> Result<(), WalkFailure> {
        let path = beneath(directory.relative, &entry.name);
        let whole = data_set::beneath(directory.path, &entry.name);
        let whole = whole.unwrap_or_else(|| beneath(directory.path, &entry.name));
        let on_server = on_server(connection, &whole)?;
        let modified = entry.modified.and_then(|at| at.range(session.clock_offset().as_ref()));
        let mut found = ListedSource { path, size: entry.size, modified, exact_time: entry.exact_time() };
        if entry.kind != EntryKind::File {
            match kind_of(connection, session, &on_server, directory).await? {
                AskedKind::File(size) => found.size = size,
                AskedKind::Directory if entry.kind == EntryKind::Unknown => {
                    return Ok(self.directory(found.path, directory.depth + 1)?);
                }
                AskedKind::Directory | AskedKind::Missing => {
                    self.seen.passed.add(found.path, PassReason::LinkToNoFile);
                    return Ok(());
                }
            }
        }
        if self.visitor.decide(&found) == FilterDecision::SizeNotKnown
            && let SizeReply::Bytes(bytes) = session.size(&on_server).await?
        {
            found.size = Some(bytes);
        }
        if matches!(self.visitor.decide(&found), FilterDecision::TimeNotKnown | FilterDecision::TakeWithTime)
            && let ModifiedReply::At(at) = session.modified(&on_server).await?
        {
            if let Some(listed) = &entry.modified {
                session.learn_clock_offset(listed, at);
            }
            found.modified = Some(TimeRange { earliest: at, latest: at });
        }
        match self.visitor.decide(&found) {
            FilterDecision::Take | FilterDecision::Leave | FilterDecision::TakeWithTime => {
                self.file(&found, false)?;
            }
            FilterDecision::TimeNotKnown => self.seen.passed.add(found.path, PassReason::TimeNotKnown),
            FilterDecision::SizeNotKnown => self.seen.passed.add(found.path, PassReason::SizeNotKnown),
        }
        Ok(())
    }
}

/// The type of an entry whose listing does not show it.
enum AskedKind {
    /// With its size, if the server has SIZE.
    File(Option<u64>),
    Directory,
    /// Such as a symlink to nothing.
    Missing,
}

async fn kind_of(
    connection: &FtpConnection,
    session: &mut Session,
    path: &str,
    directory: &mut ListedDirectory<'_>,
) -> Result<AskedKind, WalkFailure> {
    let size = session.size(path).await?;
    if let SizeReply::Bytes(bytes) = size
        && !sizes_directories(connection, session, directory).await?
    {
        return Ok(AskedKind::File(Some(bytes)));
    }
    if session.is_directory(path).await? {
        return Ok(AskedKind::Directory);
    }
    Ok(match size {
        SizeReply::Bytes(bytes) => AskedKind::File(Some(bytes)),
        SizeReply::Unsupported => AskedKind::File(None),
        SizeReply::Refused { .. } => AskedKind::Missing,
    })
}

/// Whether the server answers SIZE for a directory, tested with the one that is being listed.
async fn sizes_directories(
    connection: &FtpConnection,
    session: &mut Session,
    directory: &mut ListedDirectory<'_>,
) -> Result<bool, WalkFailure> {
    if let Some(known) = directory.sizes_directories {
        return Ok(known);
    }
    let path = on_server(connection, directory.path)?;
    // the login directory has no name
    let sizes = match directory_path(&path) {
        "" => true,
        path => matches!(session.size(path).await?, SizeReply::Bytes(_)),
    };
    directory.sizes_directories = Some(sizes);
    Ok(sizes)
}

/// The source, if it is a single file: SIZE reports its bytes, and it cannot be entered.
async fn single_file(
    connection: &FtpConnection,
    session: &mut Session,
    path: &str,
) -> Result<Option<ListedSource>, WalkFailure> {
    let on_server = on_server(connection, path)?;
    let SizeReply::Bytes(bytes) = session.size(&on_server).await? else { return Ok(None) };
    if session.is_directory(&on_server).await? {
        return Ok(None);
    }
    Ok(Some(ListedSource { path: name_of(path), size: Some(bytes), modified: None, exact_time: None }))
}

/// The server refuses to list this directory, but would list others.
fn is_refusal(error: &TryError) -> bool {
    matches!(
        error.failure.code,
        Code::SourceNotFound | Code::PermissionDenied | Code::PathNotAllowed | Code::Unsupported
    )
}

/// A path as the server accepts it.
fn on_server(connection: &FtpConnection, path: &str) -> Result<String, WalkError> {
    let leads_up = || WalkError::Refused(format!("{}:{path} leads up (`..`)", connection.name));
    connection.on_server(path).ok_or_else(leads_up)
}

/// An entry with its name as a task writes it.
fn named(connection: &FtpConnection, entry: ListedEntry) -> ListedEntry {
    match connection.encoding {
        Some(encoding) => ListedEntry { name: encoding.from_server(&entry.name), ..entry },
        None => entry,
    }
}

/// A directory as servers accept it: without a trailing slash.
fn directory_path(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => path.get(..1).unwrap_or_default(),
        trimmed => trimmed,
    }
}

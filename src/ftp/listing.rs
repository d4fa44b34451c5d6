//! The contents of a directory: MLSD (RFC 3659, 7) if the server has it, else LIST.
//!
//! Both users share this path: transfers of whole directories, and sweeps for temp files. They differ in how LIST is
//! sent:
//!
//! - [`Session::list`] enters the directory first and lists without a path: some servers ignore the path and list
//!   another directory, vsftpd treats it as a pattern, and z/OS and VMS have their own path syntax.
//! - [`Session::files_in`] must not change the session's directory, as tasks may use relative paths, and needs hidden
//!   files: it sends `LIST -a PATH`. (Pure-FTPd lists no hidden files by NLST, with or without `-a`.)

use bytes::BufMut;
use ftp_listing::{ClockOffset, EntryKind, ListedTime, ListingSource};
use jiff::Timestamp;

use crate::failure::{Code, TryError};
use crate::text::shown;

use super::command::Step;
use super::listing_lines::{ListedEntry, ListingLines, ListingOptions, UnreadLine, is_name};
use super::session::Session;

/// How many bytes are read at once.
const CHUNK: usize = 64 * 1024;
/// How many bytes of a listing a sweep reads; the rest is not checked.
const MAX_SWEPT: usize = 4 << 20;

/// The argument of a listing command, and its limits.
#[derive(Clone, Copy)]
struct ListingRequest<'a> {
    /// Empty: the current directory.
    argument: &'a str,
    /// The directory that is listed, for messages.
    directory: &'a str,
    /// How many bytes of it are read at most.
    most: usize,
}

impl Session {
    /// Passes each entry of `directory` (empty: the login directory) to `take`; a line that is not an entry is passed
    /// as the error. Memory use does not grow with the directory. Changes the current directory.
    ///
    /// # Errors
    /// /// `source_not_found` if there is no such directory, `permission_denied` if it may not be read; otherwise those
    /// of RETR.
    pub async fn list(
        &mut self,
        directory: &str,
        mut take: impl FnMut(Result<ListedEntry, UnreadLine>),
    ) -> Result<(), TryError> {
        let is_entered = self.enter(directory).await?;
        let argument = if is_entered { "" } else { directory };
        let request = ListingRequest { argument, directory, most: usize::MAX };
        let listed = match self.mlsd(request, &mut take).await {
            Some(listed) => listed,
            None => self.read_listing(Step::List, request, &mut take).await,
        };
        match listed {
            // Some servers report an empty directory this way: it exists, since CWD succeeded.
            Err(error)
                if is_entered
                    && self.is_usable()
                    && matches!(error.failure.ftp_code, Some(450 | 550))
                    && error.failure.code != Code::PermissionDenied =>
            {
                Ok(())
            }
            Err(mut error) if argument.is_empty() && !directory.is_empty() => {
                error.failure.message = format!("{}: {}", shown(directory), error.failure.message);
                Err(error)
            }
            listed => listed,
        }
    }

    /// The offset of the server's clock from UTC, if it is configured or was learned.
    #[must_use]
    pub fn clock_offset(&self) -> Option<ClockOffset> {
        let configured = self.connection().time_offset.map(ClockOffset::configured);
        configured.or_else(|| self.profile().clock_offset())
    }

    /// Learns the offset of the server's clock from a file's time in a listing, and MDTM's reply for it.
    pub fn learn_clock_offset(&self, listed: &ListedTime, modified: Timestamp) {
        if self.clock_offset().is_none()
            && let Some(clock) = ClockOffset::learn(listed, modified)
        {
            let connection = &self.connection().name;
            tracing::debug!(
                event = "clock_offset_learned", connection, offset = %clock.offset,
                "learned the offset of the server's clock"
            );
            self.profile().learn_clock_offset(clock);
        }
    }

    /// The files in `directory` (with a trailing slash; empty for the login directory), including hidden ones, whose
    /// names satisfy `is_wanted`. Of a huge directory only the first four mebibytes of the list are read. If a line is
    /// not understood, its last word is taken for a name.
    ///
    /// # Errors
    /// Those of RETR. A directory that is empty or missing, which servers do not distinguish, has no files.
    pub async fn files_in(
        &mut self,
        directory: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<ListedEntry>, TryError> {
        let mut path = match directory.trim_end_matches('/') {
            "" if directory.is_empty() => ".",
            "" => "/",
            path => path,
        };
        if self.enters_directories() && self.enter(if path == "." { "" } else { path }).await? {
            path = ".";
        }
        let mut files = Vec::new();
        let mut take = |read: Result<ListedEntry, UnreadLine>| {
            let file = read.map_or_else(|unread| last_word(&unread.line), Some);
            let is_file = |file: &ListedEntry| matches!(file.kind, EntryKind::File | EntryKind::Unknown);
            files.extend(file.filter(|file| is_file(file) && is_wanted(&file.name)));
        };
        let request = ListingRequest { argument: path, directory: path, most: MAX_SWEPT };
        let listed = if let Some(listed) = self.mlsd(request, &mut take).await {
            listed
        } else {
            let with_hidden = ListingRequest { argument: &format!("-a {path}"), ..request };
            let listed = self.read_listing(Step::List, with_hidden, &mut take).await;
            // If the server does not know options, it takes them for a name, or refuses them.
            match self.unless_refused(listed, &[450, 500, 501, 502, 503, 504, 550])? {
                Some(()) => Ok(()),
                None => self.read_listing(Step::List, request, &mut take).await,
            }
        };
        self.unless_refused(listed, &[450, 550])?;
        Ok(files)
    }

    /// Whether sizes and times of this server's listings are exact.
    #[must_use]
    pub fn lists_exactly(&self) -> bool {
        self.features().has("MLST") || self.features().has("MLSD")
    }

    /// `None` if the server has no MLSD; some list it in FEAT without having it.
    async fn mlsd(
        &mut self,
        request: ListingRequest<'_>,
        take: &mut impl FnMut(Result<ListedEntry, UnreadLine>),
    ) -> Option<Result<(), TryError>> {
        if !self.lists_exactly() || self.lacks(Step::Mlsd) {
            return None;
        }
        let listed = self.read_listing(Step::Mlsd, request, take).await;
        let listed = self.unless_refused(listed, &[500, 501, 502, 503, 504]).transpose();
        if listed.is_none() {
            self.found_missing(Step::Mlsd);
        }
        listed
    }

    /// `None` for a refusal with one of these codes.
    fn unless_refused(&self, listed: Result<(), TryError>, codes: &[u16]) -> Result<Option<()>, TryError> {
        match listed {
            Err(error)
                if self.is_usable() && error.failure.ftp_code.is_some_and(|code| codes.contains(&code)) =>
            {
                Ok(None)
            }
            listed => listed.map(Some),
        }
    }

    /// Reads a listing as it arrives.
    async fn read_listing(
        &mut self,
        step: Step,
        request: ListingRequest<'_>,
        take: &mut impl FnMut(Result<ListedEntry, UnreadLine>),
    ) -> Result<(), TryError> {
        let options = ListingOptions {
            source: if step == Step::Mlsd { ListingSource::Mlsd } else { ListingSource::List },
            directory: request.directory,
            charset: self.connection().charset,
            now: Timestamp::now(),
            clock_offset: self.clock_offset(),
        };
        let mut lines = ListingLines::new(options, take);
        let mut download = self.download(step, request.argument).await?;
        let mut buffer: Vec<u8> = Vec::with_capacity(CHUNK);
        let mut bytes = 0;
        while bytes < request.most {
            buffer.clear();
            match download.read(&mut (&mut buffer).limit(CHUNK)).await? {
                0 => {
                    lines.end();
                    return download.finish().await.map(|_| ());
                }
                read => bytes += read,
            }
            lines.push(&buffer);
        }
        lines.end();
        download.abort().await;
        Ok(())
    }
}

/// The file named by the last word of a line. The rest is unusable: sizes and times are in no fixed place.
fn last_word(line: &str) -> Option<ListedEntry> {
    let name = line.split_ascii_whitespace().next_back()?.rsplit('/').next()?;
    let name = Some(name).filter(|name| is_name(name))?.to_owned();
    Some(ListedEntry { name, kind: EntryKind::File, size: None, modified: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_line_that_is_not_understood_the_last_word_is_a_name() {
        for (line, name) in
            [("+i8388621.48594,m825718503,r,s280,\tdjb.html", Some("djb.html")), ("a d/x", Some("x"))]
        {
            assert_eq!(last_word(line).map(|entry| entry.name).as_deref(), name, "{line}");
        }
        assert_eq!(last_word("   "), None);
        assert_eq!(last_word("x d/"), None);
    }
}

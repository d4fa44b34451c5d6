//! What is in a directory: MLSD (RFC 3659, 7) where the server has it, else LIST.
//!
//! Both users go the same way, whole directories to be transferred and sweeps for temp files. They differ in how LIST
//! is sent:
//!
//! - [`Session::list`] enters the directory first and sends LIST without a path, since vsftpd takes a path for a
//!   pattern and answers a missing one like an empty directory.
//! - [`Session::files_in`] must leave the session where it is, as tasks may name relative paths, and wants hidden
//!   files: it sends `LIST -a PATH`. (Pure-FTPd lists no hidden files by NLST, with or without `-a`.)

use bytes::BufMut;

use crate::failure::TryError;

use super::charset::decode;
use super::command::Step;
use super::fault::Fault;
use super::list_line::{EntryKind, ListLine, ListedEntry, parse_list, parse_mlsd};
use super::session::Session;

/// Bytes of one line at most; what is longer is reported as not understood.
const MAX_LINE: usize = 64 * 1024;
/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// Bytes of a list that a sweep reads; what comes after them is not looked at.
const MAX_SWEPT: usize = 4 << 20;

/// A line of a listing that is no entry, though it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadLine {
    pub line: String,
    /// Why, in a user's words.
    pub problem: String,
}

impl Session {
    /// Hands each entry of `directory` (empty: the one logged in to) to `take`; a line that could not be
    /// understood is the error. Memory does not grow with the directory. Changes the current directory.
    ///
    /// # Errors
    /// `source_not_found` where there is no such directory; else as of RETR.
    pub async fn list(
        &mut self,
        directory: &str,
        mut take: impl FnMut(Result<ListedEntry, UnreadLine>),
    ) -> Result<(), TryError> {
        let path = if directory.is_empty() { "." } else { directory };
        if let Some(listed) = self.mlsd(path, usize::MAX, &mut take).await {
            return listed;
        }
        let path = absolute(&self.home().await?, directory);
        let reply = self.ask(Step::Cwd, &path).await?;
        if !reply.is_done() {
            return Err(self.fail(Step::Cwd, Some(&path), &Fault::Reply(reply)));
        }
        // 450 and 550 mean an empty directory, as some servers say it: it is there, CWD said so.
        let listed = self.read_listing(Step::List, ".", usize::MAX, &mut take).await;
        self.unless_refused(listed, &[450, 550]).map(|_| ())
    }

    /// The files in `directory` (with the slash at its end; empty for the one logged in to), hidden ones
    /// included, whose names fulfil `is_wanted`. Of a huge directory only the first four mebibytes of the list. Of a
    /// line that is not understood the last word is taken for a name.
    ///
    /// # Errors
    /// As of RETR. A directory that is empty or missing, which servers do not tell apart, has no files.
    pub async fn files_in(
        &mut self,
        directory: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<ListedEntry>, TryError> {
        let path = match directory.trim_end_matches('/') {
            "" if directory.is_empty() => ".",
            "" => "/",
            path => path,
        };
        let mut files = Vec::new();
        let mut take = |read: Result<ListedEntry, UnreadLine>| {
            let file = read.map_or_else(|unread| last_word(&unread.line), Some);
            files.extend(file.filter(|file| file.kind == EntryKind::File && is_wanted(&file.name)));
        };
        let listed = if let Some(listed) = self.mlsd(path, MAX_SWEPT, &mut take).await {
            listed
        } else {
            let with_hidden = format!("-a {path}");
            let listed = self.read_listing(Step::List, &with_hidden, MAX_SWEPT, &mut take).await;
            // Where options are not known, they are a name, or refused.
            match self.unless_refused(listed, &[450, 500, 501, 502, 503, 504, 550])? {
                Some(()) => Ok(()),
                None => self.read_listing(Step::List, path, MAX_SWEPT, &mut take).await,
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

    /// `None` where the server has no MLSD; some say in FEAT that they have it.
    async fn mlsd(
        &mut self,
        path: &str,
        most: usize,
        take: &mut impl FnMut(Result<ListedEntry, UnreadLine>),
    ) -> Option<Result<(), TryError>> {
        if !self.lists_exactly() {
            return None;
        }
        let listed = self.read_listing(Step::Mlsd, path, most, take).await;
        self.unless_refused(listed, &[500, 501, 502, 503, 504]).transpose()
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

    /// Reads a listing line by line, `most` bytes of it.
    async fn read_listing(
        &mut self,
        step: Step,
        argument: &str,
        most: usize,
        take: &mut impl FnMut(Result<ListedEntry, UnreadLine>),
    ) -> Result<(), TryError> {
        let charset = self.connection().charset;
        let mut lines =
            ListingLines { directory: argument, step, charset, take, begun: Vec::new(), skips: false };
        let mut download = self.download(step, argument).await?;
        let mut buffer: Vec<u8> = Vec::with_capacity(CHUNK);
        let mut bytes = 0;
        while bytes < most {
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
        download.abort().await;
        Ok(())
    }
}

/// Splits a listing into lines, and hands their entries over.
struct ListingLines<'a, T> {
    directory: &'a str,
    step: Step,
    charset: Option<&'static encoding_rs::Encoding>,
    take: &'a mut T,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
    /// The line was too long: its rest is skipped.
    skips: bool,
}

impl<T: FnMut(Result<ListedEntry, UnreadLine>)> ListingLines<'_, T> {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.skips {
                self.begun.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                self.end();
            } else if self.begun.len() > MAX_LINE {
                self.begun.clear();
                self.skips = true;
                let problem = format!("a line of more than {MAX_LINE} bytes");
                (self.take)(Err(UnreadLine { line: String::new(), problem }));
            }
        }
    }

    /// The present line is complete.
    fn end(&mut self) {
        self.skips = false;
        let begun = std::mem::take(&mut self.begun);
        let line = begun.strip_suffix(b"\n").unwrap_or(&begun);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return;
        }
        if let Some(charset) = self.charset {
            return self.line(&decode(charset, line));
        }
        if let Ok(line) = std::str::from_utf8(line) {
            return self.line(line);
        }
        let line = String::from_utf8_lossy(line).into_owned();
        let shown = line.escape_debug();
        let problem = format!("{shown}: no UTF-8; the connection's `charset` may help");
        (self.take)(Err(UnreadLine { line, problem }));
    }

    fn line(&mut self, line: &str) {
        let parsed = if self.step == Step::Mlsd { parse_mlsd(line) } else { parse_list(line) };
        let problem = match parsed {
            ListLine::Nothing => return,
            ListLine::Entry(entry) => {
                // Some give the directory as well.
                let within = entry.name.strip_prefix(self.directory.trim_end_matches('/'));
                let name = within.and_then(|name| name.strip_prefix('/')).unwrap_or(&entry.name);
                match name {
                    "." | ".." => return,
                    name if is_name(name) => {
                        let name = name.to_owned();
                        return (self.take)(Ok(ListedEntry { name, ..entry }));
                    }
                    name => format!("{}: no file's name", name.escape_debug()),
                }
            }
            ListLine::NotUnderstood => line.escape_debug().to_string(),
        };
        (self.take)(Err(UnreadLine { line: line.to_owned(), problem }));
    }
}

/// A server is not believed when it gives a name that leads elsewhere.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0', '\r', '\n'])
}

/// What the last word of a line names. The rest is no measure: sizes and times are in no fixed place.
fn last_word(line: &str) -> Option<ListedEntry> {
    let name = line.split_ascii_whitespace().next_back()?.rsplit('/').next()?;
    let name = Some(name).filter(|name| is_name(name))?.to_owned();
    Some(ListedEntry { name, kind: EntryKind::File, size: None, modified: None })
}

fn absolute(home: &str, directory: &str) -> String {
    match directory {
        "" => home.to_owned(),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{}/{relative}", home.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is handed over of a listing that comes in pieces of this size.
    fn read(
        step: Step,
        directory: &str,
        listing: &str,
        piece: usize,
    ) -> Vec<Result<ListedEntry, UnreadLine>> {
        let mut taken = Vec::new();
        let mut take = |entry| taken.push(entry);
        let (begun, skips) = (Vec::new(), false);
        let mut lines = ListingLines { directory, step, charset: None, take: &mut take, begun, skips };
        listing.as_bytes().chunks(piece).for_each(|piece| lines.push(piece));
        lines.end();
        taken
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let listing =
            "type=file;size=1; a\r\n\r\ntype=dir; d/x\ntype=file; /pub/b\r\ntype=cdir; /pub\ntype=file; c";
        let whole = read(Step::Mlsd, "/pub", listing, 1000);
        let names: Vec<_> = whole.iter().map(|read| read.as_ref().map(|entry| entry.name.as_str())).collect();
        assert!(matches!(names[..], [Ok("a"), Err(_), Ok("b"), Ok("c")]), "{names:?}");
        for piece in 1..listing.len() {
            assert_eq!(read(Step::Mlsd, "/pub", listing, piece), whole);
        }
    }

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

    #[test]
    fn a_relative_directory_is_one_of_the_directory_logged_in_to() {
        assert_eq!(absolute("/", "a"), "/a");
        assert_eq!(absolute("/home", ""), "/home");
        assert_eq!(absolute("/home", "/pub"), "/pub");
    }

    proptest! {
        #[test]
        fn whatever_a_server_lists_no_name_leads_elsewhere(line in ".{0,120}|type=file;size=1; .{0,40}") {
            for step in [Step::Mlsd, Step::List] {
                for entry in read(step, "/pub", &line, 7).into_iter().flatten() {
                    prop_assert!(is_name(&entry.name));
                }
            }
        }
    }
}

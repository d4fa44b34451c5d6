//! From the bytes of a listing to entries with Unicode names. Pure.

use crate::text::shown;
use encoding_rs::Encoding;
use ftp_listing::{Clock, ListingReader, ListingSource, MAX_LINE, TimePrecision};
use ftp_listing::{ClockOffset, Dialect, EntryKind, ListedTime, ListingContext, ListingEntry, ListingItem};
use jiff::Timestamp;
use jiff::tz::Offset;

/// One entry of a directory; never the directory itself or its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// Only a member of an AS/400 file has a `/` in its name.
    pub name: String,
    pub kind: EntryKind,
    /// In bytes, exact.
    pub size: Option<u64>,
    pub modified: Option<ListedTime>,
}

impl ListedEntry {
    /// When it was last changed, if the server reports that in UTC and to the second.
    #[must_use]
    pub fn exact_time(&self) -> Option<Timestamp> {
        let modified = self.modified?;
        let is_exact = modified.clock == Clock::Utc && modified.precision == TimePrecision::Second;
        Offset::UTC.to_timestamp(modified.at).ok().filter(|_| is_exact)
    }
}

/// A line of a listing that could not be read as an entry, though it may be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadLine {
    /// As received, as far as it is text.
    pub line: String,
    pub reason: UnreadReason,
}

/// Why a line is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadReason {
    /// In no known listing format.
    NotUnderstood,
    TooLong,
    /// Its name is not in the connection's charset.
    NotInCharset,
    /// Its name contains a path, or a character that no command can send.
    NoFileName,
}

impl std::fmt::Display for UnreadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = shown(&self.line);
        match self.reason {
            UnreadReason::NotUnderstood => write!(f, "not understood: {line}"),
            UnreadReason::TooLong => write!(f, "a line of more than {MAX_LINE} bytes: {line}…"),
            UnreadReason::NotInCharset => {
                write!(f, "{line}: not in the connection's charset (its key is `charset`; UTF-8 without it)")
            }
            UnreadReason::NoFileName => write!(f, "{line}: no file's name"),
        }
    }
}

/// What is needed to read a listing.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListingOptions<'a> {
    pub source: ListingSource,
    /// As it was requested.
    pub directory: &'a str,
    pub charset: Option<&'static Encoding>,
    pub now: Timestamp,
    pub clock_offset: Option<ClockOffset>,
}

/// Reads a listing as it arrives, and passes its entries on.
pub(super) struct ListingLines<T> {
    reader: ListingReader,
    names: NameDecoder,
    take: T,
}

struct NameDecoder {
    charset: Option<&'static Encoding>,
    /// The previous name, if it is one of several versions.
    versioned: Option<Vec<u8>>,
}

impl<T: FnMut(Result<ListedEntry, UnreadLine>)> ListingLines<T> {
    pub fn new(options: ListingOptions, take: T) -> Self {
        let directory = match options.charset {
            Some(charset) => charset.encode(options.directory).0.into_owned(),
            None => options.directory.as_bytes().to_vec(),
        };
        let (source, now, clock_offset) = (options.source, options.now, options.clock_offset);
        ListingLines {
            reader: ListingReader::new(ListingContext { source, directory, now, clock_offset }),
            names: NameDecoder { charset: options.charset, versioned: None },
            take,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let ListingLines { reader, names, take } = self;
        reader.push(bytes, |item| names.hand_over(item, take));
    }

    /// The listing is complete.
    pub fn end(self) {
        let ListingLines { reader, mut names, mut take } = self;
        reader.finish(|item| names.hand_over(item, &mut take));
    }
}

impl NameDecoder {
    fn hand_over(&mut self, item: ListingItem, take: &mut impl FnMut(Result<ListedEntry, UnreadLine>)) {
        match item {
            ListingItem::Unrecognized(line) => {
                take(Err(UnreadLine { line: self.shown(&line), reason: UnreadReason::NotUnderstood }));
            }
            ListingItem::Overlong(begin) => {
                take(Err(UnreadLine { line: self.shown(&begin), reason: UnreadReason::TooLong }));
            }
            ListingItem::Entry(entry) if self.is_older_version(&entry) => {}
            ListingItem::Entry(entry) => take(self.entry(entry)),
        }
    }

    /// VMS lists the versions of a file one after another; the name alone means the newest.
    fn is_older_version(&mut self, entry: &ListingEntry) -> bool {
        if entry.version.is_none() || entry.kind != EntryKind::File {
            self.versioned = None;
            return false;
        }
        let is_older = self.versioned.as_ref() == Some(&entry.name);
        if !is_older {
            self.versioned = Some(entry.name.clone());
        }
        is_older
    }

    fn entry(&self, entry: ListingEntry) -> Result<ListedEntry, UnreadLine> {
        let ListingEntry { name, kind, size, modified, dialect, .. } = entry;
        let Some(decoded) = self.decode(&name) else {
            return Err(UnreadLine { line: self.shown(&name), reason: UnreadReason::NotInCharset });
        };
        let is_right =
            if dialect == Dialect::As400 { decoded.split('/').all(is_name) } else { is_name(&decoded) };
        if !is_right {
            return Err(UnreadLine { line: decoded, reason: UnreadReason::NoFileName });
        }
        Ok(ListedEntry { name: decoded, kind, size, modified })
    }

    fn decode(&self, name: &[u8]) -> Option<String> {
        let text = match self.charset {
            Some(charset) => charset.decode_without_bom_handling_and_without_replacement(name)?.into_owned(),
            None => String::from_utf8(name.to_vec()).ok()?,
        };
        (!text.contains(char::REPLACEMENT_CHARACTER)).then_some(text)
    }

    fn shown(&self, bytes: &[u8]) -> String {
        match self.charset {
            Some(charset) => charset.decode_without_bom_handling(bytes).0.into_owned(),
            None => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

/// A server's name that leads to another directory is not accepted.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0', '\r', '\n'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(
        source: ListingSource,
        charset: Option<&'static Encoding>,
        bytes: &[u8],
        piece: usize,
    ) -> Vec<Result<ListedEntry, UnreadLine>> {
        let mut taken = Vec::new();
        let now = "2026-11-29T12:00:00Z".parse().unwrap();
        let options = ListingOptions { source, directory: "/pub", charset, now, clock_offset: None };
        let mut lines = ListingLines::new(options, |entry| taken.push(entry));
        bytes.chunks(piece).for_each(|piece| lines.push(piece));
        lines.end();
        taken
    }

    fn names(read: &[Result<ListedEntry, UnreadLine>]) -> Vec<Result<&str, UnreadReason>> {
        read.iter()
            .map(|read| read.as_ref().map(|entry| entry.name.as_str()).map_err(|unread| unread.reason))
            .collect()
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let listing =
            b"type=file;size=1; a\r\n\r\ntype=file; a\0b\ntype=file; /pub/b\r\ntype=cdir; /pub\ntype=file; c";
        let whole = read(ListingSource::Mlsd, None, listing, 1000);
        assert_eq!(names(&whole), [Ok("a"), Err(UnreadReason::NoFileName), Ok("b"), Ok("c")]);
        for piece in 1..listing.len() {
            assert_eq!(read(ListingSource::Mlsd, None, listing, piece), whole);
        }
    }

    #[test]
    fn names_are_in_the_connections_charset_or_reported() {
        let listing = b"type=file; gr\xfcn\r\ntype=file; a\r\n";
        let utf8 = read(ListingSource::Mlsd, None, listing, 100);
        assert_eq!(names(&utf8), [Err(UnreadReason::NotInCharset), Ok("a")]);
        let latin = read(ListingSource::Mlsd, Some(encoding_rs::WINDOWS_1252), listing, 100);
        assert_eq!(names(&latin), [Ok("gr\u{fc}n"), Ok("a")]);
        let shift_jis = read(
            ListingSource::Mlsd,
            Some(encoding_rs::SHIFT_JIS),
            b"type=file; \x83\x5c.csv\r\ntype=file; \xff\r\n",
            3,
        );
        assert_eq!(names(&shift_jis), [Ok("ソ.csv"), Err(UnreadReason::NotInCharset)]);
    }

    #[test]
    fn of_several_versions_the_newest_is_taken() {
        let listing = b"A.TXT;4  2  18-APR-2000 10:40\r\nA.TXT;3  2  17-APR-2000 10:40\r\nB.TXT;1  2  17-APR-2000 10:40\r\n";
        assert_eq!(names(&read(ListingSource::List, None, listing, 100)), [Ok("A.TXT"), Ok("B.TXT")]);
    }

    #[test]
    fn a_member_is_named_with_its_file() {
        let listing = b"Q   *MEM  X.FILE/Y.MBR\r\nQ   *MEM  ../Y.MBR\r\n";
        let read = read(ListingSource::List, None, listing, 100);
        assert_eq!(names(&read), [Ok("X.FILE/Y.MBR"), Err(UnreadReason::NoFileName)]);
    }

    proptest! {
        #[test]
        fn whatever_a_server_lists_no_name_leads_elsewhere(line in ".{0,120}|type=file;size=1; .{0,40}|Q *MEM [./a-c]{1,9}") {
            for source in [ListingSource::Mlsd, ListingSource::List, ListingSource::Nlst] {
                for entry in read(source, None, line.as_bytes(), 7).into_iter().flatten() {
                    prop_assert!(entry.name.split('/').all(is_name));
                }
            }
        }
    }
}

//! The content of a listing's entry.

use jiff::civil::DateTime;

use crate::dialects::Dialect;

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    File,
    Directory,
    /// A symbolic link, a junction; its target may be a file or a directory.
    Symlink,
    /// A device, a pipe, a socket, or anything else that FTP servers do not send as a file.
    Other,
    /// A bare name: the server does not show the type.
    Unknown,
}

/// The clock of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clock {
    /// MLSD (RFC 3659, 2.3), EPLF, and lines that include their offset.
    Utc,
    /// The server's wall clock, whose offset the listing does not show.
    ServerLocal,
}

/// The precision of a time: the entry was changed in the second, minute or day that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimePrecision {
    Second,
    Minute,
    Day,
}

/// When an entry was changed, according to its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListedTime {
    /// Date and time on `clock`; what is below `precision` is zero.
    pub at: DateTime,
    pub clock: Clock,
    pub precision: TimePrecision,
    /// The line has no year: the last one is assumed in which this date is at most a day in the future.
    pub year_is_inferred: bool,
}

/// One entry of a directory. Never the directory itself or its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingEntry {
    /// As written by the server, in its charset, including blanks at either end. Without the listed directory, which
    /// some servers prepend, without a trailing `/`, and without a VMS version. A member of an AS/400 file has a `/` in
    /// it (`X.FILE/Y.MBR`), since that is its name. Any other name with a `/` does not belong to this directory.
    pub name: Vec<u8>,
    pub kind: EntryKind,
    /// Exact bytes. A size in blocks, lines or records, or a rounded one, is not included.
    pub size: Option<u64>,
    pub modified: Option<ListedTime>,
    pub link_target: Option<Vec<u8>>,
    /// VMS keeps several versions of a file under one name.
    pub version: Option<u32>,
    pub dialect: Dialect,
}

/// An item of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListingItem {
    Entry(ListingEntry),
    /// A line in no known dialect, without its line end.
    Unrecognized(Vec<u8>),
    /// The start of a line of more than [`crate::MAX_LINE`] bytes.
    Overlong(Vec<u8>),
}

/// The command whose reply is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingSource {
    List,
    /// One name per line, and nothing else (RFC 959, 4.1.3).
    Nlst,
    /// Facts and a name (RFC 3659, 7); MLST's line starts with a blank, which the caller must remove.
    Mlsd,
}

//! What a listing tells of an entry.

use jiff::civil::DateTime;

use crate::dialects::Dialect;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    File,
    Directory,
    /// A symbolic link, a junction; its target may be a file or a directory.
    Symlink,
    /// A device, a pipe, a socket, or what no FTP server sends as a file.
    Other,
    /// A bare name: the server does not say.
    Unknown,
}

/// The clock that a time is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clock {
    /// MLSD (RFC 3659, 2.3), EPLF, and lines that give their offset.
    Utc,
    /// The server's wall clock, whose offset the listing does not tell.
    ServerLocal,
}

/// How exact a time is: the entry was changed in the second, minute or day that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimePrecision {
    Second,
    Minute,
    Day,
}

/// When an entry was changed, as far as its line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListedTime {
    /// Date and time on `clock`; what is below `precision` is zero.
    pub at: DateTime,
    pub clock: Clock,
    pub precision: TimePrecision,
    /// The line has no year: it is the last one in which this date is not ahead of now by more than a day.
    pub year_is_inferred: bool,
}

/// One entry of a directory. Never the directory itself or the one above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingEntry {
    /// As the server writes it, in its charset; blanks at either end are kept. Without the listed directory, which some
    /// servers put before it, without `/` at its end, and without a VMS version. A member of an AS/400 file has a `/`
    /// in it (`X.FILE/Y.MBR`), for that is its name. Any other name with a `/` is not one of this directory.
    pub name: Vec<u8>,
    pub kind: EntryKind,
    /// Exact bytes. What is told in blocks, lines, records or rounded is none.
    pub size: Option<u64>,
    pub modified: Option<ListedTime>,
    pub link_target: Option<Vec<u8>>,
    /// VMS keeps several versions of a file under one name.
    pub version: Option<u32>,
    pub dialect: Dialect,
}

/// What comes out of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListingItem {
    Entry(ListingEntry),
    /// A line that no dialect understands, without its line end.
    Unrecognized(Vec<u8>),
    /// The begin of a line of more than [`crate::MAX_LINE`] bytes.
    Overlong(Vec<u8>),
}

/// The command whose answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingSource {
    List,
    /// One name a line, and nothing else (RFC 959, 4.1.3).
    Nlst,
    /// Facts and a name (RFC 3659, 7); MLST's line begins with a blank, which the caller takes away.
    Mlsd,
}

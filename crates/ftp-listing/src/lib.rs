//! Parses the directory listings that FTP servers send for LIST, NLST, MLSD and MLST. No I/O, no clock: bytes in,
//! entries out; a line in no known dialect is returned as such.
//!
//! LIST has no standard (RFC 959, 4.1.3 leaves its form to the server). A line is parsed by its columns: where the date
//! is, where the size before it, where the name begins. What is ambiguous in one line (month or day first? a year, or a
//! name that begins with a number?) is decided by the first [`LOOK_AHEAD_LINES`] lines of the listing; what remains
//! ambiguous is not guessed: the entry then has no time.
//!
//! - [`ListingReader`]: takes the bytes of a data connection in pieces of any size, returns [`ListingItem`]s.
//! - [`ListingEntry`], [`ListedTime`]: an entry; its time with its clock and precision.
//! - [`data_set`]: how the names of z/OS listings are composed.
//! - [`ClockOffset`]: the offset of a server's clock from UTC, learned from one file's MDTM.
//!
//! ```text
//! reader      a listing, read as it arrives
//! dialects    the formats of servers' listings, and which of them a line has
//! bytes       fields of a line, with their positions
//! date        a date as written in a line
//! date_match  finds the date in a line: patterns of fields
//! months      months' names, by language
//! evidence    what the lines of a listing reveal about one another
//! resolve     the meaning of a date: by the whole listing, and by the current time
//! offset      a server's clock: its offset from UTC
//! entry       the content of a listing's entry
//! fuzz        arbitrary listings, for `make fuzz`
//! ```
//!
//! # Where a name begins
//! One blank after the date, as in ls: further blanks, including trailing ones, belong to the name. In dialects with
//! padded columns (DOS directories, AS/400, VMS, z/OS) it begins at the other lines' column, otherwise at the first
//! non-blank character.

mod bytes;
pub mod data_set;
mod date;
mod date_match;
mod dialects;
mod entry;
mod evidence;
pub mod fuzz;
mod months;
mod offset;
mod reader;
mod resolve;

pub use dialects::Dialect;
pub use entry::{Clock, EntryKind, ListedTime, ListingEntry, ListingItem, ListingSource, TimePrecision};
pub use offset::{ClockOffset, TimeRange};
pub use reader::{
    LOOK_AHEAD_BYTES, LOOK_AHEAD_LINES, ListingContext, ListingReader, ListingSummary, MAX_LINE,
};

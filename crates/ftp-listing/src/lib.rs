//! Reads the directory listings that FTP servers send for LIST, NLST, MLSD and MLST. No I/O, no clock: bytes go in,
//! entries come out, and a line that no dialect understands comes out as such.
//!
//! LIST has no standard (RFC 959, 4.1.3 leaves its form to the server). A line is read by its columns: where the date
//! is, where the size before it, where the name begins. What one line leaves open (month or day first? a year, or a name
//! that begins with a number?) is decided by the whole listing, as far as [`LOOK_AHEAD_LINES`] lines of it tell; what
//! these leave open too is not guessed: the entry has no time then.
//!
//! - [`ListingReader`]: takes the bytes of a data connection in pieces of any size, gives [`ListingItem`]s.
//! - [`ListingEntry`], [`ListedTime`]: an entry; its time with the clock that it is from, and its precision.
//! - [`data_set`]: how the names of z/OS' listings are put together.
//! - [`ClockOffset`]: the offset of a server's clock from UTC, learned from one file's MDTM.
//!
//! ```text
//! reader      a listing, read as it arrives
//! dialects    the formats in which servers list, and which of them a line has
//! bytes       fields of a line, with their positions
//! date        a date as a line has it
//! date_match  where a line has its date: patterns of fields
//! months      months' names, by language
//! evidence    what the lines of a listing tell of one another
//! resolve     what a date means: by the whole listing, and by now
//! offset      a server's clock: its offset from UTC
//! entry       what a listing tells of an entry
//! fuzz        listings as no server should send them, for `make fuzz`
//! ```
//!
//! # Where a name begins
//! One blank behind the date, as ls writes it: further blanks, and those at the end, are the name's. In dialects whose
//! columns are padded (DOS directories, AS/400, VMS, z/OS) it begins at the column that the other lines have, else at the
//! first character that is not blank.

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

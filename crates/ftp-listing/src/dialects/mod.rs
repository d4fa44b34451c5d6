//! The formats of servers' listings, and which of them a line has.
//!
//! ```text
//! unix     `ls -l`
//! dos      `DIR` of DOS, Windows and OS/2
//! mlsd     MLSD and MLST
//! eplf     Easily Parsed LIST Format
//! vms      VMS
//! zos      z/OS: data sets, members, jobs
//! as400    IBM i
//! netware  NetWare
//! rare     numeric Unix, VShell, VxWorks, Nortel, OS-9, HP NonStop, z/VM
//! ```

mod as400;
mod dos;
mod eplf;
mod mlsd;
mod netware;
mod rare;
mod unix;
mod vms;
mod zos;

pub use dos::split_junction;
pub use unix::split_link;
pub use vms::name_alone as vms_name;

use crate::bytes::{Fields, is_blank, is_digits, trim, trim_end};
use crate::date::{DateOrder, DateOrders, RawDate};
use crate::date_match::{DateForm, DateMatch};
use crate::entry::EntryKind;

/// The format of a server's listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// `ls -l` and similar formats.
    Unix,
    /// MLSD and MLST (RFC 3659, 7).
    Mlsd,
    /// IIS and other Windows servers.
    Dos,
    /// Easily Parsed LIST Format, of publicfile and anonftpd.
    Eplf,
    /// IBM i (AS/400, OS/400).
    As400,
    ZosDataSets,
    ZosMembers,
    /// Jobs of z/OS' JES.
    ZosJobs,
    Zvm,
    Vms,
    NetWare,
    Os2,
    /// Modes and times as numbers.
    UnixNumeric,
    NonStop,
    VShell,
    VxWorks,
    Nortel,
    Os9,
    /// One name per line.
    Names,
}

impl Dialect {
    /// Its name in documents and messages.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Unix => "Unix",
            Dialect::Mlsd => "MLSD",
            Dialect::Dos => "DOS, IIS",
            Dialect::Eplf => "EPLF",
            Dialect::As400 => "AS/400",
            Dialect::ZosDataSets => "z/OS data sets",
            Dialect::ZosMembers => "z/OS members",
            Dialect::ZosJobs => "z/OS jobs",
            Dialect::Zvm => "z/VM",
            Dialect::Vms => "VMS",
            Dialect::NetWare => "NetWare",
            Dialect::Os2 => "OS/2",
            Dialect::UnixNumeric => "Unix, numeric",
            Dialect::NonStop => "HP NonStop",
            Dialect::VShell => "VShell",
            Dialect::VxWorks => "VxWorks",
            Dialect::Nortel => "Nortel wfFtp",
            Dialect::Os9 => "OS-9",
            Dialect::Names => "names",
        }
    }
}

/// A line, parsed as far as possible without the others.
#[derive(Clone, Debug)]
pub struct ParsedLine<'a> {
    pub dialect: Dialect,
    pub kind: EntryKind,
    pub size: Option<u64>,
    pub date: Option<RawDate<'a>>,
    /// The orders in which the server may write two-digit years; with four digits the date is unambiguous.
    pub orders: DateOrders,
    /// The order of a numeric date that the listing does not determine.
    pub default_order: Option<DateOrder>,
    pub name: NameField<'a>,
    pub link_target: Option<&'a [u8]>,
    pub version: Option<u32>,
    /// For a link: the length of its target, according to its size.
    pub target_length: Option<usize>,
}

/// The position of the name.
#[derive(Clone, Debug)]
pub enum NameField<'a> {
    Exact(&'a [u8]),
    Composed(Vec<u8>),
    /// After a date, after as many blanks as the listing's other lines show.
    AfterDate {
        tail: &'a [u8],
        form: DateForm,
        narrow_year: bool,
        year_column: Option<(&'a [u8], RawDate<'a>)>,
    },
    /// From here to the line's end; shows the column of names to the other lines.
    Placed {
        line: &'a [u8],
        start: usize,
    },
    /// After a field that is padded up to a column that the other lines show.
    Padded {
        line: &'a [u8],
        field_end: usize,
    },
}

impl<'a> NameField<'a> {
    fn after_date(fields: &Fields<'a>, date: &DateMatch<'a>) -> Self {
        NameField::AfterDate {
            tail: fields.after(date.last),
            form: date.form,
            narrow_year: date.narrow_year,
            year_column: date.year_column.map(|(index, date)| (fields.after(index), date)),
        }
    }
}

impl<'a> ParsedLine<'a> {
    /// For systems that write the year last, and by default the month before the day.
    fn with_year_last(mut self) -> Self {
        self.orders = DateOrders::NONE.with(DateOrder::MonthDayYear).with(DateOrder::DayMonthYear);
        self.default_order = Some(DateOrder::MonthDayYear);
        self
    }

    fn new(dialect: Dialect, kind: EntryKind, name: NameField<'a>) -> Self {
        ParsedLine {
            dialect,
            kind,
            size: None,
            date: None,
            orders: DateOrders::ALL,
            default_order: None,
            name,
            link_target: None,
            version: None,
            target_length: None,
        }
    }
}

/// The result of parsing a line.
#[derive(Clone, Debug)]
pub enum Parsed<'a> {
    Entry(ParsedLine<'a>),
    /// A heading, a total, a blank line, the directory itself.
    NoEntry,
    /// A VMS name that is too long for one line; its columns are on the next one.
    VmsName,
    Unrecognized,
}

/// The effect of earlier lines on those that follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Section {
    #[default]
    None,
    DataSets,
    /// Members of a library, with or without ISPF statistics.
    Members,
    LoadModules,
    Jobs,
    NonStop,
    Vms,
}

/// Parses a line of LIST. `lines_before`: how many non-empty lines came before.
pub fn parse<'a>(line: &'a [u8], section: &mut Section, lines_before: usize) -> Parsed<'a> {
    if trim(line).is_empty() {
        return Parsed::NoEntry;
    }
    let fields = Fields::of(line);
    if let Some(parsed) = unix::parse(&fields) {
        return Parsed::Entry(parsed);
    }
    if is_total(&fields, lines_before) {
        return Parsed::NoEntry;
    }
    if let Some(heading) = heading(&fields) {
        *section = heading;
        return Parsed::NoEntry;
    }
    if let Some(parsed) = eplf::parse(line) {
        return Parsed::Entry(parsed);
    }
    if mlsd::has_facts(line) {
        return mlsd::parse(line);
    }
    let parsed = netware::parse(&fields)
        .or_else(|| dos::parse(&fields))
        .or_else(|| dos::parse_os2(&fields))
        .or_else(|| as400::parse(&fields))
        .or_else(|| zos::parse_data_set(&fields, *section))
        .or_else(|| zos::parse_member(&fields, *section))
        .or_else(|| zos::parse_job(&fields, *section))
        .or_else(|| rare::parse(&fields, *section));
    if let Some(parsed) = parsed {
        return Parsed::Entry(parsed);
    }
    if is_remark(&fields, *section) {
        return Parsed::NoEntry;
    }
    match vms::parse(&fields) {
        vms::VmsLine::Entry(parsed) => {
            *section = Section::Vms;
            Parsed::Entry(parsed)
        }
        vms::VmsLine::NameAlone => Parsed::VmsName,
        vms::VmsLine::None => Parsed::Unrecognized,
    }
}

/// Parses a line of MLSD; some servers reply to it as to LIST.
pub fn parse_mlsd<'a>(line: &'a [u8], section: &mut Section, lines_before: usize) -> Parsed<'a> {
    match mlsd::parse(line) {
        Parsed::Unrecognized => parse(line, section, lines_before),
        parsed => parsed,
    }
}

/// A line that consists of a name.
pub fn bare_name(line: &[u8]) -> Parsed<'_> {
    if line.is_empty() {
        return Parsed::NoEntry;
    }
    Parsed::Entry(ParsedLine::new(Dialect::Names, EntryKind::Unknown, NameField::Exact(line)))
}

/// `total 12`, in any language if it comes first.
fn is_total(fields: &Fields, lines_before: usize) -> bool {
    let count = fields.at(1);
    let digits = count.strip_suffix(b"K").or_else(|| count.strip_suffix(b"M")).unwrap_or(count);
    let is_count = fields.len() == 2 && (is_digits(digits) || crate::bytes::size(digits).is_some());
    let word = fields.at(0);
    let is_word = !word.is_empty() && !word.iter().any(u8::is_ascii_digit) && !word.contains(&b'/');
    is_count && (word.eq_ignore_ascii_case(b"total") || (lines_before == 0 && is_word))
}

/// A line that names the columns of those that follow.
fn heading(fields: &Fields) -> Option<Section> {
    let begins = |words: &[&[u8]]| words.iter().enumerate().all(|(index, word)| fields.at(index) == *word);
    if begins(&[b"Volume", b"Unit"]) || begins(&[b"Volume", b"Referred"]) {
        Some(Section::DataSets)
    } else if begins(&[b"Name", b"VV.MM"]) {
        Some(Section::Members)
    } else if begins(&[b"Name", b"Size", b"TTR"]) {
        Some(Section::LoadModules)
    } else if begins(&[b"JOBNAME", b"JOBID"]) {
        Some(Section::Jobs)
    } else if begins(&[b"File", b"Code", b"EOF"]) {
        Some(Section::NonStop)
    } else if fields.at(0) == b"Directory" && fields.len() == 2 && fields.at(1).ends_with(b"]") {
        Some(Section::Vms)
    } else {
        None
    }
}

/// Lines between and after entries, in dialects that have such.
fn is_remark(fields: &Fields, section: Section) -> bool {
    match section {
        Section::Vms => {
            fields.at(0).eq_ignore_ascii_case(b"total") || fields.at(0).eq_ignore_ascii_case(b"grand")
        }
        Section::Jobs => {
            let line = trim_end(fields.line).to_ascii_lowercase();
            line.iter().all(|byte| *byte == b'-' || is_blank(*byte)) || line.ends_with(b"spool files")
        }
        _ => false,
    }
}

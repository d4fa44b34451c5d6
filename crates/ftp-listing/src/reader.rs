//! Parses a listing as it arrives.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::bytes::{Fields, trim_end};
use crate::dialects::{self, Dialect, Parsed, ParsedLine, Section};
use crate::entry::{EntryKind, ListingEntry, ListingItem, ListingSource};
use crate::evidence::{Evidence, NameBytes};
use crate::offset::ClockOffset;
use crate::resolve::Resolver;

/// How many lines are read before the first entry is returned: they resolve what is ambiguous in one line.
pub const LOOK_AHEAD_LINES: usize = 256;
/// The maximum size of these lines in bytes.
pub const LOOK_AHEAD_BYTES: usize = 64 * 1024;
/// The maximum length of a line in bytes; a longer one is not recognized.
pub const MAX_LINE: usize = 64 * 1024;
/// How many bytes of an overlong line are returned.
const SHOWN_OF_OVERLONG: usize = 256;

/// What is known about a listing before it is parsed.
#[derive(Clone, Debug)]
pub struct ListingContext {
    pub source: ListingSource,
    /// The directory that is listed, as it was requested, if known: some servers prepend it to each name.
    pub directory: Vec<u8>,
    pub now: Timestamp,
    /// The offset of the server's clock, if known.
    pub clock_offset: Option<ClockOffset>,
}

/// A summary of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListingSummary {
    /// Entries by dialect.
    pub entries: BTreeMap<Dialect, u64>,
    pub unrecognized: u64,
}

/// Parses a listing. Memory is bounded by [`LOOK_AHEAD_BYTES`] and [`MAX_LINE`], however long the listing is.
pub struct ListingReader {
    context: ListingContext,
    resolver: Resolver,
    /// The bytes after the last line end.
    partial: Vec<u8>,
    is_skipping: bool,
    /// The first lines, until the evidence is complete.
    ahead: Option<Vec<Vec<u8>>>,
    ahead_bytes: usize,
    evidence: Evidence,
    state: LineState,
    summary: ListingSummary,
}

/// The effect of earlier lines on the present one.
#[derive(Clone, Debug, Default)]
struct LineState {
    section: Section,
    lines_before: usize,
    /// A VMS name whose columns are on the next line.
    vms_name: Option<Vec<u8>>,
}

impl std::fmt::Debug for ListingReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListingReader").field("context", &self.context).finish_non_exhaustive()
    }
}

impl ListingReader {
    pub fn new(context: ListingContext) -> Self {
        ListingReader {
            resolver: Resolver::new(&context),
            partial: Vec::new(),
            is_skipping: false,
            ahead: Some(Vec::new()),
            ahead_bytes: 0,
            evidence: Evidence::default(),
            state: LineState::default(),
            summary: ListingSummary::default(),
            context,
        }
    }

    /// Takes the next bytes of the data connection, and passes each complete item to `take`.
    pub fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(ListingItem)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.is_skipping {
                self.is_skipping = false;
            } else if self.partial.is_empty() && line.len() <= MAX_LINE {
                self.take_line(line, &mut take);
            } else {
                self.extend(line, &mut take);
                self.end_line(&mut take);
            }
        }
        if !self.is_skipping {
            self.extend(bytes, &mut take);
        }
    }

    fn extend(&mut self, bytes: &[u8], take: &mut impl FnMut(ListingItem)) {
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > MAX_LINE {
            self.partial.truncate(SHOWN_OF_OVERLONG);
            let shown = std::mem::take(&mut self.partial);
            // those before it come first
            self.decide(take);
            self.flush_vms_name(take);
            self.summary.unrecognized += 1;
            take(ListingItem::Overlong(shown));
            self.is_skipping = true;
        }
    }

    fn end_line(&mut self, take: &mut impl FnMut(ListingItem)) {
        if std::mem::take(&mut self.is_skipping) {
            return;
        }
        let line = std::mem::take(&mut self.partial);
        self.take_line(&line, take);
        self.partial = line;
        self.partial.clear();
    }

    fn take_line(&mut self, line: &[u8], take: &mut impl FnMut(ListingItem)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(ahead) = &mut self.ahead else { return self.read_line(line, take) };
        ahead.push(line.to_vec());
        self.ahead_bytes += line.len();
        if ahead.len() >= LOOK_AHEAD_LINES || self.ahead_bytes >= LOOK_AHEAD_BYTES {
            self.decide(take);
        }
    }

    /// The end of the listing: passes the remaining items on.
    pub fn finish(mut self, mut take: impl FnMut(ListingItem)) -> ListingSummary {
        if !self.is_skipping && !self.partial.is_empty() {
            self.end_line(&mut take);
        }
        self.decide(&mut take);
        self.flush_vms_name(&mut take);
        self.summary
    }

    /// Collects the evidence of the first lines, and passes them on.
    fn decide(&mut self, take: &mut impl FnMut(ListingItem)) {
        let Some(ahead) = self.ahead.take() else { return };
        let mut state = LineState::default();
        for line in &ahead {
            if let Some(name) = state.vms_name.take() {
                let joined = continued(&name, line);
                match joined.as_deref().map(|joined| state.parse(joined, self.context.source)) {
                    Some(Parsed::Entry(parsed)) => {
                        self.evidence.see(&parsed, &self.resolver);
                        continue;
                    }
                    _ => self.evidence.see_unrecognized(&name),
                }
            }
            match state.parse(line, self.context.source) {
                Parsed::Entry(parsed) => self.evidence.see(&parsed, &self.resolver),
                Parsed::Unrecognized => self.evidence.see_unrecognized(line),
                Parsed::VmsName => state.vms_name = Some(line.clone()),
                Parsed::NoEntry => {}
            }
        }
        if let Some(name) = state.vms_name {
            self.evidence.see_unrecognized(&name);
        }
        for line in ahead {
            self.read_line(&line, take);
        }
    }

    fn read_line(&mut self, line: &[u8], take: &mut impl FnMut(ListingItem)) {
        if self.context.source == ListingSource::List && self.evidence.is_names_alone() {
            if let Parsed::Entry(parsed) = dialects::bare_name(line) {
                self.entry(&parsed, take);
            }
            return;
        }
        if let Some(name) = self.state.vms_name.take() {
            let joined = continued(&name, line);
            if let Some(Parsed::Entry(parsed)) =
                joined.as_deref().map(|joined| self.state.parse(joined, self.context.source))
            {
                return self.entry(&parsed, take);
            }
            self.vms_name_alone(&name, take);
        }
        match self.state.parse(line, self.context.source) {
            Parsed::Entry(parsed) => self.entry(&parsed, take),
            Parsed::VmsName => self.state.vms_name = Some(line.to_vec()),
            Parsed::NoEntry => {}
            Parsed::Unrecognized => self.unrecognized(line.to_vec(), take),
        }
    }

    fn flush_vms_name(&mut self, take: &mut impl FnMut(ListingItem)) {
        if let Some(name) = self.state.vms_name.take() {
            self.vms_name_alone(&name, take);
        }
    }

    /// A name with a version and nothing else: a file among VMS files, and anything elsewhere.
    fn vms_name_alone(&mut self, name: &[u8], take: &mut impl FnMut(ListingItem)) {
        match dialects::vms_name(name).filter(|_| self.state.section == Section::Vms) {
            Some(parsed) => self.entry(&parsed, take),
            None => self.unrecognized(name.to_vec(), take),
        }
    }

    fn unrecognized(&mut self, line: Vec<u8>, take: &mut impl FnMut(ListingItem)) {
        self.summary.unrecognized += 1;
        take(ListingItem::Unrecognized(line));
    }

    fn entry(&mut self, parsed: &ParsedLine, take: &mut impl FnMut(ListingItem)) {
        let (name, date) = self.evidence.name(parsed);
        let (name, link_target) = split_target(parsed, &name);
        let Some(name) = self.own_name(name, parsed) else { return };
        *self.summary.entries.entry(parsed.dialect).or_default() += 1;
        take(ListingItem::Entry(ListingEntry {
            name: name.to_vec(),
            kind: parsed.kind,
            size: parsed.size,
            modified: date.and_then(|date| {
                self.resolver.resolve(&date, &self.evidence, (parsed.orders, parsed.default_order))
            }),
            link_target: parsed.link_target.or(link_target).map(<[u8]>::to_vec),
            version: parsed.version,
            dialect: parsed.dialect,
        }));
    }

    /// The name without the listed directory before it; `None` for the directory itself and its parent. A name with
    /// another directory before it is unchanged: it does not belong to this one.
    fn own_name<'n>(&self, name: &'n [u8], parsed: &ParsedLine) -> Option<&'n [u8]> {
        let name = match parsed.dialect {
            Dialect::As400 | Dialect::ZosMembers | Dialect::ZosDataSets => trim_end(name),
            _ => name,
        };
        let last = name.iter().rposition(|byte| *byte != b'/')?;
        let trimmed = name.get(..=last)?;
        let listed = self.context.directory.as_slice();
        if trimmed == listed && listed.starts_with(b"/") {
            return None;
        }
        let (directory, own) = match trimmed.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (trimmed.get(..=slash)?, trimmed.get(slash + 1..)?),
            None => (&[][..], trimmed),
        };
        let is_member =
            parsed.dialect == Dialect::As400 && own.ends_with(b".MBR") && !directory.starts_with(b"/");
        if own == b"." || own == b".." {
            return None;
        }
        Some(if !is_member && is_same_directory(directory, listed) { own } else { trimmed })
    }
}

/// Whether a directory before a name is the one that is listed: as it was requested, or a suffix of it, if one is
/// absolute and the other is not.
fn is_same_directory(before_name: &[u8], listed: &[u8]) -> bool {
    let before_name = trimmed_slashes(before_name);
    let relative = before_name.strip_prefix(b"./").unwrap_or(before_name);
    let listed = trimmed_slashes(listed.strip_prefix(b"./").unwrap_or(listed));
    let ends = |whole: &[u8], end: &[u8]| whole.strip_suffix(end).is_some_and(|rest| rest.ends_with(b"/"));
    relative.is_empty()
        || relative == b"."
        // any name belongs to the login directory
        || ((listed.is_empty() || listed == b".") && !relative.split(|byte| *byte == b'/').any(|part| part == b".."))
        || relative == listed
        || ends(relative, listed)
        || ends(listed, relative)
}

fn trimmed_slashes(path: &[u8]) -> &[u8] {
    let begin = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    let path = path.get(begin..).unwrap_or_default();
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    path.get(..end).unwrap_or_default()
}

fn split_target<'n>(parsed: &ParsedLine, name: &'n NameBytes) -> (&'n [u8], Option<&'n [u8]>) {
    let name = name.as_slice();
    match (parsed.kind, parsed.dialect) {
        (EntryKind::Symlink, Dialect::Unix | Dialect::UnixNumeric) => {
            dialects::split_link(name, parsed.target_length)
        }
        (EntryKind::Symlink, Dialect::Dos) => dialects::split_junction(name),
        _ => (name, None),
    }
}

impl LineState {
    fn parse<'a>(&mut self, line: &'a [u8], source: ListingSource) -> Parsed<'a> {
        let parsed = match source {
            ListingSource::Nlst => dialects::bare_name(line),
            ListingSource::List => dialects::parse(line, &mut self.section, self.lines_before),
            ListingSource::Mlsd => dialects::parse_mlsd(line, &mut self.section, self.lines_before),
        };
        self.lines_before += usize::from(!line.is_empty());
        parsed
    }
}

/// A VMS name and its columns on the following line, as one line.
fn continued(name: &[u8], line: &[u8]) -> Option<Vec<u8>> {
    let is_name = dialects::vms_name(Fields::of(line).at(0)).is_some();
    (!is_name && !trim_end(line).is_empty()).then(|| [name, b" ", line].concat())
}

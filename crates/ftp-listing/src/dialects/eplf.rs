//! Easily Parsed LIST Format: `+`, facts each followed by a comma, a tab, the name.

use jiff::Timestamp;

use crate::bytes::{number, size};
use crate::date::RawDate;
use crate::entry::EntryKind;

use super::{Dialect, NameField, ParsedLine};

pub fn parse(line: &[u8]) -> Option<ParsedLine<'_>> {
    let facts = line.strip_prefix(b"+")?;
    let tab = facts.iter().position(|byte| *byte == b'\t')?;
    let (facts, name) = (facts.get(..tab)?, facts.get(tab + 1..)?);
    let mut parsed = ParsedLine::new(Dialect::Eplf, EntryKind::Unknown, NameField::Exact(name));
    for fact in facts.split(|byte| *byte == b',') {
        match fact.split_first() {
            // anything that CWD accepts is a directory; some can be retrieved as well
            Some((b'/', _)) => parsed.kind = EntryKind::Directory,
            Some((b'r', _)) if parsed.kind == EntryKind::Unknown => parsed.kind = EntryKind::File,
            Some((b's', value)) => parsed.size = size(value),
            Some((b'm', value)) => parsed.date = number(value).and_then(utc).or(Some(RawDate::Unreadable)),
            _ => {}
        }
    }
    // can be neither retrieved nor entered
    if parsed.kind == EntryKind::Unknown {
        parsed.kind = EntryKind::Other;
    }
    Some(parsed)
}

fn utc<'a>(seconds: u64) -> Option<RawDate<'a>> {
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok().map(RawDate::Utc)
}

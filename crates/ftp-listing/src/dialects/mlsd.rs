//! MLSD and MLST (RFC 3659, 7): facts, each followed by `;`, a blank, the name.

use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use crate::bytes::{is_blank, number, size};
use crate::date::RawDate;
use crate::entry::EntryKind;

use super::{Dialect, NameField, Parsed, ParsedLine};

/// Whether a line of LIST has MLSD's format.
pub fn has_facts(line: &[u8]) -> bool {
    let Some((facts, _)) = split(line) else { return false };
    ["type", "size", "modify"].iter().any(|name| fact(facts, name).is_some())
}

/// Facts and name. There may be no facts; some servers omit the last `;`, one has a tab instead of the blank.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(name) = line.strip_prefix(b" ") {
        return (!name.is_empty()).then_some((&[], name));
    }
    let end = line.windows(2).position(|pair| matches!(pair, [b';', blank] if is_blank(*blank)));
    let end = match end {
        Some(end) => end + 1,
        None => line.iter().position(|byte| *byte == b' ')?,
    };
    let (facts, rest) = line.split_at_checked(end)?;
    let name = rest.get(1..).filter(|name| !name.is_empty())?;
    facts.contains(&b'=').then_some((facts, name))
}

/// The value of a fact; names of facts are case-insensitive.
fn fact<'a>(facts: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    facts.split(|byte| *byte == b';').find_map(|fact| {
        let equals = fact.iter().position(|byte| *byte == b'=')?;
        let (name, value) = fact.split_at_checked(equals)?;
        name.eq_ignore_ascii_case(wanted.as_bytes()).then(|| value.get(1..).unwrap_or_default())
    })
}

pub fn parse(line: &[u8]) -> Parsed<'_> {
    let Some((facts, name)) = split(line) else {
        return if line.is_empty() { Parsed::NoEntry } else { Parsed::Unrecognized };
    };
    let value = fact(facts, "type").unwrap_or_default();
    let kind = value.to_ascii_lowercase();
    let kind = match kind.as_slice() {
        b"" | b"file" => EntryKind::File,
        b"dir" => EntryKind::Directory,
        b"cdir" | b"pdir" => return Parsed::NoEntry,
        kind if kind.windows(4).any(|window| window == b"link") => EntryKind::Symlink,
        _ => EntryKind::Other,
    };
    let mut parsed = ParsedLine::new(Dialect::Mlsd, kind, NameField::Exact(name));
    if kind == EntryKind::File {
        parsed.size = fact(facts, "size").and_then(size);
    }
    if kind == EntryKind::Symlink {
        let target = value.iter().position(|byte| *byte == b':').and_then(|at| value.get(at + 1..));
        parsed.link_target = target.filter(|target| !target.is_empty());
    }
    parsed.date = fact(facts, "modify").map(|value| time_value(value).unwrap_or(RawDate::Unreadable));
    Parsed::Entry(parsed)
}

/// `YYYYMMDDHHMMSS`, with or without a fraction (RFC 3659, 2.3), in UTC. Servers with the well-known bug write the year
/// 2000 as `19100`.
fn time_value<'a>(value: &[u8]) -> Option<RawDate<'a>> {
    let whole = value.split(|byte| *byte == b'.').next()?;
    let (year, rest) = match whole.len() {
        14 => (number(whole.get(..4)?)?, whole.get(4..)?),
        15 if whole.starts_with(b"19") => (1900 + number(whole.get(2..5)?)?, whole.get(5..)?),
        _ => return None,
    };
    let part = |at: usize| i8::try_from(number(rest.get(at..at + 2)?)?).ok();
    let date = Date::new(i16::try_from(year).ok()?, part(0)?, part(2)?).ok()?;
    // a leap second counts as the last one of its minute
    let time = Time::new(part(4)?, part(6)?, part(8)?.min(59), 0).ok()?;
    Some(RawDate::Utc(Offset::UTC.to_timestamp(date.to_datetime(time)).ok()?))
}

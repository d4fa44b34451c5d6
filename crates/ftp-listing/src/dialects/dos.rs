//! `DIR` of DOS and Windows, as sent by IIS: date, time, size or `<DIR>`, name; and OS/2's.

use crate::bytes::{Fields, find, is_digits, size, trim_start};
use crate::date::{DayTime, RawDate};
use crate::date_match::{NoSuchTime, day_time, numeric, with_time};
use crate::entry::EntryKind;

use super::{Dialect, NameField, ParsedLine};

/// `04-27-00  09:09PM       <DIR>          licensed`, `2002-09-02  19:06  9,730 name`.
pub fn parse<'a>(fields: &Fields<'a>) -> Option<ParsedLine<'a>> {
    let date = numeric(fields.get(0)?).filter(|date| matches!(date, RawDate::Numeric { .. }))?;
    let (time, last) = time_at(fields, 1)?;
    let date = time.map_or(RawDate::Unreadable, |time| with_time(date, time, None));
    let column = fields.get(last + 1)?;
    let mut parsed = if let Some(size) = size(column) {
        fields.after(last + 1).get(1..).filter(|name| !name.is_empty())?;
        let name = NameField::Placed { line: fields.line, start: fields.end(last + 1) + 1 };
        let mut parsed = ParsedLine::new(Dialect::Dos, EntryKind::File, name);
        parsed.size = Some(size);
        parsed
    } else {
        let kind = match column {
            b"<DIR>" | b"<dir>" => EntryKind::Directory,
            b"<JUNCTION>" | b"<SYMLINKD>" | b"<SYMLINK>" => EntryKind::Symlink,
            _ => return None,
        };
        if trim_start(fields.after(last + 1)).is_empty() {
            return None;
        }
        let name = NameField::Padded { line: fields.line, field_end: fields.end(last + 1) };
        ParsedLine::new(Dialect::Dos, kind, name)
    };
    parsed.date = Some(date);
    // IIS writes the month first, regardless of Windows's language
    Some(parsed.with_year_last())
}

/// A time in one field, or with AM or PM in the next one; and the index of its last field.
fn time_at(fields: &Fields, index: usize) -> Option<(Result<DayTime, NoSuchTime>, usize)> {
    let field = fields.get(index)?;
    let half = fields.at(index + 1);
    if half.eq_ignore_ascii_case(b"AM") || half.eq_ignore_ascii_case(b"PM") {
        let joined = [field, half].concat();
        return Some((day_time(&joined)?, index + 1));
    }
    Some((day_time(field)?, index))
}

/// Name and target of `name [target]`, DIR's format of junctions and links.
pub fn split_junction(name: &[u8]) -> (&[u8], Option<&[u8]>) {
    let target = name.strip_suffix(b"]").and_then(|inner| Some((inner, find(inner, b" [")?)));
    match target {
        Some((inner, at)) if at > 0 => (name.get(..at).unwrap_or_default(), inner.get(at + 2..)),
        _ => (name, None),
    }
}

/// OS/2: `     0           DIR   05-12-97   16:44  LANGUAGE`, `36611      A    04-23-103  10:57  name`.
pub fn parse_os2<'a>(fields: &Fields<'a>) -> Option<ParsedLine<'a>> {
    let bytes = fields.get(0).filter(|field| is_digits(field))?;
    let attributes = (1..4).take_while(|index| is_attribute(fields.at(*index))).count();
    let date = numeric(fields.get(1 + attributes)?).filter(|date| matches!(date, RawDate::Numeric { .. }))?;
    let time = day_time(fields.get(2 + attributes)?)?;
    let name = trim_start(fields.after(2 + attributes));
    if name.is_empty() {
        return None;
    }
    let is_directory = (1..=attributes).any(|index| fields.at(index) == b"DIR");
    let kind = if is_directory { EntryKind::Directory } else { EntryKind::File };
    let mut parsed = ParsedLine::new(Dialect::Os2, kind, NameField::Exact(name));
    parsed.size = size(bytes).filter(|_| !is_directory);
    parsed.date = Some(time.map_or(RawDate::Unreadable, |time| with_time(date, time, None)));
    Some(parsed.with_year_last())
}

fn is_attribute(field: &[u8]) -> bool {
    field == b"DIR" || (1..=4).contains(&field.len()) && field.iter().all(|byte| b"RASH".contains(byte))
}

//! Rare servers: numeric Unix, `VShell`, `VxWorks`, Nortel, OS-9, HP `NonStop`, z/VM.

use crate::bytes::{Fields, find, is_digits, size, trim, trim_start};
use crate::date::RawDate;
use crate::date_match::{Certainty, day_time, epoch, match_date, numeric, with_time};
use crate::entry::EntryKind;

use super::{Dialect, NameField, ParsedLine, Section};

pub fn parse<'a>(fields: &Fields<'a>, section: Section) -> Option<ParsedLine<'a>> {
    numeric_unix(fields)
        .or_else(|| zvm(fields))
        .or_else(|| non_stop(fields, section))
        .or_else(|| size_first(fields))
        .or_else(|| nortel(fields))
        .or_else(|| os9(fields))
}

/// `0100644   500  101   12345    123456789       name`: the mode in octal, the time since 1970.
fn numeric_unix<'a>(fields: &Fields<'a>) -> Option<ParsedLine<'a>> {
    let mode = fields
        .get(0)
        .filter(|mode| (5..=7).contains(&mode.len()) && mode.iter().all(|b| (b'0'..=b'7').contains(b)))?;
    let mode = u32::from_str_radix(std::str::from_utf8(mode).ok()?, 8).ok()?;
    if !(1..=4).all(|index| is_digits(fields.at(index))) || fields.len() < 6 {
        return None;
    }
    let kind = match mode >> 12 {
        0o10 => EntryKind::File,
        0o4 => EntryKind::Directory,
        0o12 => EntryKind::Symlink,
        0o1 | 0o2 | 0o6 | 0o14 => EntryKind::Other,
        _ => return None,
    };
    let name = trim_start(fields.after(4));
    let mut parsed = ParsedLine::new(Dialect::UnixNumeric, kind, NameField::Exact(name));
    if kind == EntryKind::File {
        parsed.size = size(fields.at(3));
    }
    parsed.date = epoch(fields.at(4));
    Some(parsed)
}

/// `VShell`: `206876  Apr 04, 2000 21:06 name`, directories with `/`; `VxWorks`: `2048    Feb-28-1998  05:23:30   name <DIR>`.
fn size_first<'a>(fields: &Fields<'a>) -> Option<ParsedLine<'a>> {
    let bytes = fields.get(0).filter(|field| is_digits(field))?;
    if let Some(date) = month_first(fields.at(1)) {
        let time = day_time(fields.at(2))?;
        let name = trim(fields.after(2));
        let directory = name.strip_suffix(b"<DIR>").map(trim);
        let kind = if directory.is_some() { EntryKind::Directory } else { EntryKind::File };
        let name = directory.unwrap_or(name);
        if name.is_empty() {
            return None;
        }
        let mut parsed = ParsedLine::new(Dialect::VxWorks, kind, NameField::Exact(name));
        parsed.size = size(bytes).filter(|_| kind == EntryKind::File);
        parsed.date = Some(time.map_or(RawDate::Unreadable, |time| with_time(date, time, None)));
        return Some(parsed);
    }
    let date = match_date(fields, 1, Certainty::Certain)?;
    if fields.len() <= date.last + 1 || !matches!(date.date, RawDate::Named { time: Some(_), .. }) {
        return None;
    }
    let is_directory = fields.line.ends_with(b"/");
    let kind = if is_directory { EntryKind::Directory } else { EntryKind::File };
    let mut parsed = ParsedLine::new(Dialect::VShell, kind, NameField::after_date(fields, &date));
    parsed.size = size(bytes).filter(|_| !is_directory);
    parsed.date = Some(date.date);
    Some(parsed)
}

/// `Feb-28-1998`.
fn month_first(field: &[u8]) -> Option<RawDate<'_>> {
    let mut parts = field.split(|byte| *byte == b'-');
    let (month, day, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !is_digits(day) || year.len() != 4 || !crate::months::is_known(month) {
        return None;
    }
    let number = |field| crate::bytes::number(field).and_then(|value| i16::try_from(value).ok());
    let day = u32::try_from(number(day)?).ok()?;
    Some(RawDate::Named { month, day, year: Some(number(year)?), time: None, offset_seconds: None })
}

/// `48-nortel-wfftp-file       1014196  06/03/04  Thur.   10:20:03`.
fn nortel<'a>(fields: &Fields<'a>) -> Option<ParsedLine<'a>> {
    let at = (2..fields.len()).find(|index| numeric(fields.at(*index)).is_some())?;
    let date =
        numeric(fields.at(at)).filter(|date| matches!(date, RawDate::Numeric { separator: b'/', .. }))?;
    let is_weekday = fields.at(at + 1).iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'.');
    let time = day_time(fields.at(at + 2))?;
    if fields.len() != at + 3 || !is_weekday || fields.at(at + 1).len() < 3 {
        return None;
    }
    let name = fields.line.get(..fields.end(at - 2))?;
    let mut parsed = ParsedLine::new(Dialect::Nortel, EntryKind::File, NameField::Exact(trim_start(name)));
    parsed.size = size(fields.at(at - 1));
    parsed.size?;
    parsed.date = Some(time.map_or(RawDate::Unreadable, |time| with_time(date, time, None)));
    Some(parsed)
}

/// `20.20 07/03/29 1026 d-ewrewr 2650 85920 name`: owner, date, time, attributes, sector, bytes.
fn os9<'a>(fields: &Fields<'a>) -> Option<ParsedLine<'a>> {
    let owner = fields.get(0)?;
    let date =
        numeric(fields.at(1)).filter(|date| matches!(date, RawDate::Numeric { separator: b'/', .. }))?;
    let (clock, attributes) = (fields.at(2), fields.get(3)?);
    let is_line = owner.contains(&b'.')
        && is_digits(clock)
        && attributes.len() == 8
        && attributes.iter().all(|byte| b"dsewr-".contains(byte));
    let name = trim_start(fields.after(5));
    if !is_line || name.is_empty() {
        return None;
    }
    let kind = if attributes.starts_with(b"d") { EntryKind::Directory } else { EntryKind::File };
    let mut parsed = ParsedLine::new(Dialect::Os9, kind, NameField::Exact(name));
    parsed.size = size(fields.at(5)).filter(|_| kind == EntryKind::File);
    let at = match clock {
        [a, b, c, d] => day_time(&[*a, *b, b':', *c, *d]).and_then(Result::ok),
        _ => None,
    };
    parsed.date = Some(at.map_or(date, |time| with_time(date, time, None)));
    parsed.default_order = Some(crate::date::DateOrder::YearMonthDay);
    Some(parsed)
}

/// `FILE1        101            16354 14-Mar-14 15:09:12 244, 10 "oooo"`: file code, bytes, date, owner, security.
fn non_stop<'a>(fields: &Fields<'a>, section: Section) -> Option<ParsedLine<'a>> {
    let date = numeric(fields.at(3)).filter(|date| matches!(date, RawDate::Named { .. }))?;
    let time = day_time(fields.at(4))?;
    let is_line = is_digits(fields.at(2)) && fields.at(1).first().is_some_and(u8::is_ascii_digit);
    if !is_line || (section != Section::NonStop && find(fields.line, b"\"").is_none()) {
        return None;
    }
    let mut parsed = ParsedLine::new(Dialect::NonStop, EntryKind::File, NameField::Exact(fields.at(0)));
    parsed.size = size(fields.at(2));
    parsed.date = Some(time.map_or(RawDate::Unreadable, |time| with_time(date, time, None)));
    Some(parsed)
}

/// `NAME  TRACE   V        65      107        2 2005-10-04 15:28:42 060191`: records, not bytes.
fn zvm<'a>(fields: &Fields<'a>) -> Option<ParsedLine<'a>> {
    let at = (5..=6).find(|index| numeric(fields.at(*index)).is_some())?;
    let date = numeric(fields.at(at)).filter(|date| matches!(date, RawDate::Numeric { .. }))?;
    let is_directory = fields.at(2) == b"DIR";
    let has_records =
        matches!(fields.at(2), b"V" | b"F") && is_digits(fields.at(3)) && is_digits(fields.at(4));
    let time = day_time(fields.at(at + 1))?;
    if !has_records && !is_directory {
        return None;
    }
    let name = [fields.at(0), b".", fields.at(1)].concat();
    let kind = if is_directory { EntryKind::Directory } else { EntryKind::File };
    let mut parsed = ParsedLine::new(Dialect::Zvm, kind, NameField::Composed(name));
    parsed.date = Some(time.map_or(RawDate::Unreadable, |time| with_time(date, time, None)));
    Some(parsed)
}

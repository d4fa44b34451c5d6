//! `ls -l`: permissions, then columns of which any may be missing, then a date, then the name.

use crate::bytes::{Fields, find, is_digits, number, size};
use crate::date_match::{Certainty, DateMatch, match_date};
use crate::entry::EntryKind;

use super::{Dialect, NameField, ParsedLine};

/// Permissions are the type and nine letters; some servers omit one of them.
const FEWEST_PERMISSIONS: usize = 9;
const PERMISSIONS: usize = 10;

pub fn parse<'a>(fields: &Fields<'a>) -> Option<ParsedLine<'a>> {
    // `ls -i` and `ls -s` put numbers before them
    let first = (0..2).take_while(|index| is_digits(fields.at(*index))).count();
    let kind = kind_of(fields.get(first)?)?;
    let date = [(Certainty::Certain, true), (Certainty::Likely, true), (Certainty::Likely, false)]
        .into_iter()
        .find_map(|(certainty, behind_size)| find_date(fields, first, certainty, behind_size));
    match date {
        Some((index, date)) => {
            let mut parsed = ParsedLine::new(Dialect::Unix, kind, NameField::after_date(fields, &date));
            parsed.date = Some(date.date);
            match kind {
                EntryKind::File => parsed.size = size_before(fields, index),
                EntryKind::Symlink => {
                    parsed.target_length =
                        size_before(fields, index).and_then(|size| usize::try_from(size).ok());
                }
                _ => {}
            }
            Some(parsed)
        }
        None => without_date(fields, first, kind),
    }
}

/// The entry's kind; `None` if these are not permissions.
fn kind_of(field: &[u8]) -> Option<EntryKind> {
    let kind = match field.first()? {
        // also contiguous, and migrated to tape
        b'-' | b'C' | b'm' | b'M' | b'f' => EntryKind::File,
        b'd' => EntryKind::Directory,
        b'l' => EntryKind::Symlink,
        b'b' | b'c' | b'p' | b's' | b'D' | b'P' | b'n' | b'w' => EntryKind::Other,
        _ => return None,
    };
    let letters = field.iter().skip(1).take_while(|byte| b"rwxsStTlL-".contains(byte)).count();
    let marks = field.get(letters + 1..)?;
    // what follows: ACL marks, and a link count for which there was no blank left
    let are_marks = marks.iter().all(|byte| b"+.@*".contains(byte) || byte.is_ascii_digit());
    let is_permissions = (FEWEST_PERMISSIONS - 1..=PERMISSIONS).contains(&letters) && are_marks;
    (is_permissions || is_connect_enterprise(field)).then_some(kind)
}

/// `-C--E-----FTP`, of Sterling Connect:Enterprise.
fn is_connect_enterprise(field: &[u8]) -> bool {
    field.len() >= PERMISSIONS
        && field.starts_with(b"-")
        && field.split(|byte| *byte == b'-').count() > 4
        && field.iter().all(|byte| *byte == b'-' || byte.is_ascii_uppercase())
}

/// The first date, after a size if `behind_size`.
fn find_date<'a>(
    fields: &Fields<'a>,
    first: usize,
    certainty: Certainty,
    behind_size: bool,
) -> Option<(usize, DateMatch<'a>)> {
    (first + 1..fields.len()).find_map(|index| {
        if behind_size && (index == first + 1 || !is_size(fields.at(index - 1))) {
            return None;
        }
        let date = match_date(fields, index, certainty)?;
        let has_name = fields.len() > date.last + 1 || date.last + 1 == fields.len() && is_cut(fields);
        has_name.then_some((index, date))
    })
}

/// Whether there may be more fields than were examined.
fn is_cut(fields: &Fields) -> bool {
    fields.end(fields.len().saturating_sub(1)) < fields.line.len()
}

/// The possible content of a size's column: bytes, rounded (`33.5k`), a device's minor number, negative beyond 2 GiB,
/// or merged with the group before it.
fn is_size(field: &[u8]) -> bool {
    let unsigned = field.strip_prefix(b"-").unwrap_or(field);
    let rounded = match unsigned.split_last() {
        Some((unit, value)) if unit.is_ascii_alphabetic() => value,
        _ => unsigned,
    };
    let is_number = |field: &[u8]| {
        field.first().is_some_and(u8::is_ascii_digit)
            && field.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
    };
    is_number(unsigned) || is_number(rounded)
}

fn size_before(fields: &Fields, date: usize) -> Option<u64> {
    let field = fields.at(date.checked_sub(1)?);
    if let Some(size) = size(field) {
        return Some(size);
    }
    // `longgroup123456`: the columns are aligned, and the group filled its column
    let digits = field.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (group, value) = field.split_at_checked(field.len() - digits)?;
    let is_group = group.last().is_some_and(u8::is_ascii_alphabetic) && group.len() >= 2;
    if is_group && is_digits(value) {
        number(value).filter(|size| i64::try_from(*size).is_ok())
    } else {
        None
    }
}

/// `drwxr-xr-x 3 owner group 512 name`: no date, or only a month and a day.
fn without_date<'a>(fields: &Fields<'a>, first: usize, kind: EntryKind) -> Option<ParsedLine<'a>> {
    let (links, bytes) = (fields.get(first + 1)?, fields.get(first + 4)?);
    if !is_digits(links) || !is_size(bytes) || fields.len() <= first + 5 {
        return None;
    }
    let is_month = crate::months::is_known(fields.at(first + 5)) && fields.len() > first + 7;
    let is_day = fields.at(first + 6).len() <= 2 && is_digits(fields.at(first + 6));
    let last = if is_month && is_day { first + 6 } else { first + 4 };
    let name = crate::bytes::trim_start(fields.after(last));
    let mut parsed = ParsedLine::new(Dialect::Unix, kind, NameField::Exact(name));
    if kind == EntryKind::File {
        parsed.size = size(bytes);
    }
    Some(parsed)
}

/// Name and target of `name -> target`. A link's size is its target's length, which shows where a name that contains an
/// arrow ends.
pub fn split_link(name: &[u8], target_length: Option<usize>) -> (&[u8], Option<&[u8]>) {
    const ARROW: &[u8] = b" -> ";
    if let Some(length) = target_length
        && let Some(begin) = name.len().checked_sub(length)
        && let Some((before, target)) = name.split_at_checked(begin)
        && let Some(name) = before.strip_suffix(ARROW)
        && !name.is_empty()
        && !target.is_empty()
    {
        return (name, Some(target));
    }
    match find(name, ARROW) {
        Some(at) if at > 0 && name.len() > at + ARROW.len() => {
            (name.get(..at).unwrap_or_default(), name.get(at + ARROW.len()..))
        }
        _ => (name, None),
    }
}

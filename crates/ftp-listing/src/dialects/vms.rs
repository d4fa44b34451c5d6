//! VMS: `NAME.TXT;4  2/8  18-APR-2000 10:40:39.90  [OWNER]  (RWED,RWED,RE,)`, in several orders.

use crate::bytes::{Fields, is_blank, is_digits, number};
use crate::date::RawDate;
use crate::date_match::{day_time, numeric, with_time};
use crate::entry::EntryKind;

use super::{Dialect, NameField, ParsedLine};

pub enum VmsLine<'a> {
    Entry(ParsedLine<'a>),
    /// The columns are on the next line.
    NameAlone,
    None,
}

pub fn parse<'a>(fields: &Fields<'a>) -> VmsLine<'a> {
    let Some(mut parsed) = fields.get(0).and_then(name_alone) else { return VmsLine::None };
    if fields.len() == 1 {
        return VmsLine::NameAlone;
    }
    let date = (1..fields.len()).find_map(|index| {
        let date = numeric(fields.at(index)).filter(|date| matches!(date, RawDate::Named { .. }))?;
        Some(match day_time(fields.at(index + 1)) {
            Some(Ok(time)) => with_time(date, time, None),
            Some(Err(_)) => RawDate::Unreadable,
            None => date,
        })
    });
    let has_columns =
        (1..fields.len()).any(|index| is_blocks(fields.at(index)) || is_protection(fields.at(index)));
    if date.is_none() && !has_columns {
        return VmsLine::None;
    }
    parsed.date = date;
    VmsLine::Entry(parsed)
}

/// The content of a name with a version, without its columns. Sizes are in blocks of 512 bytes: none of them is exact.
pub fn name_alone(field: &[u8]) -> Option<ParsedLine<'_>> {
    let (name, version) =
        split_version(field).filter(|(name, _)| !name.iter().any(|byte| is_blank(*byte)))?;
    let directory = strip_directory(name);
    let kind = if directory.is_some() { EntryKind::Directory } else { EntryKind::File };
    let mut parsed = ParsedLine::new(Dialect::Vms, kind, NameField::Exact(directory.unwrap_or(name)));
    parsed.version = Some(version);
    Some(parsed)
}

/// `NAME.TXT` and 4, of `NAME.TXT;4`.
fn split_version(field: &[u8]) -> Option<(&[u8], u32)> {
    let at = field.iter().rposition(|byte| *byte == b';')?;
    let (name, version) = (field.get(..at)?, field.get(at + 1..)?);
    if name.is_empty() || !(1..=5).contains(&version.len()) {
        return None;
    }
    Some((name, u32::try_from(number(version)?).ok()?))
}

fn strip_directory(name: &[u8]) -> Option<&[u8]> {
    let (name, end) = name.split_at_checked(name.len().checked_sub(4)?)?;
    (end.eq_ignore_ascii_case(b".DIR") && !name.is_empty()).then_some(name)
}

/// `155`, `2/8`, `2KB`.
fn is_blocks(field: &[u8]) -> bool {
    let field = field.strip_suffix(b"KB").or_else(|| field.strip_suffix(b"MB")).unwrap_or(field);
    field.split(|byte| *byte == b'/').count() <= 2 && field.split(|byte| *byte == b'/').all(is_digits)
}

fn is_protection(field: &[u8]) -> bool {
    field.starts_with(b"(") && field.ends_with(b")")
}

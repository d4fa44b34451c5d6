//! z/OS: data sets, members of libraries, load modules, jobs. Sizes are in tracks, lines or records: none is exact.

use crate::bytes::{Fields, is_digits};
use crate::date::RawDate;
use crate::date_match::{day_time, numeric, with_time};
use crate::entry::EntryKind;

use super::{Dialect, NameField, ParsedLine, Section};

/// `WYOSPT 3420   2003/05/21  1  200  FB      80  8053  PS  DATA.SET`. The date is that of the last use, not of a
/// change.
pub fn parse_data_set<'a>(fields: &Fields<'a>, section: Section) -> Option<ParsedLine<'a>> {
    let count = fields.len();
    let name = fields.get(count.checked_sub(1)?)?;
    let kind = if is_spread(fields) {
        data_set_kind(fields.at(count - 2))?
    } else if section == Section::DataSets || is_headless(fields) {
        unspread_kind(fields)?
    } else {
        return None;
    };
    let name = name.strip_prefix(b"'").and_then(|name| name.strip_suffix(b"'")).unwrap_or(name);
    Some(ParsedLine::new(Dialect::ZosDataSets, kind, NameField::Exact(name)))
}

/// Volume, unit, and a date or none, if all columns are present.
fn is_spread(fields: &Fields) -> bool {
    let has_date = matches!(numeric(fields.at(2)), Some(RawDate::Numeric { separator: b'/', .. }));
    fields.len() >= 6
        && fields.at(0).len() <= 6
        && is_unit(fields.at(1))
        && (has_date || fields.at(2) == b"**NONE**")
}

fn is_unit(field: &[u8]) -> bool {
    field.len() == 4 && field.iter().all(u8::is_ascii_alphanumeric)
}

fn data_set_kind(organization: &[u8]) -> Option<EntryKind> {
    match organization {
        // partitioned: a library, whose members are files
        b"PO" | b"PO-E" | b"POU" => Some(EntryKind::Directory),
        // cannot be transferred
        b"VS" | b"VSAM" => Some(EntryKind::Other),
        b"PS" | b"PS-E" | b"PS-L" | b"PSU" | b"DA" | b"DAU" | b"IS" | b"GDG" | b"HFS" => {
            Some(EntryKind::File)
        }
        field => field.iter().all(|byte| b"?+*-".contains(byte)).then_some(EntryKind::File),
    }
}

/// Lines that can be recognised without their heading.
fn is_headless(fields: &Fields) -> bool {
    let words = (0..4).map(|index| fields.at(index));
    let begins = |wanted: &[&[u8]]| words.clone().zip(wanted).all(|(field, word)| field == *word);
    (fields.len() == 2 && fields.at(0) == b"Migrated")
        || (fields.len() == 3 && fields.at(1) == b"Tape" && fields.gap_before(2) > 8)
        || (fields.len() == 3 && begins(&[b"Pseudo", b"Directory"]))
        || (fields.len() == 4 && is_unit(fields.at(1)) && fields.at(2) == b"VSAM")
        || (fields.len() == 6 && fields.at(1) == b"Not" && fields.at(2) == b"Direct")
}

fn unspread_kind(fields: &Fields) -> Option<EntryKind> {
    let has = |word: &[u8]| (0..fields.len() - 1).any(|index| fields.at(index) == word);
    if has(b"Pseudo") {
        return Some(EntryKind::Directory);
    }
    if has(b"VSAM") {
        return Some(EntryKind::Other);
    }
    // volume and unit may be all that is known: on tape, migrated, in use
    (fields.len() >= 2).then_some(EntryKind::File)
}

/// `NAME  01.03 2002/09/12 2002/10/11 09:37  11  11  0 USER`; a name alone, below the heading; a load module.
pub fn parse_member<'a>(fields: &Fields<'a>, section: Section) -> Option<ParsedLine<'a>> {
    let name = fields.get(0)?;
    let is_member = |field: &[u8]| {
        numeric(field).is_some_and(|date| matches!(date, RawDate::MonthDay { .. })) || is_level(field)
    };
    if is_level(fields.at(1)) || is_member(fields.at(1)) {
        numeric(fields.at(2))?;
        let changed = numeric(fields.at(3))?;
        let mut parsed = ParsedLine::new(Dialect::ZosMembers, EntryKind::File, NameField::Exact(name));
        parsed.date = Some(match day_time(fields.at(4))? {
            Ok(time) => with_time(changed, time, None),
            Err(_) => RawDate::Unreadable,
        });
        return Some(parsed);
    }
    let is_module = fields.len() >= 4 && is_hexadecimal(fields.at(1)) && is_hexadecimal(fields.at(2));
    let is_bare = fields.len() == 1 && matches!(section, Section::Members | Section::LoadModules);
    (is_module || is_bare)
        .then(|| ParsedLine::new(Dialect::ZosMembers, EntryKind::File, NameField::Exact(name)))
}

/// `01.03`: version and modification.
fn is_level(field: &[u8]) -> bool {
    matches!(field, [a, b, b'.', c, d] if is_digits(&[*a, *b, *c, *d]))
}

fn is_hexadecimal(field: &[u8]) -> bool {
    field.len() == 6 && field.iter().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte))
}

/// `IBMUSER1  JOB01906  OUTPUT    3 Spool Files`: a job is retrieved by its number.
pub fn parse_job<'a>(fields: &Fields<'a>, section: Section) -> Option<ParsedLine<'a>> {
    let id = fields.get(1)?;
    let (class, digits) = id
        .split_at_checked(3)
        .filter(|(_, digits)| digits.len() == 5)
        .or_else(|| id.split_at_checked(1).filter(|(_, digits)| digits.len() == 7))?;
    let is_id = matches!(class, b"JOB" | b"TSU" | b"STC" | b"J" | b"T" | b"S") && is_digits(digits);
    let has_status = [2, 3]
        .iter()
        .any(|index| matches!(fields.at(*index), b"OUTPUT" | b"INPUT" | b"ACTIVE" | b"HELD" | b"XEQ"));
    (is_id && (section == Section::Jobs || has_status))
        .then(|| ParsedLine::new(Dialect::ZosJobs, EntryKind::File, NameField::Exact(id)))
}

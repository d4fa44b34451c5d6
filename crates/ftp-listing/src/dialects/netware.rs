//! `NetWare`: `d [RWCEAFMS] owner size date name`.

use crate::bytes::{Fields, size};
use crate::date_match::{Certainty, match_date};
use crate::entry::EntryKind;

use super::{Dialect, NameField, ParsedLine};

/// Blanks that some versions put before the name, in addition to the one after the date.
const PADDING: &[u8] = b"    ";

pub fn parse<'a>(fields: &Fields<'a>) -> Option<ParsedLine<'a>> {
    let kind = match *fields.get(0)? {
        [b'd'] => EntryKind::Directory,
        [b'-'] => EntryKind::File,
        _ => return None,
    };
    let rights = fields.get(1)?;
    if !(rights.starts_with(b"[") && rights.ends_with(b"]")) {
        return None;
    }
    let (at, date) = (3..fields.len()).find_map(|index| {
        let date = match_date(fields, index, Certainty::Likely)?;
        (fields.len() > date.last + 1 && size(fields.at(index - 1)).is_some()).then_some((index, date))
    })?;
    let tail = fields.after(date.last);
    let name = if tail.starts_with(PADDING) { tail.get(PADDING.len()..) } else { tail.get(1..) };
    let mut parsed = ParsedLine::new(Dialect::NetWare, kind, NameField::Exact(name?));
    parsed.date = Some(date.date);
    if kind == EntryKind::File {
        parsed.size = size(fields.at(at - 1));
    }
    Some(parsed)
}

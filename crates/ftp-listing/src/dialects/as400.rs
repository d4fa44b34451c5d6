//! IBM i: `owner size date time *TYPE name`, and `owner *MEM file/member` without size and date.

use crate::bytes::{Fields, size, trim_start};
use crate::date::RawDate;
use crate::date_match::{day_time, numeric, with_time};
use crate::entry::EntryKind;

use super::{Dialect, NameField, ParsedLine};

pub fn parse<'a>(fields: &Fields<'a>) -> Option<ParsedLine<'a>> {
    let marks = [1, 2, 4].into_iter().find(|index| is_type(fields.at(*index)))?;
    let kind = match fields.at(marks) {
        b"*DIR" | b"*DDIR" | b"*LIB" | b"*FLR" => EntryKind::Directory,
        b"*SYMLNK" => EntryKind::Symlink,
        b"*SOCKET" | b"*CHRSF" | b"*BLKSF" | b"*FIFO" => EntryKind::Other,
        _ => EntryKind::File,
    };
    let name = trim_start(fields.after(marks));
    if name.is_empty() {
        return None;
    }
    let mut parsed = ParsedLine::new(Dialect::As400, kind, NameField::Exact(name));
    if marks == 4 {
        let bytes = size(fields.at(1))?;
        let date = numeric(fields.at(2)).filter(|date| matches!(date, RawDate::Numeric { .. }))?;
        let time = day_time(fields.at(3))?;
        // only of a stream file; RETR changes the size of a database file
        parsed.size = (fields.at(4) == b"*STMF").then_some(bytes);
        parsed.date = Some(time.map_or(RawDate::Unreadable, |time| with_time(date, time, None)));
    }
    Some(parsed)
}

fn is_type(field: &[u8]) -> bool {
    match field.split_first() {
        Some((b'*', rest)) => rest.len() >= 2 && rest.iter().all(u8::is_ascii_uppercase),
        _ => false,
    }
}

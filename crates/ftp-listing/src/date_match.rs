//! Finds the date in a line: patterns of fields, in any order and language.

use jiff::Timestamp;
use jiff::civil::Time;

use crate::bytes::{Fields, number};
use crate::date::{DayTime, NumberPart, RawDate};
use crate::months;

/// The form of a date, which determines where the name begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DateForm {
    /// As written by ls: one blank, then the name.
    Ls,
    /// Any other: the column of names is determined by the other lines.
    Other,
}

/// A date that was found.
#[derive(Clone, Copy, Debug)]
pub struct DateMatch<'a> {
    /// The index of its last field.
    pub last: usize,
    pub date: RawDate<'a>,
    pub form: DateForm,
    /// The year is left-aligned in its column, which is as wide as a time: one more blank before the name.
    pub narrow_year: bool,
    /// After a time, a year may follow, or a name that begins with four digits: the index of that field, and the date
    /// including it.
    pub year_column: Option<(usize, RawDate<'a>)>,
}

impl<'a> DateMatch<'a> {
    fn new(last: usize, date: RawDate<'a>, form: DateForm) -> Self {
        DateMatch { last, date, form, narrow_year: false, year_column: None }
    }
}

/// The certainty of a pattern: the first ones cannot be owners and sizes, the last ones could.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    Certain,
    Likely,
}

/// A date that begins at `index`.
pub fn match_date<'a>(fields: &Fields<'a>, index: usize, certainty: Certainty) -> Option<DateMatch<'a>> {
    let first = fields.get(index)?;
    let byte = *first.first()?;
    if byte.is_ascii_digit() {
        return compound(fields, index)
            .or_else(|| day_month(fields, index, certainty))
            .or_else(|| number_pair(fields, index, certainty))
            .or_else(|| year_first(fields, index, certainty));
    }
    if byte.is_ascii_alphabetic() || byte >= 0x80 {
        return month_day(fields, index, certainty).or_else(|| weekday_first(fields, index));
    }
    None
}

fn is_word(field: &[u8]) -> bool {
    let starts = field.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
    starts && field.len() <= 24 && !field.iter().any(u8::is_ascii_digit)
}

fn is_month(field: &[u8], certainty: Certainty) -> bool {
    is_word(field) && (certainty == Certainty::Likely || months::is_known(field))
}

/// One or two digits, with a suffix that languages add to a day: `2.`, `26,`, `3日`. Anything else (`36`, `-7`) gives 0.
fn day(field: &[u8]) -> Option<u32> {
    let (is_negative, field) = match field.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, field),
    };
    let digits = field.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (value, suffix) = field.split_at_checked(digits)?;
    if !(1..=2).contains(&digits) || !is_suffix(suffix) {
        return None;
    }
    let value = u32::try_from(number(value)?).ok()?;
    Some(if is_negative || value > 31 { 0 } else { value })
}

/// What may follow a number of a date.
fn is_suffix(suffix: &[u8]) -> bool {
    matches!(suffix, b"" | b"." | b"," | b".,")
        || (suffix.len() <= 4 && suffix.first().is_some_and(|b| *b >= 0x80))
}

fn has_unit(field: &[u8]) -> bool {
    field.iter().any(|byte| *byte >= 0x80)
}

/// Four digits, such as `2003`, `2003,`, `2003年`.
fn year(field: &[u8]) -> Option<i16> {
    let (digits, suffix) = field.split_at_checked(4)?;
    let year = i16::try_from(number(digits)?).ok()?;
    (is_suffix(suffix) && (1900..=2200).contains(&year)).then_some(year)
}

/// A field in place of a year that is not one: `209`, `201O`.
fn is_bad_year(field: &[u8]) -> bool {
    (1..=4).contains(&field.len())
        && field.first().is_some_and(u8::is_ascii_digit)
        && field.iter().all(u8::is_ascii_alphanumeric)
}

/// A time that does not exist, such as 30:01.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchTime;

/// The time of day in a field that has the form of one.
pub fn day_time(field: &[u8]) -> Option<Result<DayTime, NoSuchTime>> {
    let field = field.strip_suffix(b",").unwrap_or(field);
    let (clock, half) = split_half_day(field);
    let mut parts = clock.split(|byte| *byte == b':');
    let hour = parts.next().filter(|part| (1..=2).contains(&part.len())).and_then(number)?;
    let minute = parts.next().filter(|part| part.len() == 2).and_then(number)?;
    let second = match parts.next() {
        None => None,
        Some(part) => {
            let (whole, fraction) = match part.iter().position(|byte| matches!(byte, b'.' | b',')) {
                Some(at) => part.split_at_checked(at)?,
                None => (part, &[][..]),
            };
            if whole.len() != 2 || !fraction.iter().skip(1).all(u8::is_ascii_digit) {
                return None;
            }
            Some(number(whole)?)
        }
    };
    if parts.next().is_some() {
        return None;
    }
    Some(civil_time(hour, minute, second, half).ok_or(NoSuchTime))
}

#[derive(Clone, Copy)]
enum HalfDay {
    Am,
    Pm,
}

fn split_half_day(field: &[u8]) -> (&[u8], Option<HalfDay>) {
    for (suffix, half) in [("am", HalfDay::Am), ("pm", HalfDay::Pm), ("a", HalfDay::Am), ("p", HalfDay::Pm)] {
        if let Some((clock, end)) = field.split_at_checked(field.len().saturating_sub(suffix.len()))
            && end.eq_ignore_ascii_case(suffix.as_bytes())
        {
            return (clock, Some(half));
        }
    }
    (field, None)
}

fn civil_time(hour: u64, minute: u64, second: Option<u64>, half: Option<HalfDay>) -> Option<DayTime> {
    let hour = match half {
        None if hour == 24 && minute == 0 && second.unwrap_or(0) == 0 => return Some(DayTime::EndOfDay),
        None => hour,
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(HalfDay::Am) => hour % 12,
        Some(HalfDay::Pm) => hour % 12 + 12,
    };
    // A leap second counts as the last one of its minute.
    let second_shown = second.unwrap_or(0).min(59);
    let part = |value: u64| i8::try_from(value).ok();
    let time = Time::new(part(hour)?, part(minute)?, part(second_shown)?, 0).ok()?;
    (second.unwrap_or(0) <= 60).then_some(DayTime::At { time, has_seconds: second.is_some() })
}

/// `+0200`, `-05:30`, `Z`.
fn offset_seconds(field: &[u8]) -> Option<i32> {
    if field == b"Z" {
        return Some(0);
    }
    let (sign, rest) = match field.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let digits: Vec<u8> = rest.iter().copied().filter(|byte| *byte != b':').collect();
    if digits.len() != 4 {
        return None;
    }
    let value = i32::try_from(number(&digits)?).ok()?;
    Some(sign * (value / 100 * 3600 + value % 100 * 60))
}

/// `Jan 25 00:17`, `Apr  8  1994`, `Oct 08, 2002 09:47`, `szept 26 20:10`.
fn month_day<'a>(fields: &Fields<'a>, index: usize, certainty: Certainty) -> Option<DateMatch<'a>> {
    let month = fields.get(index)?;
    // a word that is not a month could be an owner before a group and a size; the field in between decides
    let value = day(fields.get(index + 1)?)?;
    let third = fields.at(index + 2);
    if !is_month(month, certainty) {
        return None;
    }
    let named = |year, time| RawDate::Named { month, day: value, year, time, offset_seconds: None };
    if let Some(time) = day_time(third) {
        let date = time.map_or(RawDate::Unreadable, |time| named(None, Some(time)));
        let mut found = DateMatch::new(index + 2, date, DateForm::Ls);
        if let Some(year) = year(fields.at(index + 3)).filter(|_| fields.at(index + 3).len() == 4) {
            let date = time.map_or(RawDate::Unreadable, |time| named(Some(year), Some(time)));
            match time {
                Ok(DayTime::At { has_seconds: true, .. }) => {
                    return Some(DateMatch { last: index + 3, date, ..found });
                }
                _ => found.year_column = Some((index + 3, date)),
            }
        }
        return Some(found);
    }
    if let Some(value) = year(third) {
        if let Some(Ok(time)) = day_time(fields.at(index + 3)) {
            return Some(DateMatch::new(index + 3, named(Some(value), Some(time)), DateForm::Ls));
        }
        let mut found = DateMatch::new(index + 2, named(Some(value), None), DateForm::Ls);
        found.narrow_year = fields.gap_before(index + 2) == 1;
        return Some(found);
    }
    let is_padded = fields.gap_before(index + 2) >= 2;
    (is_padded && is_bad_year(third)).then(|| DateMatch::new(index + 2, RawDate::Unreadable, DateForm::Ls))
}

/// `26. Juli, 20:10`, `01 oct 2004`, `2.   Okt.  2003`.
fn day_month<'a>(fields: &Fields<'a>, index: usize, certainty: Certainty) -> Option<DateMatch<'a>> {
    let value = day(fields.get(index)?)?;
    let month = fields.get(index + 1)?;
    let third = fields.get(index + 2)?;
    let (time, year) = (day_time(third), year(third));
    if (time.is_none() && year.is_none()) || !is_month(month, certainty) {
        return None;
    }
    let named = |year, time| RawDate::Named { month, day: value, year, time, offset_seconds: None };
    if let Some(time) = time {
        let date = time.map_or(RawDate::Unreadable, |time| named(None, Some(time)));
        return Some(DateMatch::new(index + 2, date, DateForm::Ls));
    }
    if let Some(Ok(time)) = day_time(fields.at(index + 3)) {
        return Some(DateMatch::new(index + 3, named(year, Some(time)), DateForm::Ls));
    }
    let mut found = DateMatch::new(index + 2, named(year, None), DateForm::Ls);
    found.narrow_year = false;
    Some(found)
}

/// `Thu May 28 19:50:21 2023`, formerly ls's full time.
fn weekday_first<'a>(fields: &Fields<'a>, index: usize) -> Option<DateMatch<'a>> {
    let first = fields.get(index)?;
    if !is_word(first) || first.len() > 6 {
        return None;
    }
    let found = month_day(fields, index + 1, Certainty::Certain)?;
    let is_full = matches!(found.date, RawDate::Named { year: Some(_), time: Some(_), .. });
    is_full.then_some(found)
}

/// `3 29 03:26`, `8月 17日 20:10`, `6月 3日 2003年`.
fn number_pair<'a>(fields: &Fields<'a>, index: usize, certainty: Certainty) -> Option<DateMatch<'a>> {
    let (one, two) = (fields.get(index)?, fields.get(index + 1)?);
    let (first, second) = (day(one)?, day(two)?);
    let third = fields.get(index + 2)?;
    if first == 0 || second == 0 || (first > 12 && second > 12) {
        return None;
    }
    if let Some(time) = day_time(third) {
        let date = match time {
            Ok(time) if has_unit(one) => month_first(first, second, None, Some(time)),
            Ok(time) => RawDate::MonthDay { first, second, time: Some(time) },
            Err(NoSuchTime) => RawDate::Unreadable,
        };
        return Some(DateMatch::new(index + 2, date, DateForm::Ls));
    }
    let year = year(third)?;
    if has_unit(one) {
        return Some(DateMatch::new(index + 2, month_first(first, second, Some(year), None), DateForm::Ls));
    }
    let date = RawDate::MonthDayYear { first, second, year };
    (certainty == Certainty::Likely).then(|| DateMatch::new(index + 2, date, DateForm::Ls))
}

fn month_first<'a>(month: u32, day: u32, year: Option<i16>, time: Option<DayTime>) -> RawDate<'a> {
    match months::name_of(month) {
        Some(month) => RawDate::Named { month, day, year, time, offset_seconds: None },
        None => RawDate::Unreadable,
    }
}

/// `2005年  1月  6日`, `2003   3月 20`.
fn year_first<'a>(fields: &Fields<'a>, index: usize, certainty: Certainty) -> Option<DateMatch<'a>> {
    let (first, second) = (fields.get(index)?, fields.get(index + 1)?);
    let year = year(first)?;
    let (month, value) = (day(second)?, day(fields.get(index + 2)?)?);
    if certainty == Certainty::Certain && !has_unit(first) && !has_unit(second) {
        return None;
    }
    let time = day_time(fields.at(index + 3)).and_then(Result::ok);
    let last = if time.is_some() { index + 3 } else { index + 2 };
    Some(DateMatch::new(last, month_first(month, value, Some(year), time), DateForm::Ls))
}

/// One field: `2005-06-07`, `24-04-2003`, `2004.07.15`, `01-jun-99`, `09-26`, `2024-01-15T10:11:12Z`.
fn compound<'a>(fields: &Fields<'a>, index: usize) -> Option<DateMatch<'a>> {
    let field = fields.get(index)?;
    if let Some(at) = field.iter().position(|byte| *byte == b'T')
        && let (Some(date), Some(time)) = (field.get(..at), field.get(at + 1..))
        && let Some(date) = iso_instant(date, time)
    {
        return Some(DateMatch::new(index, date, DateForm::Ls));
    }
    let date = numeric(field)?;
    let next = fields.at(index + 1);
    if let RawDate::MonthDay { first, second, .. } = date {
        if let Some(time) = day_time(next) {
            let date = time.map_or(RawDate::Unreadable, |time| RawDate::MonthDay {
                first,
                second,
                time: Some(time),
            });
            return Some(DateMatch::new(index + 1, date, DateForm::Other));
        }
        let date = RawDate::MonthDayYear { first, second, year: year(next)? };
        return Some(DateMatch::new(index + 1, date, DateForm::Other));
    }
    match day_time(next) {
        Some(Err(_)) => Some(DateMatch::new(index + 1, RawDate::Unreadable, DateForm::Ls)),
        Some(Ok(time)) => {
            let zone = offset_seconds(fields.at(index + 2));
            let last = index + 1 + usize::from(zone.is_some());
            Some(DateMatch::new(last, with_time(date, time, zone), DateForm::Ls))
        }
        None => Some(DateMatch::new(index, date, DateForm::Other)),
    }
}

fn iso_instant<'a>(date: &'a [u8], time: &[u8]) -> Option<RawDate<'a>> {
    let date = numeric(date)?;
    let clock_end = time.iter().position(|byte| matches!(byte, b'Z' | b'+' | b'-')).unwrap_or(time.len());
    let (clock, zone) = time.split_at_checked(clock_end)?;
    let zone = if zone.is_empty() { None } else { Some(offset_seconds(zone)?) };
    Some(with_time(date, day_time(clock)?.ok()?, zone))
}

/// Adds a time of day to a date.
pub fn with_time(date: RawDate, at: DayTime, offset: Option<i32>) -> RawDate {
    match date {
        RawDate::Numeric { parts, separator, .. } => {
            RawDate::Numeric { parts, separator, time: Some(at), offset_seconds: offset }
        }
        RawDate::Named { month, day, year, .. } => {
            RawDate::Named { month, day, year, time: Some(at), offset_seconds: offset }
        }
        other => other,
    }
}

/// Two or three numbers with one separator, or a month's name between two numbers.
pub fn numeric(field: &[u8]) -> Option<RawDate<'_>> {
    let separator = *field.iter().find(|byte| !byte.is_ascii_digit())?;
    if !matches!(separator, b'-' | b'/' | b'.') {
        return None;
    }
    let mut parts = field.split(|byte| *byte == separator);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next());
    if parts.next().is_some() {
        return None;
    }
    let one = number_part(first)?;
    let Some(third) = third else {
        let two = number_part(second).filter(|two| two.digits <= 2 && one.digits <= 2)?;
        let is_date = (1..=31).contains(&one.value) && (1..=31).contains(&two.value);
        return is_date.then_some(RawDate::MonthDay { first: one.value, second: two.value, time: None });
    };
    let three = number_part(third)?;
    if let Some(two) = number_part(second) {
        let parts = [one, two, three];
        let is_date = two.digits <= 2 && (one.digits <= 2) != (one.digits == 4 && three.digits <= 2);
        return is_date.then_some(RawDate::Numeric { parts, separator, time: None, offset_seconds: None });
    }
    if !is_word(second) || one.digits > 2 || !matches!(three.digits, 2 | 4) {
        return None;
    }
    let year = i16::try_from(three.value).ok()?;
    let year = if three.digits == 2 { full_year(year) } else { year };
    Some(RawDate::Named { month: second, day: one.value, year: Some(year), time: None, offset_seconds: None })
}

fn number_part(field: &[u8]) -> Option<NumberPart> {
    let digits = u8::try_from(field.len()).ok().filter(|digits| *digits <= 4)?;
    Some(NumberPart { value: u32::try_from(number(field)?).ok()?, digits })
}

/// Two digits: 1970 to 2069.
pub fn full_year(year: i16) -> i16 {
    if year < 70 { 2000 + year } else { 1900 + year }
}

/// Seconds since 1970.
pub fn epoch<'a>(field: &[u8]) -> Option<RawDate<'a>> {
    let seconds = i64::try_from(number(field)?).ok()?;
    Some(Timestamp::from_second(seconds).map_or(RawDate::Unreadable, RawDate::Utc))
}

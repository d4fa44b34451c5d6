//! The offset of a server's clock from UTC.

use jiff::tz::Offset;

use super::connection::FtpConnection;
use super::key::FieldAccess;
use super::kind::{KeyValue, quoted};

pub(super) const TIME_OFFSET: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        let text = value.into_text();
        let offset = time_offset(&text).ok_or_else(|| {
            format!(
                "found {}; expected an offset from UTC, from -12:00 to +14:00, such as +02:00",
                quoted(&text)
            )
        })?;
        ftp.time_offset = Some(offset);
        Ok(())
    },
    get: |ftp| ftp.time_offset.map_or(KeyValue::Unset, |offset| KeyValue::Text(shown_offset(offset))),
};

/// `+02:00`, `-0330`, `UTC`, within the range of real clocks.
fn time_offset(text: &str) -> Option<Offset> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("z") {
        return Some(Offset::UTC);
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':').or_else(|| digits.split_at_checked(2))?;
    let number = |text: &str| text.parse::<i32>().ok().filter(|_| text.len() == 2);
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds = sign * (hours * 3600 + minutes * 60);
    let is_in_use = minutes < 60 && (-12 * 3600..=14 * 3600).contains(&seconds);
    Offset::from_seconds(seconds).ok().filter(|_| is_in_use)
}

fn shown_offset(offset: Offset) -> String {
    let minutes = offset.seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_one_that_clocks_have() {
        for (text, shown) in
            [("+02:00", "+02:00"), ("-0330", "-03:30"), (" utc ", "+00:00"), ("+14:00", "+14:00")]
        {
            assert_eq!(time_offset(text).map(shown_offset).as_deref(), Some(shown), "{text}");
        }
        for text in ["", "2", "02:00", "+2:00", "+15:00", "-12:01", "+01:60", "CET", "+0100x", "+é00"] {
            assert_eq!(time_offset(text), None, "{text}");
        }
    }
}

//! Durations as rclone writes them: `300ms`, `1m30s`, `2h`, and a plain number of seconds.

use std::fmt::Write;
use std::time::Duration;

/// Units by length of name, so that `ms` is not read as minutes; the factor is in nanoseconds.
const UNITS: [(&str, u128); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// The maximum number of digits: with the largest unit the product stays far below `u128::MAX`.
const MAX_DIGITS: usize = 18;

/// Parses `1m30s`, `1.5h`, `300ms`; a number without a unit is seconds, as in rclone.
///
/// # Errors
/// `None`: not a duration, or too large for one.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Some((number, "")) = number(text) {
        return from_nanos(number.times(1_000_000_000)?);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let name_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (name, after) = after.split_at(name_end);
        let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == name)?;
        nanos = nanos.checked_add(number.times(*factor)?)?;
        rest = after;
    }
    if text.is_empty() { None } else { from_nanos(nanos) }
}

/// Formats a duration so that [`parse`] returns the same one: `1m30s`, `300ms`, `0s`.
pub fn show(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut shown = String::new();
    for unit in ["h", "m", "s", "ms", "us", "ns"] {
        let factor = UNITS.iter().find(|(name, _)| *name == unit).map_or(1, |(_, factor)| *factor);
        if rest >= factor {
            // Writing to a String cannot fail.
            let _ = write!(shown, "{}{unit}", rest / factor);
            rest %= factor;
        }
    }
    if shown.is_empty() { "0s".to_owned() } else { shown }
}

/// A decimal number, kept exact: `digits` / 10^`decimals`.
struct Decimal {
    digits: u128,
    decimals: u32,
}

impl Decimal {
    fn times(&self, factor: u128) -> Option<u128> {
        Some(self.digits.checked_mul(factor)? / 10u128.checked_pow(self.decimals)?)
    }
}

/// Splits the decimal number off the front of `text`.
fn number(text: &str) -> Option<(Decimal, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    let decimals = u32::try_from(fraction.len()).ok()?;
    Some((Decimal { digits: digits.parse().ok()?, decimals }, rest))
}

fn from_nanos(nanos: u128) -> Option<Duration> {
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    let rest = u32::try_from(nanos % 1_000_000_000).ok()?;
    Some(Duration::new(seconds, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_rclone_writes_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("300", 300_000),
            ("1.5", 1_500),
            ("300ms", 300),
            ("1m30s", 90_000),
            ("1m0s", 60_000),
            ("2h", 7_200_000),
            ("1h2m3.5s", 3_723_500),
            ("1d", 86_400_000),
            ("1w", 604_800_000),
            (" 10s ", 10_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", " ", "s", "-1s", "+1s", "1x", "1 m", "off", "1m30", "1..5s", ".", "1e3", "1mm"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse("9999999999999999999999w"), None);
    }

    proptest! {
        #[test]
        fn a_duration_that_is_written_is_read_the_same(seconds in 0u64..10_000_000, nanos in 0u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&show(duration)), Some(duration));
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[0-9.smhdwnuµ ]{0,30}|.{0,20}") {
            let _ = parse(&text);
        }
    }
}

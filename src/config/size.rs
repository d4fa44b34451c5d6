//! Sizes as rclone writes them: `64Mi`, `1.5G`. A number without a suffix is bytes.

/// rclone's suffixes are powers of 1024, with or without the `i` (its `--size` documentation).
const SUFFIXES: [(&str, u32); 5] = [("T", 40), ("G", 30), ("M", 20), ("K", 10), ("", 0)];

/// The maximum number of digits, so that no product overflows.
const MAX_DIGITS: usize = 15;

/// Parses `64Mi`, `64MiB`, `64M`, `1.5Gi`, `4096`, `4096B`. Unlike rclone, a plain number is bytes and not KiB: our
/// keys with a size contain `bytes`.
///
/// # Errors
/// `None`: not a size, or too large for one.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    let shift = shift(suffix)?;
    if shift == 0 && !fraction.is_empty() {
        return None;
    }
    let scaled = digits.parse::<u128>().ok()?.checked_shl(shift)?;
    u64::try_from(scaled / 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?).ok()
}

/// Formats a size so that [`parse`] returns the same one, with the largest suffix that divides it.
pub fn show(bytes: u64) -> String {
    for (suffix, shift) in SUFFIXES {
        if shift > 0 && bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{suffix}i", bytes >> shift);
        }
    }
    bytes.to_string()
}

fn shift(suffix: &str) -> Option<u32> {
    let upper = suffix.to_ascii_uppercase();
    let bare = upper.strip_suffix('B').unwrap_or(&upper);
    let bare = if bare.len() > 1 { bare.strip_suffix('I').unwrap_or(bare) } else { bare };
    SUFFIXES.iter().find(|(name, _)| *name == bare).map(|(_, shift)| *shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_rclone_writes_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("64Mi", 64 << 20),
            ("64MiB", 64 << 20),
            ("64M", 64 << 20),
            ("64m", 64 << 20),
            ("1.5Gi", 3 << 29),
            ("2T", 2 << 40),
            ("1k", 1024),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "M", "-1", "1.5", "1X", "1 Mi", "i", "1i", "off", "9999999999999999"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_size_that_is_written_is_read_the_same(bytes in 0u64..1 << 45) {
            prop_assert_eq!(parse(&show(bytes)), Some(bytes));
        }
    }
}

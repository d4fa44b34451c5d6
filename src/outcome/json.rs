//! Writes JSON whose length is computed beforehand: a payload of almost a megabyte is written once, never twice.

use crate::text::char_boundary;

/// Appends `text` as a JSON string, with only the escapes that RFC 8259 section 7 requires.
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| escaped_byte_len(*byte) > 1) {
        // An escaped byte is ASCII, so both of its sides are character boundaries.
        out.push_str(text.get(written..at).unwrap_or_default());
        written = at + 1;
        push_escape(out, byte);
    }
    out.push_str(text.get(written..).unwrap_or_default());
    out.push('"');
}

/// How many bytes [`push_string`] appends, including quotes.
pub(super) fn string_len(text: &str) -> usize {
    2 + text.bytes().map(escaped_byte_len).sum::<usize>()
}

/// The longest prefix of `text`, cut at a character boundary, whose [`string_len`] is at most `room`; the empty text if
/// there is no room even for that.
pub(super) fn fitting(text: &str, room: usize) -> &str {
    let mut left = room.saturating_sub(2);
    let end = text
        .bytes()
        .position(|byte| match left.checked_sub(escaped_byte_len(byte)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
        .unwrap_or(text.len());
    text.get(..char_boundary(text, end)).unwrap_or_default()
}

fn push_escape(out: &mut String, byte: u8) {
    match byte {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        0x08 => out.push_str("\\b"),
        0x0c => out.push_str("\\f"),
        // Below 0x20: the first hexadecimal digit is 0 or 1.
        control => {
            out.push_str(if control < 0x10 { "\\u000" } else { "\\u001" });
            out.extend(char::from_digit(u32::from(control & 0x0f), 16));
        }
    }
}

fn escaped_byte_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = String::new();
        push_string(&mut out, text);
        out
    }

    #[test]
    fn every_control_character_comes_back() {
        let text: String = (0..=0x80u8).map(char::from).collect();
        assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        assert_eq!(written("\u{1}\u{1f}\u{8}\"\\"), r#""\u0001\u001f\b\"\\""#);
    }

    proptest! {
        #[test]
        fn a_string_comes_back_and_has_the_length_foretold(text in any::<String>()) {
            let json = written(&text);
            prop_assert_eq!(json.len(), string_len(&text));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn a_cut_string_fits_and_one_character_more_would_not(text in "[a\u{1}\"ü€𝄞]{0,30}", room in 2usize..80) {
            let cut = fitting(&text, room);
            prop_assert!(text.starts_with(cut) && string_len(cut) <= room);
            if let Some(next) = text[cut.len()..].chars().next() {
                let longer = cut.to_owned() + &next.to_string();
                prop_assert!(string_len(&longer) > room);
            }
        }
    }
}

//! The original in a failure: the record's content, as faithfully as JSON permits.

use base64::engine::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::value::RawValue;

use super::json::{self, push_string, string_len};

/// An object nested deeper than this is included as text: many JSON parsers give up at 128 levels, and one level is the
/// failure itself.
pub const MAX_EMBEDDED_DEPTH: usize = 100;

const RAW: &str = r#"{"raw":"#;
const RAW_BASE64: &str = r#"{"raw_base64":"#;
const NULL: &str = "null";

/// The value of a failure's `task`, before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Original<'a> {
    /// A tombstone: `null`.
    Null,
    /// A JSON object, byte for byte: its numbers, repeated names and white space stay as they are.
    Object(&'a str),
    /// `{"raw": text}`.
    Text(&'a str),
    /// `{"raw_base64": …}`.
    Bytes(&'a [u8]),
}

impl<'a> Original<'a> {
    /// Classifies a record's payload.
    pub fn of(payload: Option<&'a [u8]>) -> Self {
        let Some(bytes) = payload else { return Original::Null };
        let Ok(text) = std::str::from_utf8(bytes) else { return Original::Bytes(bytes) };
        match serde_json::from_str::<&RawValue>(text) {
            Ok(json) if json.get().starts_with('{') && depth(json.get()) <= MAX_EMBEDDED_DEPTH => {
                Original::Object(json.get())
            }
            _ => Original::Text(text),
        }
    }

    /// How many bytes [`push_to`](Self::push_to) appends.
    pub fn len(self) -> usize {
        match self {
            Original::Null => NULL.len(),
            Original::Object(json) => json.len(),
            Original::Text(text) => RAW.len() + string_len(text) + 1,
            Original::Bytes(bytes) => RAW_BASE64.len() + 2 + bytes.len().div_ceil(3) * 4 + 1,
        }
    }

    pub fn push_to(self, out: &mut String) {
        match self {
            Original::Null => out.push_str(NULL),
            Original::Object(json) => out.push_str(json),
            Original::Text(text) => {
                out.push_str(RAW);
                push_string(out, text);
                out.push('}');
            }
            Original::Bytes(bytes) => {
                out.push_str(RAW_BASE64);
                out.push('"');
                BASE64.encode_string(bytes, out);
                out.push_str("\"}");
            }
        }
    }

    /// As much of it as fits into `room` bytes; an object becomes text, since a part of one is not an object.
    pub fn fitting(self, room: usize) -> Original<'a> {
        if self.len() <= room {
            return self;
        }
        let cut = match self {
            Original::Null => Original::Null,
            Original::Object(text) | Original::Text(text) => {
                Original::Text(json::fitting(text, room.saturating_sub(RAW.len() + 1)))
            }
            Original::Bytes(bytes) => {
                let room = room.saturating_sub(RAW_BASE64.len() + 3);
                Original::Bytes(bytes.get(..room / 4 * 3).unwrap_or(bytes))
            }
        };
        if cut.len() <= room { cut } else { Original::Null }
    }
}

/// The nesting depth of objects and arrays in a valid JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_but_not_those_in_strings() {
        assert_eq!(depth(r#"{"a":[[{}]],"b":{}}"#), 4);
        assert_eq!(depth(r#"{"[[[\"[[":"\\","b":"]]{{"}"#), 1);
    }

    #[test]
    fn what_is_no_object_is_text_and_what_is_no_text_is_base64() {
        assert_eq!(Original::of(None), Original::Null);
        assert_eq!(Original::of(Some(b" {\"a\":1e999}\n")), Original::Object("{\"a\":1e999}"));
        assert_eq!(Original::of(Some(b"{\"a\":\"\\ud800\"}")), Original::Object("{\"a\":\"\\ud800\"}"));
        for text in ["", "[1]", "\"text\"", "{\"a\":1} x", "{\"a\":", "\u{feff}{}"] {
            assert_eq!(Original::of(Some(text.as_bytes())), Original::Text(text));
        }
        assert_eq!(Original::of(Some(b"\xff{}")), Original::Bytes(b"\xff{}"));
    }

    #[test]
    fn the_length_foretold_is_the_length_written_whole_or_cut() {
        let payloads: [&[u8]; 5] =
            [b"{\"a\":\"\\n\", \"b\": [1, 2]}", b"a\x01b\"\n\xc3\xbc", b"\xff\xfe\x00\x01", b"", b"[]"];
        for payload in payloads {
            let original = Original::of(Some(payload));
            for room in 0..=original.len() {
                let cut = original.fitting(room);
                let mut out = String::new();
                cut.push_to(&mut out);
                assert_eq!(out.len(), cut.len());
                assert!(out.len() <= room.max(NULL.len()), "{room}: {out}");
                serde_json::from_str::<serde_json::Value>(&out).unwrap();
            }
        }
    }
}

//! connections.ini: sections of `key = value` lines, raw as in rclone.
//!
//! A value is everything after the first `=` up to the end of the line, without surrounding blanks: a password may
//! contain `\`, `#`, `;`, `%`, quotes and `=`. The general INI crates fail at that, even with escapes and quotes
//! switched off: rust-ini 0.21 takes a `\` at the end of a line for a continuation, joins a line without `=` with the
//! next one, stops at the first error and records no line numbers.

use std::collections::BTreeMap;

use ::config::Value;

use super::errors::{ErrorCollector, SourceLocation};
use super::tree::ValueOrigin;

/// A section, with its keys as they were written.
pub(super) struct IniSection {
    /// The line number of `[name]`, from 1.
    pub line: usize,
    pub values: BTreeMap<String, Value>,
}

/// Parses connections.ini's text; `path` names it in errors.
pub(super) fn read(text: &str, path: &str, errors: &mut ErrorCollector) -> BTreeMap<String, IniSection> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sections: BTreeMap<String, IniSection> = BTreeMap::new();
    // The section that lines belong to; `None` after an invalid header, whose lines are dropped.
    let mut current: Option<String> = None;
    let mut any_header = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            any_header = true;
            match section_name(header, &sections) {
                Ok(name) => {
                    sections.insert(name.clone(), IniSection { line: number, values: BTreeMap::new() });
                    current = Some(name);
                }
                Err(problem) => {
                    current = None;
                    errors.in_file(path, Some(number), problem);
                }
            }
            continue;
        }
        let problem = match (&current, line.split_once('=')) {
            // The line is not repeated: it may be a password.
            (_, None) => "is neither `[name]` nor `key = value`".to_owned(),
            (None, Some(_)) if any_header => continue,
            (None, Some(_)) => "is before the first `[name]`".to_owned(),
            // Nor is this: it may be a line of a longer secret.
            (Some(_), Some((key, _))) if !is_word(key.trim()) => "has no key before the `=`".to_owned(),
            (Some(name), Some((key, value))) => {
                let Some(section) = sections.get_mut(name) else { continue };
                let Err(problem) = section.set(key.trim(), value.trim(), number) else { continue };
                let place = SourceLocation::File { path: path.to_owned(), line: Some(number) };
                errors.add(place, format!("[{name}] {}", key.trim()), problem);
                continue;
            }
        };
        errors.in_file(path, Some(number), problem);
    }
    sections
}

impl IniSection {
    fn set(&mut self, key: &str, value: &str, line: usize) -> Result<(), &'static str> {
        if self.values.contains_key(key) {
            return Err("is set twice");
        }
        self.values.insert(key.to_owned(), ValueOrigin::Line(line).value(value));
        Ok(())
    }
}

fn is_word(key: &str) -> bool {
    const MAX_KEY_BYTES: usize = 40;
    (1..=MAX_KEY_BYTES).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

fn section_name(header: &str, known: &BTreeMap<String, IniSection>) -> Result<String, String> {
    let Some(name) = header.strip_suffix(']') else {
        return Err("begins like `[name]` but does not end with `]`".to_owned());
    };
    let name = name.trim();
    check_name(name)?;
    match known.get(name) {
        Some(first) => Err(format!("[{name}] occurs twice, first in line {}", first.line)),
        None => Ok(name.to_owned()),
    }
}

/// A connection's name, with rclone's rules for a remote: letters, digits, `_`, `-`, `.`, `+`, `@` and blanks, no `-`
/// or blank at the start, no blank at the end.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    const MAX_NAME_BYTES: usize = 128;
    let allowed = |c: char| c.is_alphanumeric() || "_-.+@ ".contains(c);
    if name.is_empty() {
        return Err("a connection's name is empty".to_owned());
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(format!(
            "a connection's name has {} bytes; expected {MAX_NAME_BYTES} at most",
            name.len()
        ));
    }
    if name.starts_with(['-', ' ']) || name.ends_with(' ') || !name.chars().all(allowed) {
        return Err(format!(
            "[{name}] is not a valid connection name; expected letters, digits, `_`, `-`, `.`, `+`, `@` and blanks, \
             and no `-` at its beginning"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(text: &str) -> (Vec<(String, String, String)>, String) {
        let mut errors = ErrorCollector::default();
        let mut all = Vec::new();
        for (name, section) in read(text, "c.ini", &mut errors) {
            for (key, value) in section.values {
                all.push((name.clone(), key, value.into_string().unwrap()));
            }
        }
        (all, errors.or(()).err().map(|e| e.to_string()).unwrap_or_default())
    }

    #[test]
    fn values_are_raw() {
        for value in [
            r"back\slash\",
            r"\n\t\\",
            "a#b ;c",
            "# ; hash first",
            r#""in quotes""#,
            "'single'",
            "100%",
            "a=b==",
            "[x]",
            "ünï ©ode",
        ] {
            let text = format!("[a]\npass = {value}\nport = 21\n");
            let (all, errors) = read_all(&text);
            let expected = [("a", "pass", value), ("a", "port", "21")];
            assert_eq!(all, expected.map(|(s, k, v)| (s.to_owned(), k.to_owned(), v.to_owned())), "{value}");
            assert_eq!(errors, "");
        }
    }

    #[test]
    fn windows_line_endings_a_byte_order_mark_and_remarks_are_no_matter() {
        let (all, errors) = read_all("\u{feff}; remark\r\n[a b]\r\n  # remark\r\n  host=x \r\n\r\n[c]");
        assert_eq!(all, [("a b".to_owned(), "host".to_owned(), "x".to_owned())]);
        assert_eq!(errors, "");
    }

    #[test]
    fn every_line_that_is_wrong_is_told() {
        let text = "host = x\n[a]\nhost = 1\nhost = 2\nsecret words\n= v\n[a]\nuser = u\n[-b]\n[c\n[]\n[d]\nhost = y\n";
        let (all, errors) = read_all(text);
        let expected = "c.ini:1: is before the first `[name]`\n\
            c.ini:4: [a] host: is set twice\n\
            c.ini:5: is neither `[name]` nor `key = value`\n\
            c.ini:6: has no key before the `=`\n\
            c.ini:7: [a] occurs twice, first in line 2\n\
            c.ini:9: [-b] is not a valid connection name; expected letters, digits, `_`, `-`, `.`, `+`, `@` and \
            blanks, and no `-` at its beginning\n\
            c.ini:10: begins like `[name]` but does not end with `]`\n\
            c.ini:11: a connection's name is empty";
        assert_eq!(errors, expected);
        assert_eq!(all.len(), 2, "the second [a] adds nothing to the first");
        assert!(!errors.contains("secret words"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[\\[\\]=#;a\\\\ \r\n]{0,60}|.{0,60}") {
            let _ = read_all(&text);
        }

        #[test]
        fn any_value_without_a_line_break_comes_out_as_it_went_in(value in "[^\r\n\\p{White_Space}]{1,40}") {
            let (all, _) = read_all(&format!("[a]\nk = {value}\n"));
            prop_assert_eq!(all, [("a".to_owned(), "k".to_owned(), value)]);
        }
    }
}

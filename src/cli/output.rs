//! What commands print: a table for people, or JSON for programs; numbers as people read them.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// How a command prints what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people; its form may change
    #[default]
    Table,
    /// For programs: one JSON document
    Json,
}

/// Columns of text under a heading.
#[derive(Debug)]
pub(super) struct TextTable {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    pub fn new(heading: impl IntoIterator<Item = &'static str>) -> TextTable {
        TextTable { heading: heading.into_iter().collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Columns are as wide as their widest cell; those that hold numbers only are set to the right.
    pub fn render(&self) -> String {
        let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
        let columns = self.heading.len();
        let wide = |column: usize| {
            let cells = self.rows.iter().map(|row| cell(row, column).chars().count());
            cells.chain(self.heading.get(column).map(|name| name.chars().count())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(wide).collect();
        let right: Vec<bool> = (0..columns)
            .map(|column| !self.rows.is_empty() && self.rows.iter().all(|row| is_number(&cell(row, column))))
            .collect();
        let mut out = String::new();
        let heading = self.heading.iter().map(|name| (*name).to_owned()).collect();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let mut line = String::new();
            for (column, width) in widths.iter().copied().enumerate() {
                let text = cell(row, column);
                let gap = if column > 0 { "  " } else { "" };
                let _ = if right.get(column) == Some(&true) {
                    write!(line, "{gap}{text:>width$}")
                } else {
                    write!(line, "{gap}{text:<width$}")
                };
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out
    }
}

fn is_number(cell: &str) -> bool {
    cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '~' | '-'))
}

/// One line for a terminal: names come from strangers, so a control character in one is not carried out, nor does one
/// that changes the direction of writing make a name resemble another.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_active(c) { '·' } else { c }).collect()
}

/// Characters that a terminal acts on instead of showing them: controls, line and paragraph separators, and those that
/// change the direction of writing or are invisible within a name.
fn is_active(c: char) -> bool {
    let changes_direction =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_invisible = matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || changes_direction || is_invisible
}

/// JSON with the characters that a terminal acts on as `\uXXXX`: the same document.
fn safe_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        if is_active(c) && c != '\n' {
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Writes a line of JSON to standard output; where that is a terminal, as [`safe_json`].
pub(super) fn print_json_line(json: &str) {
    if io::stdout().is_terminal() { print(&safe_json(json)) } else { print(json) }
}

/// Writes to standard output. A closed output is not a failure.
pub(super) fn print(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{}", text.trim_end_matches('\n'));
}

/// Writes to standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}

/// Writes a JSON document to standard output.
pub(super) fn print_json(document: &impl Serialize) {
    if let Ok(text) = serde_json::to_string_pretty(document) {
        print_json_line(&text);
    }
}

/// `12.3 MiB`.
pub(super) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// `12.3 MiB/s`; nothing where no time has passed.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub(super) fn rate(count: u64, within: Duration) -> String {
    let seconds = within.as_secs_f64();
    if seconds <= 0.0 {
        return String::new();
    }
    format!("{}/s", bytes((count as f64 / seconds) as u64))
}

/// `1m 30s`, `450ms`.
pub(super) fn time(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{}ms", duration.as_millis())
    } else {
        crate::config::show_duration(Duration::from_secs(duration.as_secs()))
    }
}

/// `1 task`, `2 tasks`.
pub(super) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_cells_and_numbers_stand_to_the_right() {
        let mut table = TextTable::new(["code", "count"]);
        table.row(["timeout".to_owned(), "7".to_owned()]);
        table.row(["x".to_owned(), "1234".to_owned()]);
        assert_eq!(table.render(), "code     count\ntimeout      7\nx         1234\n");
    }

    #[test]
    fn a_strangers_name_does_not_move_the_cursor() {
        assert_eq!(one_line("a\x1b[2Jb\nc"), "a·[2Jb·c");
        // U+202E makes `gpj.exe` of `exe.jpg`.
        assert_eq!(one_line("photo\u{202e}gpj.exe \u{9b}2J"), "photo·gpj.exe ·2J");
        assert_eq!(one_line("日本 ä \u{1f4c4}"), "日本 ä \u{1f4c4}");
    }

    #[test]
    fn json_on_a_terminal_is_the_same_document_without_what_a_terminal_acts_on() {
        let name = "a\u{202e}b\u{9b}c\u{7f}\u{e0041}";
        let json = serde_json::to_string_pretty(&serde_json::json!({ "path": name })).unwrap();
        let safe = safe_json(&json);
        assert_eq!(safe, "{\n  \"path\": \"a\\u202eb\\u009bc\\u007f\\udb40\\udc41\"\n}");
        let again: serde_json::Value = serde_json::from_str(&safe).unwrap();
        assert_eq!(again["path"], name);
    }
}

//! What commands print: text for people, or one JSON object a line.

use std::io::{self, Write as _};

use serde_json::{Value, json};

use super::args::OutputFormat;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: OutputFormat,
}

impl Output {
    pub(crate) fn new(format: OutputFormat) -> Self {
        Self { format }
    }

    pub(crate) fn is_json(self) -> bool {
        self.format == OutputFormat::Json
    }

    /// A result, in the form that was asked for.
    pub(crate) fn result(self, text: &str, value: &Value) {
        match self.format {
            OutputFormat::Text => self.raw(format!("{text}\n").as_bytes()),
            OutputFormat::Json => self.raw(format!("{value}\n").as_bytes()),
        }
    }

    /// Bytes as they are, whatever the form. A closed pipe ends nothing: the next signal does.
    #[allow(clippy::unused_self, reason = "all output goes through one value")]
    pub(crate) fn raw(self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }

    /// Why the command failed.
    pub(crate) fn error(self, message: &str) {
        let mut out = io::stderr().lock();
        let _ = match self.format {
            OutputFormat::Text => writeln!(out, "frp-tunnels: {message}"),
            OutputFormat::Json => writeln!(out, "{}", json!({ "error": message })),
        };
    }
}

/// Columns as wide as their longest value.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|name| name.chars().count())).max().unwrap_or(0)
    };
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().enumerate().map(|(column, cell)| {
            let is_last = column + 1 == cells.len();
            if is_last { (*cell).to_owned() } else { format!("{cell:<width$}", width = width(column)) }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows =
            [vec!["a".into(), "long value".into(), "x".into()], vec!["bb".into(), "s".into(), String::new()]];
        assert_eq!(table(&["N", "V", "E"], &rows), "N   V           E\na   long value  x\nbb  s");
    }
}

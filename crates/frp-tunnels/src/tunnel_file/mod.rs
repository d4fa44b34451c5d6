//! The file of `up`: TOML with one `[server]` and any number of `[[tunnel]]`, read with all its mistakes at once.
//!
//! ```toml
//! [server]
//! address = "frps.example.com:7000"     # or a list: the next one is tried where one is away
//! token_file = "/run/secrets/frp-token"
//! user = "office"
//! tls_ca = "/etc/frp-tunnels/ca.pem"
//!
//! [[tunnel]]
//! name = "database"
//! type = "tcp"
//! local = "127.0.0.1:5432"
//! remote_port = 6000
//! ```
//!
//! ```text
//! section  one table of the file: each key is asked for with its type
//! server   `[server]`: where frps is, who this client is, and its limits
//! kinds    `[[tunnel]]`: one tunnel of each kind
//! ```

mod kinds;
mod section;
mod server;

use std::fmt;
use std::path::Path;

use toml::de::DeTable;

use self::section::Section;
use crate::client::ClientSettings;
use crate::spec::{ConflictKind, TunnelSpec, conflicts, mistakes};

/// A file of a thousand tunnels has about 200 kB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// What the file says.
#[derive(Debug, Clone)]
pub struct TunnelFile {
    pub client: ClientSettings,
    pub tunnels: Vec<TunnelSpec>,
    /// What works and may not be meant, for people.
    pub warnings: Vec<String>,
}

/// A mistake at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMistake {
    /// From 1.
    pub line: usize,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path}: {source}")]
    Unreadable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}: more than {MAX_FILE_BYTES} bytes")]
    TooLarge { path: String },
    #[error("{}", Listed(path, mistakes))]
    Mistakes { path: String, mistakes: Vec<FileMistake> },
}

struct Listed<'a>(&'a str, &'a [FileMistake]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.1.iter().map(|mistake| format!("{}:{}: {}", self.0, mistake.line, mistake.message));
        out.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// Reads and checks a file.
pub fn read_tunnel_file(path: &Path) -> Result<TunnelFile, FileError> {
    let name = path.display().to_string();
    let unreadable = |source| FileError::Unreadable { path: name.clone(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(FileError::TooLarge { path: name });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse_tunnel_file(&text).map_err(|mistakes| FileError::Mistakes { path: name, mistakes })
}

/// Reads a file's text; all mistakes, in the order of their lines.
pub fn parse_tunnel_file(text: &str) -> Result<TunnelFile, Vec<FileMistake>> {
    let mut found = Vec::new();
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            return Err(vec![FileMistake { line: line_of(text, at), message: error.message().to_owned() }]);
        }
    };
    let root = Section::new("", root.get_ref(), 0);
    let mut client = None;
    let mut tunnels: Vec<(TunnelSpec, usize)> = Vec::new();
    {
        let mut reader = Reader { text, found: &mut found };
        if let Some(section) = reader.table(&root, "server") {
            client = server::read(&mut reader, &section);
        } else {
            reader.add(0, "[server] is missing: it says where frps is");
        }
        for section in reader.tables(&root, "tunnel") {
            if let Some(spec) = kinds::read(&mut reader, &section) {
                tunnels.push((spec, section.start()));
            }
        }
        reader.unknown_keys(&root);
        for (spec, at) in &tunnels {
            for mistake in mistakes(spec) {
                reader.add(*at, mistake.to_string());
            }
        }
    }
    let warnings = check_conflicts(text, &tunnels, &mut found);
    found.sort_by_key(|mistake| mistake.line);
    match client {
        Some(client) if found.is_empty() => {
            Ok(TunnelFile { client, tunnels: tunnels.into_iter().map(|(spec, _)| spec).collect(), warnings })
        }
        _ => Err(found),
    }
}

/// What is refused becomes a mistake, what overlaps a warning.
fn check_conflicts(text: &str, tunnels: &[(TunnelSpec, usize)], found: &mut Vec<FileMistake>) -> Vec<String> {
    let specs: Vec<TunnelSpec> = tunnels.iter().map(|(spec, _)| spec.clone()).collect();
    let line = |at: usize| tunnels.get(at).map_or(1, |(_, start)| line_of(text, *start));
    let mut warnings = Vec::new();
    for conflict in conflicts(&specs) {
        let (first, second) = conflict.tunnels;
        let message = format!("{} (line {})", conflict.message, line(first));
        match conflict.kind {
            ConflictKind::Refused => found.push(FileMistake { line: line(second), message }),
            ConflictKind::Overlap => warnings.push(format!("line {}: {message}", line(second))),
        }
    }
    warnings
}

/// From 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Collects what is wrong, with its line.
struct Reader<'a> {
    text: &'a str,
    found: &'a mut Vec<FileMistake>,
}

impl Reader<'_> {
    fn add(&mut self, offset: usize, message: impl Into<String>) {
        self.found.push(FileMistake { line: line_of(self.text, offset), message: message.into() });
    }
}

#[cfg(test)]
mod tests;

//! Collects every error in the configuration in one pass. No message repeats a secret.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The errors in the configuration, one per line; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// In the order of config.yaml, connections.ini, environment, and by line.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.errors.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One error: its location, its key, the problem, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub location: SourceLocation,
    /// The key (`kafka.input_topic`, `[remote-ftp] port`) or the variable; empty if the error concerns the whole file.
    pub key: String,
    pub problem: String,
}

impl fmt::Display for ConfigError {
    /// `file:line: key: problem`, which editors and terminals turn into a link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.location)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        // A file may contain any text; a message is one line.
        let problem: String = self.problem.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        f.write_str(&problem)
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceLocation::File { path, line: Some(line) } => write!(f, "{path}:{line}"),
            SourceLocation::File { path, line: None } => f.write_str(path),
            SourceLocation::Environment => f.write_str("environment"),
        }
    }
}

/// The location of an error.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceLocation {
    /// Lines are counted from 1.
    File {
        path: String,
        line: Option<usize>,
    },
    Environment,
}

/// Collects errors while the configuration is read, and the files it is read from.
#[derive(Debug, Default)]
pub(super) struct ErrorCollector {
    found: Vec<ConfigError>,
    files: Vec<PathBuf>,
}

impl ErrorCollector {
    pub fn add(&mut self, location: SourceLocation, key: impl Into<String>, problem: impl Into<String>) {
        self.found.push(ConfigError { location, key: key.into(), problem: problem.into() });
    }

    pub fn in_file(&mut self, path: &str, line: Option<usize>, problem: impl Into<String>) {
        self.add(SourceLocation::File { path: path.to_owned(), line }, "", problem);
    }

    /// This file is read, or should have been: a change of it may correct an error.
    pub fn reads(&mut self, file: &Path) {
        self.files.push(file.to_owned());
    }

    /// The content of a file that a key names. The error says why it cannot be read.
    pub fn read_file(&mut self, path: &str, max_bytes: u64) -> Result<Vec<u8>, String> {
        self.reads(Path::new(path));
        let mut content = Vec::new();
        File::open(path)
            .and_then(|file| file.take(max_bytes + 1).read_to_end(&mut content))
            .map_err(|error| format!("`{path}` cannot be read: {error}"))?;
        if content.len() as u64 > max_bytes {
            return Err(format!("`{path}` cannot be read: it has more than {max_bytes} bytes"));
        }
        Ok(content)
    }

    /// Every file that was to be read, without duplicates.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.files.clone();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// `value` if there were no errors, otherwise the errors.
    pub fn or<T>(mut self, value: T) -> Result<T, ConfigErrors> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort_by(|a, b| a.location.cmp(&b.location));
        self.found.dedup();
        Err(ConfigErrors { errors: self.found })
    }
}

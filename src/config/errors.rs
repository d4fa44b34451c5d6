//! Every error in the configuration, found in one go. No message repeats a secret.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What is wrong with the configuration, a line each; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// In the order in which a reader finds them: config.yaml, connections.ini, environment, by line.
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

/// One error: where, at which key, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub location: SourceLocation,
    /// The key (`kafka.input_topic`, `[remote-ftp] port`) or the variable; empty where the whole file is meant.
    pub key: String,
    pub problem: String,
}

impl fmt::Display for ConfigError {
    /// `file:line: key: problem`, which editors and terminals make a link of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.location)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        // A file's text may hold anything; a message is one line.
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

/// Where an error is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceLocation {
    /// Lines are counted from 1.
    File {
        path: String,
        line: Option<usize>,
    },
    Environment,
}

/// Collects errors while the configuration is read, and which files it is read from.
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

    /// This file is read, or should have been: what is wrong may be put right by a change of it.
    pub fn reads(&mut self, file: &Path) {
        self.files.push(file.to_owned());
    }

    /// The content of a file that a key names. The error says why there is none.
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

    /// Every file that was to be read, once.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.files.clone();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// `value` if nothing was wrong, else everything that was.
    pub fn or<T>(mut self, value: T) -> Result<T, ConfigErrors> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort_by(|a, b| a.location.cmp(&b.location));
        self.found.dedup();
        Err(ConfigErrors { errors: self.found })
    }
}

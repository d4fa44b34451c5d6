//! Every mistake in the configuration, found in one go. No message repeats a secret.

use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with the configuration, a line each; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    mistakes: Vec<ConfigError>,
}

impl ConfigErrors {
    /// In the order in which a reader finds them: config.yaml, connections.ini, environment, by line.
    #[must_use]
    pub fn mistakes(&self) -> &[ConfigError] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.mistakes.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One mistake: where, at which key, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub place: SourceLocation,
    /// The key (`kafka.input_topic`, `[remote-ftp] port`) or the variable; empty where the whole file is meant.
    pub key: String,
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            SourceLocation::File { path, .. } => path,
            SourceLocation::Environment => "environment",
        };
        write!(f, "{place}: ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        // A file's text may hold anything; a message is one line.
        let problem: String = self.problem.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        f.write_str(&problem)?;
        match &self.place {
            SourceLocation::File { line: Some(line), .. } => write!(f, " (line {line})"),
            _ => Ok(()),
        }
    }
}

/// Where a mistake stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceLocation {
    /// Lines are counted from 1.
    File {
        path: String,
        line: Option<usize>,
    },
    Environment,
}

/// Collects mistakes while the configuration is read, and which files it is read from.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    found: Vec<ConfigError>,
    files: Vec<PathBuf>,
}

impl Mistakes {
    pub fn add(&mut self, place: SourceLocation, key: impl Into<String>, problem: impl Into<String>) {
        self.found.push(ConfigError { place, key: key.into(), problem: problem.into() });
    }

    pub fn in_file(&mut self, path: &str, line: Option<usize>, problem: impl Into<String>) {
        self.add(SourceLocation::File { path: path.to_owned(), line }, "", problem);
    }

    /// This file is read, or should have been: what is wrong may be put right by a change of it.
    pub fn reads(&mut self, file: &Path) {
        self.files.push(file.to_owned());
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
        self.found.sort_by(|a, b| a.place.cmp(&b.place));
        self.found.dedup();
        Err(ConfigErrors { mistakes: self.found })
    }
}

//! Which files are selected: patterns for names and for paths, and further limits. `submit` and feeds share them.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::TimeArgument;

/// Which files of a place become tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileCriteria {
    /// Include subdirectories.
    pub recursive: bool,
    /// The maximum depth: 1 is the files of the place itself.
    pub max_depth: Option<usize>,
    /// Empty selects everything.
    pub include: Vec<String>,
    /// Patterns that end with a slash are directories that are not entered.
    pub exclude: Vec<String>,
    pub newer_than: Option<TimeArgument>,
    pub older_than: Option<TimeArgument>,
    pub min_size: Option<u64>,
    pub max_size: Option<u64>,
}

/// An invalid pattern.
#[derive(Debug, thiserror::Error)]
#[error("'{pattern}': {problem}")]
pub struct BadPattern {
    pattern: String,
    problem: String,
}

/// Patterns without a slash are matched against names, those with one against paths.
#[derive(Clone, Debug, Default)]
pub struct FilePatterns {
    names: GlobSet,
    paths: GlobSet,
}

impl FilePatterns {
    /// # Errors
    /// The first invalid pattern.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<FilePatterns, BadPattern> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let bad = |pattern: &str, error: &globset::Error| BadPattern {
            pattern: pattern.to_owned(),
            problem: error.kind().to_string(),
        };
        for pattern in patterns {
            let bare = pattern.trim_end_matches('/');
            let compiled = glob(bare.trim_start_matches('/')).map_err(|error| bad(pattern, &error))?;
            if bare.contains('/') {
                paths.add(compiled)
            } else {
                names.add(compiled)
            };
        }
        let built = |set: GlobSetBuilder| set.build().map_err(|error| bad("", &error));
        Ok(FilePatterns { names: built(names)?, paths: built(paths)? })
    }

    /// Whether one of them matches this path, which has no leading slash.
    #[must_use]
    pub fn match_path(&self, path: &str) -> bool {
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        self.names.is_match(name) || self.paths.is_match(path)
    }
}

/// Checks the patterns of a key's list.
pub(super) fn check_patterns<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let patterns: Vec<String> = patterns.map(str::to_owned).collect();
    if patterns.iter().any(|pattern| pattern.trim_matches('/').is_empty()) {
        return Err("has an empty pattern; expected one such as `*.csv`".to_owned());
    }
    FilePatterns::new(patterns.iter().map(String::as_str)).map_err(|bad| format!("has {bad}"))?;
    Ok(patterns)
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build()
}

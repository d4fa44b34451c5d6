//! Which files of a listing become tasks. Pure.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::Timestamp;

use super::args::FileSelection;

/// A file of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedSource {
    /// Beneath the source, without a slash at its begin.
    pub path: String,
    pub size: Option<u64>,
    pub modified: Option<Timestamp>,
    /// In UTC and to the second.
    pub is_exact: bool,
}

#[derive(Debug)]
pub(super) struct FileFilter {
    /// `None` is everything.
    include: Option<PatternSet>,
    exclude: PatternSet,
    exclude_directories: PatternSet,
    newer_than: Option<Timestamp>,
    older_than: Option<Timestamp>,
    min_size: Option<u64>,
    max_size: Option<u64>,
}

/// A pattern that is none.
#[derive(Debug, thiserror::Error)]
#[error("{option} '{pattern}': {problem}")]
pub struct BadPattern {
    option: &'static str,
    pattern: String,
    problem: String,
}

impl FileFilter {
    /// Takes every file.
    pub fn everything() -> FileFilter {
        FileFilter {
            include: None,
            exclude: PatternSet::default(),
            exclude_directories: PatternSet::default(),
            newer_than: None,
            older_than: None,
            min_size: None,
            max_size: None,
        }
    }

    /// # Errors
    /// A pattern that is none.
    pub fn new(choice: &FileSelection, now: Timestamp) -> Result<FileFilter, BadPattern> {
        let (directories, files): (Vec<&str>, Vec<&str>) =
            choice.exclude.iter().map(String::as_str).partition(|pattern| pattern.ends_with('/'));
        let include = PatternSet::new("--include", choice.include.iter().map(String::as_str))?;
        Ok(FileFilter {
            include: (!choice.include.is_empty()).then_some(include),
            exclude: PatternSet::new("--exclude", files)?,
            exclude_directories: PatternSet::new("--exclude", directories)?,
            newer_than: choice.newer_than.map(|moment| moment.before(now)),
            older_than: choice.older_than.map(|moment| moment.before(now)),
            min_size: choice.min_size,
            max_size: choice.max_size,
        })
    }

    /// Whether a file becomes a task. One whose time or size is asked for and not told does not.
    pub fn takes(&self, file: &ListedSource) -> bool {
        let after =
            |limit: Option<Timestamp>| limit.is_none_or(|limit| file.modified.is_some_and(|at| at >= limit));
        let before =
            |limit: Option<Timestamp>| limit.is_none_or(|limit| file.modified.is_some_and(|at| at <= limit));
        let at_least = self.min_size.is_none_or(|limit| file.size.is_some_and(|size| size >= limit));
        let at_most = self.max_size.is_none_or(|limit| file.size.is_some_and(|size| size <= limit));
        self.include.as_ref().is_none_or(|include| include.match_path(&file.path))
            && !self.exclude.match_path(&file.path)
            && after(self.newer_than)
            && before(self.older_than)
            && at_least
            && at_most
    }

    /// Whether a directory is listed at all.
    pub fn enters(&self, directory: &str) -> bool {
        !self.exclude_directories.match_path(directory)
    }
}

/// Patterns for names, and patterns for paths.
#[derive(Debug, Default)]
struct PatternSet {
    names: GlobSet,
    paths: GlobSet,
}

impl PatternSet {
    fn new<'a>(
        option: &'static str,
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<PatternSet, BadPattern> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let bad = |pattern: &str, error: &globset::Error| BadPattern {
            option,
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
        Ok(PatternSet { names: built(names)?, paths: built(paths)? })
    }

    fn match_path(&self, path: &str) -> bool {
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        self.names.is_match(name) || self.paths.is_match(path)
    }
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice() -> FileSelection {
        FileSelection {
            recursive: false,
            include: Vec::new(),
            exclude: Vec::new(),
            newer_than: None,
            older_than: None,
            min_size: None,
            max_size: None,
            skip_existing: false,
        }
    }

    fn filter(choice: &FileSelection) -> FileFilter {
        FileFilter::new(choice, "2025-01-15T10:30:00Z".parse().unwrap()).unwrap()
    }

    fn found(path: &str) -> ListedSource {
        ListedSource { path: path.into(), size: Some(10), modified: None, is_exact: true }
    }

    #[test]
    fn without_a_choice_everything_is_taken() {
        assert!(filter(&choice()).takes(&found("a/b/.hidden")));
        assert!(filter(&choice()).enters("a"));
    }

    #[test]
    fn a_pattern_without_a_slash_is_about_the_name_and_with_one_about_the_path() {
        let some = |include: &[&str], exclude: &[&str]| {
            filter(&FileSelection {
                include: include.iter().map(|p| (*p).to_owned()).collect(),
                exclude: exclude.iter().map(|p| (*p).to_owned()).collect(),
                ..choice()
            })
        };
        let csv = some(&["*.csv"], &[]);
        assert!(
            csv.takes(&found("a.csv")) && csv.takes(&found("x/y/a.csv")) && !csv.takes(&found("a.csv.tmp"))
        );
        let top = some(&["/*.csv"], &[]);
        assert!(top.takes(&found("a.csv")) && !top.takes(&found("x/a.csv")));
        let deep = some(&["2025/**/*.{csv,txt}"], &["tmp*"]);
        assert!(deep.takes(&found("2025/01/15/a.txt")) && deep.takes(&found("2025/a.csv")));
        assert!(!deep.takes(&found("2024/a.csv")) && !deep.takes(&found("2025/tmp.csv")));
        let pruned = some(&[], &["old/", "a/b/"]);
        assert!(
            !pruned.enters("old") && !pruned.enters("x/old") && !pruned.enters("a/b") && pruned.enters("b")
        );
        assert!(pruned.takes(&found("old")), "a file of this name is none of the directories");
    }

    #[test]
    fn a_file_whose_time_or_size_is_not_told_is_not_chosen_by_it() {
        let day = super::super::super::arg_parsers::moment("1d").unwrap();
        let newer = filter(&FileSelection { newer_than: Some(day), ..choice() });
        let at = |time: &str| ListedSource { modified: Some(time.parse().unwrap()), ..found("a") };
        assert!(newer.takes(&at("2025-01-15T00:00:00Z")) && !newer.takes(&at("2025-01-14T00:00:00Z")));
        assert!(!newer.takes(&found("a")));
        let older = filter(&FileSelection { older_than: Some(day), ..choice() });
        assert!(!older.takes(&at("2025-01-15T00:00:00Z")) && older.takes(&at("2025-01-14T00:00:00Z")));
        let large = filter(&FileSelection { min_size: Some(11), ..choice() });
        assert!(!large.takes(&found("a")));
        assert!(!large.takes(&ListedSource { size: None, ..found("a") }));
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error =
            FileFilter::new(&FileSelection { include: vec!["[a".into()], ..choice() }, Timestamp::UNIX_EPOCH);
        let told = error.unwrap_err().to_string();
        assert!(told.contains("--include '[a'"), "{told}");
    }
}

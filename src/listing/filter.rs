//! Selects the files of a listing that become tasks. Pure.

use ftp_listing::TimeRange;
use jiff::Timestamp;

use crate::config::{BadPattern, FileCriteria, FilePatterns};

/// A file of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSource {
    /// The path beneath the source, without a leading slash.
    pub path: String,
    pub size: Option<u64>,
    /// When it was changed: between these two times.
    pub modified: Option<TimeRange>,
    /// The exact time, if it is known in UTC and to the second without a query.
    pub exact_time: Option<Timestamp>,
}

/// Whether a file becomes a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterDecision {
    Take,
    Leave,
    /// It depends on its time, which is not known well enough.
    TimeNotKnown,
    /// It depends on its size, which is not known.
    SizeNotKnown,
    /// It becomes a task, and its exact time should be queried if possible.
    TakeWithTime,
}

/// Selects every file by default.
#[derive(Debug, Default)]
pub struct FileFilter {
    /// `None` selects everything.
    include: Option<FilePatterns>,
    exclude: FilePatterns,
    exclude_directories: FilePatterns,
    newer_than: Option<Timestamp>,
    older_than: Option<Timestamp>,
    min_size: Option<u64>,
    max_size: Option<u64>,
}

/// An invalid pattern, and its list: `include` or `exclude`.
#[derive(Debug, thiserror::Error)]
#[error("{key} {bad}")]
pub struct BadCriterion {
    key: &'static str,
    bad: BadPattern,
}

impl FileFilter {
    /// # Errors
    /// If a pattern is invalid.
    pub fn new(criteria: &FileCriteria, now: Timestamp) -> Result<FileFilter, BadCriterion> {
        let exclude = |bad| BadCriterion { key: "exclude", bad };
        let (directories, files): (Vec<&str>, Vec<&str>) =
            criteria.exclude.iter().map(String::as_str).partition(|pattern| pattern.ends_with('/'));
        let include = FilePatterns::new(criteria.include.iter().map(String::as_str))
            .map_err(|bad| BadCriterion { key: "include", bad })?;
        Ok(FileFilter {
            include: (!criteria.include.is_empty()).then_some(include),
            exclude: FilePatterns::new(files).map_err(exclude)?,
            exclude_directories: FilePatterns::new(directories).map_err(exclude)?,
            newer_than: criteria.newer_than.map(|moment| moment.before(now)),
            older_than: criteria.older_than.map(|moment| moment.before(now)),
            min_size: criteria.min_size,
            max_size: criteria.max_size,
        })
    }

    /// Whether a file becomes a task. Nothing is guessed: if a needed value is not known, that is the result.
    #[must_use]
    pub fn decide(&self, file: &ListedSource) -> FilterDecision {
        let matches = self.include.as_ref().is_none_or(|include| include.match_path(&file.path))
            && !self.exclude.match_path(&file.path);
        let size = self.has_size(file.size);
        let time = self.has_time(file.modified.as_ref());
        match (matches, size, time) {
            (false, ..) | (_, Some(false), _) | (_, _, Some(false)) => FilterDecision::Leave,
            (true, None, _) => FilterDecision::SizeNotKnown,
            (true, _, None) => FilterDecision::TimeNotKnown,
            (true, Some(true), Some(true)) => FilterDecision::Take,
        }
    }

    /// `None` if it is not known.
    fn has_size(&self, size: Option<u64>) -> Option<bool> {
        if self.min_size.is_none() && self.max_size.is_none() {
            return Some(true);
        }
        let size = size?;
        let at_least = self.min_size.is_none_or(|limit| size >= limit);
        Some(at_least && self.max_size.is_none_or(|limit| size <= limit))
    }

    /// `None` if it is not known.
    fn has_time(&self, modified: Option<&TimeRange>) -> Option<bool> {
        if self.newer_than.is_none() && self.older_than.is_none() {
            return Some(true);
        }
        let modified = modified?;
        let is_newer = |limit: Timestamp| certain(modified.earliest >= limit, modified.latest < limit);
        let is_older = |limit: Timestamp| certain(modified.latest <= limit, modified.earliest > limit);
        let newer = self.newer_than.map_or(Some(true), is_newer);
        let older = self.older_than.map_or(Some(true), is_older);
        match (newer, older) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }

    /// Whether a directory is listed at all.
    #[must_use]
    pub fn enters(&self, directory: &str) -> bool {
        !self.exclude_directories.match_path(directory)
    }
}

fn certain(is_true: bool, is_false: bool) -> Option<bool> {
    match (is_true, is_false) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TimeArgument;

    fn choice() -> FileCriteria {
        FileCriteria::default()
    }

    fn filter(choice: &FileCriteria) -> FileFilter {
        FileFilter::new(choice, "2025-01-15T10:30:00Z".parse().unwrap()).unwrap()
    }

    fn found(path: &str) -> ListedSource {
        ListedSource { path: path.into(), size: Some(10), modified: None, exact_time: None }
    }

    fn takes(filter: &FileFilter, file: &ListedSource) -> bool {
        filter.decide(file) == FilterDecision::Take
    }

    #[test]
    fn without_a_choice_everything_is_taken() {
        assert!(takes(&filter(&choice()), &found("a/b/.hidden")));
        assert!(filter(&choice()).enters("a"));
    }

    #[test]
    fn a_pattern_without_a_slash_is_about_the_name_and_with_one_about_the_path() {
        let some = |include: &[&str], exclude: &[&str]| {
            filter(&FileCriteria {
                include: include.iter().map(|p| (*p).to_owned()).collect(),
                exclude: exclude.iter().map(|p| (*p).to_owned()).collect(),
                ..choice()
            })
        };
        let csv = some(&["*.csv"], &[]);
        assert!(
            takes(&csv, &found("a.csv"))
                && takes(&csv, &found("x/y/a.csv"))
                && !takes(&csv, &found("a.csv.tmp"))
        );
        let top = some(&["/*.csv"], &[]);
        assert!(takes(&top, &found("a.csv")) && !takes(&top, &found("x/a.csv")));
        let deep = some(&["2025/**/*.{csv,txt}"], &["tmp*"]);
        assert!(takes(&deep, &found("2025/01/15/a.txt")) && takes(&deep, &found("2025/a.csv")));
        assert!(!takes(&deep, &found("2024/a.csv")) && !takes(&deep, &found("2025/tmp.csv")));
        let pruned = some(&[], &["old/", "a/b/"]);
        assert!(
            !pruned.enters("old") && !pruned.enters("x/old") && !pruned.enters("a/b") && pruned.enters("b")
        );
        assert!(takes(&pruned, &found("old")), "a file of this name is none of the directories");
    }

    #[test]
    fn a_file_whose_time_or_size_is_not_known_is_neither_chosen_nor_left_by_it() {
        let day = TimeArgument::parse("1d").unwrap();
        let between = |earliest: &str, latest: &str| {
            let range = TimeRange { earliest: earliest.parse().unwrap(), latest: latest.parse().unwrap() };
            ListedSource { modified: Some(range), ..found("a") }
        };
        let at = |time: &str| between(time, time);
        let (before, after) = (at("2025-01-14T00:00:00Z"), at("2025-01-15T00:00:00Z"));
        let around = between("2025-01-14T00:00:00Z", "2025-01-15T00:00:00Z");
        let newer = filter(&FileCriteria { newer_than: Some(day), ..choice() });
        assert_eq!(newer.decide(&after), FilterDecision::Take);
        assert_eq!(newer.decide(&before), FilterDecision::Leave);
        assert_eq!(newer.decide(&around), FilterDecision::TimeNotKnown);
        assert_eq!(newer.decide(&found("a")), FilterDecision::TimeNotKnown);
        let older = filter(&FileCriteria { older_than: Some(day), ..choice() });
        assert_eq!(older.decide(&after), FilterDecision::Leave);
        assert_eq!(older.decide(&before), FilterDecision::Take);
        assert_eq!(older.decide(&around), FilterDecision::TimeNotKnown);
        let large = filter(&FileCriteria { min_size: Some(11), ..choice() });
        assert_eq!(large.decide(&found("a")), FilterDecision::Leave);
        assert_eq!(large.decide(&ListedSource { size: None, ..found("a") }), FilterDecision::SizeNotKnown);
        let other = filter(&FileCriteria { newer_than: Some(day), include: vec!["b".into()], ..choice() });
        assert_eq!(other.decide(&found("a")), FilterDecision::Leave, "by its name, whatever its time");
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error =
            FileFilter::new(&FileCriteria { include: vec!["[a".into()], ..choice() }, Timestamp::UNIX_EPOCH);
        let told = error.unwrap_err().to_string();
        assert!(told.contains("include '[a'"), "{told}");
    }
}

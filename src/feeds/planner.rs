//! Which versions of files become tasks, and which are forgotten. Pure; times are arguments.
//!
//! ```text
//! listed ─▶ settling ── listed again, the same, long enough after ─▶ planned ── committed ─▶ taken
//!              ▲                                                                               │
//!              └───────────────────────── listed with another size or time ────────────────────┤
//!                                     forgotten ◀── gone from whole listings for long enough ──┘
//! ```
//!
//! What is taken is what is committed with its task; all else may be lost at any time, and is then found again by the next
//! listings. A file costs 50 to 110 bytes here, however long its path is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::version::{FileVersion, PathHash};

/// Files of one feed that are known at most: 200 MiB. What there is above that is not taken.
pub(super) const MAX_KNOWN: usize = 2_000_000;
/// Versions that wait for their commit at most; a listing that finds more leaves them for the next one, which comes at once.
pub(super) const MAX_PLANNED: usize = 50_000;

/// What a feed's configuration says about versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeedRules {
    pub settle: Duration,
    /// A file that is taken stays so, whatever becomes of it.
    pub ignores_changes: bool,
    pub remember: Duration,
}

/// A version that becomes a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedFile {
    pub path: String,
    pub hash: PathHash,
    pub version: FileVersion,
}

/// When something was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenAt {
    /// The server was asked for it not before this.
    pub not_before: Duration,
    pub now: Duration,
}

/// What a listing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ListingCounts {
    /// Files that the filter lets through.
    pub chosen: u64,
    /// Of these, versions that have become tasks now.
    pub planned: u64,
    /// Left for the next listing, since too many wait to be committed.
    pub postponed: u64,
    /// Not taken, since more files are known than there may be.
    pub beyond: u64,
}

#[derive(Clone, Copy, Debug)]
struct TakenFile {
    version: FileVersion,
    /// The listing that has it last.
    listing: u32,
}

#[derive(Clone, Copy, Debug)]
struct SettlingFile {
    version: FileVersion,
    /// When it was first seen so.
    since: Duration,
    listing: u32,
}

/// The files of one feed.
#[derive(Debug, Default)]
pub(super) struct FeedFiles {
    taken: HashMap<PathHash, TakenFile>,
    settling: HashMap<PathHash, SettlingFile>,
    /// Taken ones that whole listings do not have, and since when.
    gone: HashMap<PathHash, Duration>,
    planned: VecDeque<PlannedFile>,
    /// Those, and what is being committed.
    in_hand: HashSet<PathHash>,
    forgotten: VecDeque<PathHash>,
    listing: u32,
    counts: ListingCounts,
}

impl FeedFiles {
    /// It is committed that this version has become a task.
    pub fn restore(&mut self, hash: PathHash, version: FileVersion) {
        self.taken.insert(hash, TakenFile { version, listing: self.listing });
        self.gone.remove(&hash);
    }

    /// It is committed that nothing is known of this path any more.
    pub fn forget(&mut self, hash: PathHash) {
        self.taken.remove(&hash);
        self.gone.remove(&hash);
        self.settling.remove(&hash);
    }

    pub fn begin_listing(&mut self) {
        self.listing = self.listing.wrapping_add(1);
        self.counts = ListingCounts::default();
    }

    /// A listing has this file.
    pub fn observe(&mut self, path: &str, version: FileVersion, seen: SeenAt, rules: FeedRules) {
        self.counts.chosen += 1;
        let (hash, listing) = (PathHash::of(path), self.listing);
        if self.in_hand.contains(&hash) {
            return; // listed twice
        }
        if let Some(taken) = self.taken.get_mut(&hash) {
            taken.listing = listing;
            self.gone.remove(&hash);
            if taken.version.may_be(&version) {
                taken.version = taken.version.narrowed_by(&version);
                self.settling.remove(&hash);
                return;
            }
            if rules.ignores_changes {
                return;
            }
        } else if self.taken.len() + self.settling.len() >= MAX_KNOWN && !self.settling.contains_key(&hash) {
            self.counts.beyond += 1;
            return;
        }
        let first = SettlingFile { version, since: seen.now, listing };
        let settling = self.settling.entry(hash).or_insert(first);
        settling.listing = listing;
        if settling.version.may_be(&version) {
            settling.version = settling.version.narrowed_by(&version);
        } else {
            *settling = first;
        }
        let stood_still = seen.not_before.saturating_sub(settling.since);
        if stood_still < rules.settle {
            return;
        }
        if self.planned.len() >= MAX_PLANNED {
            self.counts.postponed += 1;
            return;
        }
        let version = settling.version;
        self.settling.remove(&hash);
        self.in_hand.insert(hash);
        self.planned.push_back(PlannedFile { path: path.to_owned(), hash, version });
        self.counts.planned += 1;
    }

    /// The listing is over. Only one that `is_whole` says that what it does not have is gone.
    pub fn end_listing(&mut self, is_whole: bool, now: Duration, rules: FeedRules) -> ListingCounts {
        if is_whole {
            let listing = self.listing;
            self.settling.retain(|_, file| file.listing == listing);
            for (hash, _) in self.taken.iter().filter(|(_, file)| file.listing != listing) {
                let since = *self.gone.entry(*hash).or_insert(now);
                if now.saturating_sub(since) >= rules.remember {
                    self.forgotten.push_back(*hash);
                }
            }
        }
        self.counts
    }

    /// The next versions to be committed with their tasks.
    pub fn take_planned(&mut self, most: usize) -> Vec<PlannedFile> {
        self.planned.drain(..most.min(self.planned.len())).collect()
    }

    /// The next paths of which nothing shall be known any more.
    pub fn take_forgotten(&mut self, most: usize) -> Vec<PathHash> {
        self.forgotten.drain(..most.min(self.forgotten.len())).collect()
    }

    /// These are committed.
    pub fn committed(&mut self, planned: &[PlannedFile], forgotten: &[PathHash]) {
        for file in planned {
            self.in_hand.remove(&file.hash);
            self.restore(file.hash, file.version);
        }
        for hash in forgotten {
            self.forget(*hash);
        }
    }

    /// What is not committed yet is not wanted any more: other rules hold now.
    pub fn start_over(&mut self) {
        self.planned.clear();
        self.forgotten.clear();
        self.in_hand.clear();
        self.settling.clear();
    }

    /// Whether something waits to be committed: no listing begins meanwhile.
    pub fn has_changes(&self) -> bool {
        !self.planned.is_empty() || !self.forgotten.is_empty()
    }

    pub fn taken(&self) -> usize {
        self.taken.len()
    }

    pub fn settling(&self) -> usize {
        self.settling.len()
    }

    /// At most this many of the known paths.
    pub fn some_taken(&self, most: usize) -> Vec<PathHash> {
        self.taken.keys().copied().take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: FeedRules = FeedRules {
        settle: Duration::from_secs(10),
        ignores_changes: false,
        remember: Duration::from_secs(60),
    };

    fn version(size: u64) -> FileVersion {
        FileVersion::new(Some(size), None)
    }

    /// Lists these files at this second; what has become a task is committed at once.
    fn list(
        files: &mut FeedFiles,
        second: u64,
        listed: &[(&str, u64)],
        is_whole: bool,
        rules: FeedRules,
    ) -> Vec<String> {
        let now = Duration::from_secs(second);
        files.begin_listing();
        for (path, size) in listed {
            files.observe(path, version(*size), SeenAt { not_before: now, now }, rules);
        }
        files.end_listing(is_whole, now, rules);
        let (planned, forgotten) = (files.take_planned(100), files.take_forgotten(100));
        files.committed(&planned, &forgotten);
        planned.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn a_version_is_taken_once_it_has_stood_still_and_a_changed_one_again() {
        let mut files = FeedFiles::default();
        assert_eq!(list(&mut files, 0, &[("a", 1)], true, RULES), [""; 0]);
        assert_eq!(list(&mut files, 9, &[("a", 1)], true, RULES), [""; 0]);
        assert_eq!(list(&mut files, 10, &[("a", 1)], true, RULES), ["a"]);
        assert_eq!(list(&mut files, 20, &[("a", 1)], true, RULES), [""; 0]);
        assert_eq!(list(&mut files, 30, &[("a", 2)], true, RULES), [""; 0]);
        assert_eq!(list(&mut files, 35, &[("a", 3)], true, RULES), [""; 0], "it is being written");
        assert_eq!(list(&mut files, 40, &[("a", 3)], true, RULES), [""; 0]);
        assert_eq!(list(&mut files, 45, &[("a", 3)], true, RULES), ["a"]);
        let ignoring = FeedRules { ignores_changes: true, ..RULES };
        assert_eq!(list(&mut files, 50, &[("a", 4)], true, ignoring), [""; 0]);
        assert_eq!(list(&mut files, 90, &[("a", 4)], true, ignoring), [""; 0]);
        assert_eq!((files.taken(), files.settling()), (1, 0));
    }

    #[test]
    fn without_settling_a_file_is_taken_at_first_sight_and_once_if_it_is_listed_twice() {
        let mut files = FeedFiles::default();
        let at_once = FeedRules { settle: Duration::ZERO, ..RULES };
        assert_eq!(list(&mut files, 0, &[("a", 1), ("a", 1)], true, at_once), ["a"]);
    }

    #[test]
    fn what_is_gone_is_forgotten_after_a_while_and_by_whole_listings_alone() {
        let mut files = FeedFiles::default();
        let at_once = FeedRules { settle: Duration::ZERO, ..RULES };
        assert_eq!(list(&mut files, 0, &[("a", 1), ("b", 1)], true, at_once), ["a", "b"]);
        for second in [100, 200] {
            list(&mut files, second, &[("b", 1)], false, at_once);
        }
        assert_eq!(files.taken(), 2, "listings that broke off say nothing");
        list(&mut files, 300, &[("b", 1)], true, at_once);
        assert_eq!(list(&mut files, 350, &[("a", 1), ("b", 1)], true, at_once), [""; 0], "back in time");
        list(&mut files, 400, &[("b", 1)], true, at_once);
        list(&mut files, 460, &[("b", 1)], true, at_once);
        assert_eq!(files.taken(), 1);
        assert_eq!(list(&mut files, 470, &[("a", 1), ("b", 1)], true, at_once), ["a"], "it is a new one");
    }

    #[test]
    fn more_than_may_wait_are_left_for_the_next_listing() {
        let mut files = FeedFiles::default();
        let at_once = FeedRules { settle: Duration::ZERO, ..RULES };
        let now = Duration::from_secs(1);
        let paths: Vec<String> = (0..MAX_PLANNED + 3).map(|n| n.to_string()).collect();
        let observe_all = |files: &mut FeedFiles| {
            files.begin_listing();
            for path in &paths {
                files.observe(path, version(1), SeenAt { not_before: now, now }, at_once);
            }
            files.end_listing(true, now, at_once)
        };
        let counts = observe_all(&mut files);
        assert_eq!((counts.planned, counts.postponed), (MAX_PLANNED as u64, 3));
        let planned = files.take_planned(usize::MAX);
        files.committed(&planned, &[]);
        let counts = observe_all(&mut files);
        assert_eq!((counts.planned, counts.postponed, counts.chosen), (3, 0, MAX_PLANNED as u64 + 3));
    }
}

//! Receives a listing's entries, file by file.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::partition::PartitionFeeds;
use super::planner::SeenAt;
use super::state::rules;
use super::version::FileVersion;
use crate::config::FeedConfig;
use crate::listing::{FileFilter, FilterDecision, ListedSource, WalkVisitor};

/// A file's time is asked for while its listed one may still be the same after another change: that minute, and so much
/// longer as clocks may differ.
const RECENT: SignedDuration = SignedDuration::from_secs(120);

/// Hands what is listed to the feed's planner.
#[derive(Debug)]
pub struct FeedObserver {
    pub(super) feeds: Arc<Mutex<PartitionFeeds>>,
    pub(super) feed: Arc<FeedConfig>,
    /// The feed's how manieth listing this is.
    pub(super) listing: u64,
    pub(super) filter: FileFilter,
    pub(super) clock: fn() -> Duration,
    pub(super) begun: Timestamp,
    /// The present directory was asked for not before this.
    pub(super) not_before: Duration,
}

impl WalkVisitor for FeedObserver {
    fn decide(&self, file: &ListedSource) -> FilterDecision {
        match self.filter.decide(file) {
            FilterDecision::Take if is_vague(file, self.begun) => FilterDecision::TakeWithTime,
            decision => decision,
        }
    }

    fn enters(&self, directory: &str) -> bool {
        self.filter.enters(directory)
    }

    fn take(&mut self, file: &ListedSource, is_single: bool) -> io::Result<()> {
        if is_single {
            return Err(io::Error::other(format!("{} is a file; a feed lists a directory", self.feed.from)));
        }
        let seen = SeenAt { not_before: self.not_before, now: (self.clock)() };
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let state = feeds.feeds.get_mut(&self.feed.name).filter(|state| state.listings == self.listing);
        let Some(state) = state else { return Err(io::Error::other("the feed has changed")) };
        state.files.observe(&file.path, FileVersion::of(file), seen, rules(&self.feed));
        Ok(())
    }

    fn begin_directory(&mut self) {
        self.not_before = (self.clock)();
    }
}

/// Whether the file may be changed once more without a change in how it is listed.
fn is_vague(file: &ListedSource, now: Timestamp) -> bool {
    let Some(range) = file.modified else { return true };
    range.earliest != range.latest && now.checked_sub(RECENT).is_ok_and(|before| range.latest >= before)
}

#[cfg(test)]
mod tests {
    use ftp_listing::TimeRange;

    use super::*;

    #[test]
    fn a_time_is_asked_for_while_it_tells_too_little() {
        let now: Timestamp = "2026-01-02T10:32:30Z".parse().unwrap();
        let file = |earliest: &str, latest: &str| {
            let range = TimeRange { earliest: earliest.parse().unwrap(), latest: latest.parse().unwrap() };
            ListedSource { path: "a".into(), size: Some(1), modified: Some(range), exact_time: None }
        };
        assert!(is_vague(&file("2026-01-02T10:32:00Z", "2026-01-02T10:32:59Z"), now));
        assert!(is_vague(&file("2026-01-02T10:30:00Z", "2026-01-02T10:30:59Z"), now), "clocks differ");
        assert!(!is_vague(&file("2026-01-02T10:29:00Z", "2026-01-02T10:29:59Z"), now));
        assert!(!is_vague(&file("2026-01-02T10:32:01Z", "2026-01-02T10:32:01Z"), now), "it is exact");
        assert!(is_vague(
            &ListedSource { modified: None, ..file("2026-01-02T10:32:01Z", "2026-01-02T10:32:01Z") },
            now
        ));
    }
}

//! A feed's status: for its readers, and for its next owner.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One feed, as it was when its owner last wrote of it. Names are part of the API: fields are added, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedStatus {
    pub feed: String,
    /// Whose pod lists for it.
    pub pod: String,
    pub from: String,
    pub to: String,
    pub schedule: String,
    /// When the feed was first known.
    #[serde(with = "super::times::milliseconds")]
    pub known_since: Option<Timestamp>,
    /// The begin and the end of the last listing.
    #[serde(with = "super::times::milliseconds")]
    pub listed_at: Option<Timestamp>,
    #[serde(with = "super::times::milliseconds")]
    pub listed_until: Option<Timestamp>,
    /// When it is listed next; not while it is paused.
    #[serde(with = "super::times::milliseconds")]
    pub next_at: Option<Timestamp>,
    /// A listing is under way.
    pub is_listing: bool,
    /// Who has paused it.
    pub paused_by: Option<String>,
    /// Of the last listing: files, those that the filter lets through, and directories.
    pub files: u64,
    pub chosen: u64,
    pub directories: u64,
    /// Entries of it that may be files, and of which no task can be made.
    pub passed_over: u64,
    /// Tasks that were made of it.
    pub new: u64,
    /// Files that have to stay unchanged for longer before they become tasks.
    pub settling: u64,
    /// Files that are known to have become tasks.
    pub known: u64,
    /// Tasks that were ever made.
    pub tasks: u64,
    /// Why the last listing failed, or not all of it could become tasks.
    pub error: Option<String>,
    /// Listings that failed, in a row.
    pub failures: u32,
}

impl FeedStatus {
    /// In one word.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            FeedStatus { is_listing: true, .. } => "listing",
            FeedStatus { paused_by: Some(_), .. } => "paused",
            FeedStatus { failures: 1.., .. } => "failing",
            FeedStatus { settling: 1.., .. } => "settling",
            _ => "waiting",
        }
    }

    /// Whether something differs that is more than the course of time.
    pub(super) fn is_news_after(&self, other: &FeedStatus) -> bool {
        let still = |status: &FeedStatus| FeedStatus {
            listed_at: None,
            listed_until: None,
            next_at: None,
            is_listing: false,
            ..status.clone()
        };
        still(self) != still(other)
    }
}

/// The feeds that this pod lists for, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct FeedBoard(Arc<Mutex<BTreeMap<String, FeedStatus>>>);

impl FeedBoard {
    #[must_use]
    pub fn all(&self) -> Vec<FeedStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn set(&self, status: FeedStatus) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(status.feed.clone(), status);
    }

    pub(super) fn remove(&self, feed: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(feed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_as_everywhere_in_the_api() {
        let listed_at = Some("2026-01-02T03:04:05.123456789Z".parse().unwrap());
        let status = FeedStatus { listed_at, ..FeedStatus::default() };
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["listed_at"], "2026-01-02T03:04:05.123Z");
        assert!(json["next_at"].is_null());
        let read: FeedStatus = serde_json::from_value(json).unwrap();
        assert_eq!(read.listed_at, Some("2026-01-02T03:04:05.123Z".parse().unwrap()));
    }
}

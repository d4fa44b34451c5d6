//! The records of the feeds topic.
//!
//! ```text
//! file/FEED/HASH      this version of a file has become a task; a tombstone: nothing is known of it
//! status/FEED         the feed's status
//! pause/FEED          it is paused; a tombstone: it is not
//! run/FEED            it is to be listed now; a tombstone: it was
//! forget/FEED/HASH    a file is to be forgotten (all of them: `forget/FEED/all`); a tombstone: it was done
//! ```
//!
//! The owner writes the first two, the API and the commands the others. All records of a feed are in one partition, so
//! that they have one order. Its status is on [`BOARD_PARTITION`] as well, for readers that need nothing else.

use ftp_listing::TimeRange;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::planner::PlannedFile;
use super::status::FeedStatus;
use super::version::{FileVersion, PathHash};

/// The partitions in which feeds live. Never changes: a feed would move to another partition, and start from scratch.
pub const FEED_PARTITIONS: i32 = 4;
/// Holds each feed's status, and nothing else.
pub const BOARD_PARTITION: i32 = FEED_PARTITIONS;
/// What the topic must have.
pub const TOPIC_PARTITIONS: i32 = FEED_PARTITIONS + 1;

/// Where all that concerns a feed is written.
#[must_use]
pub fn partition_of(feed: &str) -> i32 {
    i32::try_from(crc32fast::hash(feed.as_bytes()) % FEED_PARTITIONS.unsigned_abs()).unwrap_or(0)
}

/// Who made a request, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedRequest {
    pub at: String,
    pub by: String,
}

/// What a task was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenRecord {
    /// Beneath the feed's source.
    pub path: String,
    pub size: Option<u64>,
    /// When the file was changed; with `until`, between the two.
    #[serde(with = "super::times", default)]
    pub modified: Option<Timestamp>,
    #[serde(with = "super::times", default)]
    pub until: Option<Timestamp>,
    pub task_id: String,
    /// When the task was made.
    pub at: String,
}

impl TakenRecord {
    pub(super) fn new(file: &PlannedFile, task_id: String, at: String) -> TakenRecord {
        let modified = file.version.modified();
        TakenRecord {
            path: file.path.clone(),
            size: file.version.size(),
            modified: modified.map(|range| range.earliest),
            until: modified.filter(|range| range.earliest != range.latest).map(|range| range.latest),
            task_id,
            at,
        }
    }

    pub(super) fn version(&self) -> FileVersion {
        let range =
            self.modified.map(|earliest| TimeRange { earliest, latest: self.until.unwrap_or(earliest) });
        FileVersion::new(self.size, range)
    }
}

/// A record, decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedRecord {
    File {
        feed: String,
        hash: PathHash,
        taken: Option<Box<TakenRecord>>,
    },
    Status {
        feed: String,
        status: Option<Box<FeedStatus>>,
    },
    Pause {
        feed: String,
        request: Option<FeedRequest>,
    },
    Run {
        feed: String,
        request: Option<FeedRequest>,
    },
    /// `hash` is `None` for all files.
    Forget {
        feed: String,
        hash: Option<PathHash>,
        request: Option<FeedRequest>,
    },
}

const ALL: &str = "all";

impl FeedRecord {
    /// `None` if it is not a record of feeds.
    #[must_use]
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Option<FeedRecord> {
        let mut parts = std::str::from_utf8(key).ok()?.splitn(3, '/');
        let (kind, feed, rest) = (parts.next()?, parts.next()?.to_owned(), parts.next());
        if feed.is_empty() {
            return None;
        }
        match (kind, rest) {
            ("file", Some(hash)) => {
                Some(FeedRecord::File { feed, hash: PathHash::parse(hash)?, taken: read(value)? })
            }
            ("status", None) => Some(FeedRecord::Status { feed, status: read(value)? }),
            ("pause", None) => Some(FeedRecord::Pause { feed, request: read(value)? }),
            ("run", None) => Some(FeedRecord::Run { feed, request: read(value)? }),
            ("forget", Some(ALL)) => Some(FeedRecord::Forget { feed, hash: None, request: read(value)? }),
            ("forget", Some(hash)) => {
                Some(FeedRecord::Forget { feed, hash: Some(PathHash::parse(hash)?), request: read(value)? })
            }
            _ => None,
        }
    }

    /// The record's key and value.
    #[must_use]
    pub fn encode(&self) -> (String, Option<Vec<u8>>) {
        match self {
            FeedRecord::File { feed, hash, taken } => {
                (format!("file/{feed}/{}", hash.hex()), written(taken.as_ref()))
            }
            FeedRecord::Status { feed, status } => (format!("status/{feed}"), written(status.as_ref())),
            FeedRecord::Pause { feed, request } => (format!("pause/{feed}"), written(request.as_ref())),
            FeedRecord::Run { feed, request } => (format!("run/{feed}"), written(request.as_ref())),
            FeedRecord::Forget { feed, hash, request } => {
                let which = hash.map_or_else(|| ALL.to_owned(), PathHash::hex);
                (format!("forget/{feed}/{which}"), written(request.as_ref()))
            }
        }
    }
}

#[expect(clippy::option_option, reason = "the outer one is whether it could be read")]
/// The outer `None` is a value that is nothing of ours, the inner one a tombstone.
fn read<T: for<'a> Deserialize<'a>>(value: Option<&[u8]>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        // JSON's null is as good as a tombstone: who resumes a feed writes it
        Some(value) => serde_json::from_slice(value).ok(),
    }
}

fn written<T: Serialize>(value: Option<&T>) -> Option<Vec<u8>> {
    value.map(|value| serde_json::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let request = Some(FeedRequest { at: "2026-01-02T03:04:05Z".into(), by: "alice".into() });
        let feed = || "in.voices".to_owned();
        let file = PlannedFile {
            path: "a/ü.csv".into(),
            hash: PathHash::of("a/ü.csv"),
            version: FileVersion::new(
                Some(7),
                Some(TimeRange {
                    earliest: "2026-01-02T10:30:00Z".parse().unwrap(),
                    latest: "2026-01-02T10:30:59.000001Z".parse().unwrap(),
                }),
            ),
        };
        let taken = TakenRecord::new(&file, "id".into(), "now".into());
        assert_eq!(taken.version(), file.version);
        let status = FeedStatus { feed: feed(), tasks: 3, error: Some("x".into()), ..FeedStatus::default() };
        for record in [
            FeedRecord::File { feed: feed(), hash: file.hash, taken: Some(Box::new(taken)) },
            FeedRecord::File { feed: feed(), hash: file.hash, taken: None },
            FeedRecord::Status { feed: feed(), status: Some(Box::new(status)) },
            FeedRecord::Pause { feed: feed(), request: request.clone() },
            FeedRecord::Run { feed: feed(), request: None },
            FeedRecord::Forget { feed: feed(), hash: None, request: request.clone() },
            FeedRecord::Forget { feed: feed(), hash: Some(file.hash), request },
        ] {
            let (key, value) = record.encode();
            assert_eq!(FeedRecord::decode(key.as_bytes(), value.as_deref()), Some(record));
        }
    }

    #[test]
    fn what_is_nothing_of_ours_is_passed_over() {
        for (key, value) in [
            ("", "{}"),
            ("file/x", "{}"),
            ("file/x/zz", "{}"),
            ("status/", "{}"),
            ("pause/x", "no"),
            ("other/x", "{}"),
        ] {
            assert_eq!(FeedRecord::decode(key.as_bytes(), Some(value.as_bytes())), None, "{key}");
        }
        assert_eq!(FeedRecord::decode(b"\xff", None), None);
    }

    #[test]
    fn a_feeds_partition_never_changes() {
        // Another one would make all its files new.
        assert_eq!(["invoices", "a", "b", "c"].map(partition_of), [1, 3, 1, 3]);
    }
}

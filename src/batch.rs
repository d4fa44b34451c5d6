//! Batches: tasks that were submitted together, and may be cancelled together.
//!
//! A task belongs to the batch that its record's header [`BATCH_HEADER`] names; the header is copied to the retry topic
//! and to the answer. What is known about batches is stored on the control topic, which is compacted, under three keys:
//!
//! ```text
//! ID             what was submitted: written by the submitter, before the first task
//! ID/cancelled   its tasks are no longer wanted
//! ID/done        all its tasks were seen to be answered
//! ```
//!
//! They are three so that no writer overwrites another's entry. A pod reads the topic from its beginning, and follows
//! it: docs/design/batches.md.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::{Code, Failure};
use crate::record::Header;
use crate::text::shorten;

/// Names a record's batch, in requests and answers.
pub const BATCH_HEADER: &str = "ftp-batch";
/// How many batches are remembered; beyond that the oldest are forgotten. (An id starts with its time.)
pub const MAX_BATCHES: usize = 10_000;
/// The control topic's retention: longer than any task waits in the retry topic.
pub const RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// The maximum length of an id.
pub const MAX_ID_BYTES: usize = 100;
/// The maximum length of a text written by a user.
const MAX_TEXT_BYTES: usize = 500;

const CANCELLED: &str = "cancelled";
const DONE: &str = "done";

/// What was submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmittedBatch {
    /// RFC 3339.
    pub at: String,
    pub by: String,
    /// Such as `remote-ftp:/pub/ → local:/in/`.
    pub what: String,
    pub tasks: u64,
}

/// Who has cancelled it, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelledBatch {
    pub at: String,
    pub by: String,
}

/// How its tasks were answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneBatch {
    pub at: String,
    pub completed: u64,
    pub failed: u64,
}

/// One record of the control topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchNews {
    Submitted(SubmittedBatch),
    Cancelled(CancelledBatch),
    Done(DoneBatch),
}

impl BatchNews {
    /// The record's key and value.
    #[must_use]
    pub fn encode(&self, id: &str) -> (String, Vec<u8>) {
        let (suffix, value) = match self {
            BatchNews::Submitted(batch) => (None, serde_json::to_vec(batch)),
            BatchNews::Cancelled(batch) => (Some(CANCELLED), serde_json::to_vec(batch)),
            BatchNews::Done(batch) => (Some(DONE), serde_json::to_vec(batch)),
        };
        let key = suffix.map_or_else(|| id.to_owned(), |suffix| format!("{id}/{suffix}"));
        (key, value.unwrap_or_default())
    }

    /// The id and the entry; `None` if it is not one of ours.
    fn decode(key: &[u8], value: &[u8]) -> Option<(String, BatchNews)> {
        let key = std::str::from_utf8(key).ok()?;
        let (id, suffix) = key.split_once('/').map_or((key, None), |(id, suffix)| (id, Some(suffix)));
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return None;
        }
        let news = match suffix {
            None => BatchNews::Submitted(serde_json::from_slice(value).ok()?),
            Some(CANCELLED) => BatchNews::Cancelled(serde_json::from_slice(value).ok()?),
            Some(DONE) => BatchNews::Done(serde_json::from_slice(value).ok()?),
            Some(_) => return None,
        };
        Some((id.to_owned(), news.bounded()))
    }

    fn bounded(mut self) -> BatchNews {
        match &mut self {
            BatchNews::Submitted(batch) => {
                for text in [&mut batch.at, &mut batch.by, &mut batch.what] {
                    shorten(text, MAX_TEXT_BYTES);
                }
            }
            BatchNews::Cancelled(CancelledBatch { at, by }) => {
                shorten(at, MAX_TEXT_BYTES);
                shorten(by, MAX_TEXT_BYTES);
            }
            BatchNews::Done(batch) => shorten(&mut batch.at, MAX_TEXT_BYTES),
        }
        self
    }
}

/// All that is known of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownBatch {
    pub id: String,
    pub submitted: Option<SubmittedBatch>,
    pub cancelled: Option<CancelledBatch>,
    pub done: Option<DoneBatch>,
}

impl KnownBatch {
    /// Neither cancelled nor done: its tasks are wanted, and some may be open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.cancelled.is_none() && self.done.is_none()
    }
}

/// How tasks of a batch were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAnswers {
    pub completed: u64,
    pub failed: u64,
}

impl BatchAnswers {
    #[must_use]
    pub fn total(self) -> u64 {
        self.completed + self.failed
    }
}

impl AddAssign for BatchAnswers {
    fn add_assign(&mut self, other: Self) {
        self.completed += other.completed;
        self.failed += other.failed;
    }
}

/// The content of the control topic, as far as it was read. Cheap to clone; written by one thread, read by all.
#[derive(Clone, Debug, Default)]
pub struct BatchBoard {
    shared: Arc<BoardState>,
}

#[derive(Debug, Default)]
struct BoardState {
    known: Mutex<BTreeMap<String, KnownBatch>>,
    /// Answers of this process, by batch.
    answered: Mutex<BTreeMap<String, BatchAnswers>>,
    /// Some batch is cancelled: otherwise no task is checked.
    has_cancelled: AtomicBool,
    is_read: AtomicBool,
    read: Condvar,
}

impl BatchBoard {
    /// Applies a record of the control topic; without a value (a tombstone) the entry under its key is forgotten.
    pub fn take(&self, key: &[u8], value: Option<&[u8]>) {
        let mut known = self.known();
        let Some(value) = value else {
            let id = std::str::from_utf8(key).unwrap_or_default().split('/').next().unwrap_or_default();
            known.remove(id);
            return;
        };
        let Some((id, news)) = BatchNews::decode(key, value) else { return };
        let batch = known.entry(id.clone()).or_insert_with(|| KnownBatch { id, ..KnownBatch::default() });
        match news {
            BatchNews::Submitted(submitted) => batch.submitted = Some(submitted),
            BatchNews::Cancelled(cancelled) => {
                batch.cancelled = Some(cancelled);
                self.shared.has_cancelled.store(true, Ordering::Relaxed);
            }
            BatchNews::Done(done) => batch.done = Some(done),
        }
        if known.len() > MAX_BATCHES {
            known.pop_first();
        }
    }

    /// The answer of a task whose batch is cancelled.
    #[must_use]
    pub fn cancellation(&self, headers: &[Header]) -> Option<Failure> {
        if !self.shared.has_cancelled.load(Ordering::Relaxed) {
            return None;
        }
        let id = batch_of(headers)?;
        let known = self.known();
        let CancelledBatch { at, by } = known.get(id)?.cancelled.as_ref()?;
        Some(Failure::new(Code::Cancelled, format!("its batch {id} was cancelled at {at} by {by}")))
    }

    /// Counts an answer given by this pod. A task that is answered again (its first answer was not committed) counts
    /// again.
    pub fn count_answer(&self, headers: &[Header], is_completed: bool) {
        let Some(id) = batch_of(headers).filter(|id| id.len() <= MAX_ID_BYTES) else { return };
        let mut answered = self.shared.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if !answered.contains_key(id) {
            answered.insert(id.to_owned(), BatchAnswers::default());
            if answered.len() > MAX_BATCHES {
                answered.pop_first();
            }
        }
        if let Some(counts) = answered.get_mut(id) {
            *if is_completed { &mut counts.completed } else { &mut counts.failed } += 1;
        }
    }

    /// The answers of this process to these batches' tasks.
    #[must_use]
    pub fn answers<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, BatchAnswers> {
        let answered = self.shared.answered.lock().unwrap_or_else(PoisonError::into_inner);
        ids.into_iter().filter_map(|id| Some((id.to_owned(), *answered.get(id)?))).collect()
    }

    /// The batches that are neither cancelled nor done, the newest first; at most `most` of them.
    #[must_use]
    pub fn open(&self, most: usize) -> Vec<KnownBatch> {
        self.known().values().rev().filter(|batch| batch.is_open()).take(most).cloned().collect()
    }

    /// Every batch, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<KnownBatch> {
        self.known().values().cloned().collect()
    }

    /// One batch.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<KnownBatch> {
        self.known().get(id).cloned()
    }

    /// The topic was read to its end, or there is none.
    pub fn set_read(&self) {
        let _known = self.known();
        self.shared.is_read.store(true, Ordering::Release);
        self.shared.read.notify_all();
    }

    /// Waits until the topic was read; after it has waited for `most` once, later calls do not wait any more.
    pub fn wait_until_read(&self, most: Duration) {
        if self.shared.is_read.load(Ordering::Acquire) {
            return;
        }
        let is_unread = |_: &mut BTreeMap<_, _>| !self.shared.is_read.load(Ordering::Acquire);
        let waited = self.shared.read.wait_timeout_while(self.known(), most, is_unread);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.shared.is_read.store(true, Ordering::Release);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, KnownBatch>> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The batch that a record's headers name. The last header counts, as in Kafka's own clients.
#[must_use]
pub fn batch_of(headers: &[Header]) -> Option<&str> {
    let header = headers.iter().rev().find(|header| header.key == BATCH_HEADER)?;
    std::str::from_utf8(header.value.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(board: &BatchBoard, id: &str, news: &BatchNews) {
        let (key, value) = news.encode(id);
        board.take(key.as_bytes(), Some(&value));
    }

    fn submitted(tasks: u64) -> BatchNews {
        BatchNews::Submitted(SubmittedBatch {
            at: "t".into(),
            by: "alice".into(),
            what: "a → b".into(),
            tasks,
        })
    }

    fn cancelled() -> BatchNews {
        BatchNews::Cancelled(CancelledBatch { at: "2026-01-02T03:04:05.000Z".into(), by: "bob".into() })
    }

    fn headers(id: &str) -> Vec<Header> {
        vec![Header { key: BATCH_HEADER.to_owned(), value: Some(id.as_bytes().to_vec()) }]
    }

    #[test]
    fn a_cancelled_batch_stays_so_whatever_its_submitter_says_later() {
        let board = BatchBoard::default();
        news(&board, "1", &submitted(3));
        assert_eq!(board.cancellation(&headers("1")), None);
        news(&board, "1", &cancelled());
        news(&board, "1", &submitted(2));
        let failure = board.cancellation(&headers("1")).unwrap();
        assert_eq!(failure.code, Code::Cancelled);
        assert_eq!(failure.message, "its batch 1 was cancelled at 2026-01-02T03:04:05.000Z by bob");
        assert_eq!((board.cancellation(&headers("2")), board.cancellation(&[])), (None, None));
        let batch = board.get("1").unwrap();
        assert_eq!((batch.submitted.as_ref().unwrap().tasks, batch.is_open()), (2, false));
    }

    #[test]
    fn what_is_no_record_of_ours_is_passed_over_and_nothing_grows_without_bound() {
        let board = BatchBoard::default();
        for (key, value) in [("", "{}"), ("1", "no json"), ("1/other", "{}"), ("1", "{}")] {
            board.take(key.as_bytes(), Some(value.as_bytes()));
        }
        board.take(b"\xff", Some(b"{}"));
        board.take("x".repeat(1_000).as_bytes(), Some(b"{}"));
        assert_eq!(board.all(), []);
        for number in 0..MAX_BATCHES + 5 {
            news(&board, &format!("{number:06}"), &submitted(1));
        }
        let all = board.all();
        assert_eq!((all.len(), all[0].id.as_str()), (MAX_BATCHES, "000005"));
        board.take(b"000007/cancelled", None);
        assert_eq!(board.get("000007"), None, "a tombstone of any of its keys");
    }

    #[test]
    fn answers_are_counted_by_batch_and_open_ones_come_newest_first() {
        let board = BatchBoard::default();
        for id in ["1", "2", "3"] {
            news(&board, id, &submitted(3));
        }
        news(&board, "2", &cancelled());
        board.count_answer(&headers("3"), true);
        board.count_answer(&headers("3"), false);
        board.count_answer(&headers("3"), true);
        board.count_answer(&[], true);
        let ids: Vec<String> = board.open(9).into_iter().map(|batch| batch.id).collect();
        assert_eq!(ids, ["3", "1"]);
        let answers = board.answers(ids.iter().map(String::as_str));
        assert_eq!(answers, BTreeMap::from([("3".to_owned(), BatchAnswers { completed: 2, failed: 1 })]));
        for number in 0..MAX_BATCHES + 5 {
            board.count_answer(&headers(&format!("{number:06}")), true);
        }
        assert_eq!(board.shared.answered.lock().unwrap().len(), MAX_BATCHES);
    }

    #[test]
    fn nobody_waits_twice_for_a_topic_that_cannot_be_read() {
        let board = BatchBoard::default();
        board.wait_until_read(Duration::from_millis(1));
        board.wait_until_read(Duration::from_secs(3_600));
        let read = BatchBoard::default();
        read.set_read();
        read.wait_until_read(Duration::from_secs(3_600));
    }
}

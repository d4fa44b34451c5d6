//! A record of the input topic or the retry topic, independent of any Kafka client's types.
//!
//! ```text
//! retry_state  how long and why a deferred task has waited: a field here, headers of its record in the retry topic
//! ```

mod retry_state;

use std::fmt;
use std::sync::Arc;

use crate::lease::Lease;

/// Names the failures that a record sends again: `topic/partition/offset`, separated by commas. A pod counts them, and
/// removes the header from answers.
pub const RETRY_OF: &str = "ftp-pooler-retry-of";

pub use retry_state::{OWN_HEADER_PREFIX, RetryState, remove_own};

/// A record's position in Kafka. No two records have the same origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}

/// One header of a record. Kafka allows a null value and the same key more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub key: String,
    pub value: Option<Vec<u8>>,
}

/// A record as consumed: what an answer must include, and the lease under which it may be answered.
#[derive(Debug)]
pub struct Record {
    pub origin: Origin,
    pub key: Option<Vec<u8>>,
    /// In the record's order; an answer includes them unchanged.
    pub headers: Vec<Header>,
    /// `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The record's own time, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// The deferral state of its task, if the record comes from the retry topic.
    pub retry: Option<Box<RetryState>>,
    /// Ends when the partition leaves this pod; an outcome under an ended lease is dropped.
    pub lease: Lease,
}

impl Record {
    /// The origin of the task's first record, with that record's time: another one than this if the task was deferred.
    pub fn first(&self) -> (Origin, Option<i64>) {
        match &self.retry {
            Some(retry) => (retry.origin.clone(), retry.origin_ms),
            None => (self.origin.clone(), self.timestamp_ms),
        }
    }
}

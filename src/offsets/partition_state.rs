//! A snapshot of an owned partition, for the rest of the pod.

use std::time::Instant;

use super::{Ownership, TopicId, TopicPartition};

/// A snapshot of one owned partition.
#[derive(Clone, Debug)]
pub struct PartitionState {
    pub at: TopicPartition,
    /// Intake is paused for now.
    pub is_full: bool,
    /// Intake is paused until the record at its low-water mark is answered.
    pub is_stuck: bool,
    pub low_water: Option<i64>,
    /// The next offset to be read; `None` before the first record if nothing was committed.
    pub position: Option<i64>,
    /// The log end offset that Kafka's client has received last.
    pub end: Option<i64>,
    /// The low-water mark that the group has committed.
    pub committed: Option<i64>,
    /// Consumed records whose answers are not committed.
    pub unanswered: usize,
    /// The oldest record in flight, and when it was consumed.
    pub oldest: Option<(i64, Instant)>,
    /// The topic's id when the partition was assigned; `None` if the brokers have no ids.
    pub topic_id: Option<TopicId>,
    pub ownership: Ownership,
    /// See [`super::Offsets::halt`].
    pub is_halted: bool,
}

impl PartitionState {
    /// Records from the low-water mark to the log's end: the definition of lag everywhere in this pod. `None` if one of
    /// them is unknown.
    #[must_use]
    pub fn lag(&self) -> Option<i64> {
        let (end, low_water) = self.end.zip(self.low_water)?;
        Some((end - low_water).max(0))
    }
}

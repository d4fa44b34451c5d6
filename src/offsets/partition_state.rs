//! An owned partition at a moment, as the rest of the pod sees it.

use std::time::Instant;

use super::{Ownership, TopicId, TopicPartition};

/// One owned partition at a moment.
#[derive(Clone, Debug)]
pub struct PartitionState {
    pub at: TopicPartition,
    /// Takes in no more records for now.
    pub is_full: bool,
    /// It takes in none until the record at its low-water mark is answered.
    pub is_stuck: bool,
    pub low_water: Option<i64>,
    /// The next offset to be read; `None` before the first record where nothing was committed.
    pub position: Option<i64>,
    /// The log's end, as Kafka's client has heard last.
    pub end: Option<i64>,
    /// The low-water mark that the group has committed.
    pub committed: Option<i64>,
    /// Records taken in whose answers are not committed.
    pub unanswered: usize,
    /// The oldest record that is in flight, and when it was taken in.
    pub oldest: Option<(i64, Instant)>,
    /// Of the topic as it was when the partition was assigned; `None` where the brokers have no ids.
    pub topic_id: Option<TopicId>,
    pub ownership: Ownership,
    /// As [`super::Offsets::halt`] says.
    pub is_halted: bool,
}

impl PartitionState {
    /// Records from the low-water mark to the log's end: what every lag of this pod is. `None` where one of them is
    /// unknown.
    #[must_use]
    pub fn lag(&self) -> Option<i64> {
        let (end, low_water) = self.end.zip(self.low_water)?;
        Some((end - low_water).max(0))
    }
}

//! What the consuming thread knows of its partitions, for whoever looks.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// Why a partition is not read for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// The pod holds as many tasks, or bytes of them, as it may, or it is about to stop.
    PodFull,
    /// Too many of its records are unanswered behind the first one that is.
    PartitionFull,
    /// Its next record is a deferred task, whose time has not come.
    NotDue,
}

/// One partition of this pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AssignedPartition {
    pub topic: String,
    pub partition: i32,
    /// The low-water mark that the group has committed; None where nothing was yet.
    pub committed: Option<i64>,
    /// The next offset to be read.
    pub position: Option<i64>,
    /// The log's end, as Kafka's client has heard last.
    pub end: Option<i64>,
    /// Records from the low-water mark to the end; 0 while the end is not known, None where the partition is halted: its
    /// low-water mark is none of this log's.
    pub lag: Option<i64>,
    /// Records taken in whose answers are not committed.
    pub unanswered: usize,
    /// Nothing is read for now.
    pub paused: bool,
    /// Why not; None where it is not paused, or is halted.
    pub paused_for: Option<PauseReason>,
    /// Why nothing is read until somebody has looked.
    pub halted: Option<String>,
}

/// The board that they are written on, once a second; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct PartitionBoard {
    now: Arc<Mutex<Vec<AssignedPartition>>>,
}

impl PartitionBoard {
    /// These, and no others, are this pod's.
    pub fn set(&self, mut partitions: Vec<AssignedPartition>) {
        partitions.sort_unstable();
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = partitions;
    }

    /// By topic and number.
    #[must_use]
    pub fn get(&self) -> Vec<AssignedPartition> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

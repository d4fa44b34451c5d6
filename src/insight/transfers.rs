//! The running tasks, and which of them are shown.

use std::collections::BinaryHeap;

use jiff::Timestamp;
use serde::Serialize;

use super::gauge::ProgressGauge;
use crate::task::Task;

/// How many are shown at once at most.
pub const MAX_TRANSFERS: usize = 1_000;

/// Which transfers are requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferQuery {
    /// [`MAX_TRANSFERS`] at most.
    pub limit: usize,
    /// How many of the longest-running ones are skipped.
    pub offset: usize,
    /// Only those of this connection.
    pub connection: Option<String>,
}

/// Some of the running tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TransferList {
    /// How many there are in total, on the requested connection.
    pub total: usize,
    pub transfers: Vec<ActiveTransfer>,
}

/// A running task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActiveTransfer {
    pub task_id: String,
    pub connection: String,
    /// `download` or `upload`.
    pub operation: &'static str,
    pub remote_path: String,
    pub local_path: String,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// Its phase: see [`super::TransferPhase`].
    pub phase: &'static str,
    /// When this try began.
    #[serde(serialize_with = "super::time::serialize")]
    pub since: Timestamp,
    pub bytes: u64,
    pub size: Option<u64>,
    pub bytes_per_second: f64,
}

impl ActiveTransfer {
    /// From the task, its try's number, when that began, by the wall clock and by the process's clock, and its gauge.
    #[must_use]
    pub fn new(
        task: &Task,
        attempt: u32,
        (since, began): (Timestamp, std::time::Instant),
        gauge: &ProgressGauge,
        now: std::time::Instant,
    ) -> Self {
        ActiveTransfer {
            task_id: task.task_id.clone(),
            connection: task.remote.clone(),
            operation: task.operation.as_str(),
            remote_path: task.remote_path.clone(),
            local_path: task.local_path.clone(),
            attempt,
            phase: gauge.phase().as_str(),
            since,
            bytes: gauge.bytes(),
            size: gauge.size(),
            bytes_per_second: gauge.rate(began, now),
        }
    }
}

/// Keeps the oldest of the items that it is offered, and counts all: `K` is when they began. Thousands can be offered
/// without copying any in vain.
#[derive(Debug)]
pub struct LongestRunning<K, T> {
    room: usize,
    total: usize,
    kept: BinaryHeap<(K, usize, HeapEntry<T>)>,
}

/// Not part of the order.
#[derive(Debug)]
struct HeapEntry<T>(T);

impl<T> PartialEq for HeapEntry<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for HeapEntry<T> {}

impl<T> PartialOrd for HeapEntry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for HeapEntry<T> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl<K: Ord + Copy, T> LongestRunning<K, T> {
    /// Keeps as many as `query` needs.
    #[must_use]
    pub fn new(query: &TransferQuery) -> Self {
        let room = query.offset.saturating_add(query.limit);
        LongestRunning { room, total: 0, kept: BinaryHeap::new() }
    }

    /// `item` is called only if it is among the oldest so far.
    pub fn see(&mut self, since: K, item: impl FnOnce() -> T) {
        self.total += 1;
        if self.kept.len() >= self.room {
            match self.kept.peek() {
                Some((youngest, _, _)) if since < *youngest => drop(self.kept.pop()),
                _ => return,
            }
        }
        self.kept.push((since, self.total, HeapEntry(item())));
    }

    /// How many were offered, and those that `query` requests, the oldest first.
    #[must_use]
    pub fn of(self, query: &TransferQuery) -> (usize, Vec<T>) {
        let sorted = self.kept.into_sorted_vec();
        (self.total, sorted.into_iter().skip(query.offset).map(|(_, _, HeapEntry(item))| item).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_kept_and_all_are_counted() {
        let query = |limit, offset| TransferQuery { limit, offset, connection: None };
        let of = |query: &TransferQuery| {
            let mut longest = LongestRunning::new(query);
            for number in 0..1_000_u32 {
                longest.see(number * 7 % 1_000, || number * 7 % 1_000);
            }
            longest.of(query)
        };
        assert_eq!(of(&query(3, 0)), (1_000, vec![0, 1, 2]));
        assert_eq!(of(&query(2, 998)), (1_000, vec![998, 999]));
        assert_eq!(of(&query(2, 1_000)), (1_000, vec![]));
        assert_eq!(of(&query(0, 0)), (1_000, vec![]));
    }
}

//! Records that are not taken in yet: the retry topic's before they are due, and of every topic what stands too far
//! behind the first that is in flight.
//!
//! The first record of a partition that is early is kept here, and its partition paused: all behind it are
//! due later. It is not begun in the ledger, so that it is the next owner's if the partition leaves.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::early_reading::{DeferredTaskWaker, EarlyReading};
use super::fetched_record::FetchedRecord;
use crate::offsets::TopicPartition;
use crate::record::{RetryState, remove_own};

/// A record waits this much longer than it must, so that those that come due soon after it are taken in
/// together with it: each pause costs librdkafka what it has prefetched.
pub(super) const SLACK: Duration = Duration::from_millis(250);

/// Where deferred tasks come from.
#[derive(Clone, Debug)]
pub struct RetryIntake {
    pub topic: String,
    /// Other groups' tasks in the topic are passed over.
    pub group: String,
    /// No record is kept for longer, whatever the clock of the pod that wrote it said.
    pub longest: Duration,
    /// Requests reading them before they are due.
    pub waker: DeferredTaskWaker,
}

/// What becomes of a record that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordReadiness {
    Due,
    /// It is to be kept for this long.
    Delayed(Duration),
    /// Another group's.
    OtherGroup,
}

/// Records that are not due yet, by partition; mostly one each, since its partition is paused.
#[derive(Debug, Default)]
pub(super) struct DelayedRecords {
    kept: HashMap<TopicPartition, VecDeque<(Instant, FetchedRecord)>>,
    early: EarlyReading,
}

impl DelayedRecords {
    /// Whether a record may be taken in now. Headers of our own are believed on the retry topic only, and
    /// removed on every other.
    pub fn classify(
        &self,
        retry: Option<&RetryIntake>,
        arrived: &mut FetchedRecord,
        wall: Timestamp,
    ) -> RecordReadiness {
        let state = retry
            .filter(|retry| *retry.topic == *arrived.at.topic)
            .and_then(|retry| Some((retry, RetryState::read(&arrived.headers)?)));
        let Some((retry, state)) = state else {
            remove_own(&mut arrived.headers);
            return RecordReadiness::Due;
        };
        if *state.group != *retry.group {
            arrived.is_of_other_group = true;
            return RecordReadiness::OtherGroup;
        }
        remove_own(&mut arrived.headers);
        arrived.headers.shrink_to_fit();
        let left = Duration::try_from(state.not_before.duration_since(wall)).unwrap_or_default();
        let left = if self.early.covers(state.not_before) { Duration::ZERO } else { left };
        arrived.retry = Some(Box::new(state));
        if left.is_zero() && !self.holds(&arrived.at) {
            return RecordReadiness::Due;
        }
        RecordReadiness::Delayed(left.min(retry.longest) + SLACK)
    }

    /// Honours a request to read the tasks that were deferred before it.
    pub fn read_early(&mut self, retry: Option<&RetryIntake>, now: Instant) {
        let Some(retry) = retry.filter(|retry| self.early.begin(&retry.waker, retry.longest, now)) else {
            return;
        };
        let mut woken = 0_usize;
        for (due, arrived) in self.kept.values_mut().flatten() {
            if arrived.retry.as_ref().is_some_and(|retry| self.early.covers(retry.not_before)) {
                *due = now.min(*due);
                woken += 1;
            }
        }
        let topic = retry.topic.as_str();
        tracing::info!(
            event = "deferred_tasks_woken",
            topic,
            partitions = woken,
            "the route to a server is restored: deferred tasks are read before they are due"
        );
    }

    /// Sets the due time of a record that is taken in: it is in the future only if the record was read early.
    pub fn settle(&self, arrived: &mut FetchedRecord, wall: Timestamp) {
        if let Some(retry) = &mut arrived.retry
            && !self.early.covers(retry.not_before)
        {
            retry.not_before = retry.not_before.min(wall);
        }
    }

    pub fn keep(&mut self, arrived: FetchedRecord, due: Instant) {
        self.kept.entry(arrived.at.clone()).or_default().push_back((due, arrived));
    }

    /// Its partition stays paused meanwhile.
    pub fn holds(&self, at: &TopicPartition) -> bool {
        self.kept.contains_key(at)
    }

    /// The first record of a partition that is due, and for which there is room.
    pub fn next_due(
        &mut self,
        now: Instant,
        has_room: impl Fn(&FetchedRecord) -> bool,
    ) -> Option<FetchedRecord> {
        let at = self.due(now).find(|arrived| has_room(arrived)).map(|arrived| arrived.at.clone())?;
        let kept = self.kept.get_mut(&at)?;
        let (_, arrived) = kept.pop_front()?;
        if kept.is_empty() {
            self.kept.remove(&at);
        }
        Some(arrived)
    }

    /// The first record of each partition, where it is due.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = &FetchedRecord> {
        let heads = self.kept.values().filter_map(VecDeque::front);
        heads.filter(move |(due, _)| *due <= now).map(|(_, arrived)| arrived)
    }

    /// The partition has left, or is read again.
    pub fn forget(&mut self, at: &TopicPartition) {
        self.kept.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Header, Origin};

    const DELAY: Duration = Duration::from_secs(30);

    fn retry() -> RetryIntake {
        RetryIntake {
            topic: "retry".into(),
            group: "us".into(),
            longest: DELAY,
            waker: DeferredTaskWaker::default(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn deferred(group: &str, not_before: i64) -> Vec<Header> {
        let origin = Origin { topic: "tasks".into(), partition: 0, offset: 9 };
        let not_before = at(not_before);
        RetryState {
            group: group.into(),
            not_before,
            attempts: 2,
            origin,
            origin_ms: None,
            since: at(1),
            begun: None,
        }
        .headers()
    }

    fn arrived(topic: &str, offset: i64, headers: Vec<Header>) -> FetchedRecord {
        let at = TopicPartition { topic: topic.into(), partition: 0 };
        FetchedRecord {
            at,
            offset,
            key: None,
            headers,
            payload: None,
            timestamp_ms: None,
            retry: None,
            is_of_other_group: false,
        }
    }

    #[test]
    fn a_deferred_task_is_due_when_its_header_says() {
        let delayed = DelayedRecords::default();
        let classify =
            |wall| delayed.classify(Some(&retry()), &mut arrived("retry", 0, deferred("us", 100)), at(wall));
        assert_eq!(classify(100), RecordReadiness::Due);
        assert_eq!(classify(120), RecordReadiness::Due);
        assert_eq!(classify(90), RecordReadiness::Delayed(Duration::from_secs(10) + SLACK));
        assert_eq!(classify(0), RecordReadiness::Delayed(DELAY + SLACK), "whatever the writer's clock said");
    }

    #[test]
    fn another_groups_task_is_passed_over() {
        let mut other = arrived("retry", 0, deferred("them", 0));
        assert_eq!(
            DelayedRecords::default().classify(Some(&retry()), &mut other, at(1)),
            RecordReadiness::OtherGroup
        );
        assert!(other.is_of_other_group);
    }

    #[test]
    fn headers_that_a_producer_has_made_up_are_ignored() {
        let mut forged = arrived("tasks", 0, deferred("us", 4_000_000_000));
        forged.headers.push(Header { key: "trace".into(), value: None });
        assert_eq!(
            DelayedRecords::default().classify(Some(&retry()), &mut forged, at(1)),
            RecordReadiness::Due
        );
        assert_eq!(forged.headers.len(), 1, "only the producer's own is left");
    }

    #[test]
    fn what_is_kept_comes_back_in_its_order_when_it_is_due() {
        let (mut delayed, now) = (DelayedRecords::default(), Instant::now());
        delayed.keep(arrived("retry", 5, deferred("us", 100)), now + DELAY);
        let mut behind = arrived("retry", 6, deferred("us", 0));
        assert!(
            matches!(delayed.classify(Some(&retry()), &mut behind, at(1)), RecordReadiness::Delayed(_)),
            "not past the first"
        );
        delayed.keep(behind, now);
        assert!(delayed.next_due(now, |_| true).is_none());
        assert!(delayed.next_due(now + DELAY, |head| head.offset != 5).is_none(), "not past the first");
        let offsets = [(); 2].map(|()| delayed.next_due(now + DELAY, |_| true).map(|arrived| arrived.offset));
        assert_eq!(offsets, [Some(5), Some(6)]);
        assert!(!delayed.holds(&arrived("retry", 0, Vec::new()).at));
    }

    #[test]
    fn what_was_deferred_before_a_route_was_restored_is_read_in_order() {
        let (mut delayed, retry, now) = (DelayedRecords::default(), retry(), Instant::now());
        for (offset, due) in [(5, 100), (6, 101), (7, 140)] {
            delayed.keep(arrived("retry", offset, deferred("us", due)), now + DELAY);
        }
        for (_, kept) in delayed.kept.values_mut().flatten() {
            kept.retry = RetryState::read(&kept.headers).map(Box::new);
        }
        delayed.read_early(Some(&retry), now);
        assert!(delayed.next_due(now, |_| true).is_none(), "nothing was requested");
        retry.waker.wake(at(90));
        delayed.read_early(Some(&retry), now);
        let taken: Vec<_> = std::iter::from_fn(|| delayed.next_due(now, |_| true)).collect();
        assert_eq!(taken.iter().map(|taken| taken.offset).collect::<Vec<_>>(), [5, 6]);
        // the dispatcher must know that it is early
        let mut early = taken.into_iter().next().unwrap();
        delayed.settle(&mut early, at(91));
        assert_eq!(early.retry.unwrap().not_before, at(100));
        // of a writer whose clock is ahead, in its own time
        let mut late = delayed.next_due(now + DELAY, |_| true).unwrap();
        delayed.settle(&mut late, at(125));
        assert_eq!(late.retry.unwrap().not_before, at(125));
    }

    #[test]
    fn nothing_is_kept_of_a_partition_that_left() {
        let (mut delayed, now) = (DelayedRecords::default(), Instant::now());
        let first = arrived("retry", 5, deferred("us", 100));
        let at = first.at.clone();
        delayed.keep(first, now);
        delayed.forget(&at);
        assert!(delayed.next_due(now, |_| true).is_none() && !delayed.holds(&at));
    }
}

//! Records that are not taken in yet: the retry topic's before they are due, and of every topic what stands too far
//! behind the first that is in flight.
//!
//! The first record of a partition that is early is kept here, and its partition paused: all behind it are
//! due later. It is not begun in the ledger, so that it is the next owner's if the partition leaves.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::arrived::Arrived;
use crate::offsets::TopicPartition;
use crate::outcome::{Hop, remove_own};

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
}

/// What becomes of a record that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sifted {
    Due,
    /// It is to be kept for this long.
    Early(Duration),
    /// Another group's.
    Foreign,
}

/// Records that are not due yet, by partition; mostly one each, since its partition is paused.
#[derive(Debug, Default)]
pub(super) struct Early {
    kept: HashMap<TopicPartition, VecDeque<(Instant, Arrived)>>,
}

impl Early {
    /// Whether a record may be taken in now. Headers of our own are believed on the retry topic only, and
    /// removed on every other.
    pub fn sift(&self, retry: Option<&RetryIntake>, arrived: &mut Arrived, wall: Timestamp) -> Sifted {
        let hop = retry
            .filter(|retry| *retry.topic == *arrived.at.topic)
            .and_then(|retry| Some((retry, Hop::read(&arrived.headers)?)));
        let Some((retry, hop)) = hop else {
            remove_own(&mut arrived.headers);
            return Sifted::Due;
        };
        if *hop.group != *retry.group {
            arrived.is_foreign = true;
            return Sifted::Foreign;
        }
        remove_own(&mut arrived.headers);
        arrived.headers.push(hop.compact());
        arrived.headers.shrink_to_fit();
        let left = Duration::try_from(hop.not_before.duration_since(wall)).unwrap_or_default();
        if left.is_zero() && !self.holds(&arrived.at) {
            return Sifted::Due;
        }
        Sifted::Early(left.min(retry.longest) + SLACK)
    }

    pub fn keep(&mut self, arrived: Arrived, due: Instant) {
        self.kept.entry(arrived.at.clone()).or_default().push_back((due, arrived));
    }

    /// Its partition stays paused meanwhile.
    pub fn holds(&self, at: &TopicPartition) -> bool {
        self.kept.contains_key(at)
    }

    /// The first record of a partition that is due, and for which there is room.
    pub fn next_due(&mut self, now: Instant, has_room: impl Fn(&Arrived) -> bool) -> Option<Arrived> {
        let at = self.due(now).find(|arrived| has_room(arrived)).map(|arrived| arrived.at.clone())?;
        let kept = self.kept.get_mut(&at)?;
        let (_, arrived) = kept.pop_front()?;
        if kept.is_empty() {
            self.kept.remove(&at);
        }
        Some(arrived)
    }

    /// The first record of each partition, where it is due.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = &Arrived> {
        let heads = self.kept.values().filter_map(VecDeque::front);
        heads.filter(move |(due, _)| *due <= now).map(|(_, arrived)| arrived)
    }

    /// The partition has left, or is read anew.
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
        RetryIntake { topic: "retry".into(), group: "us".into(), longest: DELAY }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn hop(group: &str, not_before: i64) -> Vec<Header> {
        let origin = Origin { topic: "tasks".into(), partition: 0, offset: 9 };
        let not_before = at(not_before);
        Hop {
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

    fn arrived(topic: &str, offset: i64, headers: Vec<Header>) -> Arrived {
        let at = TopicPartition { topic: topic.into(), partition: 0 };
        Arrived { at, offset, key: None, headers, payload: None, timestamp_ms: None, is_foreign: false }
    }

    #[test]
    fn a_deferred_task_is_due_when_its_header_says() {
        let early = Early::default();
        let sift = |wall| early.sift(Some(&retry()), &mut arrived("retry", 0, hop("us", 100)), at(wall));
        assert_eq!(sift(100), Sifted::Due);
        assert_eq!(sift(120), Sifted::Due);
        assert_eq!(sift(90), Sifted::Early(Duration::from_secs(10) + SLACK));
        assert_eq!(sift(0), Sifted::Early(DELAY + SLACK), "whatever the writer's clock said");
    }

    #[test]
    fn another_groups_task_is_passed_over() {
        let mut other = arrived("retry", 0, hop("them", 0));
        assert_eq!(Early::default().sift(Some(&retry()), &mut other, at(1)), Sifted::Foreign);
        assert!(other.is_foreign);
    }

    #[test]
    fn headers_that_a_producer_has_made_up_are_ignored() {
        let mut forged = arrived("tasks", 0, hop("us", 4_000_000_000));
        forged.headers.push(Header { key: "trace".into(), value: None });
        assert_eq!(Early::default().sift(Some(&retry()), &mut forged, at(1)), Sifted::Due);
        assert_eq!(forged.headers.len(), 1, "only the producer's own is left");
    }

    #[test]
    fn what_is_kept_comes_back_in_its_order_when_it_is_due() {
        let (mut early, now) = (Early::default(), Instant::now());
        early.keep(arrived("retry", 5, hop("us", 100)), now + DELAY);
        let mut behind = arrived("retry", 6, hop("us", 0));
        assert!(
            matches!(early.sift(Some(&retry()), &mut behind, at(1)), Sifted::Early(_)),
            "not past the first"
        );
        early.keep(behind, now);
        assert!(early.next_due(now, |_| true).is_none());
        assert!(early.next_due(now + DELAY, |head| head.offset != 5).is_none(), "not past the first");
        let offsets = [(); 2].map(|()| early.next_due(now + DELAY, |_| true).map(|arrived| arrived.offset));
        assert_eq!(offsets, [Some(5), Some(6)]);
        assert!(!early.holds(&arrived("retry", 0, Vec::new()).at));
    }

    #[test]
    fn nothing_is_kept_of_a_partition_that_left() {
        let (mut early, now) = (Early::default(), Instant::now());
        let first = arrived("retry", 5, hop("us", 100));
        let at = first.at.clone();
        early.keep(first, now);
        early.forget(&at);
        assert!(early.next_due(now, |_| true).is_none() && !early.holds(&at));
    }
}

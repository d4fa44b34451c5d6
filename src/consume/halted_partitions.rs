//! Partitions of which nothing may be read, since the group's offset is not one of theirs: below or beyond what
//! the broker has, or of a topic that was deleted and recreated. There is never a silent jump.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;

use super::group::Group;
use crate::health::PodHealth;
use crate::kafka::TopicIdQuery;
use crate::offsets::{Offsets, TopicId, TopicPartition};

/// Between two questions for the topics' ids.
const TOPIC_ID_INTERVAL: Duration = Duration::from_secs(1);
/// For the answer; nothing blocks on it.
const IDS_DEADLINE: Duration = Duration::from_secs(10);
/// Verifying partitions whose offset may be out of range holds up polling for at most this long; then there is a poll
/// in between.
const VERIFY_AT_MOST: Duration = Duration::from_secs(1);
/// One partition's watermarks; librdkafka wants some time even where the broker is near.
const WATERMARKS_TIMEOUT: Duration = Duration::from_millis(500);
/// After a failed check.
const VERIFY_RETRY: Duration = Duration::from_secs(1);

const HOW_TO_RESUME: &str = "stop the pods, run `ftp-pooler offsets reset` (--dry-run shows what it sets; --all where the \
                             topic was recreated), and start them again";

/// What is halted, and what may have to be.
#[derive(Default)]
pub(super) struct HaltedPartitions {
    /// Each with the reason.
    halted: HashMap<TopicPartition, String>,
    /// An offset of one of these may be out of range: librdkafka does not say whose.
    unverified: VecDeque<TopicPartition>,
    /// Not checked before this.
    next_verification: Option<Instant>,
    asked: Option<TopicIdQuery>,
    last_asked: Option<Instant>,
}

/// Why a committed offset is none of this topic's; `None` if it may be.
pub(super) fn recreated_topic(low: i64, committed: Option<TopicId>, now: Option<TopicId>) -> Option<String> {
    let (was, is) = committed.zip(now).filter(|(was, is)| was != is)?;
    Some(format!(
        "its topic was recreated (its id was {was} and is now {is}): the group's offset, {low}, belongs to the \
         old one; {HOW_TO_RESUME}"
    ))
}

/// Why a partition that has the offsets from `first` on to `end` cannot be read on; `None` if it can.
fn out_of_range(low: Option<i64>, position: Option<i64>, first: i64, end: i64) -> Option<String> {
    let wrong = [low, position].into_iter().flatten().find(|offset| !(first..=end).contains(offset))?;
    Some(format!(
        "offset {wrong} is out of range, the broker has {first} to {end}: records were deleted before they were \
         answered, or the topic was recreated; {HOW_TO_RESUME}"
    ))
}

impl HaltedPartitions {
    pub fn contains(&self, at: &TopicPartition) -> bool {
        self.halted.contains_key(at)
    }

    /// Why nothing of this partition may be read.
    pub fn reason(&self, at: &TopicPartition) -> Option<&str> {
        self.halted.get(at).map(String::as_str)
    }

    pub fn halt(&mut self, at: TopicPartition, why: String, health: &PodHealth) {
        tracing::error!(
            event = "partition_halted", topic = %at.topic, partition = at.partition, why,
            "partition halted"
        );
        health.halt(at.to_string(), why.clone());
        self.halted.insert(at, why);
    }

    /// The partition has left.
    pub fn lift(&mut self, at: &TopicPartition, health: &PodHealth) {
        self.unverified.retain(|suspect| suspect != at);
        if self.halted.remove(at).is_some() {
            health.lift_halt(&at.to_string());
        }
    }

    /// Some partition's offset is out of range.
    pub fn verify_later(&mut self, offsets: &Offsets) {
        let owned = offsets.snapshot().into_iter().map(|state| state.at);
        self.unverified = owned.filter(|at| !self.halted.contains_key(at)).collect();
        self.next_verification = None;
    }

    /// The client has been replaced: pending answers of the old one are dropped.
    pub fn start_over(&mut self) {
        self.asked = None;
        self.last_asked = None;
        self.unverified.clear();
    }

    /// Halts those suspects whose offset the broker no longer (or not yet) has; for [`VERIFY_AT_MOST`] at most.
    pub fn verify_positions(&mut self, group: &Group, offsets: &Offsets, health: &PodHealth) {
        let started = Instant::now();
        if self.unverified.is_empty() || self.next_verification.is_some_and(|next| started < next) {
            return;
        }
        let owned = offsets.snapshot();
        for _ in 0..self.unverified.len() {
            let Some(at) = self.unverified.pop_front() else { return };
            let Some(state) = owned.iter().find(|state| state.at == at) else { continue };
            match group.member().fetch_watermarks(&at.topic, at.partition, WATERMARKS_TIMEOUT) {
                Ok((first, end)) => {
                    if let Some(why) = out_of_range(state.low_water, state.position, first, end) {
                        self.halt(at, why, health);
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        event = "watermarks_unavailable", topic = %at.topic, partition = at.partition,
                        %error,
                        "cannot read the partition's watermarks; retrying"
                    );
                    self.unverified.push_back(at);
                    self.next_verification = Some(Instant::now() + VERIFY_RETRY);
                }
            }
            if started.elapsed() >= VERIFY_AT_MOST {
                return;
            }
        }
    }

    /// The partitions whose topic is another one since they were assigned. Asks now and then, and waits for
    /// nothing.
    pub fn find_recreated_topics(&mut self, group: &Group, offsets: &Offsets) -> Vec<TopicPartition> {
        let Some(asked) = &self.asked else {
            self.ask(group, offsets);
            return Vec::new();
        };
        let Some(answer) = asked.answer(Duration::ZERO) else { return Vec::new() };
        self.asked = None;
        let ids = match answer {
            Ok(ids) => ids,
            Err(error) => {
                tracing::debug!(event = "topic_ids_unavailable", %error, "cannot read topic ids; retrying");
                group.answering.forget();
                return Vec::new();
            }
        };
        let is_other =
            |was: Option<TopicId>, now: Option<&TopicId>| was.zip(now).is_some_and(|(was, is)| was != *is);
        let mut others = Vec::new();
        for state in offsets.snapshot() {
            if !state.is_halted && is_other(state.topic_id, ids.get(&*state.at.topic)) {
                tracing::error!(
                    event = "topic_recreated", topic = %state.at.topic, partition = state.at.partition,
                    low_water = state.low_water,
                    "topic was deleted and recreated; its in-flight tasks are dropped, and the group is \
                     rejoined"
                );
                others.push(state.at);
            }
        }
        others
    }

    fn ask(&mut self, group: &Group, offsets: &Offsets) {
        if self.last_asked.is_some_and(|last| last.elapsed() < TOPIC_ID_INTERVAL) {
            return;
        }
        let owned = offsets.snapshot();
        let topics: BTreeSet<&str> = owned.iter().map(|state| &*state.at.topic).collect();
        if !topics.is_empty() {
            self.last_asked = Some(Instant::now());
            self.asked = Some(group.ask_for_ids(topics, IDS_DEADLINE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_the_broker_does_not_have_is_named_with_what_it_has() {
        assert_eq!(out_of_range(Some(5), Some(9), 5, 9), None);
        assert_eq!(out_of_range(None, None, 3, 3), None);
        let told = |low, position| out_of_range(Some(low), Some(position), 5, 9).unwrap();
        assert!(told(4, 6).starts_with("offset 4 is out of range, the broker has 5 to 9"));
        assert!(told(6, 10).starts_with("offset 10 is out of range"), "what is in flight may well be there");
    }

    #[test]
    fn an_offset_of_another_topic_is_told_only_where_both_ids_are_known() {
        let [a, b] = [1, 2].map(TopicId::new);
        assert_eq!(recreated_topic(7, a, a), None);
        assert_eq!(recreated_topic(7, None, a), None, "committed by another tool, as a reset is");
        assert_eq!(recreated_topic(7, a, None), None, "brokers without ids");
        let told = recreated_topic(7, a, b).unwrap();
        assert!(
            told.contains("recreated") && told.contains(", 7,") && told.contains("ftp-pooler offsets reset"),
            "{told}"
        );
    }
}

//! Answers rebalances from the polling thread: partitions come with what their last owner committed, and
//! leave when their transfers have finished or a bound is over.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::consumer_context::Rebalance;
use super::group::{Group, Member};
use super::halted_partitions;
use super::partition_ranges::partition_ranges;
use super::retry_assignment::RetryAssignment;
use crate::offsets::{Offsets, Ownership, TopicPartition};
use crate::record::Origin;

/// How long a leaving partition's transfers may continue; well below librdkafka's `max.poll.interval.ms`.
const REVOKE_DRAIN: Duration = Duration::from_secs(10);
/// One request, for the topics' ids or for committed offsets; the group's heartbeats continue meanwhile, other
/// partitions wait.
pub(super) const COMMITTED_DEADLINE: Duration = Duration::from_secs(5);
const ASSIGN_RETRY: Duration = Duration::from_secs(1);

/// Rebalances under way.
#[derive(Debug, Default)]
pub(super) struct Rebalances {
    assignment: Option<PendingAssignment>,
    revocation: Option<PendingRevocation>,
}

#[derive(Debug)]
struct PendingAssignment {
    partitions: Vec<TopicPartition>,
    since: Instant,
    next_try: Instant,
    /// Why the last try has failed.
    failed: Option<KafkaError>,
}

#[derive(Debug)]
struct PendingRevocation {
    partitions: Vec<TopicPartition>,
    since: Instant,
    deadline: Instant,
}

/// What the rest of the thread must do after a step.
#[derive(Debug, Default)]
pub(super) struct AssignmentChange {
    /// Now assigned, not paused.
    pub assigned: Vec<TopicPartition>,
    pub released: Vec<TopicPartition>,
    /// Those released were lost, not revoked.
    pub lost: bool,
    /// Assigned, but nothing may be read of them, and why.
    pub halted: Vec<(TopicPartition, String)>,
}

impl Rebalances {
    /// A rebalance was announced.
    pub fn announce(
        &mut self,
        rebalance: Rebalance,
        group: &Group,
        offsets: &Offsets,
        retry_assignment: &mut RetryAssignment,
        now: Instant,
    ) -> AssignmentChange {
        match rebalance {
            Rebalance::Assign(partitions) => {
                // A cooperative rebalance that gives this pod nothing more is announced as an empty assignment.
                if !partitions.is_empty() {
                    tracing::info!(
                        event = "partitions_assigned", partitions = %partition_ranges(&partitions),
                        "partitions assigned"
                    );
                }
                self.assignment =
                    Some(PendingAssignment { partitions, since: now, next_try: now, failed: None });
                AssignmentChange::default()
            }
            Rebalance::Revoke { mut partitions, lost: true } => {
                partitions.extend(retry_assignment.retry_partitions_of(None));
                tracing::warn!(
                    event = "partitions_lost", partitions = %partition_ranges(&partitions),
                    "partitions lost; their transfers are cancelled"
                );
                self.assignment = None;
                self.revocation = None;
                AssignmentChange { lost: true, ..release(&partitions, group, offsets, retry_assignment) }
            }
            Rebalance::Revoke { mut partitions, lost: false } => {
                let followers = retry_assignment.retry_partitions_of(Some(&partitions));
                partitions.extend(followers);
                tracing::info!(
                    event = "partitions_revoked", partitions = %partition_ranges(&partitions),
                    "partitions revoked; their transfers may finish"
                );
                offsets.start_revoke(&partitions);
                self.revocation =
                    Some(PendingRevocation { partitions, since: now, deadline: now + REVOKE_DRAIN });
                AssignmentChange::default()
            }
        }
    }

    /// Does whatever step is due. `withdraw` drops the queued tasks of leaving partitions and returns them.
    pub fn step(
        &mut self,
        group: &Group,
        offsets: &Offsets,
        retry_assignment: &mut RetryAssignment,
        now: Instant,
        withdraw: impl FnOnce() -> Vec<Origin>,
    ) -> AssignmentChange {
        if let Some(revocation) = &self.revocation {
            offsets.abandon(&withdraw());
            let drained = offsets.is_drained(&revocation.partitions);
            if !drained && now < revocation.deadline {
                return AssignmentChange::default();
            }
            if !drained {
                tracing::warn!(
                    event = "revocation_timed_out",
                    partitions = %partition_ranges(&revocation.partitions),
                    "partitions revoked; in-flight transfers cancelled"
                );
            }
            let changed = release(&revocation.partitions, group, offsets, retry_assignment);
            self.revocation = None;
            return changed;
        }
        if self.assignment.as_ref().is_some_and(|assignment| now >= assignment.next_try) {
            return self.try_assign(group, offsets, now);
        }
        AssignmentChange::default()
    }

    /// Since when librdkafka has fetched nothing, as long as that lasts.
    pub fn pending_since(&self) -> Option<Instant> {
        let leaving = self.revocation.as_ref().map(|revocation| revocation.since);
        leaving.or_else(|| self.assignment.as_ref().map(|assignment| assignment.since))
    }

    /// Since when partitions wait because their committed offsets cannot be read, and why that is.
    pub fn offsets_unreadable(&self) -> Option<(Instant, String)> {
        let assignment = self.assignment.as_ref()?;
        assignment.failed.as_ref().map(|error| (assignment.since, error.to_string()))
    }

    /// True while a rebalance waits for its next step: the loop comes round sooner.
    pub fn is_pending(&self) -> bool {
        self.revocation.is_some() || self.assignment.is_some()
    }

    fn try_assign(&mut self, group: &Group, offsets: &Offsets, now: Instant) -> AssignmentChange {
        let Some(assignment) = self.assignment.take() else { return AssignmentChange::default() };
        match assign(group, offsets, &assignment.partitions) {
            Ok(halted) => {
                AssignmentChange { assigned: assignment.partitions, halted, ..AssignmentChange::default() }
            }
            Err(error) => {
                tracing::warn!(
                    event = "committed_offsets_unavailable", %error,
                    "cannot read the committed offsets of new partitions; retrying"
                );
                let next_try = now + ASSIGN_RETRY;
                self.assignment = Some(PendingAssignment { next_try, failed: Some(error), ..assignment });
                AssignmentChange::default()
            }
        }
    }
}

fn assign(
    group: &Group,
    offsets: &Offsets,
    partitions: &[TopicPartition],
) -> KafkaResult<Vec<(TopicPartition, String)>> {
    let member = group.member();
    if let Some(at) = partitions.first() {
        group.answering.find(&member, &at.topic, COMMITTED_DEADLINE)?;
    }
    let halted = start_reading(&member, group, offsets, partitions, Ownership::Assigned)?;
    if !partitions.is_empty() {
        group.learn_cluster();
    }
    Ok(halted)
}

/// Has these partitions read by `client` from where the group has left off, and returns those whose committed offsets
/// belong to another topic of the same name.
pub(super) fn start_reading(
    client: &Member,
    group: &Group,
    offsets: &Offsets,
    partitions: &[TopicPartition],
    ownership: Ownership,
) -> KafkaResult<Vec<(TopicPartition, String)>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    let mut halted = Vec::new();
    if !partitions.is_empty() {
        let asked: HashSet<_> = partitions.iter().collect();
        let (committed, ids) = group.committed_and_ids(partitions, COMMITTED_DEADLINE)?;
        for (at, position) in committed.into_iter().filter(|(at, _)| asked.contains(at)) {
            let start = position.as_ref().map_or(Offset::Beginning, |(low, _)| Offset::Offset(*low));
            list.add_partition_offset(&at.topic, at.partition, start)?;
            let id = ids.get(&*at.topic).copied();
            let of_another = position
                .as_ref()
                .and_then(|(low, metadata)| halted_partitions::recreated_topic(*low, metadata.topic_id, id));
            offsets.assign_as(
                ownership,
                at.clone(),
                id,
                position.map(|(low, metadata)| (low, metadata.done)),
            );
            if let Some(why) = of_another {
                offsets.halt(&at);
                halted.push((at, why));
            }
        }
    }
    client.incremental_assign(&list)?;
    client.resume(&list)?; // a pause made before a partition left would still hold
    Ok(halted)
}

fn release(
    partitions: &[TopicPartition],
    group: &Group,
    offsets: &Offsets,
    retry_assignment: &mut RetryAssignment,
) -> AssignmentChange {
    offsets.release(partitions);
    let assigned = retry_assignment.release(partitions, group);
    if let Err(error) = group.member().incremental_unassign(&list_of(&assigned)) {
        tracing::warn!(event = "kafka_request_failed", %error, "cannot unassign partitions");
    }
    AssignmentChange { released: partitions.to_vec(), ..AssignmentChange::default() }
}

pub(super) fn list_of<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for at in partitions {
        list.add_partition(&at.topic, at.partition);
    }
    list
}

/// The shared name of a topic, so that 20,000 records do not hold 20,000 copies of it.
pub(super) fn interned(known: &mut Vec<Arc<str>>, topic: &str) -> Arc<str> {
    if let Some(name) = known.iter().find(|name| &***name == topic) {
        return name.clone();
    }
    let name: Arc<str> = topic.into();
    known.push(name.clone());
    name
}

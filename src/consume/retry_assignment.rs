//! Keeps this pod's share of the retry topic: asks in each generation of the group who has what, and reads the
//! partitions that follow from it with a consumer of its own. Which they are is computed in `retry_assignor`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::group::Group;
use super::partition_ranges::partition_ranges;
use super::rebalance::{list_of, start_reading};
use super::retry_assignor::{GroupView, input_partition_of};
use crate::kafka::{GroupDescription, GroupMember, GroupQuery, partition_count};
use crate::offsets::{Offsets, Ownership, TopicPartition};

/// Between two checks of the member's generation, which any rebalance raises.
const GENERATION_POLL: Duration = Duration::from_millis(100);
/// After an answer that was not the one: a rebalance is under way.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// After an error.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// A question that is not answered within this is asked by a new client.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// For how many partitions the topics have.
const TOPIC_DEADLINE: Duration = Duration::from_secs(5);

/// What the rest of the thread must do after a step.
#[derive(Debug, Default)]
pub(super) struct RetryAssignmentChange {
    /// Read by this pod from now on.
    pub taken: Vec<TopicPartition>,
    pub released: Vec<TopicPartition>,
    /// Taken, but nothing may be read of them, and why.
    pub halted: Vec<(TopicPartition, String)>,
    /// What the group is like in this generation, if it was found out just now.
    pub group: Option<GroupShape>,
    /// The brokers cannot say who has what: the group has to spread the retry topic itself.
    pub is_unsupported: bool,
}

/// How many share the input topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupShape {
    pub members: usize,
    pub input_partitions: usize,
    /// Those of them that some member has; fewer while some move.
    pub assigned: usize,
    /// Those of them that this member has.
    pub mine: usize,
}

impl GroupShape {
    fn of(group: &GroupDescription, member: &str, topic: &str, input_partitions: usize) -> Self {
        let count = |member: &GroupMember| member.assigned.iter().filter(|(name, _)| name == topic).count();
        GroupShape {
            members: group.members.len(),
            input_partitions,
            assigned: group.members.iter().map(count).sum(),
            mine: group.members.iter().filter(|other| other.id == member).map(count).sum(),
        }
    }

    /// No partition is on its way from one member to another.
    pub fn is_complete(&self) -> bool {
        self.assigned >= self.input_partitions
    }
}

/// Who has what, as a member of a generation has asked.
#[derive(Debug)]
struct Question {
    member: String,
    generation: i32,
    query: GroupQuery,
    /// The query has a client of its own, not the member's.
    has_own_client: bool,
    since: Instant,
}

impl Question {
    fn end(self, group: &Group) {
        if self.has_own_client {
            group.end_elsewhere(self);
        }
    }
}

/// The partitions of the retry topic that follow this pod's of the input topic.
#[derive(Debug)]
pub(super) struct RetryAssignment {
    input_topic: String,
    /// `None` where no task is deferred, or the group spreads the retry topic itself.
    retry_topic: Option<String>,
    held: BTreeSet<i32>,
    input_partitions: usize,
    /// For which generation it is known that nobody else has what this pod holds.
    verified: Option<i32>,
    asked: Option<Question>,
    /// The member's own questions are not answered any more.
    is_member_unanswered: bool,
    last_poll: Option<Instant>,
    next_try: Option<Instant>,
    is_unsupported: bool,
    is_member: bool,
}

impl RetryAssignment {
    pub fn new(input_topic: &str, retry_topic: Option<&str>) -> Self {
        RetryAssignment {
            input_topic: input_topic.to_owned(),
            retry_topic: retry_topic.map(str::to_owned),
            held: BTreeSet::new(),
            input_partitions: 0,
            verified: None,
            asked: None,
            is_member_unanswered: false,
            last_poll: None,
            next_try: None,
            is_unsupported: false,
            is_member: false,
        }
    }

    /// Other clients take the place of those that it used: nothing is held any more, and all is to be found out anew.
    pub fn start_over(&mut self) {
        self.held.clear();
        self.verified = None;
        self.asked = None;
        self.is_member_unanswered = false;
        self.last_poll = None;
        self.next_try = None;
        self.is_member = false;
    }

    /// As far as is known the pod is a member of the group.
    pub fn is_member(&self) -> bool {
        self.is_member || self.is_unsupported
    }

    /// No question about the group waits for its answer.
    pub fn is_answered(&self) -> bool {
        self.asked.is_none()
    }

    /// The brokers cannot be asked: from now on the group spreads the retry topic itself.
    pub fn give_up(&mut self) {
        self.retry_topic = None;
        self.is_unsupported = true;
    }

    /// True where something is held that may be committed only once it is known who has what.
    pub fn is_verifying(&self) -> bool {
        !self.held.is_empty()
    }

    /// What this pod holds because of these partitions of the input topic, or all of it.
    pub fn retry_partitions_of(&self, input: Option<&[TopicPartition]>) -> Vec<TopicPartition> {
        let Some(topic) = &self.retry_topic else { return Vec::new() };
        let follows = |retry: &&i32| {
            let followed = input_partition_of(**retry, self.input_partitions);
            input.is_none_or(|input| {
                input.iter().any(|at| *at.topic == *self.input_topic && at.partition == followed)
            })
        };
        let at = |partition: &i32| TopicPartition { topic: topic.as_str().into(), partition: *partition };
        self.held.iter().filter(follows).map(at).collect()
    }

    /// Takes those out of `leaving` that follow others, and ends reading them; what is left the group has assigned.
    pub fn release(&mut self, leaving: &[TopicPartition], group: &Group) -> Vec<TopicPartition> {
        let is_follower = |at: &&TopicPartition| self.retry_topic.as_deref() == Some(&*at.topic);
        let (followers, assigned): (Vec<_>, Vec<_>) = leaving.iter().partition(is_follower);
        let mut released = Vec::new();
        for at in followers {
            if self.held.remove(&at.partition) {
                released.push(at);
            }
        }
        if !released.is_empty() {
            let unassigned = group
                .retry_reader()
                .and_then(|reader| reader.incremental_unassign(&list_of(released.iter().copied())));
            if let Err(error) = unassigned {
                tracing::warn!(event = "kafka_request_failed", %error, "cannot unassign partitions");
            }
        }
        assigned.into_iter().cloned().collect()
    }

    /// True while it is to be found out soon what this pod reads.
    pub fn is_pending(&self) -> bool {
        self.asked.is_some()
    }

    /// Takes whatever step is due; blocks only to read the committed offsets of partitions that come.
    pub fn step(&mut self, group: &Group, offsets: &Offsets, now: Instant) -> RetryAssignmentChange {
        let is_too_soon =
            self.last_poll.is_some_and(|last| now.saturating_duration_since(last) < GENERATION_POLL);
        if self.is_unsupported || (self.asked.is_none() && is_too_soon) {
            return RetryAssignmentChange::default();
        }
        self.last_poll = Some(now);
        let membership = group.membership();
        self.is_member = membership.is_some();
        let generation = membership.as_ref().map(|(_, generation)| *generation);
        if self.verified.is_some() && self.verified != generation {
            self.verified = None;
            offsets.verify(None);
        }
        let Some((member, generation)) = membership else { return RetryAssignmentChange::default() };
        if self.verified == Some(generation) {
            return RetryAssignmentChange::default();
        }
        let Some(question) = self.asked.take() else {
            if self.next_try.is_none_or(|next| now >= next) {
                self.ask(group, (member, generation), now);
            }
            return RetryAssignmentChange::default();
        };
        let Some(answer) = question.query.answer(Duration::ZERO) else {
            self.wait_for_answer(question, group, now);
            return RetryAssignmentChange::default();
        };
        let is_outdated = question.generation != generation || question.member != member;
        question.end(group);
        match answer.and_then(|described| self.verify(group, offsets, (&described, is_outdated), &member)) {
            Ok(None) => {
                self.next_try = Some(now + ASK_AGAIN);
                RetryAssignmentChange::default()
            }
            Ok(Some(followed)) => {
                self.next_try = None;
                self.verified = Some(generation);
                offsets.verify(self.verified);
                followed
            }
            Err(error) if is_unsupported(&error) => {
                self.next_try = Some(now + RETRY_AFTER);
                RetryAssignmentChange { is_unsupported: true, ..RetryAssignmentChange::default() }
            }
            Err(error) => {
                tracing::warn!(
                    event = "group_description_failed", %error,
                    "cannot determine the assignment of the retry topic; retrying"
                );
                self.next_try = Some(now + RETRY_AFTER);
                RetryAssignmentChange::default()
            }
        }
    }

    fn ask(&mut self, group: &Group, (member, generation): (String, i32), now: Instant) {
        let asked = if self.is_member_unanswered {
            group.ask_with_new_client()
        } else {
            Ok(GroupQuery::send(&group.member(), &group.name()))
        };
        match asked {
            Ok(query) => {
                let has_own_client = self.is_member_unanswered;
                self.asked = Some(Question { member, generation, query, has_own_client, since: now });
            }
            Err(error) => {
                tracing::warn!(
                    event = "group_description_failed", %error,
                    "cannot create a client to determine the assignment of the retry topic; retrying"
                );
                self.next_try = Some(now + RETRY_AFTER);
            }
        }
    }

    /// A question that is overdue is asked once more by a new client, and so are those that follow.
    fn wait_for_answer(&mut self, question: Question, group: &Group, now: Instant) {
        if now.saturating_duration_since(question.since) < ANSWER_WITHIN {
            self.asked = Some(question);
            return;
        }
        tracing::info!(
            event = "group_query_repeated",
            "the group's coordinator has not said who has which partitions; a new client asks"
        );
        self.is_member_unanswered = true;
        let asked_as = (question.member.clone(), question.generation);
        question.end(group);
        self.ask(group, asked_as, now);
    }

    /// `None` where the description is not that of the member's generation.
    fn verify(
        &mut self,
        group: &Group,
        offsets: &Offsets,
        (described, is_outdated): (&GroupDescription, bool),
        member: &str,
    ) -> KafkaResult<Option<RetryAssignmentChange>> {
        if is_outdated || !described.is_stable {
            return Ok(None);
        }
        let client = group.member();
        let input = partition_count(client.client(), &self.input_topic, TOPIC_DEADLINE)?;
        self.input_partitions = input.unwrap_or(0);
        let shape = GroupShape::of(described, member, &self.input_topic, self.input_partitions);
        let Some(retry_topic) = self.retry_topic.clone() else {
            return Ok(Some(RetryAssignmentChange {
                group: Some(shape),
                ..RetryAssignmentChange::default()
            }));
        };
        let retry_partitions = partition_count(client.client(), &retry_topic, TOPIC_DEADLINE)?.unwrap_or(0);
        let view = GroupView {
            group: described,
            member,
            input_topic: &self.input_topic,
            retry_topic: &retry_topic,
            input_partitions: self.input_partitions,
            retry_partitions,
        };
        let wanted = view.assigned_retry_partitions(&self.held);
        let at =
            |partition: &i32| TopicPartition { topic: retry_topic.as_str().into(), partition: *partition };
        let released: Vec<TopicPartition> = self.held.difference(&wanted).map(at).collect();
        let taken: Vec<TopicPartition> = wanted.difference(&self.held).map(at).collect();
        if !released.is_empty() {
            tracing::info!(
                event = "retry_partitions_released", partitions = %partition_ranges(&released),
                "retry partitions released"
            );
            offsets.release(&released);
            self.release(&released, group);
        }
        let halted = if taken.is_empty() {
            Vec::new()
        } else {
            let reader = group.retry_reader()?;
            start_reading(&reader, group, offsets, &taken, Ownership::CoPartitioned)?
        };
        if !taken.is_empty() {
            tracing::info!(
                event = "retry_partitions_assigned", partitions = %partition_ranges(&taken),
                "retry partitions assigned"
            );
        }
        self.held = wanted;
        Ok(Some(RetryAssignmentChange { taken, released, halted, group: Some(shape), is_unsupported: false }))
    }
}

/// Brokers, or librdkafka's mock cluster, that do not describe groups.
fn is_unsupported(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion)
    )
}

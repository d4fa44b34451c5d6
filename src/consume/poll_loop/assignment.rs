//! Which partitions the loop reads: rebalances, what follows from them for the retry topic, and pauses.

use std::time::Instant;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;

use super::super::partition_report::BlockedPartitions;
use super::super::rebalance::{AssignmentChange, list_of};
use super::super::retry_assignment::{GroupShape, RetryAssignmentChange};
use super::{Consume, Phase, PollLoop, is_done};
use crate::kafka::too_few_partitions;
use crate::metrics::RebalanceEvent;
use crate::offsets::{Ownership, PartitionState, TopicPartition};

impl PollLoop {
    /// Leaves the group and rejoins it where all leases are over, also where the coordinator has not missed this pod.
    pub(super) fn rejoin_after_leases_ended(&mut self) {
        if self.parts.offsets.take_rejoin() && !self.is_at(Phase::Hold) {
            tracing::warn!(
                event = "group_rejoined",
                "the pod's hold on its partitions is over; rejoining the consumer group"
            );
            self.rejoin();
        }
    }

    pub(super) fn rejoin(&self) {
        self.parts.group.member().unsubscribe();
        is_done("subscribe", &self.subscribe());
    }

    pub(super) fn subscribe(&self) -> Result<(), KafkaError> {
        self.parts.subscribe(self.group_spreads_retries)
    }

    /// Halts what has no valid offset any more. A topic that was recreated is assigned again: with it the
    /// brokers have forgotten the group's offsets, as a rule, and it begins at its earliest record.
    pub(super) fn check_topics(&mut self) {
        let Consume { group, offsets, health, .. } = &self.parts;
        self.halts.verify_positions(group, offsets, health);
        let gone = self.halts.find_recreated_topics(group, offsets);
        for at in &gone {
            offsets.halt(at);
            self.delayed.forget(at);
        }
        if !gone.is_empty() && !self.is_at(Phase::Hold) {
            self.rejoin();
        }
    }

    pub(super) fn rebalance(&mut self) {
        let now = Instant::now();
        let Consume { group, offsets, downstream, .. } = &self.parts;
        let retry_assignment = &mut self.retry_assignment;
        let mut changes = Vec::new();
        let member = group.member();
        while let Some(rebalance) = member.context().next_rebalance() {
            self.parts.health.set_joined(true);
            changes.push(self.rebalances.announce(rebalance, group, offsets, retry_assignment, now));
        }
        changes.push(self.rebalances.step(group, offsets, retry_assignment, now, || downstream.withdraw()));
        self.parts.health.set_offsets_unreadable(self.rebalances.offsets_unreadable());
        for changed in changes {
            self.apply(changed);
        }
    }

    /// Finds out which partitions of the retry topic are this pod's, and takes them.
    pub(super) fn assign_retry_partitions(&mut self) {
        if self.is_at(Phase::Hold) && !self.retry_assignment.is_verifying() {
            return; // nothing more is taken in, but what was is still committed
        }
        let Consume { group, offsets, .. } = &self.parts;
        let RetryAssignmentChange { taken, released, halted, group: shape, is_unsupported } =
            self.retry_assignment.step(group, offsets, Instant::now());
        if self.retry_assignment.is_member() {
            self.parts.health.set_missing_rights("group", Vec::new());
        }
        self.parts.health.group_seen(self.retry_assignment.is_member(), self.retry_assignment.is_answered());
        self.apply(AssignmentChange { assigned: taken, released, halted, lost: false });
        if is_unsupported {
            tracing::info!(
                event = "group_description_unsupported",
                "brokers cannot describe groups; the group assigns the retry topic as well"
            );
            self.retry_assignment.give_up();
            self.group_spreads_retries = true;
            is_done("subscribe", &self.subscribe());
        }
        if let Some(shape) = shape {
            self.note_share(shape);
        }
    }

    /// Says where this pod has nothing to do, and where there are more pods than work.
    fn note_share(&mut self, shape: GroupShape) {
        let Some(topic) = self.parts.topics.first().filter(|_| shape.is_complete()) else { return };
        let GroupShape { members, input_partitions: partitions, mine, .. } = shape;
        let too_few = too_few_partitions(partitions, members);
        let is_idle = mine == 0;
        let note = match &too_few {
            Some(why) if is_idle => {
                Some(format!("no partition of {topic} is assigned to this pod: it has {partitions}, {why}"))
            }
            None if is_idle => Some(format!("no partition of {topic} is assigned to this pod")),
            _ => None,
        };
        self.parts.health.note("partitions", note.clone());
        let told = (is_idle, too_few.clone());
        if self.share_told.as_ref() == Some(&told) {
            return;
        }
        self.share_told = Some(told);
        match (note, too_few) {
            (Some(note), _) => tracing::warn!(event = "no_partitions", topic, partitions, members, "{note}"),
            (None, Some(why)) => {
                tracing::warn!(
                    event = "too_few_partitions",
                    topic,
                    partitions,
                    members,
                    "{topic} has {partitions} partitions, {why}"
                );
            }
            (None, None) => {}
        }
    }

    pub(super) fn apply(&mut self, AssignmentChange { assigned, released, halted, lost }: AssignmentChange) {
        let metrics = &self.parts.metrics;
        for at in assigned.iter().chain(&released) {
            self.paused.remove(at);
            self.delayed.forget(at); // not begun: whoever reads the partition next reads it again
        }
        for at in &released {
            self.halts.lift(at, &self.parts.health);
            metrics.forget_partition(&at.topic, at.partition);
        }
        metrics.rebalanced(RebalanceEvent::Assigned, assigned.len());
        metrics.rebalanced(if lost { RebalanceEvent::Lost } else { RebalanceEvent::Revoked }, released.len());
        for (at, why) in halted {
            self.halts.halt(at, why, &self.parts.health);
        }
        if !released.is_empty() {
            self.parts.downstream.withdraw(); // frees their share of the budget
        }
    }

    /// Pauses hold as long as their reason does: the pod's budget, the partition's span, its head that is not
    /// due, a halt, the end.
    pub(super) fn pause_and_resume(&mut self) {
        self.over_budget =
            if self.over_budget { !self.parts.budget.has_room() } else { self.is_full_for_long() };
        let budget = self.parts.budget.clone();
        let all = self.over_budget || self.is_at(Phase::Hold);
        let owned = self.parts.offsets.snapshot();
        let is_wanted = |state: &PartitionState| {
            let is_blocked = self.halts.contains(&state.at) || self.delayed.holds(&state.at);
            all || state.is_full || is_blocked
        };
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for state in &owned {
            match (is_wanted(state), self.paused.contains(&state.at)) {
                (true, false) => pause.push(state),
                (false, true) => resume.push(state),
                _ => {}
            }
        }
        for ownership in [Ownership::Assigned, Ownership::CoPartitioned] {
            let of_client = |states: &[&PartitionState]| -> Vec<TopicPartition> {
                let states = states.iter().filter(|state| state.ownership == ownership);
                states.map(|state| state.at.clone()).collect()
            };
            self.pause_at(ownership, &of_client(&pause), &of_client(&resume));
        }
        self.parts.metrics.partitions(owned.len(), self.paused.len());
        self.parts.metrics.held(budget.tasks(), budget.bytes());
        self.unblock(&owned);
        self.skip_end_markers(&owned);
        let blocked = BlockedPartitions { paused: &self.paused, halts: &self.halts, delayed: &self.delayed };
        self.partition_reporter.report(&owned, blocked, &*self.parts.downstream, &self.parts.metrics);
    }

    /// At the client that reads them: the member, or the one that reads what follows.
    fn pause_at(&mut self, ownership: Ownership, pause: &[TopicPartition], resume: &[TopicPartition]) {
        if pause.is_empty() && resume.is_empty() {
            return;
        }
        let group = &self.parts.group;
        let client = match ownership {
            Ownership::Assigned => Some(group.member()),
            Ownership::CoPartitioned => group.existing_retry_reader(),
        };
        let Some(client) = client else { return };
        if !pause.is_empty() && is_done("pause", &client.pause(&list_of(pause))) {
            self.paused.extend(pause.iter().cloned());
        }
        if !resume.is_empty() && is_done("resume", &client.resume(&list_of(resume))) {
            for at in resume {
                self.paused.remove(at);
            }
        }
    }
}

//! Whether anything can be published: the producer has begun, has failed and is recreated, or has left a commit in
//! doubt.

use std::time::{Duration, Instant};

use super::pending_answers::PendingAnswer;
use super::producer_restarts::{MAX_CONSECUTIVE_RESTARTS, ProducerRestarts};
use super::publish_loop::{Publish, PublishLoop};
use crate::kafka::{CommitError, LogThrottle};
use crate::offsets::{PartitionCommit, TopicPartition};

/// The state of the one producer.
#[derive(Default)]
pub(super) struct ProducerState {
    has_started: bool,
    is_broken: bool,
    restarts: ProducerRestarts,
    uncertain: Option<UncertainCommit>,
    throttle: LogThrottle,
}

/// A batch whose commit may or may not have taken place.
pub(super) struct UncertainCommit {
    pub answers: Vec<PendingAnswer>,
    pub commits: Vec<PartitionCommit>,
    pub begun: Instant,
}

impl ProducerState {
    /// Answers of which it is not known whether they are published.
    pub fn uncertain_answers(&self) -> usize {
        self.uncertain.as_ref().map_or(0, |uncertain| uncertain.answers.len())
    }

    /// The producer has its identity.
    pub fn has_started(&self) -> bool {
        self.has_started
    }

    /// The producer takes calls.
    pub fn is_usable(&self) -> bool {
        !self.is_broken
    }

    /// No batch is sent before the outcome of this one is known.
    pub fn set_uncertain(&mut self, uncertain: UncertainCommit) {
        self.uncertain = Some(uncertain);
    }

    /// A batch was published.
    pub fn published(&mut self) {
        self.restarts.published();
    }
}

impl PublishLoop {
    /// Takes the next step towards a producer that works, and to knowing what it has published; true once there is
    /// none left to take.
    pub fn is_ready(&mut self) -> Result<bool, CommitError> {
        if self.producer_state.is_broken && !self.restart() {
            return Ok(false);
        }
        if !self.producer_state.has_started {
            if let Err(error) = self.parts.committer.start(&self.parts.producer, &self.deadline) {
                self.handle_error(error)?;
                return Ok(false);
            }
            self.producer_state.has_started = true;
            self.parts.health.set_publishing(true);
        }
        self.resolve_uncertain_commit()
    }

    fn restart(&mut self) -> bool {
        if !self.producer_state.restarts.is_due(Instant::now()) {
            return false;
        }
        if let Err(error) = self.parts.producer.restart() {
            tracing::error!(
                event = "producer_creation_failed", %error,
                "cannot create a new producer; retrying"
            );
            return false;
        }
        tracing::info!(event = "producer_replaced", "replaced the failed producer");
        self.producer_state.is_broken = false;
        true
    }

    /// Reads what the group has committed, where a commit is in doubt: by then no transaction of ours is open. Only
    /// partitions that are still ours are asked for; the others' answers are their owners'.
    fn resolve_uncertain_commit(&mut self) -> Result<bool, CommitError> {
        let Some(mut uncertain) = self.producer_state.uncertain.take() else { return Ok(true) };
        let Publish { offsets, committer, .. } = &self.parts;
        uncertain.answers.retain(|answer| offsets.is_owned(answer.origin().0, answer.origin().1));
        let is_ours = |commit: &&PartitionCommit| {
            uncertain.answers.iter().any(|answer| TopicPartition::of(answer.origin().0) == commit.at)
        };
        let asked: Vec<PartitionCommit> = uncertain.commits.iter().filter(is_ours).cloned().collect();
        if asked.is_empty() {
            return Ok(true);
        }
        match committer.has_committed(&asked) {
            Ok(true) => {
                tracing::info!(
                    event = "uncertain_commit_resolved",
                    answers = uncertain.answers.len(),
                    "the uncertain commit succeeded"
                );
                self.published(&uncertain.answers, &uncertain.commits, uncertain.begun);
                Ok(true)
            }
            Ok(false) => {
                tracing::info!(
                    event = "uncertain_commit_resolved",
                    answers = uncertain.answers.len(),
                    "the uncertain commit failed; its answers are sent again"
                );
                self.pending.splice(0..0, uncertain.answers);
                Ok(true)
            }
            Err(error) => {
                self.producer_state.set_uncertain(uncertain);
                self.handle_error(error)?;
                Ok(false)
            }
        }
    }

    /// Logs an error after which the batch is tried again, some with another producer; returns one after which
    /// nothing can be.
    pub fn handle_error(&mut self, error: CommitError) -> Result<(), CommitError> {
        let advice = error.advice();
        match error {
            CommitError::Rebalancing(_) => {
                tracing::debug!(event = "commit_overtaken", %error, "commit overtaken by a rebalance");
            }
            CommitError::Failed(_) => {
                self.parts.metrics.kafka_error("commit");
                if let Some(suppressed) =
                    self.producer_state.throttle.admit(&error.to_string(), Instant::now())
                {
                    tracing::warn!(
                        event = "publish_failed", %error, advice, suppressed,
                        "publish failed; retrying"
                    );
                }
            }
            CommitError::Broken { .. } => {
                tracing::error!(
                    event = "producer_failed", %error, advice,
                    "producer failed; creating a new one, which sends again what is not committed"
                );
                return self.needs_restart(error);
            }
            CommitError::Fenced(_) => {
                self.parts.metrics.fenced();
                return Err(error);
            }
            CommitError::Unusable { .. } => return Err(error),
        }
        Ok(())
    }

    fn needs_restart(&mut self, error: CommitError) -> Result<(), CommitError> {
        self.parts.metrics.kafka_error("commit");
        self.parts.metrics.producer_renewed();
        self.parts.health.set_publishing(false);
        self.producer_state.is_broken = true;
        self.producer_state.has_started = false;
        if self.parts.producer.is_stuck() {
            tracing::error!(
                event = "too_many_stuck_producers",
                "calls of too many producers have not returned; the pod stops"
            );
            return Err(error);
        }
        if self.producer_state.restarts.record_failure(Instant::now()) {
            return Ok(());
        }
        tracing::error!(
            event = "too_many_producer_failures",
            in_a_row = MAX_CONSECUTIVE_RESTARTS,
            "too many producers failed in a row; the pod stops"
        );
        Err(error)
    }

    /// These answers are published, and these offsets committed with them.
    pub fn published(&mut self, answers: &[PendingAnswer], commits: &[PartitionCommit], begun: Instant) {
        self.parts.offsets.settle(answers.iter().map(PendingAnswer::origin), commits);
        self.count(answers, begun.elapsed());
    }

    /// Counts a batch that is published.
    pub fn count(&mut self, answers: &[PendingAnswer], took: Duration) {
        let now = jiff::Timestamp::now();
        let since =
            |answer: &PendingAnswer| now.duration_since(answer.decided_at()).try_into().unwrap_or_default();
        self.parts.metrics.committed(answers.iter().map(since), took);
        self.producer_state.published();
    }
}

//! Whether anything can be published: the producer has begun, has failed and is recreated, or has left a commit in
//! doubt.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::pending_answers::PendingAnswer;
use super::producer_restarts::{MAX_CONSECUTIVE_RESTARTS, ProducerRestarts};
use super::publish_loop::{Publish, PublishLoop};
use super::transaction_bound::longer;
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
        if self.parts.renewal.take_producer() && self.producer_state.is_usable() {
            self.give_up_producer()?;
        }
        self.follow_round_trip();
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
            self.parts.health.set_missing_rights("transactional id", Vec::new());
        }
        self.resolve_uncertain_commit()
    }

    /// A transaction must not be over before its requests are: the next producer gets more time where Kafka is far away.
    fn follow_round_trip(&mut self) {
        let round_trip = self.parts.health.round_trip();
        let producer = &mut self.parts.producer;
        let present = producer.transaction_timeout();
        if producer.transactional_id().is_none() {
            return;
        }
        let Some(longer) = longer(present, round_trip) else { return };
        tracing::warn!(
            event = "transaction_timeout_raised",
            seconds = longer.as_secs(),
            from_seconds = present.as_secs(),
            round_trip_ms = round_trip.as_millis(),
            "a request to Kafka takes {} ms: a transaction may take {} s from now on, instead of {} s \
             (kafka.transaction_timeout)",
            round_trip.as_millis(),
            longer.as_secs(),
            present.as_secs()
        );
        producer.set_transaction_timeout(longer);
        if self.producer_state.is_usable() {
            self.retire_producer();
        }
    }

    /// It has lost Kafka for good, as the watchdog says; that another one fails as well is the watchdog's to count.
    fn give_up_producer(&mut self) -> Result<(), CommitError> {
        self.retire_producer();
        if self.parts.producer.is_stuck() {
            let error = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
            return Err(CommitError::Broken { why: "calls of too many producers have not returned", error });
        }
        Ok(())
    }

    fn retire_producer(&mut self) {
        self.parts.metrics.producer_renewed();
        self.parts.health.set_publishing(false);
        self.producer_state.is_broken = true;
        self.producer_state.has_started = false;
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
        self.name_missing_right(&error);
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
            CommitError::Unanswered { .. } => {
                tracing::warn!(
                    event = "producer_unanswered", %error,
                    "the producer is not answered; creating a new one, which sends again what is not committed"
                );
                return self.renew(error);
            }
            CommitError::Fenced(_) => {
                self.parts.metrics.fenced();
                return Err(error);
            }
            CommitError::Unusable { .. } => return Err(error),
        }
        Ok(())
    }

    /// The group's is the consuming thread's to name.
    fn name_missing_right(&self, error: &CommitError) {
        if error.cause().rdkafka_error_code() == Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) {
            let id = self.parts.producer.transactional_id().unwrap_or_default();
            let right = format!("Write and Describe on transactional id {id}");
            self.parts.health.set_missing_rights("transactional id", vec![right]);
        }
    }

    /// How often is not counted: as Kafka is, another process would do no better.
    fn renew(&mut self, error: CommitError) -> Result<(), CommitError> {
        self.producer_state.restarts.pause(Instant::now());
        self.retire_failed(error).map(drop)
    }

    fn needs_restart(&mut self, error: CommitError) -> Result<(), CommitError> {
        let error = self.retire_failed(error)?;
        let may_go_on = self.producer_state.restarts.record_failure(Instant::now());
        if may_go_on || error.is_denied() {
            return Ok(()); // what is denied may be granted at any time, and another process would be denied it as well
        }
        tracing::error!(
            event = "too_many_producer_failures",
            in_a_row = MAX_CONSECUTIVE_RESTARTS,
            "too many producers failed in a row; the pod stops"
        );
        Err(error)
    }

    /// Gives the error back, as one after which the pod stops where too many producers hang.
    fn retire_failed(&mut self, error: CommitError) -> Result<CommitError, CommitError> {
        self.parts.metrics.kafka_error("commit");
        self.retire_producer();
        if self.parts.producer.is_stuck() {
            tracing::error!(
                event = "too_many_stuck_producers",
                "calls of too many producers have not returned; the pod stops"
            );
            return Err(error);
        }
        Ok(error)
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

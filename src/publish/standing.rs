//! Whether anything can be published: the producer has begun, has failed and is made anew, or has left a commit in
//! doubt.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::pending::Pending;
use super::publisher::{Loop, Publish};
use super::renewals::{MAX_IN_A_ROW, Renewals};
use super::transaction_bound::longer;
use crate::kafka::{CommitError, LogThrottle};
use crate::offsets::{PartitionCommit, TopicPartition};

/// The state of the one producer.
#[derive(Default)]
pub(super) struct Standing {
    has_begun: bool,
    is_broken: bool,
    renewals: Renewals,
    doubt: Option<Doubt>,
    throttle: LogThrottle,
}

/// A batch whose commit may or may not have taken place.
pub(super) struct Doubt {
    pub answers: Vec<Pending>,
    pub commits: Vec<PartitionCommit>,
    pub begun: Instant,
}

impl Standing {
    /// Answers of which it is not known whether they are published.
    pub fn in_doubt(&self) -> usize {
        self.doubt.as_ref().map_or(0, |doubt| doubt.answers.len())
    }

    /// The producer has its identity.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The producer takes calls.
    pub fn is_sound(&self) -> bool {
        !self.is_broken
    }

    /// No batch is sent before it is known what became of this one.
    pub fn doubt(&mut self, doubt: Doubt) {
        self.doubt = Some(doubt);
    }

    /// A batch was published.
    pub fn published(&mut self) {
        self.renewals.published();
    }
}

impl Loop {
    /// Takes the next step towards a producer that works, and to knowing what it has published; true once there is
    /// none left to take.
    pub fn is_ready(&mut self) -> Result<bool, CommitError> {
        if self.parts.renewal.take_producer() && self.standing.is_sound() {
            self.give_up_producer()?;
        }
        self.follow_round_trip();
        if self.standing.is_broken && !self.renew() {
            return Ok(false);
        }
        if !self.standing.has_begun {
            if let Err(error) = self.parts.committer.start(&self.parts.producer, &self.patience) {
                self.note(error)?;
                return Ok(false);
            }
            self.standing.has_begun = true;
            self.parts.health.set_publishing(true);
            self.parts.health.set_missing_rights("transactional id", Vec::new());
        }
        self.settle_doubt()
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
        if self.standing.is_sound() {
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
        self.standing.is_broken = true;
        self.standing.has_begun = false;
    }

    fn renew(&mut self) -> bool {
        if !self.standing.renewals.is_due(Instant::now()) {
            return false;
        }
        if let Err(error) = self.parts.producer.renew() {
            tracing::error!(%error, "cannot make a new producer");
            return false;
        }
        tracing::info!("a new producer takes the place of the one that failed");
        self.standing.is_broken = false;
        true
    }

    /// Reads what the group has committed, where a commit is in doubt: by then no transaction of ours is open. Only
    /// partitions that are still ours are asked for; the others' answers are their owners'.
    fn settle_doubt(&mut self) -> Result<bool, CommitError> {
        let Some(mut doubt) = self.standing.doubt.take() else { return Ok(true) };
        let Publish { offsets, committer, .. } = &self.parts;
        doubt.answers.retain(|answer| offsets.is_owned(answer.origin().0, answer.origin().1));
        let is_ours = |commit: &&PartitionCommit| {
            doubt.answers.iter().any(|answer| TopicPartition::of(answer.origin().0) == commit.at)
        };
        let asked: Vec<PartitionCommit> = doubt.commits.iter().filter(is_ours).cloned().collect();
        if asked.is_empty() {
            return Ok(true);
        }
        match committer.has_committed(&asked) {
            Ok(true) => {
                tracing::info!(answers = doubt.answers.len(), "the commit in doubt had taken place");
                self.published(&doubt.answers, &doubt.commits, doubt.begun);
                Ok(true)
            }
            Ok(false) => {
                tracing::info!(answers = doubt.answers.len(), "the commit in doubt had not taken place");
                self.pending.splice(0..0, doubt.answers);
                Ok(true)
            }
            Err(error) => {
                self.standing.doubt(doubt);
                self.note(error)?;
                Ok(false)
            }
        }
    }

    /// Logs an error after which the batch is tried again, some with another producer; returns one after which
    /// nothing can be.
    pub fn note(&mut self, error: CommitError) -> Result<(), CommitError> {
        let advice = error.advice();
        self.name_missing_right(&error);
        match error {
            CommitError::Rebalancing(_) => tracing::debug!(%error, "commit"),
            CommitError::Failed(_) => {
                self.parts.metrics.kafka_error("commit");
                if let Some(untold) = self.standing.throttle.admit(&error.to_string(), Instant::now()) {
                    tracing::warn!(%error, advice, untold, "publishing; trying again");
                }
            }
            CommitError::Broken { .. } => {
                tracing::error!(%error, advice, "a new producer is made, and what is not committed is sent again");
                return self.needs_renewal(error);
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

    fn needs_renewal(&mut self, error: CommitError) -> Result<(), CommitError> {
        self.parts.metrics.kafka_error("commit");
        self.retire_producer();
        if self.parts.producer.is_stuck() {
            tracing::error!("calls of too many producers have not returned: the pod gives up");
            return Err(error);
        }
        let may_go_on = self.standing.renewals.need_one(Instant::now());
        if may_go_on || error.is_denied() {
            return Ok(()); // what is denied may be granted at any time, and another process would be denied it as well
        }
        tracing::error!(in_a_row = MAX_IN_A_ROW, "the producers fail one after the other: the pod gives up");
        Err(error)
    }

    /// These answers are published, and these offsets committed with them.
    pub fn published(&mut self, answers: &[Pending], commits: &[PartitionCommit], begun: Instant) {
        self.parts.offsets.settle(answers.iter().map(Pending::origin), commits);
        self.count(answers, begun.elapsed());
    }

    /// Counts a batch that is published.
    pub fn count(&mut self, answers: &[Pending], took: Duration) {
        let now = jiff::Timestamp::now();
        let since = |answer: &Pending| now.duration_since(answer.decided_at()).try_into().unwrap_or_default();
        self.parts.metrics.committed(answers.iter().map(since), took);
        self.standing.published();
    }
}

//! The step that ties answers and offsets together.

use rdkafka::error::KafkaError;

use super::producer::Producer;
use super::shutdown_deadline::ShutdownDeadline;
use crate::consume::Group;
use crate::kafka::CommitError;
use crate::offsets::PartitionCommit;

/// A commit that was asked for and not confirmed.
#[derive(Debug)]
pub enum CommitFailure {
    /// It has not taken place.
    No(CommitError),
    /// It may have succeeded: [`Committer::has_committed`] shows, once the transaction is over.
    Uncertain(CommitError),
}

impl From<CommitError> for CommitFailure {
    fn from(error: CommitError) -> Self {
        CommitFailure::No(error)
    }
}

impl From<KafkaError> for CommitFailure {
    fn from(error: KafkaError) -> Self {
        CommitFailure::No(error.into())
    }
}

/// Wraps a batch: `prepare`, then the publisher chooses outcomes; `begin`, then it sends them and awaits
/// delivery; then `commit` or `abort`. Each may take as long as the brokers are away, and as `deadline` says.
pub trait Committer: Send {
    /// With each new producer, before anything else; repeated while it fails.
    fn start(&mut self, producer: &Producer, deadline: &ShutdownDeadline) -> Result<(), CommitError>;
    /// Before outcomes are chosen by ownership: what identifies this member must be read first, so that a
    /// partition revoked in between is either not chosen or not committed (KIP-447). Returns the group's generation
    /// under which the batch will be committed.
    fn prepare(&mut self) -> Result<Option<i32>, CommitError>;
    /// Before the batch's first answer is sent.
    fn begin(&mut self, producer: &Producer, deadline: &ShutdownDeadline) -> Result<(), CommitError>;
    /// All answers of the batch are acknowledged.
    fn commit(
        &mut self,
        producer: &Producer,
        commits: &[PartitionCommit],
        deadline: &ShutdownDeadline,
    ) -> Result<(), CommitFailure>;
    /// Some answers were not acknowledged, or `commit` failed.
    fn abort(&mut self, producer: &Producer, deadline: &ShutdownDeadline) -> Result<(), CommitError>;
    /// Whether a commit that was in doubt has taken place; asked after `abort`, or with a new producer after `start`.
    fn has_committed(&self, commits: &[PartitionCommit]) -> Result<bool, CommitError>;
    /// True if an acknowledged answer is final even if its commit fails: it must not be sent again.
    fn keeps_answers_without_commit(&self) -> bool;
}

/// An answer is acknowledged by all in-sync replicas before its task's offset is committed. A pod that dies
/// in between leaves an answer whose task is done, and answered, again.
#[derive(Debug)]
pub struct AtLeastOnce {
    group: Group,
}

impl AtLeastOnce {
    pub fn new(group: Group) -> Self {
        AtLeastOnce { group }
    }
}

impl Committer for AtLeastOnce {
    fn start(&mut self, _producer: &Producer, _deadline: &ShutdownDeadline) -> Result<(), CommitError> {
        Ok(())
    }

    fn prepare(&mut self) -> Result<Option<i32>, CommitError> {
        Ok(self.group.generation())
    }

    /// An idempotent producer that lost its sequence accepts nothing more. What was not acknowledged is sent again by
    /// the next one, which at-least-once permits.
    fn begin(&mut self, producer: &Producer, _deadline: &ShutdownDeadline) -> Result<(), CommitError> {
        let broken =
            |code| CommitError::Broken { why: "as its client library says", error: KafkaError::Global(code) };
        producer.fatal_error().map_or(Ok(()), |code| Err(broken(code)))
    }

    fn commit(
        &mut self,
        _producer: &Producer,
        commits: &[PartitionCommit],
        _deadline: &ShutdownDeadline,
    ) -> Result<(), CommitFailure> {
        Ok(self.group.commit(commits)?)
    }

    fn abort(&mut self, _producer: &Producer, _deadline: &ShutdownDeadline) -> Result<(), CommitError> {
        Ok(())
    }

    fn has_committed(&self, commits: &[PartitionCommit]) -> Result<bool, CommitError> {
        Ok(self.group.has_committed(commits)?)
    }

    fn keeps_answers_without_commit(&self) -> bool {
        true
    }
}

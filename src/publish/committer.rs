//! The step that ties answers and offsets together.

use super::producer::Producer;
use crate::consume::{CommitError, Group};
use crate::offsets::PartitionCommit;

/// Wraps a batch: `prepare`, then the publisher chooses outcomes; `begin`, then it sends them and awaits
/// delivery; then `commit` or `abort`.
pub trait Committer: Send {
    /// Once, before anything else; repeated while it fails.
    fn start(&mut self, producer: &Producer) -> Result<(), CommitError>;
    /// Before outcomes are chosen by ownership: what identifies this member must be read first, so that a
    /// partition revoked in between is either not chosen or not committed (KIP-447).
    fn prepare(&mut self) -> Result<(), CommitError>;
    /// Before the batch's first answer is sent.
    fn begin(&mut self, producer: &Producer) -> Result<(), CommitError>;
    /// All answers of the batch are acknowledged. `beat` is called meanwhile: this may take as long as the brokers
    /// are away.
    fn commit(
        &mut self,
        producer: &Producer,
        commits: &[PartitionCommit],
        beat: &dyn Fn(),
    ) -> Result<(), CommitError>;
    /// Some answers were not acknowledged, or `commit` failed; `beat` as for `commit`.
    fn abort(&mut self, producer: &Producer, beat: &dyn Fn()) -> Result<(), CommitError>;
    /// True if an acknowledged answer stands even where its commit fails: it must not be sent again.
    fn answers_stand_alone(&self) -> bool;
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
    fn start(&mut self, _producer: &Producer) -> Result<(), CommitError> {
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), CommitError> {
        Ok(())
    }

    fn begin(&mut self, _producer: &Producer) -> Result<(), CommitError> {
        Ok(())
    }

    fn commit(
        &mut self,
        _producer: &Producer,
        commits: &[PartitionCommit],
        _beat: &dyn Fn(),
    ) -> Result<(), CommitError> {
        self.group.commit(commits)
    }

    fn abort(&mut self, _producer: &Producer, _beat: &dyn Fn()) -> Result<(), CommitError> {
        Ok(())
    }

    fn answers_stand_alone(&self) -> bool {
        true
    }
}

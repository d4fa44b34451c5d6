//! Answers and offsets in one Kafka transaction (KIP-98, KIP-447).

use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;

use super::committer::Committer;
use super::producer::Producer;
use crate::consume::{CommitError, Group, offsets_of};
use crate::offsets::PartitionCommit;

/// One transactional call; librdkafka tries again within it.
const CALL: Duration = Duration::from_secs(5);
/// A call that may be repeated is, for this long: by then the broker has ended the transaction by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// A `read_committed` reader sees an answer if and only if its task's offset is committed with it.
pub struct ExactlyOnce {
    group: Group,
    /// Read before outcomes are chosen, so that a rebalance in between fences the commit.
    member: Option<ConsumerGroupMetadata>,
}

impl std::fmt::Debug for ExactlyOnce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExactlyOnce").field("member", &self.member.is_some()).finish_non_exhaustive()
    }
}

impl ExactlyOnce {
    pub fn new(group: Group) -> Self {
        ExactlyOnce { group, member: None }
    }
}

impl Committer for ExactlyOnce {
    /// Fences every earlier process with this pod's identity.
    fn start(&mut self, producer: &Producer) -> Result<(), CommitError> {
        producer.transactions().init_transactions(CALL).map_err(CommitError::from)
    }

    fn prepare(&mut self) -> Result<(), CommitError> {
        self.member = self.group.metadata();
        match self.member {
            Some(_) => Ok(()),
            None => {
                Err(CommitError::Rebalancing(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId)))
            }
        }
    }

    fn begin(&mut self, producer: &Producer) -> Result<(), CommitError> {
        producer.transactions().begin_transaction().map_err(CommitError::from)
    }

    fn commit(&mut self, producer: &Producer, commits: &[PartitionCommit]) -> Result<(), CommitError> {
        let Some(member) = &self.member else { return self.prepare() };
        let offsets = offsets_of(commits)?;
        let transactions = producer.transactions();
        patiently(|| transactions.send_offsets_to_transaction(&offsets, member, CALL))?;
        patiently(|| transactions.commit_transaction(CALL))
    }

    fn abort(&mut self, producer: &Producer) -> Result<(), CommitError> {
        patiently(|| producer.transactions().abort_transaction(CALL))
    }

    fn answers_stand_alone(&self) -> bool {
        false
    }
}

/// Repeats a call that librdkafka calls retriable: a timed-out commit must be asked for again, not aborted.
fn patiently(call: impl Fn() -> KafkaResult<()>) -> Result<(), CommitError> {
    let since = Instant::now();
    loop {
        match call() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && since.elapsed() < PATIENCE => {}
            result => return result.map_err(CommitError::from),
        }
    }
}

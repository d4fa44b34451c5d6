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
/// Between two calls.
const PAUSE: Duration = Duration::from_millis(50);
/// Offsets that the coordinator does not take are tried for this long; then the transaction is aborted.
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

    fn commit(
        &mut self,
        producer: &Producer,
        commits: &[PartitionCommit],
        beat: &dyn Fn(),
    ) -> Result<(), CommitError> {
        let Some(member) = &self.member else { return self.prepare() };
        let offsets = offsets_of(commits)?;
        let transactions = producer.transactions();
        let until = Instant::now() + PATIENCE;
        again_while(
            || transactions.send_offsets_to_transaction(&offsets, member, CALL),
            || {
                beat();
                Instant::now() < until
            },
        )?;
        until_known(|| transactions.commit_transaction(CALL), beat)
    }

    fn abort(&mut self, producer: &Producer, beat: &dyn Fn()) -> Result<(), CommitError> {
        until_known(|| producer.transactions().abort_transaction(CALL), beat)
    }

    fn answers_stand_alone(&self) -> bool {
        false
    }
}

/// Asks for the end of a transaction until it is known. A commit or an abort that timed out may have reached the
/// broker, and until it is asked for again librdkafka takes no other call: with the brokers away, this waits for
/// them, as long as they take.
fn until_known(call: impl Fn() -> KafkaResult<()>, beat: &dyn Fn()) -> Result<(), CommitError> {
    again_while(call, || {
        beat();
        true
    })
}

/// Repeats a call that librdkafka calls retriable, while `go_on` says so.
fn again_while(call: impl Fn() -> KafkaResult<()>, go_on: impl Fn() -> bool) -> Result<(), CommitError> {
    loop {
        match call() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && go_on() => {
                std::thread::sleep(PAUSE); // not every retriable error takes its time
            }
            result => return result.map_err(CommitError::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn an_error_that_is_no_transactions_is_not_asked_for_again() {
        let calls = Cell::new(0);
        let refused = until_known(
            || {
                calls.set(calls.get() + 1);
                Err(KafkaError::Canceled)
            },
            &|| (),
        );
        assert!(refused.is_err());
        assert_eq!(calls.get(), 1);
    }
}

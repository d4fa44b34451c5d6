//! Answers and offsets in one Kafka transaction (KIP-98, KIP-447).
//!
//! librdkafka sorts what goes wrong, and each sort has its answer here:
//! - retriable: the same call again, until the shutdown deadline;
//! - abortable: the batch is taken back, and chosen again by ownership;
//! - not answered, as librdkafka waits for a coordinator that is one no more: a new producer, which looks for it anew;
//! - fatal: a new producer with the same identity, which ends the old one's transaction. The outcome of a commit
//!   that was under way is then read from the group's offsets;
//! - fenced: another process has the identity, this one ends. But the coordinator says the same to a producer whose
//!   transaction it has given up after its timeout, as a broker does that was away; that is one for a new producer,
//!   unless the group has another member with this pod's name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;

use super::committer::{CommitFailure, Committer};
use super::producer::Producer;
use super::shutdown_deadline::ShutdownDeadline;
use super::transaction_bound::{offsets_call, offsets_patience};
use crate::consume::{Group, offsets_of};
use crate::kafka::CommitError;
use crate::offsets::PartitionCommit;

/// One call that goes on where it was when it is made again: the beginning, the end of a transaction.
const CALL: Duration = Duration::from_secs(1);
/// So much later than it was asked to a call may return; then its producer is given up.
const CALL_GRACE: Duration = Duration::from_secs(3);
/// Between two calls.
const PAUSE: Duration = Duration::from_millis(50);
/// A `read_committed` reader sees an answer if and only if its task's offset is committed with it.
pub struct ExactlyOnce {
    group: Group,
    /// Read before outcomes are chosen, so that a rebalance in between fences the commit.
    member: Option<Arc<ConsumerGroupMetadata>>,
    /// When the transaction began that is not known to be over.
    open: Option<Instant>,
    /// How long a transaction may be open: the last producer's.
    bound: Duration,
    /// A producer has had the pod's identity.
    has_begun: bool,
}

impl std::fmt::Debug for ExactlyOnce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExactlyOnce").field("member", &self.member.is_some()).finish_non_exhaustive()
    }
}

impl ExactlyOnce {
    pub fn new(group: Group) -> Self {
        ExactlyOnce { group, member: None, open: None, bound: Duration::MAX, has_begun: false }
    }

    fn reclassify_fenced(&self, error: CommitError) -> CommitError {
        reclassify_fenced(error, self.open.map(|since| since.elapsed()), self.bound)
    }
}

impl Committer for ExactlyOnce {
    /// Fences every earlier process, and producer, with this pod's identity, and ends its transaction. A process that
    /// has had the identity does not take it back from one that has come in its place: one that stood still for longer
    /// than its transaction may be open cannot tell from what its producer is told.
    fn start(&mut self, producer: &Producer, deadline: &ShutdownDeadline) -> Result<(), CommitError> {
        if let Some(host) = self.has_begun.then(|| self.group.namesake()).flatten() {
            tracing::error!(
                event = "pod_name_taken",
                host,
                "another process with this pod's name is in the group"
            );
            return Err(CommitError::Fenced(KafkaError::Global(RDKafkaErrorCode::Fenced)));
        }
        self.open = None;
        self.bound = producer.transaction_timeout();
        producer.call(CALL + CALL_GRACE, deadline, |producer| producer.init_transactions(CALL))?;
        if !std::mem::replace(&mut self.has_begun, true) {
            // Only now, since a Kafka that is away would be waited for each time; nothing of this process is open yet.
            self.group.note_predecessors();
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<Option<i32>, CommitError> {
        self.member = None;
        let (member, generation) = self.group.metadata().ok_or_else(no_member)?;
        self.member = Some(Arc::new(member));
        Ok(Some(generation))
    }

    fn begin(&mut self, producer: &Producer, deadline: &ShutdownDeadline) -> Result<(), CommitError> {
        if self.open.is_some() {
            self.abort(producer, deadline)?; // librdkafka takes no new one before
        }
        producer
            .call(CALL_GRACE, deadline, rdkafka::producer::Producer::begin_transaction)
            .map_err(|error| self.reclassify_fenced(error))?;
        self.open = Some(Instant::now());
        Ok(())
    }

    fn commit(
        &mut self,
        producer: &Producer,
        commits: &[PartitionCommit],
        deadline: &ShutdownDeadline,
    ) -> Result<(), CommitFailure> {
        let member = self.member.as_ref().ok_or_else(no_member)?;
        let until = Instant::now() + offsets_patience(self.bound);
        let call = offsets_call(self.bound);
        retry_while(
            || {
                let (offsets, member) = (offsets_of(commits)?, Arc::clone(member));
                producer.call(call + CALL_GRACE, deadline, move |producer| {
                    producer.send_offsets_to_transaction(&offsets, &member, call)
                })
            },
            || deadline.keep_waiting() && Instant::now() < until,
        )
        .map_err(|error| unanswered(self.reclassify_fenced(error)))?;
        // A commit or an abort that timed out may have reached the broker, and until it is asked for again
        // librdkafka takes no other call: with the brokers away, this waits for them.
        let commit =
            || producer.call(CALL + CALL_GRACE, deadline, |producer| producer.commit_transaction(CALL));
        retry_while(commit, || deadline.keep_waiting())
            .map_err(|error| CommitFailure::Uncertain(self.reclassify_fenced(error)))?;
        self.open = None;
        Ok(())
    }

    fn abort(&mut self, producer: &Producer, deadline: &ShutdownDeadline) -> Result<(), CommitError> {
        let abort =
            || producer.call(CALL + CALL_GRACE, deadline, |producer| producer.abort_transaction(CALL));
        let aborted = retry_while(abort, || deadline.keep_waiting());
        match aborted.map_err(|error| self.reclassify_fenced(error)) {
            Ok(()) => {
                self.open = None;
                Ok(())
            }
            // librdkafka refuses every further call: a new producer ends the transaction.
            Err(CommitError::Failed(error) | CommitError::Rebalancing(error)) if !deadline.has_passed() => {
                Err(CommitError::Broken { why: "its transaction cannot be aborted", error })
            }
            Err(error) => Err(error),
        }
    }

    fn has_committed(&self, commits: &[PartitionCommit]) -> Result<bool, CommitError> {
        Ok(self.group.has_committed(commits)?)
    }

    fn keeps_answers_without_commit(&self) -> bool {
        false
    }
}

fn no_member() -> CommitError {
    CommitError::Rebalancing(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId))
}

/// The coordinator gives up a transaction that is open for longer than its timeout, and to its producer that looks
/// like being fenced. Before that nobody but another process can have done it.
fn reclassify_fenced(error: CommitError, open: Option<Duration>, bound: Duration) -> CommitError {
    match error {
        CommitError::Fenced(error) if open.is_some_and(|open| open >= bound) => {
            let why = "the coordinator has given up a transaction that was open for longer than it may be";
            CommitError::Broken { why, error }
        }
        error => error,
    }
}

/// librdkafka remembers which broker coordinates the group, and waits for that one: also where it is frozen, and the group has
/// another coordinator by now (2.12; `rd_kafka_coord_req_fsm` looks for another only when some broker comes or goes). A new
/// producer remembers nothing.
fn unanswered(error: CommitError) -> CommitError {
    use RDKafkaErrorCode as Code;
    let why = "the group's coordinator does not answer its producer";
    match error {
        CommitError::Failed(error) | CommitError::Broken { error, .. }
            if matches!(
                error.rdkafka_error_code(),
                Some(Code::OperationTimedOut | Code::RequestTimedOut | Code::DestroyBroker)
            ) =>
        {
            CommitError::Unanswered { why, error }
        }
        error => error,
    }
}

/// Repeats a call that librdkafka calls retriable, while `keep_waiting` says so.
fn retry_while(
    call: impl Fn() -> Result<(), CommitError>,
    keep_waiting: impl Fn() -> bool,
) -> Result<(), CommitError> {
    let is_retriable =
        |error: &CommitError| matches!(error.cause(), KafkaError::Transaction(error) if error.is_retriable());
    loop {
        match call() {
            Err(error) if is_retriable(&error) && keep_waiting() => {
                std::thread::sleep(PAUSE); // not every retriable error takes its time
            }
            result => return result,
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
        let refused = retry_while(
            || {
                calls.set(calls.get() + 1);
                Err(KafkaError::Canceled.into())
            },
            || true,
        );
        assert!(refused.is_err());
        assert_eq!(calls.get(), 1);
    }

    #[test]
    fn a_coordinator_that_does_not_answer_is_another_producers_to_find() {
        let failed = |code| unanswered(CommitError::Failed(KafkaError::Global(code)));
        for code in [RDKafkaErrorCode::OperationTimedOut, RDKafkaErrorCode::DestroyBroker] {
            assert!(matches!(failed(code), CommitError::Unanswered { .. }), "{code:?}");
        }
        assert!(matches!(failed(RDKafkaErrorCode::GroupAuthorizationFailed), CommitError::Failed(_)));
        let (why, error) = ("overdue", KafkaError::Global(RDKafkaErrorCode::OperationTimedOut));
        assert!(matches!(unanswered(CommitError::Broken { why, error }), CommitError::Unanswered { .. }));
    }

    #[test]
    fn only_another_process_can_have_fenced_a_young_transaction() {
        let fenced = || CommitError::Fenced(KafkaError::Global(RDKafkaErrorCode::Fenced));
        let bound = Duration::from_secs(10);
        let young = bound.checked_sub(Duration::from_millis(1));
        assert!(matches!(reclassify_fenced(fenced(), None, bound), CommitError::Fenced(_)));
        assert!(matches!(reclassify_fenced(fenced(), young, bound), CommitError::Fenced(_)));
        assert!(matches!(reclassify_fenced(fenced(), Some(bound), bound), CommitError::Broken { .. }));
    }
}

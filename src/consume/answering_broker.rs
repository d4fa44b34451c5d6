//! A broker that has answered of late.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::group::{CommittedPosition, Group, Member};
use crate::kafka::{SessionTimeoutQuery, TopicIdQuery, TopicIds, TopicRightsQuery};
use crate::offsets::TopicPartition;

/// The broker that is asked for topics' ids. The question would go to the controller otherwise, which librdkafka's
/// mock cluster, and so the demo, does not have.
#[derive(Debug)]
pub(super) struct AnsweringBroker(AtomicI32);

/// No broker's id.
const NONE: i32 = -1;

impl Default for AnsweringBroker {
    fn default() -> Self {
        AnsweringBroker(AtomicI32::new(NONE))
    }
}

impl AnsweringBroker {
    fn get(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|id| *id != NONE)
    }

    /// Remembers the broker that answers now.
    pub fn find(&self, member: &Member, topic: &str, deadline: Duration) -> KafkaResult<()> {
        let metadata = member.client().fetch_metadata(Some(topic), deadline)?;
        self.0.store(metadata.orig_broker_id(), Ordering::Relaxed);
        Ok(())
    }

    /// It does not answer any more: the controller is asked until another one is found.
    pub fn forget(&self) {
        self.0.store(NONE, Ordering::Relaxed);
    }
}

impl Group {
    /// Asks for topics' ids; the answer is waited for by nobody.
    pub(super) fn ask_for_ids<'a>(
        &self,
        topics: impl IntoIterator<Item = &'a str>,
        deadline: Duration,
    ) -> TopicIdQuery {
        TopicIdQuery::send(&self.member(), topics, self.answering.get(), deadline)
    }

    /// Asks what may be done with topics; the answer is waited for by nobody.
    pub(super) fn ask_for_rights<'a>(
        &self,
        topics: impl IntoIterator<Item = &'a str>,
        deadline: Duration,
    ) -> TopicRightsQuery {
        TopicRightsQuery::send(&self.member(), topics, self.answering.get(), deadline)
    }

    /// Asks how long the brokers wait for a member's heartbeat; the answer is waited for by nobody.
    pub(super) fn ask_for_session_timeout(&self, deadline: Duration) -> SessionTimeoutQuery {
        SessionTimeoutQuery::send(&self.member(), &self.name(), self.answering.get(), deadline)
    }

    /// What the partitions' last owners committed, and the ids that their topics have now; both are asked at once.
    pub(super) fn committed_and_ids(
        &self,
        partitions: &[TopicPartition],
        deadline: Duration,
    ) -> KafkaResult<(Vec<CommittedPosition>, TopicIds)> {
        let topics: BTreeSet<&str> = partitions.iter().map(|at| &*at.topic).collect();
        let ids = self.ask_for_ids(topics, deadline);
        let committed = self.committed(partitions, deadline)?;
        let timed_out = Err(KafkaError::Global(RDKafkaErrorCode::OperationTimedOut));
        Ok((committed, ids.answer(deadline).unwrap_or(timed_out)?))
    }
}

//! What the group has committed, for readers that do not own the partitions in question.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;

use super::answering_broker::AnsweringBroker;
use super::group::{CommittedPosition, Group, GroupClients, Properties};
use super::halted_partitions::recreated_topic;
use crate::offsets::{CommittedOffsets, TopicPartition};
use crate::record::Origin;

/// One request for committed offsets.
const DEADLINE: Duration = Duration::from_secs(5);

impl Group {
    /// Asks which cluster this is, until it is known. Costs nothing where the client has heard of it.
    pub(super) fn learn_cluster(&self) {
        if self.cluster.get().is_none()
            && let Some(id) = self.member().client().fetch_cluster_id(DEADLINE)
        {
            let _ = self.cluster.set(id); // another was first, with the same
        }
    }
}

/// Asks through the group's member while it exists. Holds no strong reference: dropping the last one waits until
/// librdkafka has left the group.
#[derive(Debug)]
struct CommittedOffsetsReader {
    clients: Weak<GroupClients>,
    properties: Properties,
    cluster: Arc<OnceLock<String>>,
    answering: Arc<AnsweringBroker>,
}

impl Group {
    /// For a reader that owns no partition.
    #[must_use]
    pub fn committed_offsets(&self) -> Arc<dyn CommittedOffsets> {
        Arc::new(CommittedOffsetsReader {
            clients: Arc::downgrade(&self.clients),
            properties: self.properties.clone(),
            cluster: Arc::clone(&self.cluster),
            answering: Arc::clone(&self.answering),
        })
    }
}

impl CommittedOffsets for CommittedOffsetsReader {
    fn cluster(&self) -> Option<String> {
        self.cluster.get().cloned()
    }

    fn are_done(&self, records: &[Origin]) -> Option<Vec<bool>> {
        let partitions: BTreeSet<TopicPartition> = records.iter().map(partition_of).collect();
        let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
        let group = Group {
            clients: self.clients.upgrade()?,
            properties: self.properties.clone(),
            cluster: Arc::clone(&self.cluster),
            answering: Arc::clone(&self.answering),
        };
        let told = group.done_in(&partitions);
        let told = told
            .inspect_err(|error| {
                tracing::debug!(
                    event = "committed_offsets_unavailable", %error,
                    "cannot read the group's committed offsets"
                );
            })
            .ok()?;
        let is_done = |record: &Origin| {
            told.get(&partition_of(record))
                .is_some_and(|(low, above)| record.offset < *low || above.contains(&record.offset))
        };
        Some(records.iter().map(is_done).collect())
    }
}

impl Group {
    /// The low-water marks, and the completed offsets above them. A commit for a topic that was deleted and recreated says
    /// nothing about the present one's records.
    fn done_in(
        &self,
        partitions: &[TopicPartition],
    ) -> KafkaResult<HashMap<TopicPartition, (i64, BTreeSet<i64>)>> {
        let (committed, ids) = self.committed_and_ids(partitions, DEADLINE)?;
        let read = |(at, position): CommittedPosition| {
            let (low, note) = position?;
            let is_of_this = recreated_topic(low, note.topic_id, ids.get(&*at.topic).copied()).is_none();
            is_of_this.then(|| (at, (low, note.done.offsets(low))))
        };
        Ok(committed.into_iter().filter_map(read).collect())
    }
}

fn partition_of(record: &Origin) -> TopicPartition {
    TopicPartition { topic: record.topic.clone(), partition: record.partition }
}

//! What the group has committed, for who asks about records of partitions that are not this pod's.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;

use super::group::Group;
use crate::offsets::{TopicPartition, Witness};
use crate::record::Origin;

/// One request for committed offsets.
const DEADLINE: Duration = Duration::from_secs(5);

impl Group {
    /// Asks which cluster this is, until it is known. Costs nothing where the client has heard of it.
    pub(super) fn learn_cluster(&self) {
        if self.cluster.get().is_none()
            && let Some(id) = self.member.client().fetch_cluster_id(DEADLINE)
        {
            let _ = self.cluster.set(id); // another was first, with the same
        }
    }
}

impl Witness for Group {
    fn cluster(&self) -> Option<String> {
        self.cluster.get().cloned()
    }

    fn are_done(&self, records: &[Origin]) -> Option<Vec<bool>> {
        let at =
            |record: &Origin| TopicPartition { topic: record.topic.clone(), partition: record.partition };
        let partitions: BTreeSet<TopicPartition> = records.iter().map(at).collect();
        let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
        let committed = self.committed(&partitions, DEADLINE);
        let committed = committed.inspect_err(|error| tracing::debug!(%error, "committed offsets")).ok()?;
        let committed: HashMap<_, _> = committed
            .into_iter()
            .filter_map(|(at, position)| position.map(|(low, note)| (at, (low, note.done.offsets(low)))))
            .collect();
        let is_done = |record: &Origin| {
            committed
                .get(&at(record))
                .is_some_and(|(low, above)| record.offset < *low || above.contains(&record.offset))
        };
        Some(records.iter().map(is_done).collect())
    }
}

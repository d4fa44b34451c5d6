//! Reads the partitions that stay while others leave.
//!
//! From the announcement of a rebalance until it is answered librdkafka fetches nothing, of no partition; and a
//! revocation is answered only when the leaving partitions' transfers have finished, which may take seconds.
//! Meanwhile a reader of its own, no member of the group, goes on where the ledgers are. The member reads the same records
//! again afterwards, and the ledgers know them.

use std::collections::HashSet;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::properties::without_value;
use super::rebalance::list_of;
use crate::offsets::{PartitionState, TopicPartition};

pub(super) struct StandIn {
    reader: BaseConsumer<DefaultConsumerContext>,
    read: HashSet<TopicPartition>,
}

impl StandIn {
    /// Reads these partitions on; `properties` are the member's.
    pub fn start(properties: &ClientConfig, staying: &[PartitionState]) -> KafkaResult<StandIn> {
        let mut properties = properties.clone();
        // With the group's name, without which librdkafka assigns nothing; who does not subscribe does not join.
        for of_members in ["group.instance.id", "group.protocol", "statistics.interval.ms"] {
            properties.remove(of_members);
        }
        let reader: BaseConsumer<DefaultConsumerContext> = properties.create().map_err(without_value)?;
        let mut list = TopicPartitionList::with_capacity(staying.len());
        for state in staying {
            let start = state.position.map_or(Offset::Beginning, Offset::Offset);
            list.add_partition_offset(&state.at.topic, state.at.partition, start)?;
        }
        reader.assign(&list)?;
        Ok(StandIn { reader, read: staying.iter().map(|state| state.at.clone()).collect() })
    }

    /// The next record that is there; does not wait.
    pub fn poll(&self) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
        self.reader.poll(std::time::Duration::ZERO)
    }

    /// Reads no more of those partitions for which `is_held`: the member does, later.
    pub fn leave_alone(&mut self, is_held: impl Fn(&TopicPartition) -> bool) {
        let held: Vec<_> = self.read.iter().filter(|at| is_held(at)).cloned().collect();
        if !held.is_empty() {
            if let Err(error) = self.reader.pause(&list_of(&held)) {
                tracing::warn!(%error, "pause");
            }
            self.read.retain(|at| !held.contains(at));
        }
    }
}

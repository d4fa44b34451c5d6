//! Sets the group's offsets, for `ftp-pooler offsets reset`.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{ClientError, reading};
use crate::config::KafkaConfig;
use crate::kafka::{LastConnectionError, without_value};

/// Commits these offsets for the group, by partition. The group must have no members, else the coordinator refuses.
///
/// # Errors
/// If the coordinator does not answer, or refuses.
pub fn commit_offsets(
    kafka: &KafkaConfig,
    topic: &str,
    offsets: &BTreeMap<i32, i64>,
) -> Result<(), ClientError> {
    let doing = || format!("setting the offsets of {} on {topic}", kafka.consumer_group);
    let client: BaseConsumer<LastConnectionError> = reading(kafka, &[("socket.timeout.ms", "10000")])
        .create_with_context(LastConnectionError::default())
        .map_err(without_value)
        .map_err(ClientError::at("kafka.properties"))?;
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
            .map_err(ClientError::at(doing()))?;
    }
    client
        .commit(&list, CommitMode::Sync)
        .map_err(|error| ClientError::unanswered(doing(), error, &LastConnectionError::of(&client)))
}

//! A consumer without a group, which reads partitions from given offsets.

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::properties::without_value;

/// It joins nothing and commits nothing.
pub type PartitionReader = BaseConsumer<DefaultConsumerContext>;

/// Opens one that reads these partitions: topic, number, and where to start.
pub fn open_reader<'a>(
    properties: &ClientConfig,
    from: impl IntoIterator<Item = (&'a str, i32, Offset)>,
) -> KafkaResult<PartitionReader> {
    let reader: PartitionReader = properties.create().map_err(without_value)?;
    assign_reader(&reader, from)?;
    Ok(reader)
}

/// Makes it read these partitions, and no others.
pub fn assign_reader<'a>(
    reader: &PartitionReader,
    from: impl IntoIterator<Item = (&'a str, i32, Offset)>,
) -> KafkaResult<()> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, start) in from {
        list.add_partition_offset(topic, partition, start)?;
    }
    reader.assign(&list)
}

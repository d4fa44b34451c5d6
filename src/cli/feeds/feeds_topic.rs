//! Reads one partition of the feeds topic, from its begin to the end that it has now.

use std::sync::Arc;

use crate::client::{ClientError, Cluster, Range, Reader};
use crate::config::Config;
use crate::feeds::FeedRecord;

/// Gives each record of the partition to `each`, in their order; none if there is no such topic.
///
/// # Errors
/// The brokers do not answer.
pub(super) fn read_partition(
    config: &Config,
    partition: i32,
    mut each: impl FnMut(FeedRecord),
) -> Result<(), ClientError> {
    let topic: Arc<str> = config.kafka.feeds_topic.as_str().into();
    let ends = Cluster::new(&config.kafka)?.ends(&topic)?.unwrap_or_default();
    let Some(ends) = ends.get(&partition) else { return Ok(()) };
    let range = Range { topic, partition, from: ends.begin, to: ends.end };
    Reader::read_all(&config.kafka, &[range], |message| {
        let key = message.key.as_deref().unwrap_or_default();
        if let Some(record) = FeedRecord::decode(key, message.payload.as_deref()) {
            each(record);
        }
        true
    })
}

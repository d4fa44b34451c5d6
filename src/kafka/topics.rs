//! Looks a topic up in the cluster's metadata.

use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

/// A topic's number of partitions; `None` if there is no such topic. Never creates one: see
/// [`client_properties`](super::client_properties). Blocks for at most `deadline`.
///
/// # Errors
/// If no broker answers, or one reports that this topic may not be seen, or has no leader yet.
pub fn partition_count<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    deadline: Duration,
) -> KafkaResult<Option<usize>> {
    let metadata = client.fetch_metadata(Some(topic), deadline)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
        Some(code) => Err(KafkaError::MetadataFetch(code)),
        None => Ok(Some(found.partitions().len()).filter(|count| *count > 0)),
    }
}

/// What is to be said where a group has more members than the input topic has partitions.
#[must_use]
pub fn too_few_partitions(partitions: usize, members: usize) -> Option<String> {
    (partitions < members).then(|| {
        let idle = members - partitions;
        let pods = if idle == 1 { "one of them gets" } else { "some of them get" };
        format!("fewer than the {members} pods of the group, so {pods} no tasks; add partitions to the topic")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_larger_than_the_topic_is_warned_of() {
        assert_eq!(too_few_partitions(12, 12), None);
        assert_eq!(too_few_partitions(12, 0), None, "no pod runs");
        let warned = too_few_partitions(1, 2).unwrap();
        assert!(warned.contains("2 pods") && warned.contains("one of them"), "{warned}");
        assert!(too_few_partitions(1, 5).unwrap().contains("some of them"));
    }
}

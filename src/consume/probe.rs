//! Looks at the cluster without joining the group: for `ftp-pooler check`.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};
use rdkafka::error::KafkaError;

use super::properties::{consumer_properties, without_value};
use crate::config::Kafka;

/// One request to the cluster.
const DEADLINE: Duration = Duration::from_secs(10);

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    pub topic: String,
    /// Partitions, or why there are none to see.
    pub partitions: Result<usize, String>,
}

/// Asks the cluster for the three topics. Blocks, for [`DEADLINE`] a topic at most.
pub fn probe(kafka: &Kafka, pod: &str) -> Result<Vec<TopicState>, KafkaError> {
    let mut properties = consumer_properties(kafka, pod);
    properties.remove("group.id"); // a look, not a member
    let client: BaseConsumer<DefaultConsumerContext> = properties.create().map_err(without_value)?;
    [&kafka.input_topic, &kafka.result_topic, &kafka.fail_topic]
        .into_iter()
        .map(|topic| look(&client, topic))
        .collect()
}

fn look(client: &BaseConsumer<DefaultConsumerContext>, topic: &str) -> Result<TopicState, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic), DEADLINE)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = match found.map(|found| (found.error(), found.partitions().len())) {
        Some((None, partitions)) if partitions > 0 => Ok(partitions),
        Some((Some(error), _)) => Err(rdkafka::error::RDKafkaErrorCode::from(error).to_string()),
        _ => Err("it has no partitions".to_owned()),
    };
    Ok(TopicState { topic: topic.to_owned(), partitions })
}

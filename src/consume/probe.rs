//! Looks at the cluster without joining the group: for `ftp-pooler check`.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::properties::{consumer_properties, without_value};
use crate::config::{Kafka, Retry};

/// One request to the cluster.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a pod makes by itself need not be there yet.
const NOT_YET: &str = "not there yet: a pod makes it as it starts, where it may";

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    pub topic: String,
    /// What is there, or what is wrong.
    pub found: Result<String, String>,
}

/// Asks the cluster for the topics, the retry topic among them where tasks are deferred. Blocks, for [`DEADLINE`] a topic at most.
pub fn probe(kafka: &Kafka, retry: &Retry, pod: &str) -> Result<Vec<TopicState>, KafkaError> {
    let mut properties = consumer_properties(kafka, pod);
    properties.remove("group.id"); // a look, not a member
    let client: BaseConsumer<DefaultConsumerContext> = properties.create().map_err(without_value)?;
    let topics = [&kafka.input_topic, &kafka.result_topic, &kafka.fail_topic];
    let mut states = Vec::new();
    for topic in topics {
        states.push(state(topic, look(&client, topic)?, |code| Err(code.to_string())));
    }
    if retry.enabled {
        let topic = &kafka.retry_topic;
        states.push(state(topic, look(&client, topic)?, |code| match code {
            RDKafkaErrorCode::UnknownTopicOrPartition => Ok(NOT_YET.to_owned()),
            code => Err(code.to_string()),
        }));
    }
    Ok(states)
}

fn state(
    topic: &str,
    partitions: Result<usize, RDKafkaErrorCode>,
    explain: impl Fn(RDKafkaErrorCode) -> Result<String, String>,
) -> TopicState {
    let found = partitions.map_or_else(explain, |count| match count {
        1 => Ok("1 partition".to_owned()),
        count => Ok(format!("{count} partitions")),
    });
    TopicState { topic: topic.to_owned(), found }
}

/// How many partitions a topic has; a topic without any is not there.
fn look(
    client: &BaseConsumer<DefaultConsumerContext>,
    topic: &str,
) -> Result<Result<usize, RDKafkaErrorCode>, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic), DEADLINE)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    Ok(match found.map(|found| (found.error(), found.partitions().len())) {
        Some((None, partitions)) if partitions > 0 => Ok(partitions),
        Some((Some(error), _)) => Err(RDKafkaErrorCode::from(error)),
        _ => Err(RDKafkaErrorCode::UnknownTopicOrPartition),
    })
}

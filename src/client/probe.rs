//! Looks at the cluster without joining the group: for `ftp-pooler check`.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::{KafkaConfig, RetryConfig};
use crate::kafka::{
    GroupDescription, LastConnectionError, consumer_properties, is_unanswered, partition_count,
    too_few_partitions, without_value,
};

/// One request to the cluster.
const DEADLINE: Duration = Duration::from_secs(10);

/// A pod creates it.
const NOT_YET: &str = "not there yet: a pod makes it as it starts, where it may";
/// A pod does not create it.
const NO_TOPIC: &str = "is not there: `ftp-pooler topics` makes it";

/// Tasks are done without it.
const NO_CONTROL: &str =
    "is not there: batches can be neither listed nor cancelled; `ftp-pooler topics` makes it";

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    pub topic: String,
    /// What is there, or what is wrong.
    pub found: Result<String, String>,
}

type Client = BaseConsumer<LastConnectionError>;

/// Asks the cluster for the topics, the retry topic among them where tasks are deferred. Blocks, for [`DEADLINE`] a
/// topic at most, and as long for the group.
///
/// # Errors
/// What is wrong where no topic could be asked for: no broker answers, or a property is none.
pub fn probe(kafka: &KafkaConfig, retry: &RetryConfig, pod: &str) -> Result<Vec<TopicState>, String> {
    let mut properties = consumer_properties(kafka, pod);
    properties.remove("group.id"); // it asks, and never joins
    let client: Client = properties
        .create_with_context(LastConnectionError::default())
        .map_err(|error| without_value(error).to_string())?;
    let client = Arc::new(client);
    let mut states = Vec::new();
    for topic in [&kafka.input_topic, &kafka.result_topic, &kafka.fail_topic] {
        let count = count(&client, topic)?;
        let found = count.and_then(|count| count.map(described).ok_or_else(|| NO_TOPIC.to_owned()));
        states.push(TopicState { topic: topic.clone(), found });
    }
    if retry.enabled {
        let topic = &kafka.retry_topic;
        let found = count(&client, topic)?;
        let found = found.map(|count| count.map_or_else(|| NOT_YET.to_owned(), described));
        states.push(TopicState { topic: topic.clone(), found });
    }
    let topic = &kafka.control_topic;
    let found = count(&client, topic)?;
    let found = found.map(|count| count.map_or_else(|| NO_CONTROL.to_owned(), described));
    states.push(TopicState { topic: topic.clone(), found });
    if let Some(TopicState { found: Ok(text), .. }) = states.first_mut()
        && let Ok(Some(partitions)) = partition_count(client.client(), &kafka.input_topic, DEADLINE)
        && let Ok(group) = GroupDescription::fetch(&client, &kafka.consumer_group, DEADLINE)
        && let Some(warning) = too_few_partitions(partitions, group.members.len())
    {
        text.push_str(": ");
        text.push_str(&warning);
    }
    Ok(states)
}

/// How many partitions a topic has; the inner error says what is wrong with this topic alone.
fn count(client: &Client, topic: &str) -> Result<Result<Option<usize>, String>, String> {
    match partition_count(client.client(), topic, DEADLINE) {
        Ok(count) => Ok(Ok(count)),
        Err(KafkaError::MetadataFetch(code)) if is_of_the_topic(code) => Ok(Err(code.to_string())),
        Err(error) => Err(match LastConnectionError::of(client) {
            why if is_unanswered(&error) => format!("no broker answers{why}"),
            why => format!("{error}{why}"),
        }),
    }
}

/// Whether an answer about a topic is the topic's own, and not the connection's.
fn is_of_the_topic(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::InvalidTopic
            | Code::LeaderNotAvailable
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
    )
}

fn described(partitions: usize) -> String {
    match partitions {
        1 => "1 partition".to_owned(),
        count => format!("{count} partitions"),
    }
}

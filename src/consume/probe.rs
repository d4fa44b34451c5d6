//! Looks at the cluster without joining the group: for `ftp-pooler check`.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::last_word::{LastWord, is_nobodys};
use super::properties::{consumer_properties, without_value};
use crate::config::{KafkaConfig, RetryConfig};

/// One request to the cluster.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a pod makes by itself need not be there yet.
const NOT_YET: &str = "not there yet: a pod makes it as it starts, where it may";
/// What a pod does not make.
const NO_TOPIC: &str = "is not there: `ftp-pooler topics` makes it";

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    pub topic: String,
    /// What is there, or what is wrong.
    pub found: Result<String, String>,
}

/// Asks the cluster for the topics, the retry topic among them where tasks are deferred. Blocks, for [`DEADLINE`] a topic at most.
///
/// # Errors
/// What is wrong where no topic could be asked for: no broker answers, or a property is none.
pub fn probe(kafka: &KafkaConfig, retry: &RetryConfig, pod: &str) -> Result<Vec<TopicState>, String> {
    let mut properties = consumer_properties(kafka, pod);
    properties.remove("group.id"); // a look, not a member
    let client: BaseConsumer<LastWord> = properties
        .create_with_context(LastWord::default())
        .map_err(|error| without_value(error).to_string())?;
    let failed = |error: KafkaError| match LastWord::of(&client) {
        why if is_nobodys(&error) => format!("no broker answers{why}"),
        why => format!("{error}{why}"),
    };
    let topics = [&kafka.input_topic, &kafka.result_topic, &kafka.fail_topic];
    let mut states = Vec::new();
    for topic in topics {
        states.push(state(topic, look(&client, topic).map_err(failed)?, |code| Err(missing(code))));
    }
    if retry.enabled {
        let topic = &kafka.retry_topic;
        states.push(state(topic, look(&client, topic).map_err(failed)?, |code| match code {
            RDKafkaErrorCode::UnknownTopicOrPartition => Ok(NOT_YET.to_owned()),
            code => Err(code.to_string()),
        }));
    }
    Ok(states)
}

/// What is wrong with a topic that has to be there.
fn missing(code: RDKafkaErrorCode) -> String {
    match code {
        RDKafkaErrorCode::UnknownTopicOrPartition => NO_TOPIC.to_owned(),
        code => code.to_string(),
    }
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
fn look(client: &BaseConsumer<LastWord>, topic: &str) -> Result<Result<usize, RDKafkaErrorCode>, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic), DEADLINE)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    Ok(match found.map(|found| (found.error(), found.partitions().len())) {
        Some((None, partitions)) if partitions > 0 => Ok(partitions),
        Some((Some(error), _)) => Err(RDKafkaErrorCode::from(error)),
        _ => Err(RDKafkaErrorCode::UnknownTopicOrPartition),
    })
}

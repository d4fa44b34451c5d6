//! Creates the compacted topics that hold state, and checks whether an existing one is compacted.

use std::sync::Arc;

use rdkafka::admin::ResourceSpecifier;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::retry_topic::{Admin, Unprepared, create_topic, options, partitions_of};
use super::{ClientKind, client_properties, without_value};
use crate::config::KafkaConfig;

/// The settings of a new compacted topic. Its owner reads all of it when it takes over, so it is compacted soon: of a
/// report every second only the last one is useful.
#[must_use]
pub fn compacted_topic_settings() -> [(&'static str, String); 5] {
    [
        ("cleanup.policy", "compact"),
        ("segment.ms", "300000"),
        ("segment.bytes", "8388608"),
        ("min.cleanable.dirty.ratio", "0.1"),
        ("delete.retention.ms", "3600000"),
    ]
    .map(|(key, value)| (key, value.to_owned()))
}

/// Checks the topic, and creates it with `partitions` if it is missing: unless the input topic is missing as well,
/// since then the pod has the wrong brokers, or is too early.
///
/// # Errors
/// If it cannot be used as it is, or no broker answers.
pub async fn prepare_compacted_topic(
    kafka: &KafkaConfig,
    pod: &str,
    topic: &str,
    partitions: i32,
) -> Result<(), Unprepared> {
    let admin: Admin =
        client_properties(kafka, pod, ClientKind::Producer, &[]).create().map_err(without_value)?;
    let admin = Arc::new(admin);
    let there = partitions_of(&admin, topic).await?;
    let count = |partitions: i32| usize::try_from(partitions).unwrap_or_default();
    let too_few =
        there.and_then(|there| state_topic_partitions_problem(topic, count(there), count(partitions)));
    if let Some(problem) = too_few {
        return Err(Unprepared::Unusable(problem));
    }
    if there.is_none() {
        if partitions_of(&admin, &kafka.input_topic).await?.is_none() {
            return Err(Unprepared::NotNow(KafkaError::MetadataFetch(
                RDKafkaErrorCode::UnknownTopicOrPartition,
            )));
        }
        return create_topic(&admin, topic, partitions, &compacted_topic_settings()).await;
    }
    let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await;
    let Ok(Some(Ok(config))) = described.map(|topics| topics.into_iter().next()) else {
        tracing::warn!(
            event = "topic_settings_unread",
            topic,
            "cannot read the topic's settings: its cleanup.policy must be compact"
        );
        return Ok(());
    };
    let policy = config.get("cleanup.policy").and_then(|entry| entry.value.clone()).unwrap_or_default();
    state_topic_policy_problem(topic, &policy).map_or(Ok(()), |problem| Err(Unprepared::Unusable(problem)))
}

/// What is wrong with the number of partitions of a topic that holds state: a key's partition is for good.
#[must_use]
pub fn state_topic_partitions_problem(topic: &str, there: usize, needed: usize) -> Option<String> {
    let plural = if there == 1 { "" } else { "s" };
    (there < needed).then(|| format!("topic {topic} has {there} partition{plural}, and needs {needed}"))
}

/// What is wrong with the `cleanup.policy` of a topic that holds state.
#[must_use]
pub fn state_topic_policy_problem(topic: &str, policy: &str) -> Option<String> {
    (policy.trim() != "compact").then(|| {
        format!(
            "topic {topic} holds state, and its cleanup.policy is {policy}, by which records are deleted with time: \
             set it to compact"
        )
    })
}

//! Creates the retry topic if it is missing, and checks whether it retains its records for long enough.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{ClientKind, client_properties, partition_count, without_value};
use crate::config::{KafkaConfig, RetryConfig};

/// One request to the cluster.
const DEADLINE: Duration = Duration::from_secs(10);
/// What a topic that is made here keeps at least: Kafka's own default.
const RETENTION: Duration = Duration::from_secs(7 * 86_400);

pub(super) type Admin = AdminClient<DefaultClientContext>;

/// Why the retry topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unprepared {
    /// Trying again may help.
    #[error("{0}")]
    NotNow(KafkaError),
    /// An operator must intervene.
    #[error("{0}")]
    Unusable(String),
}

impl From<KafkaError> for Unprepared {
    fn from(error: KafkaError) -> Self {
        Unprepared::NotNow(error)
    }
}

/// Checks the retry topic, and creates it if it is missing: with the input topic's partitions, and the brokers' default
/// of replicas.
pub async fn prepare_retry_topic(
    kafka: &KafkaConfig,
    retry: &RetryConfig,
    pod: &str,
) -> Result<(), Unprepared> {
    let admin: Admin =
        client_properties(kafka, pod, ClientKind::Producer, &[]).create().map_err(without_value)?;
    let admin = Arc::new(admin);
    if partitions_of(&admin, &kafka.retry_topic).await?.is_some() {
        return check(&admin, &kafka.retry_topic, retry).await;
    }
    let Some(partitions) = partitions_of(&admin, &kafka.input_topic).await? else {
        return Err(Unprepared::NotNow(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)));
    };
    create(&admin, &kafka.retry_topic, partitions, retry).await
}

/// A topic's number of partitions; `None` if it does not exist.
pub(super) async fn partitions_of(admin: &Arc<Admin>, topic: &str) -> Result<Option<i32>, Unprepared> {
    let (admin, name) = (Arc::clone(admin), topic.to_owned());
    let asked = tokio::task::spawn_blocking(move || partition_count(admin.inner(), &name, DEADLINE));
    let found = asked.await.map_err(|panic| Unprepared::Unusable(panic.to_string()))?;
    match found {
        Ok(count) => Ok(count.map(|count| i32::try_from(count).unwrap_or(i32::MAX))),
        Err(KafkaError::MetadataFetch(RDKafkaErrorCode::TopicAuthorizationFailed)) => {
            Err(Unprepared::Unusable(format!("topic {topic}: this user may not see it")))
        }
        Err(error) => Err(Unprepared::NotNow(error)),
    }
}

async fn create(admin: &Admin, topic: &str, partitions: i32, retry: &RetryConfig) -> Result<(), Unprepared> {
    create_topic(admin, topic, partitions, &retry_topic_settings(retry)).await
}

/// Creates a topic, unless it was created concurrently.
pub(super) async fn create_topic(
    admin: &Admin,
    topic: &str,
    partitions: i32,
    settings: &[(&'static str, String)],
) -> Result<(), Unprepared> {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
    let made = admin.create_topics([&new], &options()).await?;
    match made.into_iter().next() {
        Some(Ok(_)) => {
            tracing::info!(event = "topic_created", topic, partitions, ?settings, "created a topic");
            Ok(())
        }
        // Another pod was faster.
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) if is_final(code) => {
            Err(Unprepared::Unusable(format!("topic {topic} does not exist, and cannot be created: {code}")))
        }
        Some(Err((_, code))) => Err(Unprepared::NotNow(KafkaError::Global(code))),
        None => Err(Unprepared::NotNow(KafkaError::Global(RDKafkaErrorCode::Fail))),
    }
}

/// What a retry topic is made with: it keeps every task for longer than it is deferred, those with one key too.
#[must_use]
pub fn retry_topic_settings(retry: &RetryConfig) -> [(&'static str, String); 2] {
    let retention = needed(retry).max(RETENTION).as_millis().to_string();
    [("cleanup.policy", "delete".to_owned()), ("retention.ms", retention)]
}

/// A record that the topic drops before it is read again is a task without an answer.
async fn check(admin: &Admin, topic: &str, retry: &RetryConfig) -> Result<(), Unprepared> {
    let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await;
    let config = match described.map(|topics| topics.into_iter().next()) {
        Ok(Some(Ok(config))) => config,
        unknown => {
            // An old broker, or a user who may not.
            tracing::warn!(
                event = "retry_topic_unchecked", topic,
                answer = ?unknown.map(|answer| answer.map(Result::err)),
                "cannot read the retry topic's settings: its retention.ms must be above retry.max_deferral"
            );
            return Ok(());
        }
    };
    let value = |name: &str| config.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
    if value("cleanup.policy").contains("compact") {
        return Err(Unprepared::Unusable(format!(
            "topic {topic} is compacted: of tasks with the same key it would keep one; set its cleanup.policy to delete"
        )));
    }
    let needed = needed(retry).as_millis();
    match value("retention.ms").parse::<i128>() {
        Ok(kept) if kept >= 0 && kept.unsigned_abs() < needed => Err(Unprepared::Unusable(format!(
            "topic {topic} keeps its records for {kept} ms; retry.max_deferral needs a retention.ms of {needed}"
        ))),
        _ => Ok(()),
    }
}

fn needed(retry: &RetryConfig) -> Duration {
    retry.max_deferral + retry.delay
}

fn is_final(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::InvalidReplicationFactor
            | RDKafkaErrorCode::InvalidPartitions
            | RDKafkaErrorCode::InvalidConfig
            | RDKafkaErrorCode::UnsupportedVersion
            | RDKafkaErrorCode::UnsupportedFeature
    )
}

pub(super) fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(DEADLINE)).operation_timeout(Some(DEADLINE))
}

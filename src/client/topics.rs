//! Makes topics that are not there.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic as ToMake, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{ClientError, Cluster, sending};
use crate::batch::RETENTION;
use crate::config::{KafkaConfig, RetryConfig};
use crate::feeds::TOPIC_PARTITIONS;
use crate::kafka::{compacted_topic_settings, retry_topic_settings, without_value};

/// One request to the cluster.
const REQUEST: Duration = Duration::from_secs(10);
/// A topic that is made is known to each broker a moment later.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
const DEFAULTS: &[(&str, &str)] = &[("socket.timeout.ms", "10000"), ("reconnect.backoff.max.ms", "2000")];

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    pub partitions: i32,
    /// The brokers' own default unless set.
    pub replicas: Option<i32>,
    /// Settings such as `retention.ms`; else the brokers' own.
    pub settings: Vec<(&'static str, String)>,
}

impl NewTopic {
    /// With the settings that a retry topic needs.
    #[must_use]
    pub fn for_retries(self, retry: &RetryConfig) -> NewTopic {
        NewTopic { settings: retry_topic_settings(retry).into(), ..self }
    }

    /// With the settings and the partitions of the feeds topic.
    #[must_use]
    pub fn for_feeds(self) -> NewTopic {
        NewTopic { partitions: TOPIC_PARTITIONS, settings: compacted_topic_settings().into(), ..self }
    }

    /// With the settings and the one partition of the coordination topic.
    #[must_use]
    pub fn for_coordination(self) -> NewTopic {
        NewTopic { partitions: 1, settings: compacted_topic_settings().into(), ..self }
    }
}

impl NewTopic {
    /// One partition, compacted: the control topic's.
    #[must_use]
    pub fn for_control(self) -> NewTopic {
        let retention = RETENTION.as_millis().to_string();
        let settings = vec![("cleanup.policy", "compact,delete".to_owned()), ("retention.ms", retention)];
        NewTopic { partitions: 1, settings, ..self }
    }
}

/// Its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    Now,
    /// It existed with this many partitions, and is unchanged.
    WasThere {
        partitions: usize,
    },
}

/// An admin client. Its calls block, for 10 s each at most.
pub struct TopicAdmin {
    admin: AdminClient<DefaultClientContext>,
    /// Knows existing topics, and why no broker answers.
    cluster: Cluster,
}

impl std::fmt::Debug for TopicAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicAdmin").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl TopicAdmin {
    /// The cluster of the configuration. Nothing is asked yet.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn new(kafka: &KafkaConfig) -> Result<TopicAdmin, ClientError> {
        let admin = sending(kafka, DEFAULTS).create().map_err(without_value);
        Ok(TopicAdmin {
            admin: admin.map_err(ClientError::at("kafka.properties"))?,
            cluster: Cluster::new(kafka)?,
        })
    }

    /// Creates a topic if it is missing, and waits until it is known.
    ///
    /// # Errors
    /// If the brokers do not answer, or refuse.
    pub fn make(&self, topic: &NewTopic) -> Result<Made, ClientError> {
        if let Some(partitions) = self.cluster.partitions(&topic.name)? {
            return Ok(Made::WasThere { partitions: partitions.len() });
        }
        let doing = || format!("making topic {}", topic.name);
        let failed = |error: KafkaError| ClientError::at(doing())(error);
        let replicas = TopicReplication::Fixed(topic.replicas.unwrap_or(-1));
        let new = ToMake::new(&topic.name, topic.partitions, replicas);
        let new = topic.settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ClientError::Stalled(format!("{}: {error}", doing())))?;
        let answered = runtime.block_on(self.admin.create_topics([&new], &options)).map_err(failed)?;
        let is_ours = match answered.into_iter().next() {
            Some(Ok(_)) => true,
            // It was created concurrently, possibly with another number of partitions.
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => false,
            Some(Err((_, code))) => return Err(failed(KafkaError::Global(code))),
            None => return Err(failed(KafkaError::Global(RDKafkaErrorCode::Fail))),
        };
        let partitions = self.wait_until_known(&topic.name)?;
        Ok(if is_ours { Made::Now } else { Made::WasThere { partitions } })
    }

    /// How many partitions a topic has that was just created, by whomever.
    fn wait_until_known(&self, topic: &str) -> Result<usize, ClientError> {
        let started = Instant::now();
        loop {
            if let Some(partitions) = self.cluster.partitions(topic)? {
                return Ok(partitions.len());
            }
            if started.elapsed() > KNOWN_WITHIN {
                return Err(ClientError::Stalled(format!(
                    "topic {topic} was made, and after {} s the brokers do not know it yet",
                    KNOWN_WITHIN.as_secs()
                )));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

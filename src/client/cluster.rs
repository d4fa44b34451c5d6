//! Queries the cluster: partitions, their ends, and what the pool's group has committed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{ClientError, reading, sending};
use crate::config::KafkaConfig;
use crate::kafka::{LastConnectionError, metadata_of, partition_count, without_value};

/// One request to the cluster.
const REQUEST: Duration = Duration::from_secs(10);
/// For the answer who coordinates the group.
const DENIED_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);
/// Defaults that `kafka.properties` may override.
const DEFAULTS: &[(&str, &str)] = &[("socket.timeout.ms", "10000"), ("reconnect.backoff.max.ms", "2000")];

/// Where a partition begins and ends: the first offset there is, and the one that the next record gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub begin: i64,
    pub end: i64,
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: i64,
    /// The commit's metadata; see [`CommitMetadata`](crate::offsets::CommitMetadata).
    pub metadata: Vec<u8>,
}

/// From where on records are as late as is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// By partition.
    pub offsets: BTreeMap<i32, i64>,
    /// False if the brokers could not tell: then the whole partition is meant.
    pub is_by_time: bool,
}

/// A client that asks and never reads, joins or commits. Its calls block, for 10 s each at most.
pub struct Cluster {
    client: BaseConsumer<LastConnectionError>,
    /// The admin client's. They hold secrets.
    properties: ClientConfig,
    brokers: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster of the configuration. Nothing is asked yet.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn new(kafka: &KafkaConfig) -> Result<Cluster, ClientError> {
        let mut properties = reading(kafka, DEFAULTS);
        // The ends that are wanted are those of all records, also of transactions that are still open.
        properties.set("isolation.level", "read_uncommitted");
        let client = properties.create_with_context(LastConnectionError::default()).map_err(without_value);
        Ok(Cluster {
            client: client.map_err(ClientError::at("kafka.properties"))?,
            properties: sending(kafka, &[]),
            brokers: kafka.bootstrap_servers.join(","),
        })
    }

    /// Names the query, and librdkafka's last connection error if no broker answered.
    fn failed(&self, what: &str, error: KafkaError) -> ClientError {
        let doing = format!("asking {} {what}", self.brokers);
        ClientError::unanswered(doing, error, &LastConnectionError::of(&self.client))
    }

    /// A topic's partitions; `None` if there is no such topic.
    ///
    /// # Errors
    /// If the brokers do not answer, or this user may not see it.
    pub fn partitions(&self, topic: &str) -> Result<Option<Vec<i32>>, ClientError> {
        let failed = |error| self.failed(&format!("for the partitions of {topic}"), error);
        let count = partition_count(self.client.client(), topic, REQUEST).map_err(failed)?;
        Ok(count.map(|count| (0..i32::try_from(count).unwrap_or(i32::MAX)).collect()))
    }

    /// The first and last offset of each partition of a topic now; `None` if there is no such topic.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub fn ends(&self, topic: &str) -> Result<Option<BTreeMap<i32, Ends>>, ClientError> {
        let Some(partitions) = self.partitions(topic)? else { return Ok(None) };
        let look = |partition| {
            let (begin, end) = self
                .client
                .fetch_watermarks(topic, partition, REQUEST)
                .map_err(|error| self.failed(&format!("for the ends of {topic}[{partition}]"), error))?;
            Ok((partition, Ends { begin, end }))
        };
        partitions.into_iter().map(look).collect::<Result<_, _>>().map(Some)
    }

    /// [`Cluster::ends`] of a topic that has to be there.
    ///
    /// # Errors
    /// [`ClientError::NoTopic`], and those of [`Cluster::ends`].
    pub fn required_ends(&self, topic: &str) -> Result<BTreeMap<i32, Ends>, ClientError> {
        self.ends(topic)?.ok_or_else(|| ClientError::NoTopic(topic.to_owned()))
    }

    /// For each partition of `ends` the first offset whose record was written at `time_ms` (milliseconds since the
    /// epoch) or later; its end if there is none. If the broker cannot look up by time (librdkafka's mock cluster,
    /// which the demo uses, answers nothing) it is the partition's start.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub fn offsets_at(
        &self,
        topic: &str,
        ends: &BTreeMap<i32, Ends>,
        time_ms: i64,
    ) -> Result<Since, ClientError> {
        let mut offsets = self.look_up(topic, ends, time_ms)?;
        let is_behind = |(partition, ends): (&i32, &Ends)| {
            ends.begin < ends.end && offsets.get(partition).is_none_or(|offset| *offset >= ends.end)
        };
        let behind: BTreeMap<i32, Ends> =
            ends.iter().filter(|one| is_behind(*one)).map(|(at, ends)| (*at, *ends)).collect();
        if behind.is_empty() {
            return Ok(Since { offsets, is_by_time: true });
        }
        // Either no record is that late, or the broker cannot look up by time: with time 0 it would find all
        // partitions.
        let known = self.look_up(topic, &behind, 0)?;
        let unknown: Vec<(i32, i64)> = behind
            .iter()
            .filter(|(partition, ends)| known.get(partition).is_none_or(|offset| *offset >= ends.end))
            .map(|(partition, ends)| (*partition, ends.begin))
            .collect();
        let is_by_time = unknown.is_empty();
        offsets.extend(unknown);
        Ok(Since { offsets, is_by_time })
    }

    /// The brokers' answer for a time; a partition's end if they give none.
    fn look_up(
        &self,
        topic: &str,
        ends: &BTreeMap<i32, Ends>,
        time_ms: i64,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let failed = || |error| self.failed(&format!("for offsets of {topic} by time"), error);
        let mut times = TopicPartitionList::with_capacity(ends.len());
        for partition in ends.keys() {
            times.add_partition_offset(topic, *partition, Offset::Offset(time_ms.max(0))).map_err(failed())?;
        }
        let found = self.client.offsets_for_times(times, REQUEST).map_err(failed())?;
        let mut offsets: BTreeMap<i32, i64> = ends.iter().map(|(at, ends)| (*at, ends.end)).collect();
        for element in found.elements() {
            element.error().map_err(failed())?;
            if let (Offset::Offset(offset), Some(slot)) =
                (element.offset(), offsets.get_mut(&element.partition()))
            {
                *slot = offset;
            }
        }
        Ok(offsets)
    }

    /// For how long a topic keeps its records by its own settings; `None` where those do not say, or may not be
    /// read: it is compacted, limited in bytes, or its brokers keep them from this user.
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn retention(&self, topic: &str) -> Result<Option<Duration>, ClientError> {
        let Some(config) = self.settings(topic)? else { return Ok(None) };
        let value = |key: &str| config.get(key).and_then(|entry| entry.value.as_deref());
        let is_only_by_time =
            value("cleanup.policy") == Some("delete") && value("retention.bytes") == Some("-1");
        let ms = value("retention.ms").filter(|_| is_only_by_time).and_then(|ms| ms.parse::<i64>().ok());
        Ok(ms.map(|ms| u64::try_from(ms).map_or(Duration::MAX, Duration::from_millis)))
    }

    /// A topic's `cleanup.policy`; `None` where its settings may not be read.
    #[must_use]
    pub fn cleanup_policy(&self, topic: &str) -> Option<String> {
        self.settings(topic).ok().flatten()?.get("cleanup.policy")?.value.clone()
    }

    /// `None` if they may not be read.
    fn settings(&self, topic: &str) -> Result<Option<ConfigResource>, ClientError> {
        let failed = || ClientError::at(format!("asking {} for the settings of {topic}", self.brokers));
        let admin: AdminClient<DefaultClientContext> =
            self.properties.create().map_err(without_value).map_err(failed())?;
        let options = AdminOptions::new().request_timeout(Some(REQUEST));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return Ok(None) };
        let wanted = [ResourceSpecifier::Topic(topic)];
        let described = runtime.block_on(admin.describe_configs(&wanted, &options));
        Ok(described.ok().and_then(|topics| topics.into_iter().next()?.ok()))
    }

    /// Whether the brokers deny this user the group. librdkafka reports that for a client that looks for the
    /// coordinator by itself, but lets any request to one time out.
    #[must_use]
    pub fn is_group_denied(&self) -> bool {
        let started = Instant::now();
        while started.elapsed() < DENIED_WITHIN {
            if let Some(Err(error)) = self.client.poll(POLL)
                && error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
            {
                return true;
            }
        }
        false
    }

    /// What the pool's group has committed for a topic's partitions. Asks the coordinator; does not join.
    ///
    /// # Errors
    /// The coordinator does not answer.
    pub fn committed(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, CommittedOffset>, ClientError> {
        let failed = || |error| self.failed("for the group's offsets", error);
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(topic, *partition);
        }
        let replied = self.client.committed_offsets(list, REQUEST).map_err(failed())?;
        let metadata = metadata_of(&replied);
        let mut committed = BTreeMap::new();
        for (element, metadata) in replied.elements().into_iter().zip(metadata) {
            element.error().map_err(failed())?;
            if let Offset::Offset(offset) = element.offset() {
                committed.insert(element.partition(), CommittedOffset { offset, metadata });
            }
        }
        Ok(committed)
    }
}

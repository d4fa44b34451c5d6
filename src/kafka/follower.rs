//! Follows one partition, without a group; and adds records to it.

use std::cell::Cell;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{
    ClientKind, LogThrottle, client_properties, consumer_properties, log_error, log_line, reader_properties,
    without_value,
};
use crate::config::KafkaConfig;

/// Asking for the partition's end.
const REQUEST: Duration = Duration::from_secs(5);

/// A record that is not delivered within `message.timeout.ms` is worth nothing any more: another one follows.
const PRODUCER: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("linger.ms", "0"),
    ("message.timeout.ms", "10000"),
    ("socket.timeout.ms", "9000"),
    ("queue.buffering.max.messages", "1000"),
    ("reconnect.backoff.max.ms", "1000"),
];

/// What librdkafka says, in our log.
#[derive(Debug, Default)]
struct FollowerContext {
    throttle: LogThrottle,
}

impl ClientContext for FollowerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line("coordination", &self.throttle, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error("coordination", &self.throttle, &error, reason);
    }
}

impl ConsumerContext for FollowerContext {}

impl ProducerContext for FollowerContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            log_error("coordination", &self.throttle, error, "a record was not delivered");
        }
    }
}

/// A record's key, and its value; no value is a tombstone.
pub type KeyAndValue = (Vec<u8>, Option<Vec<u8>>);

/// Where a follower begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowFrom {
    /// Everything that exists; without urgency.
    Beginning,
    /// What is appended from now on, as soon as it arrives.
    End,
}

/// Reads committed records of one partition.
pub struct PartitionFollower {
    consumer: BaseConsumer<FollowerContext>,
    producer: BaseProducer<FollowerContext>,
    topic: String,
    partition: i32,
    /// Offsets up to here were there when it was opened.
    end: i64,
    is_caught_up: Cell<bool>,
}

impl std::fmt::Debug for PartitionFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PartitionFollower { topic, partition, .. } = self;
        f.debug_struct("PartitionFollower")
            .field("topic", topic)
            .field("partition", partition)
            .finish_non_exhaustive()
    }
}

impl PartitionFollower {
    /// Blocks for 5 s at most.
    ///
    /// # Errors
    /// No broker answers, or the topic is not there.
    pub fn open(
        kafka: &KafkaConfig,
        pod: &str,
        topic: &str,
        partition: i32,
        from: FollowFrom,
    ) -> KafkaResult<Self> {
        let mut properties = reader_properties(&consumer_properties(kafka, pod));
        if from == FollowFrom::End {
            properties.set("fetch.wait.max.ms", "50");
        }
        let consumer: BaseConsumer<FollowerContext> =
            properties.create_with_context(FollowerContext::default()).map_err(without_value)?;
        let (begin, end) = consumer.fetch_watermarks(topic, partition, REQUEST)?;
        let start = match from {
            FollowFrom::Beginning => begin,
            FollowFrom::End => end,
        };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(start))?;
        consumer.assign(&list)?;
        let mut properties = client_properties(kafka, pod, ClientKind::Producer, &[]);
        for (key, value) in PRODUCER {
            properties.set(*key, *value);
        }
        let producer = properties.create_with_context(FollowerContext::default()).map_err(without_value)?;
        let is_caught_up = Cell::new(start >= end);
        Ok(PartitionFollower { consumer, producer, topic: topic.to_owned(), partition, end, is_caught_up })
    }

    /// Whether the record that came last was appended after this was opened. (Markers of transactions at the end are
    /// never seen: so it may take one record more.)
    pub fn is_caught_up(&self) -> bool {
        self.is_caught_up.get()
    }

    /// The next record's key and value; `None` if none comes within `wait`.
    ///
    /// # Errors
    /// If records were missed: the partition is not the same any more. An unavailable broker is not an error here.
    pub fn next(&self, wait: Duration) -> KafkaResult<Option<KeyAndValue>> {
        self.producer.poll(Duration::ZERO);
        match self.consumer.poll(wait) {
            None => Ok(None),
            Some(Ok(message)) => {
                self.is_caught_up.set(message.offset() >= self.end);
                let key = message.key().unwrap_or_default().to_vec();
                Ok(Some((key, message.payload().map(<[u8]>::to_vec))))
            }
            Some(Err(error)) if is_final(&error) => Err(error),
            Some(Err(error)) => {
                tracing::debug!(event = "following_failed", %error, topic = self.topic, "following");
                Ok(None)
            }
        }
    }

    /// Appends a record without waiting for the brokers. If too many are waiting for them, it is dropped.
    pub fn append(&self, key: &str, value: Option<&[u8]>) {
        let mut record: BaseRecord<'_, [u8], [u8], ()> =
            BaseRecord::to(&self.topic).partition(self.partition).key(key.as_bytes());
        record.payload = value;
        if let Err((error, _)) = self.producer.send(record) {
            tracing::debug!(event = "append_failed", %error, topic = self.topic, "appending");
        }
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until all that was appended is delivered, for `within` at most.
    pub fn flush(&self, within: Duration) {
        let started = std::time::Instant::now();
        while self.producer.in_flight_count() > 0 && started.elapsed() < within {
            self.producer.poll(Duration::from_millis(5));
        }
    }
}

impl Drop for PartitionFollower {
    fn drop(&mut self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }
}

fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::OffsetOutOfRange
                | Code::AutoOffsetReset
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::TopicAuthorizationFailed
                | Code::Fatal
        )
    )
}

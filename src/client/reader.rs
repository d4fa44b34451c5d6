//! Reads records from given offsets on, as a careful user does: `read_committed`, without a group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::Offset;

use super::{ClientError, Cluster, reading};
use crate::config::KafkaConfig;
use crate::kafka::{PartitionReader, headers_of, open_reader};
use crate::record::Header;

/// Defaults that `kafka.properties` may override: memory stays flat however much there is to read.
const DEFAULTS: &[(&str, &str)] = &[
    ("queued.min.messages", "1000"),
    ("queued.max.messages.kbytes", "8192"),
    ("fetch.wait.max.ms", "100"),
    ("socket.timeout.ms", "20000"),
    ("reconnect.backoff.max.ms", "2000"),
];
/// Reading up to known ends is given up when nothing has moved for this long.
const STALL: Duration = Duration::from_secs(30);
/// One poll.
const POLL: Duration = Duration::from_millis(100);
/// After this many records positions are checked again.
const POSITION_CHECK_EVERY: usize = 1_000;

/// A part of a partition: from `from` on, up to but not including `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub topic: Arc<str>,
    pub partition: i32,
    pub from: i64,
    pub to: i64,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The record's own time, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    /// `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
}

impl Message {
    /// A header's value as text; the last one counts, as Kafka's own clients have it.
    #[must_use]
    pub fn header(&self, key: &str) -> Option<&str> {
        let header = self.headers.iter().rev().find(|header| header.key == key)?;
        std::str::from_utf8(header.value.as_deref()?).ok()
    }
}

/// Reads partitions from given offsets on.
pub struct Reader {
    client: PartitionReader,
    topics: Vec<Arc<str>>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("topics", &self.topics).finish_non_exhaustive()
    }
}

impl Reader {
    /// Begins at these offsets: topic, partition, offset.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn open(
        kafka: &KafkaConfig,
        from: impl IntoIterator<Item = (Arc<str>, i32, i64)>,
    ) -> Result<Reader, ClientError> {
        let mut properties = reading(kafka, DEFAULTS);
        properties.set("isolation.level", "read_committed").set("auto.offset.reset", "earliest");
        let from: Vec<_> = from.into_iter().collect();
        let starts = from.iter().map(|(topic, at, offset)| (&**topic, *at, Offset::Offset(*offset)));
        let client = open_reader(&properties, starts).map_err(ClientError::at("reading from Kafka"))?;
        let mut topics: Vec<Arc<str>> = from.into_iter().map(|(topic, ..)| topic).collect();
        topics.dedup();
        Ok(Reader { client, topics })
    }

    /// Begins at the present end of the result topic and the failure topic.
    ///
    /// # Errors
    /// One of the two does not exist, or the brokers do not answer.
    pub fn of_new_answers(kafka: &KafkaConfig) -> Result<Reader, ClientError> {
        let cluster = Cluster::new(kafka)?;
        let mut from = Vec::new();
        for topic in [&kafka.result_topic, &kafka.fail_topic] {
            let topic: Arc<str> = topic.as_str().into();
            for (partition, ends) in cluster.required_ends(&topic)? {
                from.push((Arc::clone(&topic), partition, ends.end));
            }
        }
        Reader::open(kafka, from)
    }

    /// The next record; `None` if none arrives within `wait`. What librdkafka recovers from automatically (an
    /// unavailable broker) is not an error here.
    ///
    /// # Errors
    /// One that cannot be recovered from: a topic that was deleted, or that this user may not read.
    pub fn next(&self, wait: Duration) -> Result<Option<Message>, ClientError> {
        match self.client.poll(wait) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(self.owned(&message))),
            Some(Err(error)) if is_final(&error) => Err(ClientError::at("reading from Kafka")(error)),
            Some(Err(error)) => {
                tracing::debug!(event = "read_failed", %error, "reading failed; retrying");
                Ok(None)
            }
        }
    }

    fn owned(&self, message: &BorrowedMessage<'_>) -> Message {
        let known = self.topics.iter().find(|topic| ***topic == *message.topic());
        Message {
            topic: known.cloned().unwrap_or_else(|| message.topic().into()),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            headers: headers_of(message),
            payload: message.payload().map(<[u8]>::to_vec),
        }
    }

    /// Reads all of these ranges, passing each record to `take`, until it returns that it has enough (`false`).
    ///
    /// # Errors
    /// [`ClientError::Stalled`] if nothing moves for 30 s: the brokers are unavailable, or another client's transaction
    /// is open. `take` keeps what it had received until then.
    pub fn read_all(
        kafka: &KafkaConfig,
        ranges: &[Range],
        mut take: impl FnMut(Message) -> bool,
    ) -> Result<(), ClientError> {
        let mut open: BTreeMap<(Arc<str>, i32), i64> = ranges
            .iter()
            .filter(|range| range.from < range.to)
            .map(|range| ((Arc::clone(&range.topic), range.partition), range.to))
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        let from = ranges.iter().filter(|range| range.from < range.to);
        let reader =
            Reader::open(kafka, from.map(|range| (Arc::clone(&range.topic), range.partition, range.from)))?;
        let (mut moved, mut since_check) = (Instant::now(), 0_usize);
        while !open.is_empty() {
            let message = reader.next(POLL)?;
            let is_idle = message.is_none();
            if let Some(message) = message {
                let at = (Arc::clone(&message.topic), message.partition);
                let Some(to) = open.get(&at).copied() else { continue };
                let (is_within, is_last) = (message.offset < to, message.offset + 1 >= to);
                if is_within && !take(message) {
                    return Ok(());
                }
                if is_last {
                    open.remove(&at);
                }
                (moved, since_check) = (Instant::now(), since_check + 1);
            }
            // The last offsets may be control records, which only move the position.
            if is_idle || since_check >= POSITION_CHECK_EVERY {
                let before = open.len();
                reader.drop_finished(&mut open)?;
                since_check = 0;
                if open.len() < before {
                    moved = Instant::now();
                }
            }
            if moved.elapsed() > STALL {
                return Err(stalled(&open));
            }
        }
        Ok(())
    }

    fn drop_finished(&self, open: &mut BTreeMap<(Arc<str>, i32), i64>) -> Result<(), ClientError> {
        let positions = self.client.position().map_err(ClientError::at("reading from Kafka"))?;
        open.retain(|(topic, partition), to| {
            let at = positions.find_partition(topic, *partition).map(|element| element.offset());
            !matches!(at, Some(Offset::Offset(offset)) if offset >= *to)
        });
        Ok(())
    }
}

fn stalled(open: &BTreeMap<(Arc<str>, i32), i64>) -> ClientError {
    let seconds = STALL.as_secs();
    let first = open.iter().next().map_or_else(String::new, |((topic, partition), to)| {
        format!("{topic}[{partition}] cannot be read up to offset {to}: nothing has come for {seconds} s")
    });
    let more = match open.len() {
        0 | 1 => String::new(),
        more => format!(" (nor {} more partitions)", more - 1),
    };
    ClientError::Stalled(format!(
        "{first}{more}; are the brokers there, or is a producer's transaction open?"
    ))
}

/// An error that does not go away by waiting.
fn is_final(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::TopicAuthorizationFailed
                | Code::SaslAuthenticationFailed
                | Code::Authentication
                | Code::Fatal
        )
    )
}

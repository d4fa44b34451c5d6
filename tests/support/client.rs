//! A producer of tasks and a reader of answers: what a user of the product has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header as KafkaHeader, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset};
use serde_json::{Value, json};

use super::kafka::{Kafka, REQUEST, Topics};

/// For all records to be with the broker, which may be on its way back.
const DELIVERED: Duration = Duration::from_secs(180);

/// A record to send.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The partitioner's choice where `None`.
    pub partition: Option<i32>,
}

impl From<Value> for Outgoing {
    fn from(task: Value) -> Self {
        Outgoing { payload: Some(task.to_string().into_bytes()), ..Outgoing::default() }
    }
}

impl From<&[u8]> for Outgoing {
    fn from(payload: &[u8]) -> Self {
        Outgoing { payload: Some(payload.to_vec()), ..Outgoing::default() }
    }
}

/// A download task; add `options` with [`with`].
pub fn download(id: &str, connection: &str, remote: &str, local: &str) -> Value {
    json!({
        "task_id": id, "operation": "download",
        "source": {"connection_id": connection, "path": remote},
        "destination": {"connection_id": "local", "path": local},
    })
}

/// An upload task; add `options` with [`with`].
pub fn upload(id: &str, local: &str, connection: &str, remote: &str) -> Value {
    json!({
        "task_id": id, "operation": "upload",
        "source": {"connection_id": "local", "path": local},
        "destination": {"connection_id": connection, "path": remote},
    })
}

/// The same task with these options.
pub fn with(mut task: Value, options: Value) -> Value {
    task["options"] = options;
    task
}

/// Sends records and waits until the broker has all of them; quick enough for 200,000.
///
/// # Panics
/// Where one is not delivered.
pub fn send<T: Into<Outgoing>>(kafka: &Kafka, topic: &str, records: impl IntoIterator<Item = T>) {
    Sender::new(kafka).send(topic, records);
}

/// A producer that stands: its first message does not wait for the broker to know it.
pub struct Sender(ThreadedProducer<Strict>);

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Sender {
    /// # Panics
    /// Where librdkafka refuses its properties.
    pub fn new(kafka: &Kafka) -> Sender {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", kafka.awake())
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("compression.type", "zstd")
            .set("queue.buffering.max.messages", "100000")
            // A leader that is frozen holds up its own partitions alone, until they have another.
            .set("socket.timeout.ms", "2000")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .create_with_context(Strict)
            .expect("a producer");
        Sender(producer)
    }

    /// As [`send`].
    ///
    /// # Panics
    /// Where a record is not delivered.
    pub fn send<T: Into<Outgoing>>(&self, topic: &str, records: impl IntoIterator<Item = T>) {
        for record in records {
            let record: Outgoing = record.into();
            while let Err(error) = offer(&self.0, topic, &record) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                assert_eq!(error, full, "record refused");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.0.flush(DELIVERED).expect("all records are delivered");
    }
}

fn offer(producer: &ThreadedProducer<Strict>, topic: &str, record: &Outgoing) -> Result<(), KafkaError> {
    let mut outgoing = BaseRecord::<[u8], [u8]>::to(topic);
    outgoing.key = record.key.as_deref();
    outgoing.payload = record.payload.as_deref();
    outgoing.partition = record.partition;
    if !record.headers.is_empty() {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(KafkaHeader { key, value: value.as_deref() })
        });
        outgoing = outgoing.headers(headers);
    }
    producer.send(outgoing).map_err(|(error, _)| error)
}

/// A record that is not delivered fails the test at once.
#[derive(Clone, Debug)]
struct Strict;

impl ClientContext for Strict {}

impl ProducerContext for Strict {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if let Err((error, _)) = result {
            eprintln!("a record was not delivered: {error}");
            std::process::abort(); // a panic may not cross librdkafka's frames
        }
    }
}

/// One message of the result or the failure topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// When it was sent.
    pub timestamp_ms: i64,
    pub json: Value,
}

impl Answer {
    pub fn task_id(&self) -> Option<&str> {
        self.json["task_id"].as_str()
    }

    pub fn is_completed(&self) -> bool {
        self.json["status"] == "completed"
    }

    /// `error.code` of a failure, else the empty string.
    pub fn code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or_default()
    }

    /// `error.message` of a failure, else the empty string.
    pub fn message(&self) -> &str {
        self.json["error"]["message"].as_str().unwrap_or_default()
    }
}

/// Reads both answer topics from their beginning, as a careful user does: `read_committed`.
pub struct Answers {
    consumer: BaseConsumer,
    topics: Topics,
    /// In the order in which they were read; within a topic that is the order of the answers.
    pub all: Vec<Answer>,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers")
            .field("topics", &self.topics)
            .field("all", &self.all)
            .finish_non_exhaustive()
    }
}

impl Answers {
    /// # Panics
    /// Where the broker does not answer.
    pub fn of(kafka: &Kafka, topics: &Topics) -> Answers {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka.awake())
            .set("group.id", "answers-are-assigned-not-subscribed")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "50")
            // A leader that is frozen must not hold up the reader.
            .set("socket.timeout.ms", "2000")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .create()
            .expect("a consumer");
        consumer.assign(&kafka.answers_from_the_beginning(topics)).expect("an assignment");
        Answers { consumer, topics: topics.clone(), all: Vec::new() }
    }

    /// Reads until there are `count` answers in all.
    ///
    /// # Panics
    /// At the deadline.
    #[track_caller]
    pub fn wait_for(&mut self, count: usize, within: Duration) -> &mut Self {
        let deadline = Instant::now() + within;
        while self.all.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} answers after {within:?}", self.all.len());
            self.poll(Duration::from_millis(100));
        }
        self
    }

    /// Reads until every one of these tasks has an answer.
    ///
    /// # Panics
    /// At the deadline; some that are missing are named.
    #[track_caller]
    pub fn wait_for_ids<S: AsRef<str>>(&mut self, ids: &[S], within: Duration) -> &mut Self {
        let deadline = Instant::now() + within;
        let mut missing: HashSet<&str> = ids.iter().map(AsRef::as_ref).collect();
        let mut seen = 0;
        loop {
            for answer in self.all.get(seen..).unwrap_or_default() {
                missing.remove(answer.task_id().unwrap_or_default());
            }
            seen = self.all.len();
            if missing.is_empty() {
                return self;
            }
            let some: Vec<_> = missing.iter().take(5).collect();
            assert!(Instant::now() < deadline, "{} unanswered after {within:?}: {some:?} …", missing.len());
            self.poll(Duration::from_millis(100));
        }
    }

    /// Reads on until the topics' ends as they are now: what is not there yet is not waited for.
    ///
    /// # Panics
    /// Where the broker does not answer.
    #[track_caller]
    pub fn read_to_end(&mut self) -> &mut Self {
        let topics = self.topics.clone();
        for topic in [&topics.results, &topics.failures] {
            // Where records end, the position moves past aborted ones and transaction markers too.
            let metadata = self.consumer.fetch_metadata(Some(topic), REQUEST).expect("metadata");
            for partition in metadata.topics().first().map_or(&[][..], |t| t.partitions()) {
                let (_, high) =
                    self.consumer.fetch_watermarks(topic, partition.id(), REQUEST).expect("watermarks");
                let deadline = Instant::now() + REQUEST;
                while self.position(topic, partition.id()) < high {
                    assert!(Instant::now() < deadline, "{topic} cannot be read to its end");
                    self.poll(Duration::from_millis(100));
                }
            }
        }
        self
    }

    fn position(&self, topic: &str, partition: i32) -> i64 {
        let positions = self.consumer.position().expect("positions");
        match positions.find_partition(topic, partition).map(|p| p.offset()) {
            Some(Offset::Offset(offset)) => offset,
            _ => 0,
        }
    }

    /// Takes the answers that are there, and waits for the first one.
    pub fn poll(&mut self, wait: Duration) {
        let mut wait = wait;
        while let Some(message) = self.consumer.poll(wait) {
            wait = Duration::ZERO;
            let message = match message {
                Ok(message) => message,
                // Transient: librdkafka goes on by itself.
                Err(error) => {
                    eprintln!("reading answers: {error}");
                    continue;
                }
            };
            let payload = message.payload().expect("an answer is no tombstone");
            let json = serde_json::from_slice(payload)
                .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(payload)));
            let headers = message.headers().map_or_else(Vec::new, |headers| {
                headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
            });
            self.all.push(Answer {
                topic: message.topic().to_owned(),
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().map(<[u8]>::to_vec),
                headers,
                timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
                json,
            });
        }
    }

    pub fn results(&self) -> impl Iterator<Item = &Answer> {
        self.all.iter().filter(|a| a.topic == self.topics.results)
    }

    pub fn failures(&self) -> impl Iterator<Item = &Answer> {
        self.all.iter().filter(|a| a.topic == self.topics.failures)
    }

    /// All answers by their task; several where a task was answered more than once.
    pub fn by_id(&self) -> HashMap<&str, Vec<&Answer>> {
        let mut by_id: HashMap<&str, Vec<&Answer>> = HashMap::new();
        for answer in &self.all {
            by_id.entry(answer.task_id().unwrap_or_default()).or_default().push(answer);
        }
        by_id
    }

    /// The one answer of a task.
    ///
    /// # Panics
    /// Where there are more, or none.
    #[track_caller]
    pub fn only(&self, id: &str) -> &Answer {
        let found: Vec<&Answer> = self.all.iter().filter(|a| a.task_id() == Some(id)).collect();
        match found.as_slice() {
            [answer] => answer,
            other => panic!("{} answers for {id}: {other:?}", other.len()),
        }
    }

    /// Exactly these tasks were answered, each once.
    ///
    /// # Panics
    /// Where one is missing, answered twice, or nobody's.
    #[track_caller]
    pub fn assert_each_once<S: AsRef<str>>(&self, ids: &[S]) {
        let by_id = self.by_id();
        let expected: HashSet<&str> = ids.iter().map(AsRef::as_ref).collect();
        let odd: BTreeMap<&str, usize> = by_id
            .iter()
            .filter(|(id, answers)| answers.len() != 1 || !expected.contains(*id))
            .map(|(id, answers)| (*id, answers.len()))
            .collect();
        assert!(odd.is_empty(), "answered more than once, or unknown: {odd:?}");
        let missing: Vec<&&str> = expected.iter().filter(|id| !by_id.contains_key(**id)).collect();
        assert!(missing.is_empty(), "{} unanswered: {:?} …", missing.len(), missing.iter().take(5));
    }

    /// None of them failed.
    ///
    /// # Panics
    /// With the first failures.
    #[track_caller]
    pub fn assert_all_completed(&self) {
        let failed: Vec<&Value> = self.failures().map(|a| &a.json).take(3).collect();
        assert!(failed.is_empty(), "{} failed: {failed:#?}", self.failures().count());
    }
}

//! Reads the answer topics from their beginning, while brokers come and go.

use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use serde_json::Value;

use crate::support::kafka::{Kafka, Topics};

/// For a broker that is up to give what it has.
const READ: Duration = Duration::from_secs(60);

/// One message of an answer topic, as far as the audit goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Empty where it has none.
    pub task_id: String,
    pub said: Said,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// With `bytes_transferred`.
    Completed(u64),
    /// With the error's code and message.
    Failed(String, String),
    /// No message of the contract, or one in the wrong topic.
    Nonsense(String),
}

/// A consumer of both answer topics that belongs to no group.
pub struct Reader {
    consumer: BaseConsumer,
    topics: Topics,
    pub answers: Vec<Answer>,
}

impl Reader {
    /// `isolation` is `read_committed` or `read_uncommitted`.
    pub fn new(kafka: &Kafka, topics: &Topics, isolation: &str) -> Reader {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .set("group.id", "assigned-not-subscribed")
            .set("enable.auto.commit", "false")
            .set("isolation.level", isolation)
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            // A leader that is frozen must not hold up the reader: what is measured is the pods' gap.
            .set("socket.timeout.ms", "2000")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("log_level", "2")
            .create()
            .expect("a consumer");
        consumer.assign(&kafka.answers_from_the_beginning(topics)).expect("an assignment");
        Reader { consumer, topics: topics.clone(), answers: Vec::new() }
    }

    /// Takes what is there; waits this long for the first message. A broker that is away gives nothing.
    pub fn poll(&mut self, wait: Duration) {
        let mut wait = wait;
        while let Some(message) = self.consumer.poll(wait) {
            wait = Duration::ZERO;
            let Ok(message) = message else { continue }; // librdkafka goes on by itself
            let completes = message.topic() == self.topics.results;
            self.answers.push(read(completes, message.payload().unwrap_or_default()));
        }
    }

    /// Reads on until the topics' ends as they are now.
    ///
    /// # Panics
    /// Where that takes too long: a transaction that nobody ends is in the way.
    pub fn read_to_end(&mut self, kafka: &Kafka) {
        let deadline = Instant::now() + READ;
        for topic in [self.topics.results.clone(), self.topics.failures.clone()] {
            for (partition, end) in kafka.end_offsets(&topic) {
                while self.position(&topic, partition) < end {
                    assert!(Instant::now() < deadline, "{topic} cannot be read to its end");
                    self.poll(Duration::from_millis(100));
                }
            }
        }
    }

    fn position(&self, topic: &str, partition: i32) -> i64 {
        let positions = self.consumer.position().expect("positions");
        match positions.find_partition(topic, partition).map(|p| p.offset()) {
            Some(Offset::Offset(offset)) => offset,
            _ => 0,
        }
    }
}

/// Reads one message of the result topic (`completes`) or of the failure topic.
fn read(completes: bool, payload: &[u8]) -> Answer {
    let json: Value = serde_json::from_slice(payload).unwrap_or_default();
    let said = match (completes, json["status"].as_str()) {
        (true, Some("completed")) => json["bytes_transferred"].as_u64().map(Said::Completed),
        (false, Some("failed")) => json["error"]["code"].as_str().map(|code| {
            Said::Failed(code.to_owned(), json["error"]["message"].as_str().unwrap_or_default().to_owned())
        }),
        _ => None,
    };
    Answer {
        task_id: json["task_id"].as_str().unwrap_or_default().to_owned(),
        said: said.unwrap_or_else(|| Said::Nonsense(String::from_utf8_lossy(payload).into_owned())),
    }
}

#[test]
fn an_answer_in_the_wrong_topic_is_nonsense() {
    let result = br#"{"task_id":"a","status":"completed","bytes_transferred":7}"#;
    assert_eq!(read(true, result), Answer { task_id: "a".into(), said: Said::Completed(7) });
    assert!(matches!(read(false, result).said, Said::Nonsense(_)));
    assert!(matches!(read(true, b"{").said, Said::Nonsense(_)));
}

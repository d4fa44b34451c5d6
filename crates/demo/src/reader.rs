//! Reads every answer from the result and the failure topic, on its own thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::answer::{Answer, Kind};
use crate::broker::{FAILURES, PARTITIONS, Quiet, RESULTS};

/// Answers read and not yet taken.
const CHANNEL: usize = 1_000;
/// One poll's length, which bounds how late a close is seen.
const POLL: Duration = Duration::from_millis(50);
/// For a closing reader to reach the topics' ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

impl ConsumerContext for Quiet {}

/// The answers, as they arrive.
#[derive(Debug)]
pub struct Reader {
    answers: mpsc::Receiver<Answer>,
    is_closing: Arc<AtomicBool>,
}

impl Reader {
    /// Begins at the topics' beginnings.
    pub fn start(bootstrap: &str) -> Result<Reader> {
        let consumer: BaseConsumer<Quiet> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "ftp-pooler-demo-reader") // librdkafka wants one; nothing is committed
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "50")
            .create_with_context(Quiet::default())
            .context("cannot read the answers")?;
        let mut partitions = TopicPartitionList::new();
        for (topic, partition) in partitions_of_answers() {
            partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&partitions).context("cannot read the answers")?;
        let (sender, answers) = mpsc::channel(CHANNEL);
        let is_closing = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_closing);
        thread::Builder::new()
            .name("demo-reader".to_owned())
            .spawn(move || read(&consumer, &sender, &seen))?;
        Ok(Reader { answers, is_closing })
    }

    /// The next answer; `None` once a closing reader has reached the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }

    /// Reads on to where the topics end now, then no further.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
    }
}

fn partitions_of_answers() -> impl Iterator<Item = (&'static str, i32)> {
    [RESULTS, FAILURES].into_iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition)))
}

fn read(consumer: &BaseConsumer<Quiet>, answers: &mpsc::Sender<Answer>, is_closing: &AtomicBool) {
    let mut positions: HashMap<(String, i32), i64> = HashMap::new();
    while !is_closing.load(Ordering::Relaxed) {
        if !take(consumer, answers, &mut positions) {
            return;
        }
    }
    if answers.is_closed() {
        return;
    }
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    let ends: HashMap<_, _> = partitions_of_answers()
        .filter_map(|(topic, partition)| {
            let (_, end) = consumer.fetch_watermarks(topic, partition, CLOSE_TIMEOUT).ok()?;
            Some(((topic.to_owned(), partition), end))
        })
        .collect();
    let is_behind = |positions: &HashMap<(String, i32), i64>| {
        ends.iter().any(|(at, end)| positions.get(at).copied().unwrap_or_default() < *end)
    };
    while is_behind(&positions) && Instant::now() < deadline {
        if !take(consumer, answers, &mut positions) {
            return;
        }
    }
}

/// Reads one answer, if there is one. False once no one receives answers any longer.
fn take(
    consumer: &BaseConsumer<Quiet>,
    answers: &mpsc::Sender<Answer>,
    positions: &mut HashMap<(String, i32), i64>,
) -> bool {
    let Some(Ok(message)) = consumer.poll(POLL) else { return !answers.is_closed() };
    positions.insert((message.topic().to_owned(), message.partition()), message.offset() + 1);
    answers.blocking_send(answer_of(&message)).is_ok()
}

fn answer_of(message: &BorrowedMessage<'_>) -> Answer {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Answer {
        kind: if message.topic() == RESULTS { Kind::Result } else { Kind::Failure },
        key: text(message.key()),
        headers: headers
            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect(),
        payload: text(message.payload()),
    }
}

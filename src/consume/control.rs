//! Follows the control topic on its own thread: which batches exist, and which are cancelled.
//!
//! Every pod reads the whole topic from its beginning, without joining a group or committing anything.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::batch::BatchBoard;
use crate::config::KafkaConfig;
use crate::kafka::{LastConnectionError, consumer_properties, partition_count, reader_properties};

/// One request to the cluster.
const REQUEST: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
/// Between two checks of a topic that does not exist or may not be read.
const RECHECK_INTERVAL: Duration = Duration::from_secs(30);

type Client = BaseConsumer<LastConnectionError>;

/// Reading ends soon after this is dropped.
#[derive(Debug)]
pub struct ControlFollower {
    stop: Arc<AtomicBool>,
}

impl Drop for ControlFollower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl ControlFollower {
    /// Begins to follow `kafka.control_topic`; without one the board stays as it is.
    ///
    /// # Errors
    /// As of making a thread.
    pub fn start(kafka: &KafkaConfig, pod: &str, board: BatchBoard) -> io::Result<ControlFollower> {
        let stop = Arc::new(AtomicBool::new(false));
        if kafka.control_topic.is_empty() {
            board.set_read();
            return Ok(ControlFollower { stop });
        }
        let reader = ControlReader {
            kafka: kafka.clone(),
            client_name: format!("{pod}-control"),
            board,
            stop: Arc::clone(&stop),
        };
        thread::Builder::new().name("control".to_owned()).spawn(move || reader.run())?;
        Ok(ControlFollower { stop })
    }
}

struct ControlReader {
    kafka: KafkaConfig,
    client_name: String,
    board: BatchBoard,
    stop: Arc<AtomicBool>,
}

impl ControlReader {
    fn run(&self) {
        let mut has_warned = false;
        while !self.stop.load(Ordering::Relaxed) {
            match self.follow() {
                Ok(()) => {}
                Err(error) => {
                    let topic = &self.kafka.control_topic;
                    if has_warned {
                        tracing::debug!(event = "control_topic_unread", topic, %error, "cannot follow the control topic");
                    } else {
                        has_warned = true;
                        tracing::warn!(
                            event = "control_topic_unread", topic, %error,
                            "cannot follow the control topic: cancelled batches are not known; trying again"
                        );
                    }
                }
            }
            self.board.set_read();
            self.pause();
        }
    }

    /// Until the pod stops, the topic turns out not to be there, or it cannot be read.
    fn follow(&self) -> KafkaResult<()> {
        let client: Client = follower_properties(&consumer_properties(&self.kafka, &self.client_name))
            .create_with_context(LastConnectionError::default())?;
        let topic = &self.kafka.control_topic;
        let Some(count) = partition_count(client.client(), topic, REQUEST)? else { return Ok(()) };
        let mut assignment = TopicPartitionList::with_capacity(count);
        let mut unread = Vec::new();
        for partition in 0..i32::try_from(count).unwrap_or(i32::MAX) {
            let (begin, end) = client.fetch_watermarks(topic, partition, REQUEST)?;
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
            if begin < end {
                unread.push((partition, end));
            }
        }
        client.assign(&assignment)?;
        self.read(&client, topic, unread)
    }

    fn read(&self, client: &Client, topic: &str, mut unread: Vec<(i32, i64)>) -> KafkaResult<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let is_idle = match client.poll(POLL) {
                Some(Ok(message)) => {
                    self.board.take(message.key().unwrap_or_default(), message.payload());
                    false
                }
                // librdkafka recovers from an unavailable broker itself.
                Some(Err(error)) => {
                    tracing::debug!(event = "control_topic_unread", topic, %error, "reading the control topic");
                    true
                }
                None => true,
            };
            // Records that compaction has removed, and control records, only move the position.
            if is_idle {
                let positions = client.position()?;
                unread.retain(|(partition, end)| {
                    let at = positions.find_partition(topic, *partition).map(|element| element.offset());
                    !matches!(at, Some(Offset::Offset(offset)) if offset >= *end)
                });
                if unread.is_empty() {
                    self.board.set_read();
                }
            }
        }
        Ok(())
    }

    fn pause(&self) {
        let until = Instant::now() + RECHECK_INTERVAL;
        while Instant::now() < until && !self.stop.load(Ordering::Relaxed) {
            thread::sleep(POLL);
        }
    }
}

/// For a client that reads all of the topic, and is a member of no group.
fn follower_properties(members: &ClientConfig) -> ClientConfig {
    let mut properties = reader_properties(members);
    properties.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    properties.set("auto.offset.reset", "earliest").set("queued.max.messages.kbytes", "1024");
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_no_statistics_which_nobody_would_read_but_the_log() {
        let mut members = ClientConfig::new();
        members.set("statistics.interval.ms", "5000").set("group.instance.id", "pod-0");
        let follower = follower_properties(&members);
        assert_eq!((follower.get("statistics.interval.ms"), follower.get("group.instance.id")), (None, None));
    }
}

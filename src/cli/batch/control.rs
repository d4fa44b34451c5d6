//! The control topic: what it says of batches, and what commands say there.

use std::sync::Arc;

use jiff::Timestamp;

use crate::batch::{BatchBoard, BatchNews, KnownBatch};
use crate::client::{ClientError, Cluster, Ends, Outgoing, Range, Reader, Sender};
use crate::config::KafkaConfig;

/// The content of the control topic.
#[derive(Debug)]
pub(in crate::cli) struct BatchLog {
    board: BatchBoard,
}

impl BatchLog {
    /// Reads the topic to its end.
    ///
    /// # Errors
    /// It is not there, or the brokers do not answer.
    pub fn read(kafka: &KafkaConfig, cluster: &Cluster) -> Result<BatchLog, ClientError> {
        let topic: Arc<str> = kafka.control_topic.as_str().into();
        let ends = cluster.required_ends(&topic)?;
        let range = |(partition, Ends { begin, end }): (i32, Ends)| Range {
            topic: Arc::clone(&topic),
            partition,
            from: begin,
            to: end,
        };
        let ranges: Vec<Range> = ends.into_iter().map(range).collect();
        let board = BatchBoard::default();
        Reader::read_all(kafka, &ranges, |message| {
            board.take(message.key.as_deref().unwrap_or_default(), message.payload.as_deref());
            true
        })?;
        Ok(BatchLog { board })
    }

    /// The oldest first.
    pub fn all(&self) -> Vec<KnownBatch> {
        self.board.all()
    }

    pub fn get(&self, id: &str) -> Option<KnownBatch> {
        self.board.get(id)
    }
}

/// Says something of a batch, and returns once the brokers have it.
///
/// # Errors
/// The brokers do not take it.
pub(in crate::cli) fn write(kafka: &KafkaConfig, id: &str, news: &BatchNews) -> Result<(), ClientError> {
    let (key, payload) = news.encode(id);
    let mut sender = Sender::open(kafka)?;
    sender.send(&Outgoing {
        topic: &kafka.control_topic,
        partition: None,
        key: Some(key.as_bytes()),
        headers: &[],
        payload: &payload,
    })?;
    sender.settle(|| ())
}

/// A new batch's id: when, and something random.
///
/// # Errors
/// The system has no randomness.
pub(in crate::cli) fn new_id(now: Timestamp) -> std::io::Result<String> {
    let random = getrandom::u32().map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(format!("{}-{random:08x}", now.strftime("%Y%m%dT%H%M%SZ")))
}

/// Who says it: `alice@host`.
pub(in crate::cli) fn who() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "?".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => user,
        host => format!("{user}@{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_begins_with_its_time_and_is_one_word() {
        let id = new_id("2026-01-02T03:04:05.678Z".parse().unwrap()).unwrap();
        assert!(id.starts_with("20260102T030405Z-") && id.len() == 25, "{id}");
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{id}");
    }
}

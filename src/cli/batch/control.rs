//! The control topic: what it says of batches, and what commands say there.

use std::os::unix::fs::MetadataExt as _;
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
    let named =
        std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok().filter(|name| !name.is_empty());
    let user = named.unwrap_or_else(user_of_process);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => user,
        host => format!("{user}@{host}"),
    }
}

/// Without the environment, as in a container or a unit: the account's name, or its number where it has none.
fn user_of_process() -> String {
    let Ok(process) = std::fs::metadata("/proc/self") else { return "unknown".to_owned() };
    let uid = process.uid();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    account_of(&accounts, uid).map_or_else(|| format!("uid-{uid}"), str::to_owned)
}

/// The name that a file like /etc/passwd has for this number.
fn account_of(accounts: &str, uid: u32) -> Option<&str> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
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

    #[test]
    fn an_account_has_the_name_of_its_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nbroken\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(account_of(accounts, 1_000), Some("alice"));
        assert_eq!((account_of(accounts, 0), account_of(accounts, 7)), (Some("root"), None));
        assert!(!user_of_process().is_empty());
    }
}

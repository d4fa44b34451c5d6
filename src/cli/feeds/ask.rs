//! Requests to a feed's owner: records in the feed's own partition.

use jiff::Timestamp;

use crate::cli::batch::control::who;
use crate::client::{ClientError, Outgoing, Sender};
use crate::config::KafkaConfig;
use crate::feeds::{FeedRecord, FeedRequest, partition_of};
use crate::text::rfc3339;

/// A request of this user, now.
pub(super) fn request() -> FeedRequest {
    FeedRequest { at: rfc3339(Timestamp::now()), by: who() }
}

/// Returns once the brokers have it.
///
/// # Errors
/// The brokers do not take it.
pub(super) fn write(kafka: &KafkaConfig, feed: &str, record: &FeedRecord) -> Result<(), ClientError> {
    let (key, value) = record.encode();
    let mut sender = Sender::open(kafka)?;
    sender.send(&Outgoing {
        topic: &kafka.feeds_topic,
        partition: Some(partition_of(feed)),
        key: Some(key.as_bytes()),
        headers: &[],
        payload: value.as_deref().unwrap_or(b"null"),
    })?;
    sender.settle(|| ())
}

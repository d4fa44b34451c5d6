//! A record as librdkafka delivers it, copied out of its buffers.

use std::sync::Arc;

use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;

use super::rebalance::interned;
use crate::kafka::headers_of;
use crate::lease::Lease;
use crate::offsets::TopicPartition;
use crate::record::{Header, Origin, Record, RetryState};

/// Read, but not yet entered in its partition's ledger.
#[derive(Debug)]
pub(super) struct FetchedRecord {
    pub at: TopicPartition,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    pub payload: Option<Vec<u8>>,
    pub timestamp_ms: Option<i64>,
    /// Of a deferred task, once it is classified.
    pub retry: Option<Box<RetryState>>,
    /// Another group's task: skipped, in order.
    pub is_of_other_group: bool,
}

impl FetchedRecord {
    /// `topic_names` are the shared names of the topics known so far.
    pub fn of(message: &BorrowedMessage<'_>, topic_names: &mut Vec<Arc<str>>) -> Self {
        let topic = interned(topic_names, message.topic());
        FetchedRecord {
            at: TopicPartition { topic, partition: message.partition() },
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            headers: headers_of(message),
            payload: message.payload().map(<[u8]>::to_vec),
            timestamp_ms: message.timestamp().to_millis(),
            retry: None,
            is_of_other_group: false,
        }
    }

    /// What it costs the pod in memory, roughly: its own bytes.
    pub fn size(&self) -> usize {
        let value_len = |header: &Header| header.value.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|header| header.key.len() + value_len(header)).sum();
        self.payload.as_ref().map_or(0, Vec::len) + self.key.as_ref().map_or(0, Vec::len) + headers
    }

    pub fn into_record(self, lease: Lease) -> Record {
        let FetchedRecord { at, offset, key, headers, payload, timestamp_ms, retry, .. } = self;
        let origin = Origin { topic: at.topic, partition: at.partition, offset };
        Record { origin, key, headers, payload, timestamp_ms, retry, lease }
    }
}

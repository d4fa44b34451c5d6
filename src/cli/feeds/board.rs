//! Each feed's status, as its owner has written it last: on one partition, which holds nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::client::{ClientError, Cluster, Range, Reader};
use crate::config::Config;
use crate::feeds::{BOARD_PARTITION, FeedRecord, FeedStatus};

/// By feed.
#[derive(Debug, Default)]
pub(super) struct FeedStatuses(BTreeMap<String, FeedStatus>);

impl FeedStatuses {
    /// Reads them; empty if there is no such topic.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub fn read(config: &Config) -> Result<FeedStatuses, ClientError> {
        let topic: Arc<str> = config.kafka.feeds_topic.as_str().into();
        let ends = Cluster::new(&config.kafka)?.ends(&topic)?.unwrap_or_default();
        let mut statuses = BTreeMap::new();
        let Some(ends) = ends.get(&BOARD_PARTITION) else { return Ok(FeedStatuses(statuses)) };
        let range = Range { topic, partition: BOARD_PARTITION, from: ends.begin, to: ends.end };
        Reader::read_all(&config.kafka, &[range], |message| {
            let record =
                FeedRecord::decode(message.key.as_deref().unwrap_or_default(), message.payload.as_deref());
            match record {
                Some(FeedRecord::Status { feed, status: Some(status) }) => {
                    drop(statuses.insert(feed, *status));
                }
                Some(FeedRecord::Status { feed, status: None }) => drop(statuses.remove(&feed)),
                _ => {}
            }
            true
        })?;
        Ok(FeedStatuses(statuses))
    }

    pub fn take(&mut self, feed: &str) -> Option<FeedStatus> {
        self.0.remove(feed)
    }

    /// Those that were not taken.
    pub fn rest(self) -> impl Iterator<Item = (String, FeedStatus)> {
        self.0.into_iter()
    }
}

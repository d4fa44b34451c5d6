//! Each feed's status, as its owner has written it last: on one partition, which holds nothing else.

use std::collections::BTreeMap;

use super::feeds_topic::read_partition;
use crate::client::ClientError;
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
        let mut statuses = BTreeMap::new();
        read_partition(config, BOARD_PARTITION, |record| match record {
            FeedRecord::Status { feed, status: Some(status) } => drop(statuses.insert(feed, *status)),
            FeedRecord::Status { feed, status: None } => drop(statuses.remove(&feed)),
            _ => {}
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

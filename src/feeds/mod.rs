//! Feeds: directories that are listed periodically; each version of a file that has stopped changing becomes one task.
//!
//! ```text
//! version    a file's version, as far as a listing shows it, and the hash of its path
//! planner    which versions become tasks, and which are forgotten: pure
//! due        when a feed is listed next: pure
//! records    what is written to the feeds topic
//! status     a feed's status, for commands, API and metrics
//! times      times as they are written
//! state      one running feed: its files, its listings, its pending requests
//! observer   receives a listing's entries
//! partition  a partition's feeds as its owner's state: listings start, tasks and state are written in one transaction
//! ```
//!
//! Built on `kafka::owned_partition`: a feed lives in the partition that its name hashes to, the partition's owner does
//! its listings, and what is committed there says which versions have become tasks, whichever pod owns it.
//! docs/design/feeds.md.

mod due;
#[cfg(test)]
mod model;
mod observer;
mod partition;
mod planner;
mod records;
mod state;
mod status;
mod times;
mod version;

pub use observer::FeedObserver;
pub use partition::{FeedContext, FeedLister, FeedPartition};
pub use records::{
    BOARD_PARTITION, FEED_PARTITIONS, FeedRecord, FeedRequest, TOPIC_PARTITIONS, partition_of,
};
pub use status::{FeedBoard, FeedStatus};
pub use version::PathHash;

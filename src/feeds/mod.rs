//! Feeds: directories that are listed again and again; each version of a file that has stood still becomes one task.
//!
//! ```text
//! version    a file's version, as far as a listing tells it, and the hash of its path
//! planner    which versions become tasks, and which are forgotten: pure
//! due        when a feed is listed next: pure
//! records    what is written to the feeds topic
//! status     what is known of a feed, for commands, API and metrics
//! times      times as they are written
//! state      one feed at work: its files, its listings, what was asked of it
//! observer   takes what a listing brings
//! partition  a partition's feeds as its owner's state: listings begin, tasks and state are written in one transaction
//! ```
//!
//! It rests on `kafka::owned_partition`: a feed lives in the partition that its name hashes to, the partition's owner lists
//! for it, and what is committed there says which versions have become tasks, whoever owns it. docs/design/feeds.md.

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

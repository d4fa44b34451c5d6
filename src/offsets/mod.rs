//! Which offsets are in flight and which are done, for each partition this pod owns.
//!
//! Tasks finish in any order. What is committed is a partition's low-water mark (the first offset that is
//! not done) and, in the commit's metadata, the [`DoneMap`] of the offsets above it that are. Whoever owns
//! the partition next reads both and skips what is done.

mod done_map;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod lease;
mod ledger;
mod partitions;
mod pulse;

pub use done_map::{DoneMap, MapError};
pub use lease::Lease;
pub use ledger::{Intake, Ledger};
pub use partitions::{Offsets, PartitionCommit, PartitionState, TopicPartition};
pub use pulse::keep_beating;

/// Intake on a partition stops when its offsets from the low-water mark to the newest taken in span this
/// many: as a bitmap that is 3,000 bytes of base64, and Kafka's metadata holds 4,096.
pub const MAX_SPAN: i64 = 18_000;

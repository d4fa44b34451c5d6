//! Which offsets are in flight and which are done, for each partition this pod owns.
//!
//! ```text
//! ledger      one partition's offsets: pure
//! partitions  the ledgers of all assigned partitions, shared by consume and publish
//! lease       the right to answer a partition's records, until it is revoked or lost
//! pulse       notices that the process was suspended for so long that its leases have ended
//! done_map    the completed offsets above a low-water mark, as text for a commit
//! note        a commit's metadata: the topic's id and that map
//! witness     what Kafka knows about records of other pods' partitions
//! fuzz        metadata as nobody would write it, for `make fuzz`
//! ```
//!
//! Tasks finish in any order. What is committed is a partition's low-water mark (the first offset that is
//! not done) and, in the commit's metadata, the [`DoneMap`] of the offsets above it that are, with the
//! topic's id ([`Note`]). Whoever owns the partition next reads both and skips what is done.

mod done_map;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod lease;
mod ledger;
mod note;
mod partitions;
mod pulse;
mod witness;

pub use done_map::{DoneMap, MapError};
pub use lease::Lease;
pub use ledger::{Intake, Ledger};
pub use note::{Note, TopicId};
pub use partitions::{Offsets, Ownership, PartitionCommit, PartitionState, TopicPartition};
pub use pulse::{keep_beating, since_boot};
pub use witness::Witness;

/// What Kafka stores with a commit, by default (`offset.metadata.max.bytes`): bytes.
const MAX_METADATA: usize = 4_096;

/// Intake on a partition stops when its offsets from the low-water mark to the newest taken in span this
/// many: as a bitmap that is 3,000 bytes of base64, and Kafka's metadata holds 4,096 (with the topic's id).
pub const MAX_SPAN: i64 = 18_000;

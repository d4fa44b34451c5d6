//! Which offsets are in flight and which are completed, for each partition this pod owns.
//!
//! ```text
//! ledger             one partition's offsets: pure
//! partitions         the ledgers of all assigned partitions, shared by consume and publish
//! partition_state    a snapshot of an owned partition, for the rest of the pod
//! heartbeat          what ends all leases at once, and the thread that notices it
//! completed_bitmap   the completed offsets above a low-water mark, as text for a commit
//! commit_metadata    a commit's metadata: the topic's id and that bitmap
//! committed_offsets  what the group has committed for records of any pod's partitions
//! fuzz               arbitrary metadata, for `make fuzz`
//! ```
//!
//! Tasks finish in any order. What is committed is a partition's low-water mark (the first offset that is not
//! completed) and, in the commit's metadata, the [`CompletedBitmap`] of the completed offsets above it, with the
//! topic's id ([`CommitMetadata`]). The partition's next owner reads both and skips what is completed.

mod commit_metadata;
mod committed_offsets;
mod completed_bitmap;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod heartbeat;
mod ledger;
mod partition_state;
mod partitions;

pub use commit_metadata::{CommitMetadata, TopicId};
pub use committed_offsets::CommittedOffsets;
pub use completed_bitmap::{CompletedBitmap, MetadataError};
pub use heartbeat::run_heartbeat;
pub use ledger::{Ledger, OffsetDecision};
pub use partition_state::PartitionState;
pub use partitions::{Offsets, Ownership, PartitionCommit, TopicPartition};

/// The maximum size in bytes of a commit's metadata in Kafka, by default (`offset.metadata.max.bytes`).
const MAX_METADATA: usize = 4_096;

/// Intake on a partition pauses when its offsets from the low-water mark to the newest consumed one span this many: as
/// a bitmap that is 3,000 bytes of base64, and Kafka's metadata has room for 4,096 (with the topic's id).
pub const MAX_SPAN: i64 = 18_000;

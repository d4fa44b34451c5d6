//! What Kafka knows about records of any pod's partitions.

use std::fmt;

use crate::record::Origin;

/// Reads what the group has committed. This decides whether temp files are orphaned: the file of a record that is done
/// has no owner any more, and a process that still works on it cannot publish.
pub trait CommittedOffsets: fmt::Debug + Send + Sync {
    /// The cluster's id; `None` if it is not known, or the brokers have none.
    fn cluster(&self) -> Option<String>;

    /// For each record, whether its answer is committed. `None` if that cannot be determined now. Blocks, for some
    /// seconds at most.
    fn are_done(&self, records: &[Origin]) -> Option<Vec<bool>>;
}

/// Knows no commits: for storage without Kafka.
impl CommittedOffsets for () {
    fn cluster(&self) -> Option<String> {
        Some(String::new())
    }

    fn are_done(&self, _: &[Origin]) -> Option<Vec<bool>> {
        None
    }
}

//! What Kafka knows about records that need not be this pod's.

use std::fmt;

use crate::record::Origin;

/// Answers from what the group has committed. Temp files are judged by it: a record that is done with is nobody's
/// any more, and whoever still works on it cannot publish.
pub trait CommittedOffsets: fmt::Debug + Send + Sync {
    /// The cluster's id; `None` while it is not known, or where the brokers have none.
    fn cluster(&self) -> Option<String>;

    /// For each record, whether its answer is committed. `None` where that cannot be told now. Blocks, for some
    /// seconds at most.
    fn are_done(&self, records: &[Origin]) -> Option<Vec<bool>>;
}

/// A witness that has seen nothing: for storage without Kafka.
impl CommittedOffsets for () {
    fn cluster(&self) -> Option<String> {
        Some(String::new())
    }

    fn are_done(&self, _: &[Origin]) -> Option<Vec<bool>> {
        None
    }
}

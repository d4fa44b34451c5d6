//! Partitions of a compacted topic that hold state, each processed by one pod at a time: the one to which a separate
//! consumer group assigns it.
//!
//! ```text
//! ownership     fence the predecessor, read to the end, work: pure
//! transactions  a producer whose transactional.id is the partition's
//! member        the group's member, and its thread
//! ```
//!
//! Each change of state is one transaction with what follows from it, by a producer that fences the partition's
//! previous owner (KIP-98): so a suspended or slow one cannot write anything once its successor has started, and the
//! successor knows exactly what was committed.

mod member;
mod ownership;
mod transactions;

#[cfg(test)]
mod model;

use std::sync::Arc;
use std::time::Duration;

pub use member::{OwnedTopicHandle, spawn_owned_topic};

/// A compacted topic whose partitions are owned.
#[derive(Clone, Debug)]
pub struct OwnedTopic {
    pub topic: String,
    /// What the group and the transactional ids are called behind the pool's own group: `<group>.<purpose>`, and
    /// `<group>.<purpose>.<partition>`.
    pub purpose: &'static str,
}

/// A record to be written in the owner's transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    pub topic: Arc<str>,
    /// By the key's hash, where `None`.
    pub partition: Option<i32>,
    pub key: String,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// The state of one owned partition, and what is made of it. Made when the partition is assigned, dropped when it is not
/// this pod's any more, and whenever it is not certain what was committed.
pub trait OwnedState: Send {
    /// Applies a committed record: of predecessors, then of this owner.
    fn read(&mut self, key: &[u8], value: Option<&[u8]>, now: Duration);

    /// All that predecessors have committed has been read, and they can commit nothing more.
    fn begin(&mut self, now: Duration);

    /// What is to be written now; called again and again.
    fn decide(&mut self, now: Duration) -> Vec<OwnedRecord>;

    /// What [`OwnedState::decide`] returned last is committed.
    fn committed(&mut self, now: Duration) {
        let _ = now;
    }
}

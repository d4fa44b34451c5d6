//! Reads the input topic on a thread of its own, and never blocks in it: above the pod's budget it pauses
//! partitions and keeps polling, so that the group keeps its member.
//!
//! ```text
//! intake            the polling thread: fetch, decode, hand over, pause, resume
//! arrived           a record, copied out of librdkafka's buffers
//! early             records that are not taken yet: not due, or too far ahead of the low-water mark
//! rebalance         partitions that are assigned, revoked and lost
//! rights            what the brokers let this pod do with its topics
//! halts             partitions that must not be read: their committed offset is not one of theirs
//! follow            which partitions of the retry topic this pod reads: pure
//! following         reads them: asks in each generation of the group who is assigned what
//! group             the group's member as publish needs it: its offsets and its metadata
//! witness           what the group has committed, for records of other pods' partitions
//! context           librdkafka's callbacks: rebalances, statistics, errors, logs
//! answering_broker  a broker that has answered recently
//! slow              tasks that are reported as slow: pure
//! watchdog          has clients made anew that have lost Kafka for good
//! watch             once a second: metrics, the partitions' status, slow tasks
//! model             the whole group as a model, for the tests
//! ```
//!
//! A partition's lease begins and ends here: rebalances are answered from this thread, not from librdkafka's
//! callback, so that a partition can finish its transfers before it is released while the others continue.

mod answering_broker;
mod arrived;
mod context;
mod early;
mod follow;
mod following;
mod group;
mod halts;
mod intake;
#[cfg(test)]
mod model;
mod rebalance;
mod rights;
mod slow;
mod watch;
mod watchdog;
mod witness;

pub use early::RetryIntake;
pub use group::{Group, offsets_of};
pub use intake::{BURST, Consume, ConsumeHandle, Downstream};
pub use watchdog::Watchdog;

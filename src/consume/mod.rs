//! Reads the input topic on a thread of its own, and never blocks in it: above the pod's budget it pauses
//! partitions and keeps polling, so that the group keeps its member.
//!
//! ```text
//! poll_loop           the polling thread: fetch, decode, hand over, pause, resume
//! fetched_record      a record, copied out of librdkafka's buffers
//! delayed_records     records that are not begun yet: not due, or too far above the low-water mark
//! early_reading       deferred tasks that are read before they are due: pure
//!
//! rebalance           partitions that are assigned, revoked and lost
//! partition_ranges    partitions as a log line has them
//! retry_assignor      which partitions of the retry topic this pod reads (co-partitioned with the input topic): pure
//! retry_assignment    reads them: asks in each generation of the group who is assigned what
//! halted_partitions   partitions that must not be read: the committed offset is out of range, or of a recreated topic
//! rights              what the brokers let this pod do with its topics
//! session_timeout     how long the coordinator waits for a heartbeat, where the brokers decide that
//!
//! group               the group's member as publish needs it: its offsets and its metadata
//! committed_offsets   what the group has committed, for records of other pods' partitions
//! consumer_context    librdkafka's callbacks: rebalances, statistics, errors, logs
//! control             follows the control topic: which batches are cancelled
//! answering_broker    a broker that has answered recently
//!
//! partition_report    once a second: metrics, the partitions' status, slow tasks
//! kafka_outage        says in the log that Kafka is unreachable, and reachable again: pure
//! watchdog            has clients recreated that have lost Kafka for good
//! slow_tasks          which tasks are reported as slow: pure
//! model               the whole group as a model, for the tests
//! ```
//!
//! A partition's lease begins and ends here: rebalances are answered from this thread, not from librdkafka's
//! callback, so that a partition can finish its transfers before it is released while the others continue.

mod answering_broker;
mod committed_offsets;
mod consumer_context;
mod control;
mod delayed_records;
mod early_reading;
mod fetched_record;
mod group;
mod halted_partitions;
mod kafka_outage;
#[cfg(test)]
mod model;
mod partition_ranges;
mod partition_report;
mod poll_loop;
mod rebalance;
mod retry_assignment;
mod retry_assignor;
mod rights;
mod session_timeout;
mod slow_tasks;
mod watchdog;

pub use control::ControlFollower;
pub use delayed_records::RetryIntake;
pub use early_reading::DeferredTaskWaker;
pub use group::{Group, offsets_of};
pub(crate) use partition_ranges::partition_ranges;
pub use poll_loop::{BURST, Consume, ConsumeHandle, RecordSink};
pub use watchdog::Watchdog;

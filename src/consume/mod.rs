//! Reads the input topic on a thread of its own, and never blocks in it: above the pod's budget it pauses
//! partitions and goes on polling, so that the group keeps its member.
//!
//! Here begins and ends a partition's lease: rebalances are answered from this thread, not from librdkafka's
//! callback, so that a partition can finish its transfers before it is let go while the others work on.

mod arrived;
mod context;
mod early;
mod group;
mod intake;
mod probe;
mod properties;
mod rebalance;
mod retry_topic;

pub use rdkafka::error::KafkaError;

pub(crate) use context::log;
pub use early::RetryIntake;
pub(crate) use group::metadata_of;
pub use group::{CommitError, Group, offsets_of};
pub use intake::{BURST, Consume, Downstream, Handle};
pub use probe::{TopicState, probe};
pub use properties::{client_properties, consumer_properties, property_problem, standstill, without_value};
pub use retry_topic::{Unprepared, prepare_retry_topic};

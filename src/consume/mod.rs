//! Reads the input topic on a thread of its own, and never blocks in it: above the pod's budget it pauses
//! partitions and goes on polling, so that the group keeps its member.
//!
//! Here begins and ends a partition's lease: rebalances are answered from this thread, not from librdkafka's
//! callback, so that a partition can finish its transfers before it is let go while the others work on.

mod arrived;
mod commit_error;
mod context;
mod early;
mod group;
mod halts;
mod intake;
mod last_word;
#[cfg(test)]
mod model;
mod noise;
mod probe;
mod properties;
mod rebalance;
mod retry_topic;
mod scope;
mod slow;
mod topic_ids;
mod watch;
mod witness;

pub use rdkafka::error::KafkaError;

pub use commit_error::CommitError;
pub(crate) use context::{complain, log};
pub use early::RetryIntake;
pub(crate) use group::metadata_of;
pub use group::{Group, offsets_of};
pub use intake::{BURST, Consume, Downstream, Handle};
pub use last_word::{LastWord, is_nobodys};
pub use noise::Noise;
pub use probe::{TopicState, probe};
pub use properties::{client_properties, consumer_properties, property_problem, standstill, without_value};
pub use retry_topic::{Unprepared, prepare_retry_topic, retry_topic_settings};
pub use scope::Role;

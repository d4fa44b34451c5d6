//! Reads the input topic on a thread of its own, and never blocks in it: above the pod's budget it pauses
//! partitions and goes on polling, so that the group keeps its member.
//!
//! Here begins and ends a partition's lease: rebalances are answered from this thread, not from librdkafka's
//! callback, so that a partition can finish its transfers before it is let go while the others work on.

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
mod slow;
mod watch;
mod witness;

pub use early::RetryIntake;
pub use group::{Group, offsets_of};
pub use intake::{BURST, Consume, Downstream, Handle};

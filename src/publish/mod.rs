//! Sends answers and commits their tasks' offsets, on a thread of its own.
//!
//! Every [`LINGER`] at most, every [`LONGEST_LINGER`] at least where there are answers: choose the outcomes whose partitions are ours now, begin, send, await delivery,
//! commit. What ties answers and offsets together is the [`Committer`]; nothing else knows the delivery mode.
//! The thread waits for Kafka as long as the pod runs, and for [`LAST_TRIES`] at its end.

mod committer;
mod exactly_once;
mod holds;
mod patience;
mod pending;
mod producer;
mod publisher;
mod renewals;
mod round;
mod sizes;
mod sorting;
mod standing;
mod transaction_bound;

pub use committer::{AtLeastOnce, Committer, Uncommitted};
pub use exactly_once::ExactlyOnce;
pub use patience::{LAST_TRIES, Patience};
pub use producer::Producer;
pub use publisher::{AnswerTopics, Publish, PublishHandle};

use std::time::Duration;

/// From the begin of one batch to that of the next at least.
pub const LINGER: Duration = Duration::from_millis(50);
/// The same while the pod holds tasks that are not answered yet: so long an answer waits at most for others to share
/// its batch, on top of a batch that is under way. A transaction costs as much for one answer as for many.
pub const LONGEST_LINGER: Duration = Duration::from_millis(100);
/// Answers in one batch.
pub const MAX_BATCH: usize = 1_000;

#[cfg(test)]
mod tests;

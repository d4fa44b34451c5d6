//! Sends answers and commits their tasks' offsets, on a thread of its own.
//!
//! Every [`LINGER`] at most: choose the outcomes whose partitions are ours now, begin, send, await delivery,
//! commit. What ties answers and offsets together is the [`Committer`]; nothing else knows the delivery mode.

mod committer;
mod exactly_once;
mod holds;
mod pending;
mod producer;
mod publisher;
mod sizes;
mod sorting;

pub use committer::{AtLeastOnce, Committer};
pub use exactly_once::ExactlyOnce;
pub use producer::Producer;
pub use publisher::{Handle, Publish, Topics};

use std::time::Duration;

/// An answer waits this long at most for others to share its batch.
pub const LINGER: Duration = Duration::from_millis(50);
/// Answers in one batch.
pub const MAX_BATCH: usize = 1_000;

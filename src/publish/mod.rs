//! Sends answers and commits their tasks' offsets, on a thread of its own.
//!
//! ```text
//! publish_loop        the publishing thread: gathers answers into batches
//! publish_cycle       one batch: chosen, sent, and committed or taken back
//! pending_answers     answers that are not committed yet, and which of them make the next batch
//! batch_limits        how many bytes share a batch; learned from what a topic refuses: pure
//! delivery_results    a batch, sorted by its delivery reports: pure
//! reply_topics        answers that go to a topic of their producer's as well: pure
//! topic_pattern       patterns of topics' names: pure
//! refusing_topics     topics that refuse answers, and when they are tried again: pure
//!
//! committer           ties answers and offsets together; at least once
//! exactly_once        the same in one Kafka transaction
//! producer            the idempotent producer, and its delivery reports
//! producer_state      starting, failed, or with a commit whose outcome is unknown
//! producer_restarts   how often a failed producer is replaced: pure
//! transaction_bound   how long a transaction may take where Kafka is far away: pure
//! shutdown_deadline   how long the thread waits for Kafka
//! ```
//!
//! A batch begins [`LINGER`] after the previous one at the earliest, and [`LONGEST_LINGER`] while more answers may join it:
//! choose the outcomes whose partitions are ours now, begin, send, await delivery, commit. What ties answers and offsets
//! together is the [`Committer`]; nothing else knows the delivery mode.
//! The thread waits for Kafka as long as the pod runs, and for [`FINAL_PUBLISH_TIMEOUT`] at its end.

mod batch_limits;
mod committer;
mod delivery_results;
mod exactly_once;
mod pending_answers;
mod producer;
mod producer_restarts;
mod producer_state;
mod publish_cycle;
mod publish_loop;
mod refusing_topics;
mod reply_topics;
mod shutdown_deadline;
mod topic_pattern;
mod transaction_bound;

pub use committer::{AtLeastOnce, CommitFailure, Committer};
pub use exactly_once::ExactlyOnce;
pub use producer::Producer;
pub use publish_loop::{AnswerTopics, Publish, PublishHandle};
pub use reply_topics::REPLY_HEADER;
pub use shutdown_deadline::{FINAL_PUBLISH_TIMEOUT, ShutdownDeadline};

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

//! Sends answers and commits their tasks' offsets, on a separate thread.
//!
//! ```text
//! publish_loop        the publishing thread: collects answers into batches
//! publish_cycle       one batch: selected, sent, and committed or aborted
//! pending_answers     answers that are not committed yet, and which of them make the next batch
//! batch_limits        how many bytes share a batch; learned from what a topic rejects: pure
//! delivery_results    a batch, sorted by its delivery reports: pure
//! reply_topics        answers that are also sent to a topic of their producer: pure
//! topic_pattern       patterns of topics' names: pure
//! refusing_topics     topics that reject answers, and when they are tried again: pure
//!
//! committer           links answers and offsets; at least once
//! exactly_once        the same in one Kafka transaction
//! producer            the idempotent producer, and its delivery reports
//! producer_state      starting, failed, or with a commit whose outcome is unknown
//! producer_restarts   how often a failed producer is replaced: pure
//! transaction_bound   how long a transaction may take if Kafka is distant: pure
//! shutdown_deadline   how long the thread waits for Kafka
//! ```
//!
//! A batch starts [`LINGER`] after the previous one at the earliest, and [`LONGEST_LINGER`] while more answers may join
//! it: select the outcomes whose partitions belong to this pod, begin, send, await delivery, commit. The [`Committer`]
//! links answers and offsets; nothing else knows the delivery mode.

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
/// The same while the pod holds tasks that are not answered yet: the maximum time that an answer waits for others to
/// share its batch, in addition to a batch in progress. A transaction costs as much for one answer as for many.
pub const LONGEST_LINGER: Duration = Duration::from_millis(100);
/// Answers in one batch.
pub const MAX_BATCH: usize = 1_000;

#[cfg(test)]
mod tests;

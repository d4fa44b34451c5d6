//! Tries that hang in a call into a local file system occupy sessions that other tasks could use.
//!
//! A call into a file system cannot be cancelled, and a slow disk is not a broken one: a call has a minute. But the
//! hung tries of one local connection may occupy only a share of a connection's sessions: half. Once that many hang, no
//! further task of that local connection is started on that server; and if tasks of another one wait for a session, or
//! another server's tasks for room in the pod, the tries above the share release theirs. They are tried again, without
//! counting.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::DispatcherInner;
use super::connection_queue::ConnectionQueue;
use super::deferral::PATIENCE;
use super::local_breakers::LocalOutage;
use super::queued_task::QueuedTask;
use super::task_executor::TaskExecutor;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::pool::SessionConnector;
use crate::transfer::CallWatch;

/// A call that takes longer counts as hung as far as its session is concerned.
pub(super) const HUNG_AFTER: Duration = Duration::from_secs(2);
/// How long no try is started in a file system that still has a call of one that released its session: after that
/// another try shows whether it answers again.
pub(super) const REMEMBER_RELEASE_FOR: Duration = Duration::from_secs(60);
/// How soon a task that waits for a hung file system is checked again.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The hung tries of one local connection on one server's sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct HungTries {
    pub watches: Vec<Arc<CallWatch>>,
    pub longest: Duration,
}

/// How many of a connection's sessions may be occupied by tries that hang in one local connection's file system before
/// no further one is started.
fn hung_limit(limit: usize) -> usize {
    (limit / 2).max(1)
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> DispatcherInner<C, T> {
    /// Why a task is not started: too many of its local connection's tries hang on this server's sessions.
    pub(super) fn hung_outage(&self, queue: &ConnectionQueue, queued: &QueuedTask) -> Option<LocalOutage> {
        if !queue.has_hung.load(Ordering::Relaxed) {
            return None;
        }
        let (local, now) = (&queued.task.local, Instant::now());
        let (count, longest) = match (queue.hung_of(local), queue.session_released_at(local)) {
            (Some(hung), _) => hung,
            (None, Some(at)) => (0, HUNG_AFTER + now.saturating_duration_since(at)),
            (None, None) => return None,
        };
        // The call of a try that released its session continues in the file system, and shows when that answers again.
        let still_hangs =
            || queue.session_released_at(local).is_some() && queued.files.is_hanging(HUNG_AFTER);
        if count < hung_limit(self.pool.limit(&queue.connection)) && !still_hangs() {
            return None;
        }
        let waited = now.saturating_duration_since(queued.queued_at);
        Some(LocalOutage {
            until: now + RECHECK_INTERVAL,
            last: hung_try_error(local, longest).failure,
            expired: self.local_breakers.expired(
                local,
                queued.task.options.retry_count,
                queued.queued_at,
                now,
            ),
            is_long: waited.min(longest) >= PATIENCE,
        })
    }

    /// Finds hung tries, and ends those whose sessions are needed; in a drain, all of them.
    pub(super) fn release_hung_sessions(&self, queue: &ConnectionQueue, now: Instant) {
        let hung = queue.find_hung(HUNG_AFTER, now);
        if hung.is_empty() {
            return;
        }
        let is_draining = self.workers.is_closed();
        let pod_is_short = self.pool.is_short_of_room(&queue.connection);
        let others_wait = queue.has_ready_besides(&hung);
        let share = self.pool.limit(&queue.connection) / 2;
        for (local, HungTries { watches, longest }) in &hung {
            let count = watches.len();
            let released = match (is_draining, pod_is_short, others_wait) {
                (true, ..) => count,
                (_, true, _) => count.div_ceil(2),
                (_, _, true) => count.saturating_sub(share),
                _ => 0,
            };
            watches.iter().take(released).for_each(|watch| watch.give_up());
            if released > 0 {
                queue.session_released(local, now);
                tracing::warn!(
                    event = "local_hangs",
                    connection = &*queue.connection,
                    local,
                    hung = count,
                    given_back = released,
                    seconds = longest.as_secs(),
                    "a local file system does not answer; tries that wait for it give their sessions back"
                );
            }
        }
    }
}

/// By local connection.
pub(super) type HungByLocal = HashMap<String, HungTries>;

/// The error of a try that hangs while its session is needed.
pub(super) fn hung_try_error(local: &str, longest: Duration) -> TryError {
    let message =
        format!("local connection {local}: its file system has not answered for {} s", longest.as_secs());
    TryError { failure: Failure::new(Code::Timeout, message), remedy: Remedy::LocalOutage }
}

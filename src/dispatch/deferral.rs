//! Which tasks may wait in the retry topic instead of here, and until when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::queued_task::QueuedTask;
use crate::record::RetryState;

/// A task that cannot continue within this time is deferred: its backoff is longer, or its server has been down for
/// this long.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A task that waits for this long for a session that other pods have (`max_sessions_total`) is deferred. Longer than
/// the wait in an outage: the pod will get its share without further action.
pub(super) const GRANT_PATIENCE: Duration = Duration::from_secs(60);
/// How many tasks a second may be deferred from the backlogs of healthy connections: enough to reach the tasks behind
/// them, too few to load the brokers with a backlog.
const SURPLUS_PER_SECOND: usize = 1_000;

/// How tasks are deferred.
#[derive(Clone, Debug)]
pub struct DeferralPolicy {
    pub group: Arc<str>,
    /// One deferral takes this long, whatever its reason: so the topic's order is the order in which tasks become due.
    pub delay: Duration,
    /// A task is deferred for at most this long, counted from its first deferral.
    pub limit: Duration,
    /// Whether the retry topic can be used; until then tasks wait in the pod.
    pub is_possible: Arc<AtomicBool>,
}

/// Whether a task may be deferred now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeferralDecision {
    Possible,
    /// It has been deferred for as long as is permitted.
    Exhausted,
    /// It must be tried or answered here.
    Never,
}

/// Why a task is deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeferReason {
    /// Its server cannot be reached, or refuses more sessions.
    Unreachable,
    /// Other pods have all the sessions that `max_sessions_total` allows.
    NoGrant,
    /// Its local connection's file system is full, read-only, frozen or missing.
    LocalOutage,
    /// Its next try is due later than [`PATIENCE`].
    Backoff,
    /// Its connection has more than its share of the pod's tasks.
    Surplus,
    /// Its partition's span is full, and this task blocks those behind it.
    Blocking,
}

impl DeferReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            DeferReason::Unreachable => "unreachable",
            DeferReason::NoGrant => "no_session_granted",
            DeferReason::LocalOutage => "local_outage",
            DeferReason::Backoff => "backoff",
            DeferReason::Surplus => "surplus",
            DeferReason::Blocking => "in_the_way",
        }
    }
}

impl DeferralPolicy {
    pub(super) fn decide(&self, queued: &QueuedTask, wall: Timestamp) -> DeferralDecision {
        let options = &queued.task.options;
        let next = later(wall, self.delay);
        let is_asked_for = options.defer && options.retry_count > 0;
        let is_in_time = options.deadline.is_none_or(|deadline| next <= deadline);
        if !is_asked_for || !is_in_time || !self.is_possible.load(Ordering::Relaxed) {
            return DeferralDecision::Never;
        }
        let since = queued.record.retry.as_ref().map_or(wall, |retry| retry.since);
        if next > later(since, self.limit) { DeferralDecision::Exhausted } else { DeferralDecision::Possible }
    }

    pub(super) fn retry_state(&self, queued: &QueuedTask, wall: Timestamp) -> RetryState {
        let (origin, origin_ms) = queued.record.first();
        let begun = queued.begun.map(|_| wall.checked_sub(queued.elapsed()).unwrap_or(wall));
        RetryState {
            group: Arc::clone(&self.group),
            not_before: later(wall, self.delay),
            attempts: queued.tries.attempts,
            origin,
            origin_ms,
            since: queued.record.retry.as_ref().map_or(wall, |retry| retry.since),
            begun,
        }
    }
}

fn later(wall: Timestamp, time: Duration) -> Timestamp {
    wall.checked_add(time).unwrap_or(Timestamp::MAX)
}

/// How many tasks all healthy connections together may still defer now; refilled evenly.
#[derive(Debug, Default)]
pub(super) struct OverflowLimiter {
    left: AtomicUsize,
}

impl OverflowLimiter {
    /// Must be called every `period`.
    pub fn refill(&self, period: Duration) {
        let share = SURPLUS_PER_SECOND as u128 * period.as_millis() / 1_000;
        self.left.store(usize::try_from(share).unwrap_or(SURPLUS_PER_SECOND), Ordering::Relaxed);
    }

    pub fn take(&self) -> bool {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.is_ok()
    }
}

/// Counts a task as one of its connection's, until it is dropped.
#[derive(Debug)]
pub(super) struct TaskCountGuard(Arc<AtomicUsize>);

impl TaskCountGuard {
    pub fn in_count(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        TaskCountGuard(Arc::clone(count))
    }
}

impl Drop for TaskCountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

//! Which tasks may wait in the retry topic instead of here, and until when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::queue::Entry;
use crate::outcome::Hop;

/// What cannot go on within this time waits elsewhere: a retry with a longer backoff, a task whose server
/// has been away for as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Tasks a second that a connection's backlog may send on while its server is well: enough to come to the
/// tasks behind it, too few to keep the brokers busy with one backlog.
const SURPLUS_PER_SECOND: usize = 1_000;

/// How tasks are deferred.
#[derive(Clone, Debug)]
pub struct Deferral {
    pub group: Arc<str>,
    /// One hop takes this long, whatever it is for: so the topic's order is the order of what is due.
    pub delay: Duration,
    /// From its first hop on, a task is deferred for this long at most.
    pub limit: Duration,
    /// Whether the retry topic can be used; until then tasks wait in the pod.
    pub is_possible: Arc<AtomicBool>,
}

/// May a task be deferred now?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    Possible,
    /// It has been deferred for as long as it may be.
    Exhausted,
    /// It must be tried or answered here.
    Never,
}

/// Why a task is deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its server cannot be reached, or refuses more sessions.
    Unreachable,
    /// Its next try is not due for long.
    Backoff,
    /// Its connection holds more than its share of the pod's tasks.
    Surplus,
    /// Its partition's span is full, and this task holds up the others behind it.
    InTheWay,
}

impl Why {
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Unreachable => "unreachable",
            Why::Backoff => "backoff",
            Why::Surplus => "surplus",
            Why::InTheWay => "in_the_way",
        }
    }
}

impl Deferral {
    pub(super) fn outlook(&self, entry: &Entry, wall: Timestamp) -> Outlook {
        let options = &entry.job.task.options;
        let next = later(wall, self.delay);
        let is_asked_for = options.defer && options.retry_count > 0;
        let is_in_time = options.deadline.is_none_or(|deadline| next <= deadline);
        if !is_asked_for || !is_in_time || !self.is_possible.load(Ordering::Relaxed) {
            return Outlook::Never;
        }
        let since = entry.job.hop.as_ref().map_or(wall, |hop| hop.since);
        if next > later(since, self.limit) { Outlook::Exhausted } else { Outlook::Possible }
    }

    pub(super) fn hop(&self, entry: &Entry, wall: Timestamp) -> Hop {
        let (origin, origin_ms) = entry.job.record.first();
        let begun = entry.begun.map(|_| wall.checked_sub(entry.elapsed()).unwrap_or(wall));
        Hop {
            group: Arc::clone(&self.group),
            not_before: later(wall, self.delay),
            attempts: entry.tries.attempts,
            origin,
            origin_ms,
            since: entry.job.hop.as_ref().map_or(wall, |hop| hop.since),
            begun,
        }
    }
}

fn later(wall: Timestamp, time: Duration) -> Timestamp {
    wall.checked_add(time).unwrap_or(Timestamp::MAX)
}

/// What all healthy connections together may still send on now; filled up evenly.
#[derive(Debug, Default)]
pub(super) struct Surplus {
    left: AtomicUsize,
}

impl Surplus {
    /// To be called every `period`.
    pub fn refill(&self, period: Duration) {
        let share = SURPLUS_PER_SECOND as u128 * period.as_millis() / 1_000;
        self.left.store(usize::try_from(share).unwrap_or(SURPLUS_PER_SECOND), Ordering::Relaxed);
    }

    pub fn take(&self) -> bool {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.is_ok()
    }
}

/// A task's part in its connection's count, from queue to answer.
#[derive(Debug)]
pub(super) struct Held(Arc<AtomicUsize>);

impl Held {
    pub fn in_count(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(count))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

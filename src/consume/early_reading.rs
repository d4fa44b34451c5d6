//! Reading deferred tasks before they are due, once the route to their server is restored.
//!
//! A partition of the retry topic is read in order, whatever connections its tasks belong to. So all tasks that were deferred before
//! the request are read, and the dispatcher delays those of other connections until they are due. A record is read early at
//! most once per request, and requests are rate-limited.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The minimum time between two requests that are honoured: a route that flaps must not cause repeated reading.
const REQUEST_INTERVAL: Duration = Duration::from_secs(10);

/// Requests the early reading of deferred tasks. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct DeferredTaskWaker(Arc<AtomicI64>);

impl DeferredTaskWaker {
    /// Requests the reading of everything that has been deferred until now.
    pub fn wake(&self, wall: Timestamp) {
        self.0.fetch_max(wall.as_millisecond(), Ordering::Relaxed);
    }

    fn requested(&self) -> Option<Timestamp> {
        let at = self.0.load(Ordering::Relaxed);
        Timestamp::from_millisecond(at).ok().filter(|_| at > 0)
    }
}

/// Which tasks are read early.
#[derive(Debug, Default)]
pub(super) struct EarlyReading {
    /// The last request that was honoured, and when.
    honoured: Option<(Timestamp, Instant)>,
    /// Tasks that are due until then are read early.
    until: Option<Timestamp>,
}

impl EarlyReading {
    /// Honours a new request; true if there was one. `stay` is the duration of a deferral.
    pub fn begin(&mut self, waker: &DeferredTaskWaker, stay: Duration, now: Instant) -> bool {
        let Some(requested) = waker.requested() else { return false };
        let is_new = self.honoured.is_none_or(|(last, at)| {
            requested > last && now.saturating_duration_since(at) >= REQUEST_INTERVAL
        });
        if is_new {
            self.honoured = Some((requested, now));
            self.until = requested.checked_add(stay).ok();
        }
        is_new
    }

    /// Whether a task with this due time is read now.
    pub fn covers(&self, not_before: Timestamp) -> bool {
        self.until.is_some_and(|until| not_before <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deferred_before_a_request_is_read_and_what_comes_later_is_not() {
        let (mut early, waker, now) = (EarlyReading::default(), DeferredTaskWaker::default(), Instant::now());
        let (stay, at) = (Duration::from_secs(30), |second| Timestamp::from_second(second).unwrap());
        assert!(!early.begin(&waker, stay, now) && !early.covers(at(100)));
        waker.wake(at(100));
        assert!(early.begin(&waker, stay, now));
        assert!(!early.begin(&waker, stay, now), "once");
        // deferred in second 99, and in second 101
        assert!(early.covers(at(129)) && !early.covers(at(131)));
        // again, too soon: it is not forgotten
        waker.wake(at(102));
        waker.wake(at(101));
        assert!(!early.begin(&waker, stay, now + Duration::from_secs(2)));
        assert!(early.begin(&waker, stay, now + REQUEST_INTERVAL));
        assert!(early.covers(at(132)) && !early.covers(at(133)));
    }
}

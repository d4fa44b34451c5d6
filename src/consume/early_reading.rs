//! Reading deferred tasks before they are due, once the way to their server is there again.
//!
//! A partition of the retry topic is read in its order, whatever connections its tasks are of. So all that were deferred before
//! the request are read, and the dispatcher keeps those whose connection did not ask until they are due. One record is read
//! early so often at most as there are requests, which are honoured seldom enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Between two requests that are honoured: a way that is lost and found again and again must not keep the topic moving.
const REQUEST_INTERVAL: Duration = Duration::from_secs(10);

/// Asks for the deferred tasks. Copies are one.
#[derive(Clone, Debug, Default)]
pub struct DeferredTaskWaker(Arc<AtomicI64>);

impl DeferredTaskWaker {
    /// What has been deferred until now is to be read now.
    pub fn wake(&self, wall: Timestamp) {
        self.0.fetch_max(wall.as_millisecond(), Ordering::Relaxed);
    }

    fn requested(&self) -> Option<Timestamp> {
        let at = self.0.load(Ordering::Relaxed);
        Timestamp::from_millisecond(at).ok().filter(|_| at > 0)
    }
}

/// Up to when tasks are read early.
#[derive(Debug, Default)]
pub(super) struct EarlyReading {
    /// The request that was honoured last, and when.
    honoured: Option<(Timestamp, Instant)>,
    /// Tasks that are due until then are read.
    until: Option<Timestamp>,
}

impl EarlyReading {
    /// Honours a new request: true where records that are kept may be due by it. `stay` is what a deferral takes.
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

    /// Whether a task that is due then is read now.
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

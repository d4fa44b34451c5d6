//! A rate for each key: GCRA, a token bucket that is one number (ITU-T I.371, "virtual scheduling").
//!
//! Time is an argument, in nanoseconds since any fixed instant.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many requests a second are allowed, and how many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Nanoseconds between two requests at the full rate.
    interval: u64,
    /// How far ahead of the clock a bucket may run.
    tolerance: u64,
}

impl RateLimit {
    /// None if `per_second` is 0: no limit.
    pub fn new(per_second: u32, burst: u32) -> Option<RateLimit> {
        let interval = 1_000_000_000u64.checked_div(u64::from(per_second))?;
        Some(RateLimit { interval, tolerance: interval.saturating_mul(u64::from(burst.max(1)) - 1) })
    }

    /// After this long an unused bucket is full again and may be dropped.
    pub fn refill(&self) -> Duration {
        Duration::from_nanos(self.tolerance.saturating_add(self.interval))
    }
}

/// The theoretical arrival time of the next request of one key.
#[derive(Debug, Default)]
pub struct RateBucket(AtomicU64);

impl RateBucket {
    /// Takes one request at `now`, or returns how long to wait for it.
    pub fn take(&self, limit: &RateLimit, now: u64) -> Result<(), Duration> {
        let mut due = self.0.load(Ordering::Relaxed);
        loop {
            let ahead = due.saturating_sub(now);
            if ahead > limit.tolerance {
                return Err(Duration::from_nanos(ahead - limit.tolerance));
            }
            let next = due.max(now).saturating_add(limit.interval);
            match self.0.compare_exchange_weak(due, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(current) => due = current,
            }
        }
    }

    /// Whether dropping it would change nothing.
    pub fn is_full(&self, now: u64) -> bool {
        self.0.load(Ordering::Relaxed) <= now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_rate_is_no_limit() {
        assert!(RateLimit::new(0, 10).is_none());
    }

    #[test]
    fn a_burst_passes_then_the_wait_is_told() {
        let limit = RateLimit::new(10, 3).unwrap();
        let bucket = RateBucket::default();
        for _ in 0..3 {
            bucket.take(&limit, 1_000).unwrap();
        }
        assert_eq!(bucket.take(&limit, 1_000), Err(Duration::from_millis(100)));
        bucket.take(&limit, 100_001_000).unwrap();
        assert!(!bucket.is_full(100_001_000) && bucket.is_full(900_000_000));
    }

    proptest! {
        #[test]
        fn never_more_than_rate_and_burst(rate in 1u32..1000, burst in 1u32..50, gaps in prop::collection::vec(0u64..20_000_000, 1..400)) {
            let limit = RateLimit::new(rate, burst).unwrap();
            let bucket = RateBucket::default();
            let (mut now, mut passed) = (0u64, 0u64);
            for gap in gaps {
                now += gap;
                match bucket.take(&limit, now) {
                    Ok(()) => passed += 1,
                    Err(wait) => prop_assert!(bucket.take(&limit, now + u64::try_from(wait.as_nanos()).unwrap() - 1).is_err()),
                }
                prop_assert!(passed <= u64::from(burst) + now / (1_000_000_000 / u64::from(rate)));
            }
        }
    }
}

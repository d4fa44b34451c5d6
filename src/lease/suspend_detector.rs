//! Detects that this process was suspended (SIGSTOP, a frozen machine) for so long that its partitions may belong to
//! another pod.
//!
//! A resumed process does not know that it was suspended. So a separate thread beats continuously, a lease is live only
//! while the last beat is recent, and the first beat after a suspension ends every lease before it makes the heartbeat
//! valid again. The clock (`CLOCK_BOOTTIME`) continues while the process is stopped and while the machine is suspended,
//! unlike `CLOCK_MONOTONIC`, which [`Instant`](std::time::Instant) uses; neither notices that a virtual machine is
//! paused from outside. The polling thread may well be blocked for some seconds meanwhile: librdkafka's heartbeats
//! continue, and so do these.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[derive(Debug)]
pub(crate) struct SuspendDetector {
    clock: fn() -> Duration,
    /// Milliseconds, by the clock.
    last: AtomicU64,
    /// How many milliseconds without a beat count as a suspension.
    limit: AtomicU64,
}

impl Default for SuspendDetector {
    /// Never detects a suspension: there are no beats.
    fn default() -> Self {
        SuspendDetector::new(Duration::MAX)
    }
}

impl SuspendDetector {
    pub fn new(limit: Duration) -> SuspendDetector {
        SuspendDetector::with_clock(since_boot, limit)
    }

    fn with_clock(clock: fn() -> Duration, limit: Duration) -> SuspendDetector {
        let detector =
            SuspendDetector { clock, last: AtomicU64::new(0), limit: AtomicU64::new(millis(limit)) };
        detector.beat();
        detector
    }

    /// How long the process was suspended, if for too long.
    pub fn suspended_for(&self) -> Option<Duration> {
        let silence = millis((self.clock)()).saturating_sub(self.last.load(Ordering::Acquire));
        (silence >= self.limit.load(Ordering::Relaxed)).then(|| Duration::from_millis(silence))
    }

    pub fn set_limit(&self, limit: Duration) {
        self.limit.store(millis(limit), Ordering::Relaxed);
    }

    pub fn beat(&self) {
        self.last.store(millis((self.clock)()), Ordering::Release);
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Runs whether the process is suspended or not.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default() // it is never before its begin
}

#[cfg(test)]
mod tests {
    use super::*;

    static SUSPENDED_FOR: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn a_suspended_machine_stood_still() {
        let detector = SuspendDetector::with_clock(
            || Duration::from_secs(SUSPENDED_FOR.load(Ordering::Acquire)),
            Duration::from_secs(30),
        );
        assert_eq!(detector.suspended_for(), None);
        SUSPENDED_FOR.store(29, Ordering::Release);
        assert_eq!(detector.suspended_for(), None);
        SUSPENDED_FOR.store(31, Ordering::Release);
        assert_eq!(detector.suspended_for(), Some(Duration::from_secs(31)));
        detector.beat();
        assert_eq!(detector.suspended_for(), None);
        detector.set_limit(Duration::from_secs(4));
        SUSPENDED_FOR.store(35, Ordering::Release);
        assert_eq!(detector.suspended_for(), Some(Duration::from_secs(4)));
    }

    /// No test can suspend the machine; but it can check which clock is used.
    #[test]
    fn the_clock_is_the_one_that_goes_on_during_suspend() {
        let boot = || Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap();
        let (before, now, after) = (boot(), (SuspendDetector::new(Duration::MAX).clock)(), boot());
        assert!(before <= now && now <= after, "{before:?} {now:?} {after:?}");
    }
}

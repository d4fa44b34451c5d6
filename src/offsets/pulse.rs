//! Notices that this process stood still (SIGSTOP, a frozen machine) for so long that its partitions may be
//! somebody else's by now.
//!
//! Whoever wakes up does not know that it slept. So a thread of its own beats all the time, a lease is live
//! only while the last beat is fresh, and the first beat after a standstill ends every lease before it makes
//! the pulse fresh again. The clock (`CLOCK_BOOTTIME`) goes on while the process is stopped and while
//! the machine is suspended, as `CLOCK_MONOTONIC`, which [`Instant`](std::time::Instant) is, does not; of a virtual
//! machine that is paused from outside nothing is told by either. The polling
//! thread may well be blocked for some seconds meanwhile: librdkafka's heartbeats go on then, and so do these.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::Offsets;

const EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Pulse {
    clock: fn() -> Duration,
    /// Milliseconds, by the clock.
    last: AtomicU64,
    /// So long without a beat is a standstill.
    limit: Duration,
}

impl Default for Pulse {
    /// Never stops: nobody beats.
    fn default() -> Self {
        Pulse::new(Duration::MAX)
    }
}

impl Pulse {
    pub fn new(limit: Duration) -> Pulse {
        Pulse::with_clock(since_boot, limit)
    }

    fn with_clock(clock: fn() -> Duration, limit: Duration) -> Pulse {
        let pulse = Pulse { clock, last: AtomicU64::new(0), limit };
        pulse.beat();
        pulse
    }

    /// How long the process stood still, if it did so for too long.
    pub fn standstill(&self) -> Option<Duration> {
        let last = Duration::from_millis(self.last.load(Ordering::Acquire));
        let silence = (self.clock)().saturating_sub(last);
        (silence >= self.limit).then_some(silence)
    }

    pub fn beat(&self) {
        let now = u64::try_from((self.clock)().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Release);
    }
}

/// Suspended or not.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default() // it is never before its begin
}

/// Starts the thread that beats; it ends soon after the last other handle is gone.
///
/// # Errors
/// The system gives no thread.
pub fn keep_beating(offsets: &Arc<Offsets>) -> std::io::Result<()> {
    let offsets = Arc::downgrade(offsets);
    let beat = move || {
        while let Some(offsets) = offsets.upgrade() {
            offsets.beat();
            drop(offsets);
            std::thread::sleep(EVERY);
        }
    };
    std::thread::Builder::new().name("pulse".into()).spawn(beat).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    static SUSPENDED_FOR: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn a_suspended_machine_stood_still() {
        let pulse = Pulse::with_clock(
            || Duration::from_secs(SUSPENDED_FOR.load(Ordering::Acquire)),
            Duration::from_secs(30),
        );
        assert_eq!(pulse.standstill(), None);
        SUSPENDED_FOR.store(29, Ordering::Release);
        assert_eq!(pulse.standstill(), None);
        SUSPENDED_FOR.store(31, Ordering::Release);
        assert_eq!(pulse.standstill(), Some(Duration::from_secs(31)));
        pulse.beat();
        assert_eq!(pulse.standstill(), None);
    }

    /// Nobody suspends a machine for a test; which clock it is can be seen all the same.
    #[test]
    fn the_clock_is_the_one_that_goes_on_during_suspend() {
        let boot = || Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap();
        let (before, now, after) = (boot(), (Pulse::new(Duration::MAX).clock)(), boot());
        assert!(before <= now && now <= after, "{before:?} {now:?} {after:?}");
    }
}

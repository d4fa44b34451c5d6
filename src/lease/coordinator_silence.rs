//! Notices that the group's coordinator has not been heard of for as long as a session lasts: the pod's partitions may be
//! another pod's by then.
//!
//! With the classic protocol librdkafka counts that itself, and takes the partitions away. With KIP-848 it goes on until it
//! is told (librdkafka 2.12): a pod that is cut off from Kafka would write files for as long as it has tasks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::suspend_detector::millis;

/// Nothing was heard yet.
const NEVER: u64 = 0;

#[derive(Debug)]
pub(crate) struct CoordinatorSilence {
    clock: fn() -> Duration,
    /// Milliseconds, by the clock.
    heard: AtomicU64,
    /// In milliseconds: a session's timeout.
    limit: AtomicU64,
}

impl Default for CoordinatorSilence {
    /// Counts nothing: nothing is heard.
    fn default() -> Self {
        CoordinatorSilence::with_clock(monotonic)
    }
}

impl CoordinatorSilence {
    fn with_clock(clock: fn() -> Duration) -> Self {
        CoordinatorSilence { clock, heard: AtomicU64::new(NEVER), limit: AtomicU64::new(u64::MAX) }
    }

    pub fn set_limit(&self, limit: Duration) {
        self.limit.store(millis(limit), Ordering::Relaxed);
    }

    /// The coordinator sent something at this time, by librdkafka's clock (`CLOCK_MONOTONIC`).
    pub fn heard(&self, at: Duration) {
        self.heard.fetch_max(millis(at), Ordering::Relaxed);
    }

    /// How long the coordinator has been silent, if that is too long; once.
    pub fn take(&self) -> Option<Duration> {
        let heard = self.heard.load(Ordering::Relaxed);
        let silence = millis((self.clock)()).saturating_sub(heard);
        if heard == NEVER || silence < self.limit.load(Ordering::Relaxed) {
            return None;
        }
        // Unless it was heard of just now.
        let is_silent =
            self.heard.compare_exchange(heard, NEVER, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_silent.then(|| Duration::from_millis(silence))
    }
}

fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default() // it is never before its begin
}

#[cfg(test)]
mod tests {
    use super::*;

    static NOW: AtomicU64 = AtomicU64::new(1_000);

    #[test]
    fn a_coordinator_that_is_silent_for_a_session_is_noticed_once_until_it_is_heard_again() {
        let seconds = Duration::from_secs;
        let silence = CoordinatorSilence::with_clock(|| Duration::from_secs(NOW.load(Ordering::Relaxed)));
        let at = |second| NOW.store(second, Ordering::Relaxed);
        assert_eq!(silence.take(), None, "it was never heard of");
        silence.heard(seconds(1_000));
        at(9_000);
        assert_eq!(silence.take(), None, "nobody has said how long a session is");
        silence.set_limit(seconds(6));
        silence.heard(seconds(9_000));
        silence.heard(seconds(8_000)); // told late
        at(9_005);
        assert_eq!(silence.take(), None);
        at(9_007);
        assert_eq!(silence.take(), Some(seconds(7)));
        assert_eq!(silence.take(), None);
        at(9_100);
        silence.heard(seconds(9_099));
        assert_eq!(silence.take(), None);
        at(9_105);
        assert_eq!(silence.take(), Some(seconds(6)));
    }
}

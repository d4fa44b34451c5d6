//! Notices that this process stood still (SIGSTOP, a frozen machine) for so long that its partitions may be
//! somebody else's by now.
//!
//! Whoever wakes up does not know that it slept. So a thread of its own beats all the time, a lease is live
//! only while the last beat is fresh, and the first beat after a standstill ends every lease before it makes
//! the pulse fresh again. The clock (`CLOCK_MONOTONIC`) goes on while the process is stopped. The polling
//! thread may well be blocked for some seconds meanwhile: librdkafka's heartbeats go on then, and so do these.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Offsets;

const EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Pulse {
    begun: Instant,
    /// Milliseconds after `begun`.
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
        Pulse { begun: Instant::now(), last: AtomicU64::new(0), limit }
    }

    /// How long the process stood still, if it did so for too long.
    pub fn standstill(&self) -> Option<Duration> {
        let last = self.begun + Duration::from_millis(self.last.load(Ordering::Acquire));
        let silence = last.elapsed();
        (silence >= self.limit).then_some(silence)
    }

    pub fn beat(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Release);
    }
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

//! The limits of one timetable, shared by all transfers that it applies to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::token_bucket::TokenBucket;
use crate::config::BandwidthTimetable;
use crate::task::Operation;

/// The timetable is read again at least this often during a wait.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Throttle {
    timetable: RwLock<BandwidthTimetable>,
    /// The timetable has a limit at some time.
    is_limited: AtomicBool,
    /// The timetable was replaced.
    changed: Notify,
    upload: Gate,
    download: Gate,
}

/// One direction.
#[derive(Debug)]
struct Gate {
    /// Held by the transfer that waits for bytes; the others queue for it, first come, first served.
    turn: tokio::sync::Mutex<()>,
    bucket: Mutex<TokenBucket>,
}

impl Throttle {
    pub fn new(timetable: BandwidthTimetable) -> Throttle {
        Throttle {
            is_limited: AtomicBool::new(!timetable.is_unlimited()),
            timetable: RwLock::new(timetable),
            changed: Notify::new(),
            upload: Gate::new(),
            download: Gate::new(),
        }
    }

    /// Replaces the timetable, for waiting transfers as well.
    pub fn set(&self, timetable: BandwidthTimetable) {
        let is_limited = !timetable.is_unlimited();
        *self.timetable.write().unwrap_or_else(PoisonError::into_inner) = timetable;
        self.is_limited.store(is_limited, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.is_limited.load(Ordering::Acquire)
    }

    /// Waits until some of `want` bytes may move, and takes them; `None` if there is no limit now.
    pub async fn take(&self, operation: Operation, want: usize) -> Option<usize> {
        let gate = self.gate(operation);
        let _turn = gate.turn.lock().await;
        loop {
            // before the timetable is read: what is changed afterwards ends the wait
            let changed = self.changed.notified();
            let rate = self.rate(operation)?;
            let taken = gate.bucket().take(rate, want as u64, Instant::now());
            match taken {
                Ok(bytes) => return Some(usize::try_from(bytes).unwrap_or(want)),
                Err(wait) => tokio::select! {
                    () = sleep(wait.min(RECHECK_INTERVAL)) => {}
                    () = changed => {}
                },
            }
        }
    }

    /// Returns bytes that were taken, but have not moved.
    pub fn return_bytes(&self, operation: Operation, bytes: usize) {
        if bytes > 0 {
            self.gate(operation).bucket().return_bytes(bytes as u64);
        }
    }

    fn rate(&self, operation: Operation) -> Option<u64> {
        let limit = self.timetable.read().unwrap_or_else(PoisonError::into_inner).now();
        match operation {
            Operation::Upload => limit.upload,
            Operation::Download => limit.download,
        }
    }

    fn gate(&self, operation: Operation) -> &Gate {
        match operation {
            Operation::Upload => &self.upload,
            Operation::Download => &self.download,
        }
    }
}

/// Without a limit.
impl Default for Throttle {
    fn default() -> Self {
        Throttle::new(BandwidthTimetable::default())
    }
}

impl Gate {
    fn new() -> Gate {
        Gate { turn: tokio::sync::Mutex::default(), bucket: Mutex::new(TokenBucket::new(Instant::now())) }
    }

    fn bucket(&self) -> std::sync::MutexGuard<'_, TokenBucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

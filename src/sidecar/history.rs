//! The last hour in steps: what was transferred and answered within each.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::metrics::{ConnectionTotals, Metrics};
use crate::text::rfc3339;

/// A step's length.
pub(super) const STEP: Duration = Duration::from_secs(10);
/// How many steps are kept: an hour.
const MAX_STEPS: usize = 360;

/// A ring of steps, of 32 bytes each.
#[derive(Debug)]
pub(super) struct ThroughputHistory {
    state: Mutex<HistoryState>,
}

#[derive(Debug)]
struct HistoryState {
    steps: VecDeque<HistoryStep>,
    /// The totals at the last step's end, and when that was.
    last: ConnectionTotals,
    end: Timestamp,
    /// The total number of steps so far.
    count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HistoryStep {
    down: u64,
    up: u64,
    completed: u64,
    failed: u64,
}

/// In the API's format.
#[derive(Debug, Serialize)]
pub(super) struct HistoryAnswer {
    step_seconds: u64,
    end: String,
    bytes_down: Vec<u64>,
    bytes_up: Vec<u64>,
    completed: Vec<u64>,
    failed: Vec<u64>,
}

impl ThroughputHistory {
    /// Starts now, with these totals.
    pub fn new(last: ConnectionTotals) -> Self {
        let state = HistoryState { steps: VecDeque::new(), last, end: Timestamp::now(), count: 0 };
        ThroughputHistory { state: Mutex::new(state) }
    }

    /// A step ends with these totals.
    pub fn note(&self, totals: ConnectionTotals, end: Timestamp) {
        let mut state = self.state();
        let last = std::mem::replace(&mut state.last, totals);
        // Totals never fall, even if a connection is removed; if they did, this gives zero, not a wrap-around.
        let step = HistoryStep {
            down: totals.downloaded_bytes.saturating_sub(last.downloaded_bytes),
            up: totals.uploaded_bytes.saturating_sub(last.uploaded_bytes),
            completed: totals.completed.saturating_sub(last.completed),
            failed: totals.failed.saturating_sub(last.failed),
        };
        if state.steps.len() >= MAX_STEPS {
            state.steps.pop_front();
        }
        state.steps.push_back(step);
        state.end = end;
        state.count += 1;
    }

    /// Increases with each step.
    pub fn count(&self) -> u64 {
        self.state().count
    }

    /// The last hour, the oldest step first.
    pub fn hour(&self) -> HistoryAnswer {
        let state = self.state();
        let column = |of: fn(&HistoryStep) -> u64| state.steps.iter().map(of).collect();
        HistoryAnswer {
            step_seconds: STEP.as_secs(),
            end: rfc3339(state.end),
            bytes_down: column(|step| step.down),
            bytes_up: column(|step| step.up),
            completed: column(|step| step.completed),
            failed: column(|step| step.failed),
        }
    }

    /// Records steps continuously. A late step is as long as it took; none is invented.
    pub async fn keep(&self, metrics: &Metrics) {
        let mut ticks = interval_at(Instant::now() + STEP, STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.note(metrics.snapshot().totals, Timestamp::now());
        }
    }

    fn state(&self) -> MutexGuard<'_, HistoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(bytes: u64) -> ConnectionTotals {
        ConnectionTotals { downloaded_bytes: bytes, completed: bytes / 10, ..ConnectionTotals::default() }
    }

    #[test]
    fn a_step_has_what_was_done_within_it_and_an_hour_is_kept() {
        let history = ThroughputHistory::new(totals(100));
        assert_eq!(history.hour().bytes_down, [0; 0]);
        let end = Timestamp::UNIX_EPOCH;
        history.note(totals(130), end);
        history.note(totals(130), end);
        history.note(totals(90), end);
        history.note(totals(95), end);
        let hour = history.hour();
        assert_eq!(hour.bytes_down, [30, 0, 0, 5]);
        assert_eq!(hour.completed, [3, 0, 0, 0]);
        assert_eq!((hour.bytes_up.len(), hour.failed.len(), &*hour.end), (4, 4, "1970-01-01T00:00:00.000Z"));
        for bytes in 0..1_000 {
            history.note(totals(bytes), end);
        }
        assert_eq!((history.hour().bytes_down.len(), history.count()), (MAX_STEPS, 1_004));
    }

    #[test]
    fn a_connection_that_is_gone_takes_nothing_of_the_others_step_with_it() {
        let metrics = Metrics::new(["far", "near"]);
        metrics.bytes("download", "near", 1_000);
        let history = ThroughputHistory::new(metrics.snapshot().totals);
        metrics.bytes("download", "far", 7);
        metrics.bytes("download", "near", 20);
        metrics.forget_connection("near");
        history.note(metrics.snapshot().totals, Timestamp::UNIX_EPOCH);
        metrics.bytes("download", "far", 3);
        history.note(metrics.snapshot().totals, Timestamp::UNIX_EPOCH);
        assert_eq!(history.hour().bytes_down, [27, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_is_noted_every_ten_seconds() {
        let metrics = Metrics::new(["far"]);
        let history = ThroughputHistory::new(metrics.snapshot().totals);
        metrics.bytes("download", "far", 7);
        let _ = tokio::time::timeout(STEP * 3 + STEP / 2, history.keep(&metrics)).await;
        assert_eq!(history.hour().bytes_down, [7, 0, 0]);
    }
}

//! What was seen so far, and how fast it goes. Pure: time is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::cli::answer::{AnswerStatus, FileEnds, ReadAnswer};

use crate::cli::pod_metrics::MetricsSample;

/// The rate "of late" is that of this time.
const LATE: Duration = Duration::from_secs(10);
/// Samples kept for that.
const MAX_LOOKS: usize = 200;
/// Failures that are shown.
const LAST_FAILURES: usize = 5;
/// Connections that failures are counted for: their names come from tasks.
const MAX_CONNECTIONS: usize = 1_000;

/// Numbers that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counters {
    pub completed: u64,
    pub failed: u64,
    pub bytes: u64,
}

/// A failure that is shown.
#[derive(Clone, Debug)]
pub(super) struct ShownFailure {
    pub at: String,
    pub code: String,
    pub connection: String,
    pub task_id: String,
    pub file: FileEnds,
    pub message: String,
}

/// A second's worth of each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ThroughputRates {
    pub completed: f64,
    pub failed: f64,
    pub bytes: f64,
}

#[derive(Debug)]
pub(super) struct WatchState {
    pub begun: Instant,
    pub now: Instant,
    pub sums: Counters,
    looks: VecDeque<(Instant, Counters)>,
    pub last_failures: VecDeque<ShownFailure>,
    pub failed_by_connection: BTreeMap<String, u64>,
    pub pods: Option<MetricsSample>,
    pods_before: Option<(Instant, MetricsSample)>,
    pods_at: Instant,
}

impl WatchState {
    pub fn new(begun: Instant) -> WatchState {
        WatchState {
            begun,
            now: begun,
            sums: Counters::default(),
            looks: VecDeque::from([(begun, Counters::default())]),
            last_failures: VecDeque::new(),
            failed_by_connection: BTreeMap::new(),
            pods: None,
            pods_before: None,
            pods_at: begun,
        }
    }

    pub fn take(&mut self, answer: ReadAnswer) {
        match answer.verdict {
            AnswerStatus::Completed { bytes } => {
                self.sums.completed += 1;
                self.sums.bytes += bytes;
            }
            AnswerStatus::Failed(failed) => {
                self.sums.failed += 1;
                let (connection, file) = (failed.connection.unwrap_or_else(|| "-".to_owned()), failed.file);
                if self.failed_by_connection.len() < MAX_CONNECTIONS
                    || self.failed_by_connection.contains_key(&connection)
                {
                    *self.failed_by_connection.entry(connection.clone()).or_default() += 1;
                }
                self.last_failures.push_front(ShownFailure {
                    at: answer.at.map(|at| format!("{at:.0}")).unwrap_or_default(),
                    code: failed.code,
                    connection,
                    task_id: answer.task_id.unwrap_or_else(|| "-".to_owned()),
                    file,
                    message: failed.message,
                });
                self.last_failures.truncate(LAST_FAILURES);
            }
        }
    }

    /// Adds a sample.
    pub fn look(&mut self, now: Instant, pods: Option<MetricsSample>) {
        self.now = now;
        self.looks.push_back((now, self.sums));
        while self.looks.len() > MAX_LOOKS
            || self.looks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= LATE)
        {
            self.looks.pop_front();
        }
        if let Some(before) = std::mem::replace(&mut self.pods, pods) {
            self.pods_before = Some((self.pods_at, before));
        }
        self.pods_at = now;
    }

    /// Between the last two samples.
    pub fn rates_now(&self) -> ThroughputRates {
        let last = self.looks.len().checked_sub(2).and_then(|at| self.looks.get(at));
        self.rates_since(last)
    }

    /// Of the last ten seconds, or so.
    pub fn rates_of_late(&self) -> ThroughputRates {
        self.rates_since(self.looks.front())
    }

    /// Since the beginning.
    pub fn rates(&self) -> ThroughputRates {
        self.rates_since(Some(&(self.begun, Counters::default())))
    }

    fn rates_since(&self, look: Option<&(Instant, Counters)>) -> ThroughputRates {
        let Some((at, before)) = look else { return ThroughputRates::default() };
        let seconds = self.now.duration_since(*at).as_secs_f64();
        ThroughputRates {
            completed: a_second(before.completed, self.sums.completed, seconds),
            failed: a_second(before.failed, self.sums.failed, seconds),
            bytes: a_second(before.bytes, self.sums.bytes, seconds),
        }
    }

    /// Tasks that a connection's pods answered, a second, between the last two samples.
    pub fn answered_rate(&self, connection: &str) -> Option<f64> {
        if let Some(rate) = self.pods.as_ref().and_then(|pods| pods.connections.get(connection)?.per_second) {
            return Some(rate);
        }
        let (at, before) = self.pods_before.as_ref()?;
        let seconds = self.now.duration_since(*at).as_secs_f64();
        let of =
            |scrape: &MetricsSample| scrape.connections.get(connection).map(|connection| connection.answered);
        let (before, now) = (of(before)?, of(self.pods.as_ref()?)?);
        // A pod that started again counts from nothing.
        (seconds > 0.0).then(|| (now - before).max(0.0) / seconds)
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn a_second(before: u64, now: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(bytes: u64) -> ReadAnswer {
        ReadAnswer { task_id: None, at: None, verdict: AnswerStatus::Completed { bytes } }
    }

    #[test]
    fn rates_are_those_of_the_last_look_of_late_and_of_all() {
        let begun = Instant::now();
        let mut state = WatchState::new(begun);
        for second in 1..=20 {
            let answers = if second == 20 { 10 } else { 1 };
            for _ in 0..answers {
                state.take(completed(100));
            }
            state.look(begun + Duration::from_secs(second), None);
        }
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(state.rates_now().completed, 10.0));
        assert!(near(state.rates_of_late().completed, 1.9));
        assert!(near(state.rates().bytes, 145.0));
        assert!(state.looks.len() <= 12);
    }

    #[test]
    fn the_last_failures_are_kept_and_no_more() {
        let mut state = WatchState::new(Instant::now());
        for number in 0..9 {
            let json = format!(
                r#"{{"task_id":"{number}","status":"failed","error":{{"code":"timeout","message":"m"}},
                "task":{{"source":{{"connection_id":"there"}}}}}}"#
            );
            state.take(ReadAnswer::read(Some(json.as_bytes())).unwrap());
        }
        let ids: Vec<&str> = state.last_failures.iter().map(|last| last.task_id.as_str()).collect();
        assert_eq!(ids, ["8", "7", "6", "5", "4"]);
        assert_eq!(state.failed_by_connection["there"], 9);
    }
}

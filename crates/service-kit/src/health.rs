//! Is the process alive, does it accept work, is it draining? Loops prove that they run by heartbeats, parts state why
//! the process is not ready, and `/health` and `/ready` ([`crate::http::probes`]) report both.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

/// How many reasons a report lists; it counts the rest.
const MAX_REASONS: usize = 20;

/// The source of `/health` and `/ready`. A process with additional reasons that depend on the time (a peer that has
/// been silent for too long) implements it around its [`Health`].
pub trait ReportHealth: fmt::Debug + Send + Sync + 'static {
    fn report(&self, now: Instant) -> HealthReport;
}

/// Written by the process's parts, read by its HTTP endpoints.
#[derive(Debug, Default)]
pub struct Health {
    loops: Mutex<Vec<Arc<Heartbeat>>>,
    not_ready: Mutex<BTreeMap<String, String>>,
    draining: AtomicBool,
}

impl Health {
    /// A loop that sends a beat at least once in `limit`; after a longer silence the process is not healthy.
    pub fn register_loop(&self, name: impl Into<Cow<'static, str>>, limit: Duration) -> Arc<Heartbeat> {
        let heartbeat = Arc::new(Heartbeat::new(name.into(), limit));
        lock(&self.loops).push(Arc::clone(&heartbeat));
        heartbeat
    }

    /// Until [`Health::clear_not_ready`] the process is not ready because of `subject`, which has one reason at a time.
    pub fn set_not_ready(&self, subject: impl Into<String>, reason: impl Into<String>) {
        lock(&self.not_ready).insert(subject.into(), reason.into());
    }

    pub fn clear_not_ready(&self, subject: &str) {
        lock(&self.not_ready).remove(subject);
    }

    /// From now on the process accepts no new work. This cannot be undone.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

impl ReportHealth for Health {
    /// `draining` comes first, then the subjects in order.
    fn report(&self, now: Instant) -> HealthReport {
        let draining = self.is_draining();
        let loops = lock(&self.loops).iter().map(|heartbeat| heartbeat.state(now, draining)).collect();
        let mut reasons: Vec<String> = draining.then(|| "draining".to_owned()).into_iter().collect();
        let subjects = lock(&self.not_ready);
        reasons.extend(
            subjects.iter().take(MAX_REASONS).map(|(subject, reason)| format!("{subject}: {reason}")),
        );
        if subjects.len() > MAX_REASONS {
            reasons.push(format!("{} more reasons", subjects.len() - MAX_REASONS));
        }
        HealthReport { loops, draining, reasons, notes: Vec::new() }
    }
}

/// Safe on a poisoned lock, since no value can be half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last time at which a condition held.
#[derive(Debug)]
pub struct LastSeen {
    created: Instant,
    last_ms: AtomicU64,
}

impl Default for LastSeen {
    fn default() -> Self {
        LastSeen { created: Instant::now(), last_ms: AtomicU64::new(0) }
    }
}

impl LastSeen {
    /// The condition holds now.
    pub fn mark(&self, now: Instant) {
        let age = now.saturating_duration_since(self.created).as_millis();
        self.last_ms.store(u64::try_from(age).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The time since then; since this was created if it never held.
    #[must_use]
    pub fn elapsed(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.created).saturating_sub(last)
    }
}

/// Proof that a loop is alive.
#[derive(Debug)]
pub struct Heartbeat {
    name: Cow<'static, str>,
    limit: Duration,
    last_beat: LastSeen,
    finished: AtomicBool,
}

impl Heartbeat {
    fn new(name: Cow<'static, str>, limit: Duration) -> Self {
        Heartbeat { name, limit, last_beat: LastSeen::default(), finished: AtomicBool::new(false) }
    }

    /// The loop is alive now.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    /// The loop is alive at this time.
    pub fn beat_at(&self, now: Instant) {
        self.last_beat.mark(now);
    }

    /// The loop has ended as intended: while the process drains its silence is not a fault.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    /// Beats twice within the limit for as long as this future is polled: spawned on a runtime, it proves that the
    /// runtime's workers are not blocked.
    pub async fn keep_beating(&self) {
        loop {
            self.beat();
            tokio::time::sleep(self.limit / 2).await;
        }
    }

    fn state(&self, now: Instant, draining: bool) -> LoopState {
        let silence = self.last_beat.elapsed(now);
        let is_excused = draining && self.finished.load(Ordering::Relaxed);
        LoopState {
            name: self.name.clone(),
            silence,
            limit: self.limit,
            stuck: !is_excused && silence > self.limit,
        }
    }
}

/// The process's state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport {
    pub loops: Vec<LoopState>,
    pub draining: bool,
    /// Why the process is not ready; empty if it is.
    pub reasons: Vec<String>,
    /// What an operator should know even if the process is ready.
    pub notes: Vec<String>,
}

impl HealthReport {
    /// Each loop is alive.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.loops.iter().any(|state| state.stuck)
    }

    /// The process accepts work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }

    /// The loops that have been silent for longer than their limit.
    #[must_use]
    pub fn stuck(&self) -> Vec<Cow<'static, str>> {
        self.loops.iter().filter(|state| state.stuck).map(|state| state.name.clone()).collect()
    }
}

/// One loop at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoopState {
    pub name: Cow<'static, str>,
    #[serde(rename = "silent_seconds", serialize_with = "seconds")]
    pub silence: Duration,
    #[serde(rename = "limit_seconds", serialize_with = "seconds")]
    pub limit: Duration,
    pub stuck: bool,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const MOMENT: Duration = Duration::from_millis(50);

    #[test]
    fn a_process_without_loops_and_reasons_is_healthy_and_ready() {
        let report = Health::default().report(Instant::now());
        assert!(report.is_healthy() && report.is_ready() && !report.draining);
    }

    #[test]
    fn a_loop_is_stuck_once_it_is_silent_for_longer_than_its_limit() {
        let health = Health::default();
        let (quick, slow) = (health.register_loop("quick", LIMIT), health.register_loop("slow", 2 * LIMIT));
        let start = quick.last_beat.created;
        slow.beat_at(start + LIMIT);
        assert!(health.report(start + LIMIT).is_healthy());
        let report = health.report(start + LIMIT + MOMENT);
        assert!(!report.is_healthy());
        assert_eq!(report.stuck(), ["quick"]);
        quick.beat_at(start + LIMIT);
        assert!(health.report(start + LIMIT + MOMENT).is_healthy());
    }

    #[test]
    fn a_loop_that_finished_is_not_stuck_while_the_process_drains() {
        let health = Health::default();
        let heartbeat = health.register_loop("worker-3".to_owned(), LIMIT);
        let long_after = heartbeat.last_beat.created + 20 * LIMIT;
        heartbeat.finish();
        assert_eq!(health.report(long_after).stuck(), ["worker-3"], "it finished without a drain");
        health.set_draining();
        assert!(health.report(long_after).is_healthy());
    }

    #[test]
    fn a_subject_has_one_reason_at_a_time_until_it_is_cleared() {
        let health = Health::default();
        health.set_not_ready("upstream b", "3 errors");
        health.set_not_ready("upstream b", "4 errors");
        assert_eq!(health.report(Instant::now()).reasons, ["upstream b: 4 errors"]);
        health.set_draining();
        assert_eq!(health.report(Instant::now()).reasons, ["draining", "upstream b: 4 errors"]);
        health.clear_not_ready("upstream b");
        assert_eq!(health.report(Instant::now()).reasons, ["draining"]);
    }

    #[test]
    fn many_reasons_are_listed_in_part_and_counted() {
        let health = Health::default();
        for number in 0..25 {
            health.set_not_ready(format!("upstream {number}"), "away");
        }
        let reasons = health.report(Instant::now()).reasons;
        assert_eq!(reasons.len(), MAX_REASONS + 1);
        assert_eq!(reasons.last().map(String::as_str), Some("5 more reasons"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_beats_by_itself() {
        let heartbeat = Arc::new(Heartbeat::new("runtime".into(), LIMIT));
        let start = heartbeat.last_beat.created;
        heartbeat.beat_at(start);
        let beating = Arc::clone(&heartbeat);
        tokio::spawn(async move { beating.keep_beating().await });
        tokio::time::sleep(LIMIT).await;
        assert!(heartbeat.last_beat.elapsed(Instant::now()) < LIMIT);
    }

    proptest! {
        #[test]
        fn silence_counts_from_the_last_beat_to_now_and_is_never_negative(
            beat_ms in 0_u64..100_000, now_ms in 0_u64..200_000,
        ) {
            let heartbeat = Heartbeat::new("any".into(), LIMIT);
            let start = heartbeat.last_beat.created;
            heartbeat.beat_at(start + Duration::from_millis(beat_ms));
            let state = heartbeat.state(start + Duration::from_millis(now_ms), false);
            prop_assert_eq!(state.silence, Duration::from_millis(now_ms.saturating_sub(beat_ms)));
            prop_assert_eq!(state.stuck, now_ms.saturating_sub(beat_ms) > 30_000);
        }
    }
}

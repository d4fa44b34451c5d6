//! A connection's circuit breaker. Pure: time and randomness are arguments.
//!
//! ```text
//! closed ── OPENS_AFTER failures in a row, or one refused password ──▶ open
//!   ▲                                                                 │ ▲
//!   │                                        until the next try is due│ │ the probe fails
//!   └──────────────── a success of the stage that failed ──────── half-open
//! ```
//!
//! Closed, it lets every worker try. Only failures that would affect every task of the connection count; a missing file
//! says nothing about the server. A refused password opens it at once and for long, because trying it for every task
//! locks the account. Half-open, one probe decides.
//!
//! There are two stages that can fail, and a success proves its own stage only:
//!
//! - Logins. A connection is unproven until a login has succeeded since the last one failed, and an unproven connection
//!   opens one session at a time: a server that hangs costs the pod one session, not the connection's whole share.
//!   Failed logins are spaced from the first one on. Open sessions continue to work meanwhile.
//! - Transfers: logins succeed, but no data connection does. Then open sessions are held back, too.
//!
//! If the route to the server is known to be lost (its tunnel is down), the breaker is open without a probe, and no
//! failure counts as an attempt, until the route is restored: the next login is then the probe.
//!
//! Meanwhile the tasks wait: in the pod at first, then in the retry topic (`dispatch::deferral`). Exceptions:
//!
//! - After `auth_failed`, all tasks of the connection get that answer without another login, until the next one
//!   is due.
//! - A task that cannot be deferred waits for [`UNAVAILABLE_AFTER`] at most, and for [`NO_RETRY_AFTER`] if
//!   its `retry_count` is 0.

use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{Code, Failure};

/// Failures in a row that open the breaker. Each counts as a try of some task; a probe's failure does not.
pub(crate) const OPENS_AFTER: u32 = 3;
/// The delay after the first failure; it doubles with each further one.
const SPACING: Duration = Duration::from_millis(250);
/// The maximum delay between two tries that fail.
const SPACING_CAP: Duration = Duration::from_secs(5);
/// The delay after the server refused user or password.
const AUTH_SPACING: Duration = Duration::from_secs(30);
const AUTH_SPACING_CAP: Duration = Duration::from_secs(300);
/// While the route is lost, a worker checks again after this, in case it was not notified.
const ROUTE_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// How long the result of a probe is awaited.
const PROBE_BOUND: Duration = Duration::from_secs(60);
/// A task with `retry_count: 0` is answered with the last login's failure after this.
pub(crate) const NO_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Every other task is answered `connection_unavailable` after this.
pub(crate) const UNAVAILABLE_AFTER: Duration = Duration::from_secs(600);

/// The state of a connection's breaker, as shown in metrics and on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    /// One probe is due or in progress.
    HalfOpen,
    Open,
}

impl BreakerState {
    /// The gauge's value.
    pub(crate) const fn value(self) -> i64 {
        match self {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        }
    }

    /// `closed`, `half-open` or `open`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::HalfOpen => "half-open",
            BreakerState::Open => "open",
        }
    }

    /// The gauge's value, in words.
    pub(crate) const fn name_of(value: i64) -> &'static str {
        match value {
            0 => BreakerState::Closed.as_str(),
            1 => BreakerState::HalfOpen.as_str(),
            _ => BreakerState::Open.as_str(),
        }
    }
}

/// Whether a session may be requested now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BreakerDecision {
    Try,
    Wait {
        until: Instant,
    },
    /// Not before this, and the tasks get this answer.
    Refused {
        until: Instant,
        failure: Failure,
    },
}

/// How many workers may try while the server is unproven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConcurrencyLimit {
    Any,
    /// One without a session, in addition to those that have one.
    OneSeeker,
    /// One in total.
    OneWorker,
}

/// One connection's breaker.
#[derive(Debug, Default)]
pub(crate) struct CircuitBreaker {
    is_proven: bool,
    window: Option<FailureWindow>,
    lost_route: Option<LostRoute>,
}

/// The server cannot be reached at all; its recovery will be signalled.
#[derive(Debug)]
struct LostRoute {
    since: Instant,
    failure: Failure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureStage {
    Login,
    Transfer,
}

/// From the first failure to the next success of its stage.
#[derive(Debug)]
struct FailureWindow {
    stage: FailureStage,
    since: Instant,
    /// Determines the delay between tries.
    failures: u32,
    /// Opens the breaker: a server that is full is reachable.
    strikes: u32,
    next_try: Instant,
    /// A probe is in progress, and prevents others until then.
    probing_until: Option<Instant>,
    last: Failure,
}

impl FailureWindow {
    fn is_open(&self) -> bool {
        self.strikes >= OPENS_AFTER
    }

    fn not_before(&self) -> Instant {
        self.probing_until.map_or(self.next_try, |probing| probing.max(self.next_try))
    }

    /// Logins are spaced even before the breaker opens.
    fn is_spaced(&self) -> bool {
        self.stage == FailureStage::Login || self.is_open()
    }
}

impl CircuitBreaker {
    pub fn state(&self, now: Instant) -> BreakerState {
        match &self.window {
            _ if self.lost_route.is_some() => BreakerState::Open,
            Some(window) if window.is_open() && now < window.next_try => BreakerState::Open,
            Some(window) if window.is_open() => BreakerState::HalfOpen,
            _ => BreakerState::Closed,
        }
    }

    /// The last failure, unless a success has followed.
    pub fn last_failure(&self) -> Option<&Failure> {
        self.trouble().map(|(_, last)| last)
    }

    /// The time of the first failure since the last success, when the next try is due, and the last failure.
    pub fn outage(&self) -> Option<(Instant, Instant, &Failure)> {
        self.window.as_ref().map(|window| (window.since, window.next_try, &window.last))
    }

    /// From the first failure to the next success.
    pub fn is_in_trouble(&self) -> bool {
        self.trouble().is_some()
    }

    /// Since when, and the last failure.
    fn trouble(&self) -> Option<(Instant, &Failure)> {
        let lost = self.lost_route.as_ref().map(|lost| (lost.since, &lost.failure));
        lost.or_else(|| self.window.as_ref().map(|window| (window.since, &window.last)))
    }

    /// The route to the server is lost.
    pub fn route_lost(&mut self, failure: Failure, now: Instant) {
        let since = self.lost_route.as_ref().map_or(now, |lost| lost.since);
        self.lost_route = Some(LostRoute { since, failure });
    }

    /// The route is restored: earlier failures no longer count, and one login shows the server's state. False if it was
    /// not lost.
    pub fn route_restored(&mut self) -> bool {
        let was_lost = self.lost_route.take().is_some();
        if was_lost {
            *self = CircuitBreaker::default();
        }
        was_lost
    }

    pub fn is_route_lost(&self) -> bool {
        self.lost_route.is_some()
    }

    pub fn decide(&self, now: Instant) -> BreakerDecision {
        match &self.window {
            _ if self.lost_route.is_some() => BreakerDecision::Wait { until: now + ROUTE_CHECK_INTERVAL },
            Some(window) if window.is_spaced() && now < window.not_before() => {
                let until = window.not_before();
                match window.last.code {
                    Code::AuthFailed => BreakerDecision::Refused { until, failure: window.last.clone() },
                    _ => BreakerDecision::Wait { until },
                }
            }
            _ => BreakerDecision::Try,
        }
    }

    pub fn concurrency(&self) -> ConcurrencyLimit {
        let is_held = |window: &FailureWindow| window.stage == FailureStage::Transfer && window.is_open();
        if self.window.as_ref().is_some_and(is_held) {
            ConcurrencyLimit::OneWorker
        } else if self.is_proven {
            ConcurrencyLimit::Any
        } else {
            ConcurrencyLimit::OneSeeker
        }
    }

    pub fn login_succeeded(&mut self) {
        self.is_proven = true;
        self.window.take_if(|window| window.stage == FailureStage::Login);
    }

    /// `jitter` is from 0 to 1.
    pub fn login_failed(&mut self, failure: Failure, now: Instant, jitter: f64) {
        self.is_proven = false;
        self.note(FailureStage::Login, 1, failure, now, jitter);
    }

    /// The server is full: it is reachable, but the next login must wait all the same.
    pub fn server_full(&mut self, failure: Failure, now: Instant, jitter: f64) {
        self.note(FailureStage::Login, 0, failure, now, jitter);
    }

    /// A session's try ended in a way that shows a working server, or nothing.
    pub fn transfer_worked(&mut self) {
        self.window.take_if(|window| window.stage == FailureStage::Transfer);
    }

    /// A session's try failed in a way in which every other would.
    pub fn transfer_failed(&mut self, failure: Failure, now: Instant, jitter: f64) {
        self.note(FailureStage::Transfer, 1, failure, now, jitter);
    }

    /// For a breaker whose probes are not limited by [`CircuitBreaker::concurrency`]: the next try is its probe, and
    /// others wait for its result, for at most [`PROBE_BOUND`].
    pub fn probe_begins(&mut self, now: Instant) {
        if let Some(window) = &mut self.window
            && window.is_open()
        {
            window.probing_until = Some(now + PROBE_BOUND);
        }
    }

    /// The probe is over, whatever its result.
    pub fn probe_ended(&mut self) {
        if let Some(window) = &mut self.window {
            window.probing_until = None;
        }
    }

    /// The last failure, if a task has waited for `patience` since it was queued or since the trouble began.
    pub fn failing_for(&self, patience: Duration, queued: Instant, now: Instant) -> Option<&Failure> {
        let (since, last) = self.trouble()?;
        let waited = now.saturating_duration_since(queued.max(since));
        (waited >= patience).then_some(last)
    }

    /// The answer of a task that has waited too long, since it was queued or since the trouble began.
    pub fn expired_answer(&self, queued: Instant, retry_count: u32, now: Instant) -> Option<Failure> {
        let (since, last) = self.trouble()?;
        let waited = now.saturating_duration_since(queued.max(since));
        if retry_count == 0 && waited >= NO_RETRY_AFTER {
            let message = format!("not tried again, retry_count is 0; the last try: {}", last.message);
            return Some(Failure { message, ..last.clone() });
        }
        (waited >= UNAVAILABLE_AFTER).then(|| Failure {
            code: Code::ConnectionUnavailable,
            message: format!("unusable for {} s; the last try: {last}", waited.as_secs()),
            ftp_code: last.ftp_code,
        })
    }

    /// Simultaneous failures count as one. Failed logins take precedence over failed transfers.
    fn note(&mut self, stage: FailureStage, strikes: u32, failure: Failure, now: Instant, jitter: f64) {
        match &self.window {
            Some(window) if window.stage == FailureStage::Login && stage == FailureStage::Transfer => return,
            Some(window) if window.stage != stage => self.window = None,
            _ => {}
        }
        let window = self.window.get_or_insert_with(|| FailureWindow {
            stage,
            since: now,
            failures: 0,
            strikes: 0,
            next_try: now,
            probing_until: None,
            last: failure.clone(),
        });
        let is_refusal = failure.code == Code::AuthFailed;
        if now >= window.next_try || is_refusal {
            let wait = spacing(failure.code, window.failures, jitter);
            window.failures = window.failures.saturating_add(1);
            window.strikes = window.strikes.saturating_add(if is_refusal { OPENS_AFTER } else { strikes });
            window.next_try = window.next_try.max(now + wait);
        }
        window.last = failure;
        debug_assert!(window.failures > 0 && window.next_try >= window.since, "{window:?}");
        debug_assert!(
            self.concurrency() != ConcurrencyLimit::OneWorker || self.state(now) != BreakerState::Closed,
            "workers are held back by a closed breaker"
        );
    }
}

/// Half of it is fixed, to spare the server, half is jitter.
fn spacing(code: Code, failures: u32, jitter: f64) -> Duration {
    let (base, cap) = match code {
        Code::AuthFailed => (AUTH_SPACING, AUTH_SPACING_CAP),
        _ => (SPACING, SPACING_CAP),
    };
    let longest = base.saturating_mul(2_u32.saturating_pow(failures)).min(cap);
    longest.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;

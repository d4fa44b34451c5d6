//! A connection's circuit breaker. Pure: time and randomness are arguments.
//!
//! Closed, it lets every lane try. [`OPENS_AFTER`] failures in a row that would befall every task of the
//! connection open it, a wrong password does at once and for long (trying one for every task locks the
//! account). Open, it lets nobody try until a time has come; then it is half-open, and one probe decides. A
//! file that is not there says nothing of the server, and is no failure here.
//!
//! Two stages can fail, and a success proves no more than its own:
//!
//! - Logins. A connection is unproven until a login has succeeded since the last one failed, and an unproven
//!   connection opens one session at a time: a server that hangs costs the pod one session, not the
//!   connection's whole share. Failed logins are spaced from the first one on. Sessions that are open
//!   meanwhile go on working.
//! - Transfers, where logins succeed and no data connection does. Sessions that are open are held, too.
//!
//! The tasks wait meanwhile: here for a moment, then in the retry topic ([`super::deferral`]). Some do not:
//!
//! - After `auth_failed`, all tasks of the connection get that answer without another login, until the
//!   time for the next one has come.
//! - A task that cannot be deferred waits for [`UNAVAILABLE_AFTER`] at most, and for [`NO_RETRY_AFTER`] if
//!   its `retry_count` is 0.

use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{Code, Failure};
pub(super) use crate::metrics::BreakerState as State;

/// Failures in a row that open the breaker. Each is a try of some task; a probe's failure costs none.
pub(super) const OPENS_AFTER: u32 = 3;
/// Between two tries, the first of which failed; twice that after the next, and so on.
const SPACING: Duration = Duration::from_millis(250);
/// Between two failing tries at most.
const SPACING_CAP: Duration = Duration::from_secs(5);
/// The same where the server refused user or password.
const AUTH_SPACING: Duration = Duration::from_secs(30);
const AUTH_SPACING_CAP: Duration = Duration::from_secs(300);
/// A task with `retry_count: 0` is answered with the last login's failure after this.
pub(super) const NO_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Every other task is answered `connection_unavailable` after this.
pub(super) const UNAVAILABLE_AFTER: Duration = Duration::from_secs(600);

/// May a session be sought now?
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Shut {
        until: Instant,
    },
    /// Nor before this, and the tasks get this answer.
    Refused {
        until: Instant,
        failure: Failure,
    },
}

/// How many lanes may be there that have no proof of the server yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowd {
    Any,
    /// One without a session, besides those that have one.
    OneSeeker,
    /// One at all.
    OneLane,
}

/// What is known of a connection's server.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    is_proven: bool,
    trouble: Option<Trouble>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Login,
    Transfer,
}

/// From the first failure to the next success of its stage.
#[derive(Debug)]
struct Trouble {
    stage: Stage,
    since: Instant,
    /// What spaces the tries.
    failures: u32,
    /// What opens the breaker: a server that is full is there.
    strikes: u32,
    next_try: Instant,
    last: Failure,
}

impl Trouble {
    fn is_open(&self) -> bool {
        self.strikes >= OPENS_AFTER
    }

    /// Logins are spaced even before the breaker opens.
    fn is_spaced(&self) -> bool {
        self.stage == Stage::Login || self.is_open()
    }
}

impl Breaker {
    pub fn state(&self, now: Instant) -> State {
        match &self.trouble {
            Some(trouble) if trouble.is_open() && now < trouble.next_try => State::Open,
            Some(trouble) if trouble.is_open() => State::HalfOpen,
            _ => State::Closed,
        }
    }

    /// The last failure, where no success has followed.
    pub fn last_failure(&self) -> Option<&Failure> {
        self.trouble.as_ref().map(|trouble| &trouble.last)
    }

    /// From the first failure to the next success.
    pub fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    pub fn gate(&self, now: Instant) -> Gate {
        match &self.trouble {
            Some(trouble) if trouble.is_spaced() && now < trouble.next_try => {
                let until = trouble.next_try;
                match trouble.last.code {
                    Code::AuthFailed => Gate::Refused { until, failure: trouble.last.clone() },
                    _ => Gate::Shut { until },
                }
            }
            _ => Gate::Open,
        }
    }

    pub fn crowd(&self) -> Crowd {
        let is_held = |trouble: &Trouble| trouble.stage == Stage::Transfer && trouble.is_open();
        if self.trouble.as_ref().is_some_and(is_held) {
            Crowd::OneLane
        } else if self.is_proven {
            Crowd::Any
        } else {
            Crowd::OneSeeker
        }
    }

    pub fn login_succeeded(&mut self) {
        self.is_proven = true;
        self.trouble.take_if(|trouble| trouble.stage == Stage::Login);
    }

    /// `jitter` is from 0 to 1.
    pub fn login_failed(&mut self, failure: Failure, now: Instant, jitter: f64) {
        self.is_proven = false;
        self.note(Stage::Login, 1, failure, now, jitter);
    }

    /// The server is full: there it is, but the next login must wait all the same.
    pub fn server_full(&mut self, failure: Failure, now: Instant, jitter: f64) {
        self.note(Stage::Login, 0, failure, now, jitter);
    }

    /// A session's try ended in a way that says something good of the server, or nothing.
    pub fn transfer_worked(&mut self) {
        self.trouble.take_if(|trouble| trouble.stage == Stage::Transfer);
    }

    /// A session's try failed in a way in which every other would.
    pub fn transfer_failed(&mut self, failure: Failure, now: Instant, jitter: f64) {
        self.note(Stage::Transfer, 1, failure, now, jitter);
    }

    /// The last failure, where a task has waited for `patience` since it was queued or since the trouble began.
    pub fn outlasts(&self, patience: Duration, queued: Instant, now: Instant) -> Option<&Failure> {
        let trouble = self.trouble.as_ref()?;
        let waited = now.saturating_duration_since(queued.max(trouble.since));
        (waited >= patience).then_some(&trouble.last)
    }

    /// The answer of a task that has waited too long, since it was queued or since the trouble began.
    pub fn overdue(&self, queued: Instant, retry_count: u32, now: Instant) -> Option<Failure> {
        let trouble = self.trouble.as_ref()?;
        let waited = now.saturating_duration_since(queued.max(trouble.since));
        let last = &trouble.last;
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

    /// Failures that come at the same time count as one. Trouble with logins hides trouble with transfers.
    fn note(&mut self, stage: Stage, strikes: u32, failure: Failure, now: Instant, jitter: f64) {
        match &self.trouble {
            Some(trouble) if trouble.stage == Stage::Login && stage == Stage::Transfer => return,
            Some(trouble) if trouble.stage != stage => self.trouble = None,
            _ => {}
        }
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            stage,
            since: now,
            failures: 0,
            strikes: 0,
            next_try: now,
            last: failure.clone(),
        });
        let is_refusal = failure.code == Code::AuthFailed;
        if now >= trouble.next_try || is_refusal {
            let wait = spacing(failure.code, trouble.failures, jitter);
            trouble.failures = trouble.failures.saturating_add(1);
            trouble.strikes = trouble.strikes.saturating_add(if is_refusal { OPENS_AFTER } else { strikes });
            trouble.next_try = trouble.next_try.max(now + wait);
        }
        trouble.last = failure;
    }
}

/// Half of it is sure, since the server is spared by it, half is jitter.
fn spacing(code: Code, failures: u32, jitter: f64) -> Duration {
    let (base, cap) = match code {
        Code::AuthFailed => (AUTH_SPACING, AUTH_SPACING_CAP),
        _ => (SPACING, SPACING_CAP),
    };
    let longest = base.saturating_mul(2_u32.saturating_pow(failures)).min(cap);
    longest.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failure(code: Code) -> Failure {
        Failure { ftp_code: Some(421), ..Failure::new(code, "no") }
    }

    #[test]
    fn a_login_proves_the_connection_and_a_failed_one_unproves_it() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.crowd(), Crowd::OneSeeker);
        breaker.login_succeeded();
        assert_eq!(breaker.crowd(), Crowd::Any);
        breaker.login_failed(failure(Code::ConnectFailed), Instant::now(), 0.0);
        assert_eq!(breaker.crowd(), Crowd::OneSeeker);
        breaker.login_succeeded();
        assert_eq!(breaker.gate(Instant::now()), Gate::Open);
    }

    #[test]
    fn failing_logins_are_spaced_more_and_more_up_to_the_cap() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..7 {
            breaker.login_failed(failure(Code::ConnectFailed), now, 1.0);
            let Gate::Shut { until } = breaker.gate(now) else { panic!("open") };
            waits.push((until - now).as_millis());
            now = until;
            assert_eq!(breaker.gate(now), Gate::Open);
        }
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
    }

    #[test]
    fn logins_that_fail_together_count_as_one() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            breaker.login_failed(failure(Code::Timeout), now, 1.0);
        }
        assert_eq!(breaker.gate(now), Gate::Shut { until: now + SPACING });
    }

    #[test]
    fn a_wrong_password_is_the_answer_to_all_for_a_while() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.login_failed(failure(Code::AuthFailed), now, 1.0);
        let (until, failure) = (now + 30 * SECOND, failure(Code::AuthFailed));
        assert_eq!(breaker.gate(now + 29 * SECOND), Gate::Refused { until, failure });
        assert_eq!(breaker.gate(now + 30 * SECOND), Gate::Open);
    }

    #[test]
    fn a_full_server_is_proven_but_left_alone() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.login_succeeded();
        breaker.server_full(failure(Code::ServerBusy), now, 1.0);
        assert_eq!(breaker.crowd(), Crowd::Any);
        assert!(matches!(breaker.gate(now), Gate::Shut { .. }));
    }

    #[test]
    fn no_task_waits_for_ever_and_one_without_retries_for_a_minute() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        assert_eq!(breaker.overdue(now, 0, now + UNAVAILABLE_AFTER), None, "nothing is wrong");
        breaker.login_failed(failure(Code::ConnectFailed), now, 1.0);
        assert_eq!(breaker.overdue(now, 0, now + 59 * SECOND), None);
        let answer = breaker.overdue(now, 0, now + NO_RETRY_AFTER).unwrap();
        assert_eq!((answer.code, answer.ftp_code), (Code::ConnectFailed, Some(421)));
        assert_eq!(breaker.overdue(now, 1, now + 599 * SECOND), None);
        let answer = breaker.overdue(now, 1, now + UNAVAILABLE_AFTER).unwrap();
        assert_eq!(answer.code, Code::ConnectionUnavailable);
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_one_probe_decides() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..2 {
            breaker.login_failed(failure(Code::ConnectFailed), now, 1.0);
            assert_eq!(breaker.state(now), State::Closed);
            now += SPACING_CAP;
        }
        breaker.login_failed(failure(Code::ConnectFailed), now, 1.0);
        assert_eq!(breaker.state(now), State::Open);
        now += SPACING_CAP;
        assert_eq!((breaker.state(now), breaker.crowd()), (State::HalfOpen, Crowd::OneSeeker));
        breaker.login_failed(failure(Code::ConnectFailed), now, 1.0);
        assert_eq!(breaker.state(now), State::Open);
        breaker.login_succeeded();
        assert_eq!((breaker.state(now), breaker.crowd()), (State::Closed, Crowd::Any));
    }

    #[test]
    fn a_wrong_password_opens_it_at_once() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.login_failed(failure(Code::AuthFailed), now, 0.0);
        assert_eq!(breaker.state(now + 14 * SECOND), State::Open, "for half the spacing at least");
    }

    #[test]
    fn a_full_server_does_not_open_it() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..20 {
            breaker.server_full(failure(Code::ServerBusy), now, 1.0);
            now += SPACING_CAP;
        }
        assert_eq!(breaker.state(now), State::Closed);
    }

    #[test]
    fn a_login_that_succeeds_proves_nothing_of_data_connections() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        breaker.login_succeeded();
        for _ in 0..OPENS_AFTER {
            assert_eq!((breaker.gate(now), breaker.crowd()), (Gate::Open, Crowd::Any));
            breaker.transfer_failed(failure(Code::Timeout), now, 1.0);
            breaker.login_succeeded();
            now += SECOND / 2;
        }
        assert_eq!((breaker.state(now), breaker.crowd()), (State::Open, Crowd::OneLane));
        breaker.transfer_worked();
        assert_eq!((breaker.state(now), breaker.crowd()), (State::Closed, Crowd::Any));
    }

    #[test]
    fn sessions_that_work_prove_nothing_of_logins() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.login_failed(failure(Code::AuthFailed), now, 1.0);
        breaker.transfer_worked();
        breaker.transfer_failed(failure(Code::Timeout), now, 1.0);
        assert!(matches!(breaker.gate(now), Gate::Refused { .. }));
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        LoginFailed,
        Refused,
        Full,
        LoginSucceeded,
        TransferFailed,
        TransferWorked,
        Pass(u64),
    }

    fn events() -> impl Strategy<Value = Vec<(Event, f64)>> {
        let event = prop_oneof![
            3 => Just(Event::LoginFailed),
            1 => Just(Event::Refused),
            1 => Just(Event::Full),
            1 => Just(Event::LoginSucceeded),
            3 => Just(Event::TransferFailed),
            1 => Just(Event::TransferWorked),
            6 => (0..8_000_u64).prop_map(Event::Pass),
        ];
        prop::collection::vec((event, 0.0..=1.0), 0..200)
    }

    proptest! {
        /// It opens for a reason, never stays shut for longer than its cap, and every success of the stage
        /// that failed closes it.
        #[test]
        fn whatever_happens_it_opens_for_a_reason_and_closes_again(events in events()) {
            let (mut breaker, mut now) = (Breaker::default(), Instant::now());
            let (mut failures_in_a_row, mut refused) = (0, false);
            for (event, jitter) in events {
                match event {
                    Event::LoginFailed => breaker.login_failed(failure(Code::ConnectFailed), now, jitter),
                    Event::Refused => breaker.login_failed(failure(Code::AuthFailed), now, jitter),
                    Event::Full => breaker.server_full(failure(Code::ServerBusy), now, jitter),
                    Event::LoginSucceeded => breaker.login_succeeded(),
                    Event::TransferFailed => breaker.transfer_failed(failure(Code::Timeout), now, jitter),
                    Event::TransferWorked => breaker.transfer_worked(),
                    Event::Pass(ms) => now += Duration::from_millis(ms),
                }
                match event {
                    Event::LoginFailed | Event::TransferFailed => failures_in_a_row += 1,
                    Event::Refused => refused = true,
                    _ => {}
                }
                if breaker.trouble.is_none() {
                    (failures_in_a_row, refused) = (0, false);
                    prop_assert_eq!(breaker.gate(now), Gate::Open);
                }
                if breaker.state(now) != State::Closed {
                    prop_assert!(refused || failures_in_a_row >= OPENS_AFTER);
                    prop_assert_ne!(breaker.crowd(), Crowd::Any);
                }
                let longest = if refused { AUTH_SPACING_CAP } else { SPACING_CAP };
                prop_assert_ne!(breaker.state(now + longest), State::Open);
                prop_assert_eq!(breaker.gate(now + longest), Gate::Open);
            }
            breaker.login_succeeded();
            breaker.transfer_worked();
            prop_assert_eq!((breaker.state(now), breaker.crowd()), (State::Closed, Crowd::Any));
        }
    }
}

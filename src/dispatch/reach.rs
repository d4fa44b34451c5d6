//! Whether a server can be reached, as the last logins tell. Pure: time and randomness are arguments.
//!
//! A connection is unproven until a login has succeeded since the last one failed, and an unproven
//! connection opens one session at a time: a server that hangs costs the pod one session, not the
//! connection's whole share. Failed logins are spaced; the tasks wait meanwhile, and each failed login is
//! charged to one of them. Two kinds of task do not wait:
//!
//! - After `auth_failed`, all tasks of the connection get that answer without another login, until the
//!   time for the next one has come: trying a wrong password for every task locks the account.
//! - A task waits for a server that cannot be reached for [`UNAVAILABLE_AFTER`] at most, and for
//!   [`NO_RETRY_AFTER`] if its `retry_count` is 0.

use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{Code, Failure};

/// Between two logins, the first of which failed; twice that after the next, and so on.
const LOGIN_SPACING: Duration = Duration::from_millis(250);
/// Between two failing logins at most.
const LOGIN_SPACING_CAP: Duration = Duration::from_secs(5);
/// The same where the server refused user or password.
const AUTH_SPACING: Duration = Duration::from_secs(30);
const AUTH_SPACING_CAP: Duration = Duration::from_secs(300);
/// A task with `retry_count: 0` is answered with the last login's failure after this.
pub(super) const NO_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Every other task is answered `connection_unavailable` after this.
pub(super) const UNAVAILABLE_AFTER: Duration = Duration::from_secs(600);

/// May a session be opened now?
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

/// What is known of a connection's server.
#[derive(Debug, Default)]
pub(super) struct Reach {
    is_proven: bool,
    trouble: Option<Trouble>,
}

/// From the first login that failed to the next that succeeds.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    failures: u32,
    next_login: Instant,
    last: Failure,
}

impl Reach {
    pub fn is_proven(&self) -> bool {
        self.is_proven
    }

    pub fn gate(&self, now: Instant) -> Gate {
        match &self.trouble {
            Some(trouble) if now < trouble.next_login => {
                let until = trouble.next_login;
                match trouble.last.code {
                    Code::AuthFailed => Gate::Refused { until, failure: trouble.last.clone() },
                    _ => Gate::Shut { until },
                }
            }
            _ => Gate::Open,
        }
    }

    pub fn login_succeeded(&mut self) {
        *self = Reach { is_proven: true, trouble: None };
    }

    /// `jitter` is from 0 to 1.
    pub fn login_failed(&mut self, failure: Failure, now: Instant, jitter: f64) {
        self.is_proven = false;
        self.note(failure, now, jitter);
    }

    /// The server is full: there it is, but the next login must wait all the same.
    pub fn server_full(&mut self, failure: Failure, now: Instant, jitter: f64) {
        self.note(failure, now, jitter);
    }

    /// The answer of a task that has waited too long, since it was queued or since the trouble began.
    pub fn overdue(&self, queued: Instant, retry_count: u32, now: Instant) -> Option<Failure> {
        let trouble = self.trouble.as_ref()?;
        let waited = now.saturating_duration_since(queued.max(trouble.since));
        let last = &trouble.last;
        if retry_count == 0 && waited >= NO_RETRY_AFTER {
            let message = format!("not tried again, retry_count is 0; the last login: {}", last.message);
            return Some(Failure { message, ..last.clone() });
        }
        (waited >= UNAVAILABLE_AFTER).then(|| Failure {
            code: Code::ConnectionUnavailable,
            message: format!("no login for {} s; the last one: {last}", waited.as_secs()),
            ftp_code: last.ftp_code,
        })
    }

    /// Logins that fail at the same time count as one.
    fn note(&mut self, failure: Failure, now: Instant, jitter: f64) {
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            since: now,
            failures: 0,
            next_login: now,
            last: failure.clone(),
        });
        if now >= trouble.next_login || failure.code == Code::AuthFailed {
            trouble.failures = trouble.failures.saturating_add(1);
            let wait = spacing(failure.code, trouble.failures - 1, jitter);
            trouble.next_login = trouble.next_login.max(now + wait);
        }
        trouble.last = failure;
    }
}

/// Half of it is sure, since the server is spared by it, half is jitter.
fn spacing(code: Code, failures: u32, jitter: f64) -> Duration {
    let (base, cap) = match code {
        Code::AuthFailed => (AUTH_SPACING, AUTH_SPACING_CAP),
        _ => (LOGIN_SPACING, LOGIN_SPACING_CAP),
    };
    let longest = base.saturating_mul(2_u32.saturating_pow(failures)).min(cap);
    longest.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failure(code: Code) -> Failure {
        Failure { ftp_code: Some(421), ..Failure::new(code, "no") }
    }

    #[test]
    fn a_login_proves_the_connection_and_a_failed_one_unproves_it() {
        let mut reach = Reach::default();
        assert!(!reach.is_proven());
        reach.login_succeeded();
        assert!(reach.is_proven());
        reach.login_failed(failure(Code::ConnectFailed), Instant::now(), 0.0);
        assert!(!reach.is_proven());
        reach.login_succeeded();
        assert_eq!(reach.gate(Instant::now()), Gate::Open);
    }

    #[test]
    fn failing_logins_are_spaced_more_and_more_up_to_the_cap() {
        let (mut reach, mut now) = (Reach::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..7 {
            reach.login_failed(failure(Code::ConnectFailed), now, 1.0);
            let Gate::Shut { until } = reach.gate(now) else { panic!("open") };
            waits.push((until - now).as_millis());
            now = until;
            assert_eq!(reach.gate(now), Gate::Open);
        }
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
    }

    #[test]
    fn logins_that_fail_together_count_as_one() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        for _ in 0..10 {
            reach.login_failed(failure(Code::Timeout), now, 1.0);
        }
        assert_eq!(reach.gate(now), Gate::Shut { until: now + LOGIN_SPACING });
    }

    #[test]
    fn a_wrong_password_is_the_answer_to_all_for_a_while() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        reach.login_failed(failure(Code::AuthFailed), now, 1.0);
        let (until, failure) = (now + 30 * SECOND, failure(Code::AuthFailed));
        assert_eq!(reach.gate(now + 29 * SECOND), Gate::Refused { until, failure });
        assert_eq!(reach.gate(now + 30 * SECOND), Gate::Open);
    }

    #[test]
    fn a_full_server_is_proven_but_left_alone() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        reach.login_succeeded();
        reach.server_full(failure(Code::ServerBusy), now, 1.0);
        assert!(reach.is_proven());
        assert!(matches!(reach.gate(now), Gate::Shut { .. }));
    }

    #[test]
    fn no_task_waits_for_ever_and_one_without_retries_for_a_minute() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        assert_eq!(reach.overdue(now, 0, now + UNAVAILABLE_AFTER), None, "nothing is wrong");
        reach.login_failed(failure(Code::ConnectFailed), now, 1.0);
        assert_eq!(reach.overdue(now, 0, now + 59 * SECOND), None);
        let answer = reach.overdue(now, 0, now + NO_RETRY_AFTER).unwrap();
        assert_eq!((answer.code, answer.ftp_code), (Code::ConnectFailed, Some(421)));
        assert_eq!(reach.overdue(now, 1, now + 599 * SECOND), None);
        let answer = reach.overdue(now, 1, now + UNAVAILABLE_AFTER).unwrap();
        assert_eq!(answer.code, Code::ConnectionUnavailable);
    }
}

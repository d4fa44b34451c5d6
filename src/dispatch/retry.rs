//! Whether and when a task is tried again: a pure function of the error and of the tries so far.

use std::time::Duration;

use crate::failure::{Code, Remedy, TryError};

/// The first wait; each further one may last twice as long.
pub(super) const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// No wait is longer.
pub(super) const BACKOFF_CAP: Duration = Duration::from_secs(60);
/// How many sessions in a row may die under one task before that counts as an attempt.
pub(super) const MAX_UNCOUNTED_SESSIONS: u32 = 3;
/// How many tries may be lost with the route to the server before that counts as an attempt.
const MAX_UNCOUNTED_ROUTE_LOSSES: u32 = 20;
/// How often the server may report that it is full before that counts as an attempt.
pub(super) const MAX_UNCOUNTED_REFUSALS: u32 = 8;

/// The decision about a task after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryDecision {
    AtOnce,
    After(Duration),
    /// The error is the task's answer.
    Answer,
}

/// The tries at one task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TryCount {
    /// How many tries were started, except uncounted ones.
    pub attempts: u32,
    /// Sessions that died under the task since its last try that counted.
    fresh: u32,
    /// Times that the server was full.
    refusals: u32,
    /// Times that the route to the server was lost.
    route_losses: u32,
}

impl TryCount {
    pub fn new(attempts: u32) -> Self {
        TryCount { attempts, ..TryCount::default() }
    }

    pub fn begin(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Whether the try that [`TryCount::begin`] started is the first one, uncounted ones included.
    pub fn is_first(&self) -> bool {
        self.attempts == 1 && self.fresh == 0 && self.refusals == 0 && self.route_losses == 0
    }

    /// The try that [`TryCount::begin`] started does not count.
    pub fn take_back(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
    }

    /// Whether the try, during which the route to the server was lost, does not count. This is limited, so that a task
    /// which itself breaks the route is not tried for ever.
    pub fn route_loss_is_uncounted(&mut self) -> bool {
        self.route_losses = self.route_losses.saturating_add(1);
        self.route_losses <= MAX_UNCOUNTED_ROUTE_LOSSES
    }

    /// What to do after the try that [`TryCount::begin`] started failed; `jitter` is from 0 to 1.
    pub fn failed(&mut self, error: &TryError, retry_count: u32, jitter: f64) -> RetryDecision {
        match error.remedy {
            // Trying a wrong password again and again locks the account.
            _ if error.failure.code == Code::AuthFailed => RetryDecision::Answer,
            Remedy::GiveUp => RetryDecision::Answer,
            Remedy::FreshSession if self.fresh < MAX_UNCOUNTED_SESSIONS => {
                self.fresh += 1;
                self.take_back();
                RetryDecision::AtOnce
            }
            Remedy::LowerLimit if self.refusals < MAX_UNCOUNTED_REFUSALS => {
                self.refusals += 1;
                self.take_back();
                RetryDecision::After(backoff(self.refusals - 1, jitter))
            }
            Remedy::FreshSession
            | Remedy::LowerLimit
            | Remedy::Wait
            | Remedy::OpenBreaker
            | Remedy::LocalOutage => {
                self.fresh = 0;
                if self.attempts > retry_count {
                    return RetryDecision::Answer;
                }
                RetryDecision::After(backoff(self.attempts.saturating_sub(1), jitter))
            }
        }
    }
}

/// Whether the route to the server may be the cause, if it has one that can be lost: the server has sent no reply.
pub(super) fn may_be_route_failure(error: &TryError) -> bool {
    let codes = [Code::ConnectFailed, Code::Timeout, Code::ProtocolError, Code::TlsFailed];
    error.failure.ftp_code.is_none() && codes.contains(&error.failure.code)
}

/// The wait before retry `n`, counted from 0: exponential, with full jitter, so that tasks that failed together do not
/// return together.
pub(super) fn backoff(n: u32, jitter: f64) -> Duration {
    let longest = BACKOFF_BASE.saturating_mul(2_u32.saturating_pow(n)).min(BACKOFF_CAP);
    longest.mul_f64(jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pool::fake::try_error;

    fn remedy() -> impl Strategy<Value = Remedy> {
        prop::sample::select(vec![
            Remedy::FreshSession,
            Remedy::LowerLimit,
            Remedy::Wait,
            Remedy::OpenBreaker,
            Remedy::LocalOutage,
            Remedy::GiveUp,
        ])
    }

    fn run(remedies: impl IntoIterator<Item = Remedy>, retry_count: u32) -> (TryCount, Vec<RetryDecision>) {
        let mut tries = TryCount::default();
        let mut nexts = Vec::new();
        for remedy in remedies {
            tries.begin();
            nexts.push(tries.failed(&try_error(Code::Timeout, remedy), retry_count, 1.0));
            if nexts.last() == Some(&RetryDecision::Answer) {
                break;
            }
        }
        (tries, nexts)
    }

    #[test]
    fn a_task_is_tried_again_as_often_as_it_asks_for() {
        let seconds = |n| RetryDecision::After(Duration::from_secs(n));
        let (tries, nexts) = run([Remedy::Wait; 9], 3);
        assert_eq!(nexts, [seconds(1), seconds(2), seconds(4), RetryDecision::Answer]);
        assert_eq!(tries.attempts, 4);
        assert_eq!(run([Remedy::Wait; 9], 0).0.attempts, 1);
    }

    #[test]
    fn sessions_that_die_cost_nothing_three_times_in_a_row() {
        let (tries, nexts) = run([Remedy::FreshSession; 9], 0);
        assert_eq!(
            nexts,
            [RetryDecision::AtOnce, RetryDecision::AtOnce, RetryDecision::AtOnce, RetryDecision::Answer]
        );
        assert_eq!(tries.attempts, 1);
    }

    #[test]
    fn a_full_server_costs_nothing_for_a_while() {
        let (tries, nexts) = run([Remedy::LowerLimit; 99], 1);
        assert_eq!(nexts.len(), MAX_UNCOUNTED_REFUSALS as usize + 2);
        assert_eq!(tries.attempts, 2);
    }

    #[test]
    fn a_wrong_password_is_not_tried_again() {
        let mut tries = TryCount::default();
        tries.begin();
        let error = try_error(Code::AuthFailed, Remedy::OpenBreaker);
        assert_eq!(tries.failed(&error, 100, 0.5), RetryDecision::Answer);
    }

    proptest! {
        #[test]
        fn every_task_is_answered_at_last_with_the_attempts_it_had(
            remedies in prop::collection::vec(remedy(), 600),
            retry_count in 0_u32..=100,
        ) {
            let (tries, nexts) = run(remedies, retry_count);
            prop_assert_eq!(nexts.last(), Some(&RetryDecision::Answer));
            prop_assert!((1..=retry_count + 1).contains(&tries.attempts));
        }

        #[test]
        fn no_wait_is_longer_than_the_cap(n in 0_u32..1_000, jitter in 0.0..=1.0) {
            prop_assert!(backoff(n, jitter) <= BACKOFF_CAP);
        }
    }
}

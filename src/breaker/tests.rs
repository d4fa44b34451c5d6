use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn failure(code: Code) -> Failure {
    Failure { ftp_code: Some(421), ..Failure::new(code, "no") }
}

#[test]
fn a_login_proves_the_connection_and_a_failed_one_unproves_it() {
    let mut breaker = CircuitBreaker::default();
    assert_eq!(breaker.concurrency(), ConcurrencyLimit::OneSeeker);
    breaker.login_succeeded();
    assert_eq!(breaker.concurrency(), ConcurrencyLimit::Any);
    breaker.login_failed(failure(Code::ConnectFailed), Instant::now(), 0.0);
    assert_eq!(breaker.concurrency(), ConcurrencyLimit::OneSeeker);
    breaker.login_succeeded();
    assert_eq!(breaker.decide(Instant::now()), BreakerDecision::Try);
}

#[test]
fn failing_logins_are_spaced_more_and_more_up_to_the_cap() {
    let (mut breaker, mut now) = (CircuitBreaker::default(), Instant::now());
    let mut waits = Vec::new();
    for _ in 0..7 {
        breaker.login_failed(failure(Code::ConnectFailed), now, 1.0);
        let BreakerDecision::Wait { until } = breaker.decide(now) else { panic!("open") };
        waits.push((until - now).as_millis());
        now = until;
        assert_eq!(breaker.decide(now), BreakerDecision::Try);
    }
    assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
}

#[test]
fn logins_that_fail_together_count_as_one() {
    let (mut breaker, now) = (CircuitBreaker::default(), Instant::now());
    for _ in 0..10 {
        breaker.login_failed(failure(Code::Timeout), now, 1.0);
    }
    assert_eq!(breaker.decide(now), BreakerDecision::Wait { until: now + SPACING });
}

#[test]
fn a_wrong_password_is_the_answer_to_all_for_a_while() {
    let (mut breaker, now) = (CircuitBreaker::default(), Instant::now());
    breaker.login_failed(failure(Code::AuthFailed), now, 1.0);
    let (until, failure) = (now + 30 * SECOND, failure(Code::AuthFailed));
    assert_eq!(breaker.decide(now + 29 * SECOND), BreakerDecision::Refused { until, failure });
    assert_eq!(breaker.decide(now + 30 * SECOND), BreakerDecision::Try);
}

#[test]
fn a_full_server_is_proven_but_left_alone() {
    let (mut breaker, now) = (CircuitBreaker::default(), Instant::now());
    breaker.login_succeeded();
    breaker.server_full(failure(Code::ServerBusy), now, 1.0);
    assert_eq!(breaker.concurrency(), ConcurrencyLimit::Any);
    assert!(matches!(breaker.decide(now), BreakerDecision::Wait { .. }));
}

#[test]
fn no_task_waits_for_ever_and_one_without_retries_for_a_minute() {
    let (mut breaker, now) = (CircuitBreaker::default(), Instant::now());
    assert_eq!(breaker.expired_answer(now, 0, now + UNAVAILABLE_AFTER), None, "nothing is wrong");
    breaker.login_failed(failure(Code::ConnectFailed), now, 1.0);
    assert_eq!(breaker.expired_answer(now, 0, now + 59 * SECOND), None);
    let answer = breaker.expired_answer(now, 0, now + NO_RETRY_AFTER).unwrap();
    assert_eq!((answer.code, answer.ftp_code), (Code::ConnectFailed, Some(421)));
    assert_eq!(breaker.expired_answer(now, 1, now + 599 * SECOND), None);
    let answer = breaker.expired_answer(now, 1, now + UNAVAILABLE_AFTER).unwrap();
    assert_eq!(answer.code, Code::ConnectionUnavailable);
}

#[test]
fn three_failures_in_a_row_open_it_and_one_probe_decides() {
    let (mut breaker, mut now) = (CircuitBreaker::default(), Instant::now());
    for _ in 0..2 {
        breaker.login_failed(failure(Code::ConnectFailed), now, 1.0);
        assert_eq!(breaker.state(now), BreakerState::Closed);
        now += SPACING_CAP;
    }
    breaker.login_failed(failure(Code::ConnectFailed), now, 1.0);
    assert_eq!(breaker.state(now), BreakerState::Open);
    now += SPACING_CAP;
    assert_eq!(
        (breaker.state(now), breaker.concurrency()),
        (BreakerState::HalfOpen, ConcurrencyLimit::OneSeeker)
    );
    breaker.login_failed(failure(Code::ConnectFailed), now, 1.0);
    assert_eq!(breaker.state(now), BreakerState::Open);
    breaker.login_succeeded();
    assert_eq!((breaker.state(now), breaker.concurrency()), (BreakerState::Closed, ConcurrencyLimit::Any));
}

#[test]
fn a_wrong_password_opens_it_at_once() {
    let (mut breaker, now) = (CircuitBreaker::default(), Instant::now());
    breaker.login_failed(failure(Code::AuthFailed), now, 0.0);
    assert_eq!(breaker.state(now + 14 * SECOND), BreakerState::Open, "for half the spacing at least");
}

#[test]
fn a_full_server_does_not_open_it() {
    let (mut breaker, mut now) = (CircuitBreaker::default(), Instant::now());
    for _ in 0..20 {
        breaker.server_full(failure(Code::ServerBusy), now, 1.0);
        now += SPACING_CAP;
    }
    assert_eq!(breaker.state(now), BreakerState::Closed);
}

#[test]
fn a_login_that_succeeds_proves_nothing_of_data_connections() {
    let (mut breaker, mut now) = (CircuitBreaker::default(), Instant::now());
    breaker.login_succeeded();
    for _ in 0..OPENS_AFTER {
        assert_eq!(
            (breaker.decide(now), breaker.concurrency()),
            (BreakerDecision::Try, ConcurrencyLimit::Any)
        );
        breaker.transfer_failed(failure(Code::Timeout), now, 1.0);
        breaker.login_succeeded();
        now += SECOND / 2;
    }
    assert_eq!(
        (breaker.state(now), breaker.concurrency()),
        (BreakerState::Open, ConcurrencyLimit::OneWorker)
    );
    breaker.transfer_worked();
    assert_eq!((breaker.state(now), breaker.concurrency()), (BreakerState::Closed, ConcurrencyLimit::Any));
}

#[test]
fn sessions_that_work_prove_nothing_of_logins() {
    let (mut breaker, now) = (CircuitBreaker::default(), Instant::now());
    breaker.login_failed(failure(Code::AuthFailed), now, 1.0);
    breaker.transfer_worked();
    breaker.transfer_failed(failure(Code::Timeout), now, 1.0);
    assert!(matches!(breaker.decide(now), BreakerDecision::Refused { .. }));
}

#[derive(Clone, Copy, Debug)]
enum ServerEvent {
    LoginFailed,
    Refused,
    Full,
    LoginSucceeded,
    TransferFailed,
    TransferWorked,
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<(ServerEvent, f64)>> {
    let event = prop_oneof![
        3 => Just(ServerEvent::LoginFailed),
        1 => Just(ServerEvent::Refused),
        1 => Just(ServerEvent::Full),
        1 => Just(ServerEvent::LoginSucceeded),
        3 => Just(ServerEvent::TransferFailed),
        1 => Just(ServerEvent::TransferWorked),
        6 => (0..8_000_u64).prop_map(ServerEvent::Pass),
    ];
    prop::collection::vec((event, 0.0..=1.0), 0..200)
}

proptest! {
    /// It opens for a reason, never stays shut for longer than its cap, and every success of the stage
    /// that failed closes it.
    #[test]
    fn whatever_happens_it_opens_for_a_reason_and_closes_again(events in events()) {
        let (mut breaker, mut now) = (CircuitBreaker::default(), Instant::now());
        let (mut failures_in_a_row, mut refused) = (0, false);
        for (event, jitter) in events {
            match event {
                ServerEvent::LoginFailed => breaker.login_failed(failure(Code::ConnectFailed), now, jitter),
                ServerEvent::Refused => breaker.login_failed(failure(Code::AuthFailed), now, jitter),
                ServerEvent::Full => breaker.server_full(failure(Code::ServerBusy), now, jitter),
                ServerEvent::LoginSucceeded => breaker.login_succeeded(),
                ServerEvent::TransferFailed => breaker.transfer_failed(failure(Code::Timeout), now, jitter),
                ServerEvent::TransferWorked => breaker.transfer_worked(),
                ServerEvent::Pass(ms) => now += Duration::from_millis(ms),
            }
            match event {
                ServerEvent::LoginFailed | ServerEvent::TransferFailed => failures_in_a_row += 1,
                ServerEvent::Refused => refused = true,
                _ => {}
            }
            if breaker.window.is_none() {
                (failures_in_a_row, refused) = (0, false);
                prop_assert_eq!(breaker.decide(now), BreakerDecision::Try);
            }
            if breaker.state(now) != BreakerState::Closed {
                prop_assert!(refused || failures_in_a_row >= OPENS_AFTER);
                prop_assert_ne!(breaker.concurrency(), ConcurrencyLimit::Any);
            }
            let longest = if refused { AUTH_SPACING_CAP } else { SPACING_CAP };
            prop_assert_ne!(breaker.state(now + longest), BreakerState::Open);
            prop_assert_eq!(breaker.decide(now + longest), BreakerDecision::Try);
        }
        breaker.login_succeeded();
        breaker.transfer_worked();
        prop_assert_eq!((breaker.state(now), breaker.concurrency()), (BreakerState::Closed, ConcurrencyLimit::Any));
    }
}

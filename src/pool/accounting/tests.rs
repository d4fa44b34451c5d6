#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use super::limit::{IDLE_WHILE_SCARCE, LIMIT_RISES_AFTER};
use super::*;

pub(super) const POD: usize = 5;
pub(super) const CAPS: [(&str, usize); 4] = [("a", 3), ("b", 3), ("c", 1), ("d", 9)];

pub(super) fn accounting(cap: usize, caps: &[(&str, usize)]) -> (SessionAccounting, Instant) {
    let now = Instant::now();
    (SessionAccounting::new(cap, caps.iter().map(|(name, cap)| (Arc::from(*name), *cap)), now), now)
}

/// The only grant to connect, as it must be.
fn granted(accounting: &mut SessionAccounting) -> SessionId {
    match accounting.take_actions().as_slice() {
        [AccountingAction::MayConnect { session, .. }] => *session,
        other => panic!("{other:?}"),
    }
}

fn busy(accounting: &mut SessionAccounting, connection: &str) -> SessionId {
    accounting.wait(connection, None).unwrap();
    let session = granted(accounting);
    accounting.opened(session);
    session
}

#[test]
fn an_idle_session_is_offered_before_a_new_one() {
    let (mut accounting, now) = accounting(5, &[("a", 3)]);
    let session = busy(&mut accounting, "a");
    assert_eq!(accounting.make_idle(session, now), None);
    let waiter = accounting.wait("a", None).unwrap();
    assert_eq!(accounting.take_actions(), [AccountingAction::TakeIdle { waiter, connection: "a".into() }]);
    assert!(accounting.claim(session));
    accounting.release_hold("a");
    assert_eq!(accounting.counts("a"), SessionsByState { busy: 1, ..SessionsByState::default() });
}

#[test]
fn a_full_pod_closes_the_longest_idle_session_of_another_connection() {
    let (mut accounting, now) = accounting(3, &[("a", 3), ("b", 3)]);
    let sessions = [busy(&mut accounting, "a"), busy(&mut accounting, "a"), busy(&mut accounting, "a")];
    for (session, second) in [(sessions[1], 1), (sessions[0], 2)] {
        accounting.make_idle(session, now + Duration::from_secs(second));
    }
    accounting.wait("b", None).unwrap();
    let close = AccountingAction::Close {
        connection: "a".into(),
        session: sessions[1],
        reason: CloseReason::MadeRoom,
    };
    assert_eq!(accounting.take_actions(), [close], "and nothing is opened before it is closed");
    accounting.session_closed(sessions[1]);
    granted(&mut accounting);
    assert_eq!(accounting.open(), 3);
}

#[test]
fn a_session_kept_for_a_waiter_is_not_closed_for_another() {
    let (mut accounting, now) = accounting(1, &[("a", 1), ("b", 1)]);
    let session = busy(&mut accounting, "a");
    accounting.make_idle(session, now);
    accounting.wait("a", None).unwrap();
    accounting.take_actions();
    accounting.wait("b", None).unwrap();
    accounting.expire(now + Duration::from_secs(999), Duration::from_secs(1));
    assert_eq!(accounting.take_actions(), []);
    accounting.release_hold("a"); // it did not take it
    assert!(matches!(*accounting.take_actions(), [AccountingAction::Close { .. }]));
}

#[test]
fn the_connection_with_the_fewest_sessions_is_served_first_then_who_came_first() {
    let (mut accounting, _) = accounting(3, &[("a", 3), ("b", 3), ("c", 3)]);
    let first = busy(&mut accounting, "a");
    let second = busy(&mut accounting, "a");
    let third = busy(&mut accounting, "b");
    let waiters = ["a", "b", "c"].map(|name| accounting.wait(name, None).unwrap());
    let mut served = Vec::new();
    for session in [first, second, third] {
        accounting.session_closed(session);
        for action in accounting.take_actions() {
            let AccountingAction::MayConnect { waiter, .. } = action else { panic!("{action:?}") };
            served.push(waiter);
        }
    }
    assert_eq!(served, [waiters[2], waiters[0], waiters[1]], "c has none; then a and b have one each");
}

#[test]
fn a_holder_yields_to_one_who_would_have_fewer_and_only_one_does() {
    let (mut accounting, _) = accounting(5, &[("a", 5), ("b", 5)]);
    let sessions: Vec<_> = (0..5).map(|_| busy(&mut accounting, "a")).collect();
    accounting.wait("b", None).unwrap();
    assert!(accounting.must_yield(sessions[0], Duration::ZERO).is_some());
    assert!(
        accounting.must_yield(sessions[1], Duration::from_secs(99)).is_none(),
        "one waiter needs one session"
    );
    accounting.session_closed(sessions[0]);
    let session = granted(&mut accounting);
    accounting.opened(session);
    accounting.wait("b", None).unwrap();
    assert!(accounting.must_yield(sessions[1], Duration::ZERO).is_some(), "4 and 1 become 3 and 2");
}

#[test]
fn three_and_two_in_a_pod_of_five_is_balanced() {
    let (mut accounting, _) = accounting(5, &[("a", 3), ("b", 3)]);
    let holders: Vec<_> = ["a", "a", "a", "b", "b"].map(|name| busy(&mut accounting, name)).into();
    accounting.wait("b", None).unwrap();
    assert!(holders.iter().all(|session| accounting.must_yield(*session, Duration::from_secs(99)).is_none()));
}

#[test]
fn who_has_no_session_gets_one_after_a_quantum() {
    let (mut accounting, _) = accounting(1, &[("a", 1), ("b", 1)]);
    let session = busy(&mut accounting, "a");
    accounting.wait("b", None).unwrap();
    assert!(accounting.must_yield(session, QUANTUM / 2).is_none());
    assert!(accounting.must_yield(session, QUANTUM).is_some());
}

#[test]
fn a_limit_falls_below_what_is_open_and_rises_again_in_time() {
    let (mut accounting, now) = accounting(9, &[("a", 4)]);
    let sessions = [busy(&mut accounting, "a"), busy(&mut accounting, "a"), busy(&mut accounting, "a")];
    accounting.lower_limit("a", now);
    assert_eq!(accounting.limit("a"), 2);
    assert!(accounting.must_yield(sessions[0], Duration::ZERO).is_some(), "one too many");
    assert!(accounting.must_yield(sessions[1], Duration::ZERO).is_none());
    accounting.wait("a", None).unwrap();
    accounting.session_closed(sessions[0]);
    assert_eq!(accounting.take_actions(), [], "two of two are open");
    accounting.raise_limits(now + LIMIT_RISES_AFTER / 2);
    assert_eq!(accounting.limit("a"), 2);
    accounting.raise_limits(now + LIMIT_RISES_AFTER);
    granted(&mut accounting);
    for n in 2..9 {
        accounting.raise_limits(now + LIMIT_RISES_AFTER * n);
    }
    assert_eq!(accounting.limit("a"), 4, "not above the cap");
}

#[test]
fn a_server_that_is_free_again_is_soon_used_again_and_one_that_stays_full_is_seldom_asked() {
    let (mut accounting, begun) = accounting(20, &[("a", 10)]);
    busy(&mut accounting, "a");
    accounting.lower_limit("a", begun);
    let seconds = |n| begun + Duration::from_secs(n);
    let risen: Vec<u64> = (1..600)
        .filter(|n| {
            let before = accounting.limit("a");
            accounting.raise_limits(seconds(*n));
            accounting.limit("a") > before
        })
        .collect();
    assert_eq!(risen, [60, 90, 105, 113, 118, 123, 128, 133, 138]);

    // Each session more is refused.
    let (mut accounting, begun) = self::accounting(20, &[("a", 10)]);
    busy(&mut accounting, "a");
    accounting.lower_limit("a", begun);
    let mut asked = Vec::new();
    for n in 1..1500 {
        let now = begun + Duration::from_secs(n);
        accounting.raise_limits(now);
        if accounting.limit("a") > 1 {
            asked.push(n);
            let refused = busy(&mut accounting, "a");
            accounting.lower_limit("a", now);
            accounting.session_closed(refused);
        }
    }
    assert_eq!(asked, [60, 180, 420, 720, 1020, 1320]);
}

#[test]
fn where_sessions_are_scarce_idle_ones_are_closed_soon() {
    let (long, soon) = (Duration::from_secs(300), IDLE_WHILE_SCARCE);
    let rested = |scarce: bool, own: Option<Duration>| {
        let (mut accounting, now) = accounting(9, &[("a", 4)]);
        let sessions = [busy(&mut accounting, "a"), busy(&mut accounting, "a")];
        if let Some(own) = own {
            accounting.set_limits(&"a".into(), 4, Some(own), now);
        }
        if scarce {
            accounting.lower_limit("a", now);
            accounting.session_closed(sessions[1]);
        }
        assert_eq!(accounting.make_idle(sessions[0], now), None);
        accounting.expire(now + soon, long);
        accounting.counts("a").closing
    };
    assert_eq!(rested(true, None), 1);
    assert_eq!(rested(false, None), 0);
    assert_eq!(rested(true, Some(long)), 0, "the connection's own time is what was asked for");
}

#[test]
fn a_connection_with_all_its_sessions_soon_leaves_one_to_others_and_keeps_the_rest() {
    let (long, soon) = (Duration::from_secs(300), IDLE_WHILE_SCARCE);
    let closed_of = |own: Option<Duration>| {
        let (mut accounting, now) = accounting(9, &[("a", 3)]);
        let sessions: Vec<_> = (0..3).map(|_| busy(&mut accounting, "a")).collect();
        accounting.set_limits(&"a".into(), 3, own, now);
        for session in sessions {
            assert_eq!(accounting.make_idle(session, now), None);
        }
        let closing = |accounting: &mut SessionAccounting, after: Duration| {
            accounting.expire(now + after, long);
            accounting.counts("a").closing
        };
        [
            closing(&mut accounting, soon * 9 / 10),
            closing(&mut accounting, soon),
            closing(&mut accounting, long * 9 / 10),
            closing(&mut accounting, long),
        ]
    };
    assert_eq!(closed_of(None), [0, 1, 1, 3]);
    assert_eq!(closed_of(Some(long)), [0, 0, 0, 3], "the connection's own time is what was asked for");
}

#[test]
fn the_lowest_limit_is_one() {
    let (mut accounting, now) = accounting(9, &[("a", 4)]);
    busy(&mut accounting, "a");
    accounting.lower_limit("a", now);
    accounting.lower_limit("a", now);
    assert_eq!(accounting.limit("a"), 1);
}

#[test]
fn a_closed_room_closes_what_is_idle_and_what_comes_back() {
    let (mut accounting, now) = accounting(1, &[("a", 2), ("b", 2)]);
    let session = busy(&mut accounting, "a");
    accounting.wait("b", None).unwrap();
    accounting.close();
    assert_eq!(accounting.wait("a", None), None);
    assert_eq!(accounting.make_idle(session, now), Some(CloseReason::Shutdown));
    accounting.session_closed(session);
    assert_eq!(accounting.take_actions(), [], "nobody waits any more");
}

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use super::limit::IDLE_WHILE_SCARCE;
use super::*;

pub(super) const POD: usize = 5;
pub(super) const CAPS: [(&str, usize); 4] = [("a", 3), ("b", 3), ("c", 1), ("d", 9)];

pub(super) fn room(cap: usize, caps: &[(&str, usize)]) -> (Room, Instant) {
    let now = Instant::now();
    (Room::new(cap, caps.iter().map(|(name, cap)| (Arc::from(*name), *cap)), now), now)
}

/// The only grant to connect, as it must be.
fn granted(room: &mut Room) -> SessionId {
    match room.take_actions().as_slice() {
        [Action::MayConnect { session, .. }] => *session,
        other => panic!("{other:?}"),
    }
}

fn busy(room: &mut Room, connection: &str) -> SessionId {
    room.wait(connection, None).unwrap();
    let session = granted(room);
    room.opened(session);
    session
}

#[test]
fn an_idle_session_is_offered_before_a_new_one() {
    let (mut room, now) = room(5, &[("a", 3)]);
    let session = busy(&mut room, "a");
    assert_eq!(room.rest(session, now), None);
    let ticket = room.wait("a", None).unwrap();
    assert_eq!(room.take_actions(), [Action::LookForWarm { ticket, connection: "a".into() }]);
    assert!(room.claim(session));
    room.settle("a");
    assert_eq!(room.counts("a"), Counts { busy: 1, ..Counts::default() });
}

#[test]
fn a_full_pod_closes_the_longest_idle_session_of_another_connection() {
    let (mut room, now) = room(3, &[("a", 3), ("b", 3)]);
    let sessions = [busy(&mut room, "a"), busy(&mut room, "a"), busy(&mut room, "a")];
    for (session, second) in [(sessions[1], 1), (sessions[0], 2)] {
        room.rest(session, now + Duration::from_secs(second));
    }
    room.wait("b", None).unwrap();
    let close = Action::Close { connection: "a".into(), session: sessions[1], reason: Closed::MadeRoom };
    assert_eq!(room.take_actions(), [close], "and nothing is opened before it is closed");
    room.released(sessions[1]);
    granted(&mut room);
    assert_eq!(room.open(), 3);
}

#[test]
fn a_session_kept_for_a_waiter_is_not_closed_for_another() {
    let (mut room, now) = room(1, &[("a", 1), ("b", 1)]);
    let session = busy(&mut room, "a");
    room.rest(session, now);
    room.wait("a", None).unwrap();
    room.take_actions();
    room.wait("b", None).unwrap();
    room.expire(now + Duration::from_secs(999), Duration::from_secs(1));
    assert_eq!(room.take_actions(), []);
    room.settle("a"); // it did not take it
    assert!(matches!(*room.take_actions(), [Action::Close { .. }]));
}

#[test]
fn the_connection_with_the_fewest_sessions_is_served_first_then_who_came_first() {
    let (mut room, _) = room(3, &[("a", 3), ("b", 3), ("c", 3)]);
    let first = busy(&mut room, "a");
    let second = busy(&mut room, "a");
    let third = busy(&mut room, "b");
    let waiters = ["a", "b", "c"].map(|name| room.wait(name, None).unwrap());
    let mut served = Vec::new();
    for session in [first, second, third] {
        room.released(session);
        for action in room.take_actions() {
            let Action::MayConnect { ticket, .. } = action else { panic!("{action:?}") };
            served.push(ticket);
        }
    }
    assert_eq!(served, [waiters[2], waiters[0], waiters[1]], "c has none; then a and b have one each");
}

#[test]
fn a_holder_yields_to_one_who_would_have_fewer_and_only_one_does() {
    let (mut room, _) = room(5, &[("a", 5), ("b", 5)]);
    let sessions: Vec<_> = (0..5).map(|_| busy(&mut room, "a")).collect();
    room.wait("b", None).unwrap();
    assert!(room.yields(sessions[0], Duration::ZERO).is_some());
    assert!(room.yields(sessions[1], Duration::from_secs(99)).is_none(), "one waiter needs one session");
    room.released(sessions[0]);
    let session = granted(&mut room);
    room.opened(session);
    room.wait("b", None).unwrap();
    assert!(room.yields(sessions[1], Duration::ZERO).is_some(), "4 and 1 become 3 and 2");
}

#[test]
fn three_and_two_in_a_pod_of_five_is_balanced() {
    let (mut room, _) = room(5, &[("a", 3), ("b", 3)]);
    let holders: Vec<_> = ["a", "a", "a", "b", "b"].map(|name| busy(&mut room, name)).into();
    room.wait("b", None).unwrap();
    assert!(holders.iter().all(|session| room.yields(*session, Duration::from_secs(99)).is_none()));
}

#[test]
fn who_has_no_session_gets_one_after_a_quantum() {
    let (mut room, _) = room(1, &[("a", 1), ("b", 1)]);
    let session = busy(&mut room, "a");
    room.wait("b", None).unwrap();
    assert!(room.yields(session, QUANTUM / 2).is_none());
    assert!(room.yields(session, QUANTUM).is_some());
}

#[test]
fn a_limit_falls_below_what_is_open_and_rises_again_in_time() {
    let (mut room, now) = room(9, &[("a", 4)]);
    let sessions = [busy(&mut room, "a"), busy(&mut room, "a"), busy(&mut room, "a")];
    room.lower_limit("a", now);
    assert_eq!(room.limit("a"), 2);
    assert!(room.yields(sessions[0], Duration::ZERO).is_some(), "one too many");
    assert!(room.yields(sessions[1], Duration::ZERO).is_none());
    room.wait("a", None).unwrap();
    room.released(sessions[0]);
    assert_eq!(room.take_actions(), [], "two of two are open");
    room.raise_limits(now + LIMIT_RISES_AFTER / 2);
    assert_eq!(room.limit("a"), 2);
    room.raise_limits(now + LIMIT_RISES_AFTER);
    granted(&mut room);
    for n in 2..9 {
        room.raise_limits(now + LIMIT_RISES_AFTER * n);
    }
    assert_eq!(room.limit("a"), 4, "not above the cap");
}

#[test]
fn a_server_that_is_free_again_is_soon_used_again_and_one_that_stays_full_is_seldom_asked() {
    let (mut room, begun) = room(20, &[("a", 10)]);
    busy(&mut room, "a");
    room.lower_limit("a", begun);
    let seconds = |n| begun + Duration::from_secs(n);
    let risen: Vec<u64> = (1..600)
        .filter(|n| {
            let before = room.limit("a");
            room.raise_limits(seconds(*n));
            room.limit("a") > before
        })
        .collect();
    assert_eq!(risen, [60, 90, 105, 113, 118, 123, 128, 133, 138]);

    // Each session more is refused.
    let (mut room, begun) = self::room(20, &[("a", 10)]);
    busy(&mut room, "a");
    room.lower_limit("a", begun);
    let mut asked = Vec::new();
    for n in 1..1500 {
        let now = begun + Duration::from_secs(n);
        room.raise_limits(now);
        if room.limit("a") > 1 {
            asked.push(n);
            let refused = busy(&mut room, "a");
            room.lower_limit("a", now);
            room.released(refused);
        }
    }
    assert_eq!(asked, [60, 180, 420, 720, 1020, 1320]);
}

#[test]
fn where_sessions_are_scarce_idle_ones_are_closed_soon() {
    let (long, soon) = (Duration::from_secs(300), IDLE_WHILE_SCARCE);
    let rested = |scarce: bool, own: Option<Duration>| {
        let (mut room, now) = room(9, &[("a", 4)]);
        let sessions = [busy(&mut room, "a"), busy(&mut room, "a")];
        if let Some(own) = own {
            room.set_limits(&"a".into(), 4, Some(own), now);
        }
        if scarce {
            room.lower_limit("a", now);
            room.released(sessions[1]);
        }
        assert_eq!(room.rest(sessions[0], now), None);
        room.expire(now + soon, long);
        room.counts("a").closing
    };
    assert_eq!(rested(true, None), 1);
    assert_eq!(rested(false, None), 0);
    assert_eq!(rested(true, Some(long)), 0, "the connection's own time is what was asked for");
}

#[test]
fn the_lowest_limit_is_one() {
    let (mut room, now) = room(9, &[("a", 4)]);
    busy(&mut room, "a");
    room.lower_limit("a", now);
    room.lower_limit("a", now);
    assert_eq!(room.limit("a"), 1);
}

#[test]
fn a_closed_room_closes_what_is_idle_and_what_comes_back() {
    let (mut room, now) = room(1, &[("a", 2), ("b", 2)]);
    let session = busy(&mut room, "a");
    room.wait("b", None).unwrap();
    room.close();
    assert_eq!(room.wait("a", None), None);
    assert_eq!(room.rest(session, now), Some(Closed::Shutdown));
    room.released(session);
    assert_eq!(room.take_actions(), [], "nobody waits any more");
}

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const POD: usize = 5;
const CAPS: [(&str, usize); 4] = [("a", 3), ("b", 3), ("c", 1), ("d", 9)];

fn room(cap: usize, caps: &[(&str, usize)]) -> (Room, Instant) {
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

/// What a caller may do; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    Wait(usize),
    Withdraw(usize),
    Look(usize, bool),
    Opened(usize),
    Rest(usize),
    Yield(usize),
    Doom(usize),
    Release(usize),
    LowerLimit(usize),
    Later(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..CAPS.len()).prop_map(Op::Wait),
        1 => any::<usize>().prop_map(Op::Withdraw),
        4 => any::<(usize, bool)>().prop_map(|(n, takes)| Op::Look(n, takes)),
        5 => any::<usize>().prop_map(Op::Opened),
        4 => any::<usize>().prop_map(Op::Rest),
        3 => any::<usize>().prop_map(Op::Yield),
        1 => any::<usize>().prop_map(Op::Doom),
        4 => any::<usize>().prop_map(Op::Release),
        1 => (0..CAPS.len()).prop_map(Op::LowerLimit),
        1 => (0_u64..90).prop_map(Op::Later),
    ];
    prop::collection::vec(op, 0..200)
}

/// The pool as its callers see it, kept as plainly as can be.
struct Model {
    room: Room,
    now: Instant,
    /// Waiters not yet served.
    waiting: Vec<(Ticket, &'static str)>,
    /// Waiters told to look for an idle session.
    looking: Vec<(Ticket, &'static str)>,
    sessions: HashMap<SessionId, (&'static str, State)>,
    ever_open: HashSet<SessionId>,
}

impl Model {
    fn new() -> Self {
        let (room, now) = room(POD, &CAPS);
        let (waiting, looking) = (Vec::new(), Vec::new());
        Model { room, now, waiting, looking, sessions: HashMap::new(), ever_open: HashSet::new() }
    }

    fn name(connection: &str) -> &'static str {
        CAPS.iter().find(|(name, _)| *name == connection).unwrap().0
    }

    fn open(&self, connection: &str) -> usize {
        self.sessions.values().filter(|(name, _)| *name == connection).count()
    }

    fn in_state(&self, state: State, n: usize) -> Option<SessionId> {
        let mut ids: Vec<_> =
            self.sessions.iter().filter(|(_, (_, s))| *s == state).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        (!ids.is_empty()).then(|| ids[n % ids.len()])
    }

    fn set(&mut self, session: SessionId, state: State) {
        self.sessions.get_mut(&session).unwrap().1 = state;
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Wait(n) => {
                let name = CAPS[n].0;
                let ticket = self.room.wait(name, None).unwrap();
                self.waiting.push((ticket, name));
            }
            Op::Withdraw(n) if !self.waiting.is_empty() => {
                let (ticket, name) = self.waiting.remove(n % self.waiting.len());
                self.room.withdraw(name, ticket);
            }
            Op::Look(n, takes) if !self.looking.is_empty() => self.look(n, takes),
            Op::Opened(n) => {
                if let Some(session) = self.in_state(State::Connecting, n) {
                    self.room.opened(session);
                    self.set(session, State::Busy);
                }
            }
            Op::Rest(n) => {
                if let Some(session) = self.in_state(State::Busy, n) {
                    let refused = self.room.rest(session, self.now).is_some();
                    if refused {
                        self.room.doom(session);
                    }
                    self.set(session, if refused { State::Closing } else { State::Idle });
                }
            }
            Op::Yield(n) => self.yields(n),
            Op::Doom(n) => {
                if let Some(session) = self.in_state(State::Busy, n) {
                    self.room.doom(session);
                    self.set(session, State::Closing);
                }
            }
            Op::Release(n) => self.release(n),
            Op::LowerLimit(n) => self.room.lower_limit(CAPS[n].0, self.now),
            Op::Later(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.room.expire(self.now, Duration::from_secs(60));
                self.room.raise_limits(self.now);
            }
            Op::Withdraw(_) | Op::Look(..) => {}
        }
        self.act();
        self.check();
    }

    /// A waiter that may look takes an idle session, or finds it dead, or leaves.
    fn look(&mut self, n: usize, takes: bool) {
        let (_, name) = self.looking.remove(n % self.looking.len());
        let idle = self.sessions.iter().find(|(_, s)| **s == (name, State::Idle)).map(|(id, _)| *id);
        let idle = idle.expect("one is kept for every waiter that looks");
        if takes {
            assert!(self.room.claim(idle));
            self.set(idle, State::Busy);
        }
        self.room.settle(name);
    }

    fn yields(&mut self, n: usize) {
        let Some(session) = self.in_state(State::Busy, n) else { return };
        let name = self.sessions[&session].0;
        if self.room.yields(session, QUANTUM).is_some() {
            self.set(session, State::Closing);
            let over = self.open(name) > self.room.limit(name);
            let served = self.sessions.values().filter(|(_, state)| *state == State::Closing).count();
            assert!(over || served <= self.waiting.len(), "more sessions make room than anybody waits for");
        }
    }

    fn release(&mut self, n: usize) {
        let ids: Vec<_> =
            [State::Closing, State::Connecting].iter().filter_map(|s| self.in_state(*s, n)).collect();
        if let Some(session) = ids.first() {
            self.room.released(*session);
            self.sessions.remove(session);
        }
    }

    fn act(&mut self) {
        for action in self.room.take_actions() {
            match action {
                Action::LookForWarm { ticket, connection } => {
                    let at = self.waiting.iter().position(|(t, _)| *t == ticket).expect("it waits");
                    self.looking.push(self.waiting.remove(at));
                    assert_eq!(self.looking.last().unwrap().1, &*connection);
                }
                Action::MayConnect { ticket, connection, session } => {
                    self.grant(ticket, &connection, session);
                }
                Action::Close { connection, session, .. } => {
                    assert_eq!(self.sessions[&session], (Model::name(&connection), State::Idle));
                    self.set(session, State::Closing);
                }
            }
        }
    }

    fn grant(&mut self, ticket: Ticket, connection: &str, session: SessionId) {
        let at = self.waiting.iter().position(|(t, _)| *t == ticket).expect("it waits");
        let (_, name) = self.waiting.remove(at);
        assert_eq!(name, connection);
        for (earlier, other) in &self.waiting {
            let may = self.open(other) < self.room.limit(other);
            let (his, ours) = (self.open(other), self.open(name));
            assert!(!may || his > ours || (his == ours && (*other != name || *earlier > ticket)), "unfair");
        }
        assert!(self.ever_open.insert(session), "a permit is given once");
        self.sessions.insert(session, (name, State::Connecting));
    }

    fn check(&self) {
        let sessions = &self.sessions;
        assert_eq!(self.room.open(), sessions.len(), "permits are neither lost nor made");
        assert!(sessions.len() <= POD);
        for (name, cap) in CAPS {
            let count = |state| sessions.values().filter(|s| **s == (name, state)).count();
            let counts = Counts {
                idle: count(State::Idle),
                busy: count(State::Busy),
                connecting: count(State::Connecting),
                closing: count(State::Closing),
            };
            assert_eq!(self.room.counts(name), counts);
            assert!(self.open(name) <= cap);
            let waits = self.waiting.iter().any(|(_, n)| *n == name);
            let looking = self.looking.iter().filter(|(_, n)| *n == name).count();
            assert!(!waits || counts.idle <= looking, "an idle session, and one who waits for it");
            let may = self.open(name) < self.room.limit(name);
            assert!(!waits || !may || sessions.len() == POD, "free room, and one who waits for it");
        }
        self.check_eviction();
    }

    /// While somebody waits for room in the pod, either enough is closing or nothing can be.
    fn check_eviction(&self) {
        let spare = CAPS.iter().any(|(name, _)| {
            let idle = sessions_in(&self.sessions, name, State::Idle);
            idle > self.looking.iter().filter(|(_, n)| n == name).count()
        });
        let closing = self.sessions.values().filter(|(_, state)| *state == State::Closing).count();
        let wanted: usize = CAPS
            .iter()
            .map(|(name, _)| {
                let waiting = self.waiting.iter().filter(|(_, n)| n == name).count();
                waiting.min(self.room.limit(name).saturating_sub(self.open(name)))
            })
            .sum();
        assert!(
            self.sessions.len() < POD || !spare || closing >= wanted,
            "an idle session is kept from a waiter"
        );
    }

    /// Everybody goes on as lanes do: each waiter is served, and at the end nothing is open.
    fn run_down(&mut self) {
        for round in 0.. {
            assert!(round < 2_000, "somebody starves: {:?}", self.waiting);
            let ops = [Op::Look(0, true), Op::Opened(0), Op::Doom(0), Op::Release(0), Op::Later(90)];
            for op in &ops {
                self.step(op);
            }
            if self.waiting.is_empty() && self.looking.is_empty() && self.sessions.is_empty() {
                return;
            }
        }
    }
}

fn sessions_in(sessions: &HashMap<SessionId, (&'static str, State)>, name: &str, state: State) -> usize {
    sessions.values().filter(|(n, s)| *n == name && *s == state).count()
}

proptest! {
    #[test]
    fn caps_hold_permits_are_conserved_and_nobody_is_forgotten(ops in ops()) {
        let mut model = Model::new();
        for op in &ops {
            model.step(op);
        }
        model.run_down();
    }
}

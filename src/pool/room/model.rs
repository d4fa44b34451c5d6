//! The room as a whole: whatever its callers may do, in any order.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use std::collections::HashSet;

use proptest::prelude::*;

use super::tests::{CAPS, POD, room};
use super::*;

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
    /// Its settings change.
    Replace(usize),
    /// So do its limits; never above its cap here.
    SetLimits(usize, usize),
    /// It is removed, and added again.
    Remove(usize),
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
        1 => (0..CAPS.len()).prop_map(Op::Replace),
        1 => (0..CAPS.len(), 1..5_usize).prop_map(|(n, cap)| Op::SetLimits(n, cap)),
        1 => (0..CAPS.len()).prop_map(Op::Remove),
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
    /// Opened before the last change of their connection.
    outdated: HashSet<SessionId>,
}

impl Model {
    fn new() -> Self {
        let (room, now) = room(POD, &CAPS);
        let (waiting, looking) = (Vec::new(), Vec::new());
        let (ever_open, outdated) = (HashSet::new(), HashSet::new());
        Model { room, now, waiting, looking, sessions: HashMap::new(), ever_open, outdated }
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
                    assert!(refused || !self.outdated.contains(&session), "an outdated session is kept");
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
            Op::Replace(n) => {
                self.outdate(CAPS[n].0);
                self.room.replace(CAPS[n].0, self.now);
            }
            Op::SetLimits(n, cap) => {
                let (name, most) = CAPS[n];
                self.room.set_limits(&name.into(), cap.min(most), None, self.now);
            }
            Op::Remove(n) => {
                let (name, cap) = CAPS[n];
                self.outdate(name);
                let mut told = self.room.remove(name);
                told.sort_unstable();
                let (mut gone, left): (Vec<_>, _) = self.waiting.drain(..).partition(|(_, at)| *at == name);
                gone.sort_unstable();
                assert_eq!(told, gone.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>());
                self.waiting = left;
                self.act();
                self.room.set_limits(&name.into(), cap, None, self.now);
            }
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

    fn outdate(&mut self, name: &str) {
        let its = self.sessions.iter().filter(|(_, (at, _))| *at == name).map(|(session, _)| *session);
        self.outdated.extend(its);
    }

    /// A waiter that may look takes an idle session, or finds it dead, or leaves. Where a change has closed it, the
    /// waiter waits on.
    fn look(&mut self, n: usize, takes: bool) {
        let (ticket, name) = self.looking.remove(n % self.looking.len());
        let idle = self.sessions.iter().find(|(_, s)| **s == (name, State::Idle)).map(|(id, _)| *id);
        let Some(idle) = idle else {
            assert!(!self.outdated.is_empty(), "one is kept for every waiter that looks");
            self.room.settle(name);
            self.room.wait(name, Some(ticket)).unwrap();
            self.waiting.push((ticket, name));
            return;
        };
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
            let over = self.open(name) > self.room.limit(name) || self.outdated.contains(&session);
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

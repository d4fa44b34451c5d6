//! The accounting as a whole, against a model: whatever its callers may do, in any order.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use std::collections::HashSet;

use proptest::prelude::*;

use super::tests::{CAPS, POD, accounting};
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
    accounting: SessionAccounting,
    now: Instant,
    /// Waiters not yet served.
    waiting: Vec<(WaiterId, &'static str)>,
    /// Waiters told to look for an idle session.
    held_idle: Vec<(WaiterId, &'static str)>,
    sessions: HashMap<SessionId, (&'static str, SessionState)>,
    ever_open: HashSet<SessionId>,
    /// Opened before the last change of their connection.
    outdated: HashSet<SessionId>,
}

impl Model {
    fn new() -> Self {
        let (accounting, now) = accounting(POD, &CAPS);
        let (waiting, held_idle) = (Vec::new(), Vec::new());
        let (ever_open, outdated) = (HashSet::new(), HashSet::new());
        Model { accounting, now, waiting, held_idle, sessions: HashMap::new(), ever_open, outdated }
    }

    fn name(connection: &str) -> &'static str {
        CAPS.iter().find(|(name, _)| *name == connection).unwrap().0
    }

    fn open(&self, connection: &str) -> usize {
        self.sessions.values().filter(|(name, _)| *name == connection).count()
    }

    fn in_state(&self, state: SessionState, n: usize) -> Option<SessionId> {
        let mut ids: Vec<_> =
            self.sessions.iter().filter(|(_, (_, s))| *s == state).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        (!ids.is_empty()).then(|| ids[n % ids.len()])
    }

    fn set(&mut self, session: SessionId, state: SessionState) {
        self.sessions.get_mut(&session).unwrap().1 = state;
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Wait(n) => {
                let name = CAPS[n].0;
                let waiter = self.accounting.wait(name, None).unwrap();
                self.waiting.push((waiter, name));
            }
            Op::Withdraw(n) if !self.waiting.is_empty() => {
                let (waiter, name) = self.waiting.remove(n % self.waiting.len());
                self.accounting.cancel_wait(name, waiter);
            }
            Op::Look(n, takes) if !self.held_idle.is_empty() => self.look(n, takes),
            Op::Opened(n) => {
                if let Some(session) = self.in_state(SessionState::Connecting, n) {
                    self.accounting.opened(session);
                    self.set(session, SessionState::Busy);
                }
            }
            Op::Rest(n) => {
                if let Some(session) = self.in_state(SessionState::Busy, n) {
                    let refused = self.accounting.make_idle(session, self.now).is_some();
                    assert!(refused || !self.outdated.contains(&session), "an outdated session is kept");
                    if refused {
                        self.accounting.begin_closing(session);
                    }
                    self.set(session, if refused { SessionState::Closing } else { SessionState::Idle });
                }
            }
            Op::Yield(n) => self.must_yield(n),
            Op::Doom(n) => {
                if let Some(session) = self.in_state(SessionState::Busy, n) {
                    self.accounting.begin_closing(session);
                    self.set(session, SessionState::Closing);
                }
            }
            Op::Release(n) => self.release(n),
            Op::LowerLimit(n) => self.accounting.lower_limit(CAPS[n].0, self.now),
            Op::Replace(n) => {
                self.mark_outdated(CAPS[n].0);
                self.accounting.replace(CAPS[n].0, self.now);
            }
            Op::SetLimits(n, cap) => {
                let (name, most) = CAPS[n];
                self.accounting.set_limits(&name.into(), cap.min(most), None, self.now);
            }
            Op::Remove(n) => {
                let (name, cap) = CAPS[n];
                self.mark_outdated(name);
                let mut told = self.accounting.remove(name);
                told.sort_unstable();
                let (mut gone, left): (Vec<_>, _) = self.waiting.drain(..).partition(|(_, at)| *at == name);
                gone.sort_unstable();
                assert_eq!(told, gone.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>());
                self.waiting = left;
                self.act();
                self.accounting.set_limits(&name.into(), cap, None, self.now);
            }
            Op::Later(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.accounting.expire(self.now, Duration::from_secs(60));
                self.accounting.raise_limits(self.now);
            }
            Op::Withdraw(_) | Op::Look(..) => {}
        }
        self.act();
        self.check();
    }

    fn mark_outdated(&mut self, name: &str) {
        let its = self.sessions.iter().filter(|(_, (at, _))| *at == name).map(|(session, _)| *session);
        self.outdated.extend(its);
    }

    /// A waiter that may look takes an idle session, or finds it dead, or leaves. Where a change has closed it, the
    /// waiter waits on.
    fn look(&mut self, n: usize, takes: bool) {
        let (waiter, name) = self.held_idle.remove(n % self.held_idle.len());
        let idle = self.sessions.iter().find(|(_, s)| **s == (name, SessionState::Idle)).map(|(id, _)| *id);
        let Some(idle) = idle else {
            assert!(!self.outdated.is_empty(), "one is kept for every waiter that looks");
            self.accounting.release_hold(name);
            self.accounting.wait(name, Some(waiter)).unwrap();
            self.waiting.push((waiter, name));
            return;
        };
        if takes {
            assert!(self.accounting.claim(idle));
            self.set(idle, SessionState::Busy);
        }
        self.accounting.release_hold(name);
    }

    fn must_yield(&mut self, n: usize) {
        let Some(session) = self.in_state(SessionState::Busy, n) else { return };
        let name = self.sessions[&session].0;
        if self.accounting.must_yield(session, QUANTUM).is_some() {
            self.set(session, SessionState::Closing);
            let over = self.open(name) > self.accounting.limit(name) || self.outdated.contains(&session);
            let served = self.sessions.values().filter(|(_, state)| *state == SessionState::Closing).count();
            assert!(
                over || served <= self.waiting.len(),
                "more sessions make accounting than anybody waits for"
            );
        }
    }

    fn release(&mut self, n: usize) {
        let ids: Vec<_> = [SessionState::Closing, SessionState::Connecting]
            .iter()
            .filter_map(|s| self.in_state(*s, n))
            .collect();
        if let Some(session) = ids.first() {
            self.accounting.session_closed(*session);
            self.sessions.remove(session);
        }
    }

    fn act(&mut self) {
        for action in self.accounting.take_actions() {
            match action {
                AccountingAction::TakeIdle { waiter, connection } => {
                    let at = self.waiting.iter().position(|(t, _)| *t == waiter).expect("it waits");
                    self.held_idle.push(self.waiting.remove(at));
                    assert_eq!(self.held_idle.last().unwrap().1, &*connection);
                }
                AccountingAction::MayConnect { waiter, connection, session } => {
                    self.grant(waiter, &connection, session);
                }
                AccountingAction::Close { connection, session, .. } => {
                    assert_eq!(self.sessions[&session], (Model::name(&connection), SessionState::Idle));
                    self.set(session, SessionState::Closing);
                }
                AccountingAction::Interrupt { .. } => unreachable!("nothing is shared"),
            }
        }
    }

    fn grant(&mut self, waiter: WaiterId, connection: &str, session: SessionId) {
        let at = self.waiting.iter().position(|(t, _)| *t == waiter).expect("it waits");
        let (_, name) = self.waiting.remove(at);
        assert_eq!(name, connection);
        for (earlier, other) in &self.waiting {
            let may = self.open(other) < self.accounting.limit(other);
            let (his, ours) = (self.open(other), self.open(name));
            assert!(!may || his > ours || (his == ours && (*other != name || *earlier > waiter)), "unfair");
        }
        assert!(self.ever_open.insert(session), "a permit is given once");
        self.sessions.insert(session, (name, SessionState::Connecting));
    }

    fn check(&self) {
        let sessions = &self.sessions;
        assert_eq!(self.accounting.open(), sessions.len(), "permits are neither lost nor made");
        assert!(sessions.len() <= POD);
        for (name, cap) in CAPS {
            let count = |state| sessions.values().filter(|s| **s == (name, state)).count();
            let counts = SessionsByState {
                idle: count(SessionState::Idle),
                busy: count(SessionState::Busy),
                connecting: count(SessionState::Connecting),
                closing: count(SessionState::Closing),
            };
            assert_eq!(self.accounting.counts(name), counts);
            assert!(self.open(name) <= cap);
            let waits = self.waiting.iter().any(|(_, n)| *n == name);
            let held_idle = self.held_idle.iter().filter(|(_, n)| *n == name).count();
            assert!(!waits || counts.idle <= held_idle, "an idle session, and one who waits for it");
            let may = self.open(name) < self.accounting.limit(name);
            assert!(!waits || !may || sessions.len() == POD, "free accounting, and one who waits for it");
        }
        self.check_eviction();
    }

    /// While somebody waits for room in the pod, either enough is closing or nothing can be.
    fn check_eviction(&self) {
        let spare = CAPS.iter().any(|(name, _)| {
            let idle = sessions_in(&self.sessions, name, SessionState::Idle);
            idle > self.held_idle.iter().filter(|(_, n)| n == name).count()
        });
        let closing = self.sessions.values().filter(|(_, state)| *state == SessionState::Closing).count();
        let wanted: usize = CAPS
            .iter()
            .map(|(name, _)| {
                let waiting = self.waiting.iter().filter(|(_, n)| n == name).count();
                waiting.min(self.accounting.limit(name).saturating_sub(self.open(name)))
            })
            .sum();
        assert!(
            self.sessions.len() < POD || !spare || closing >= wanted,
            "an idle session is kept from a waiter"
        );
    }

    /// Everybody continues as workers do: each waiter is served, and at the end nothing is open.
    fn run_down(&mut self) {
        for round in 0.. {
            assert!(round < 2_000, "somebody starves: {:?}", self.waiting);
            let ops = [Op::Look(0, true), Op::Opened(0), Op::Doom(0), Op::Release(0), Op::Later(90)];
            for op in &ops {
                self.step(op);
            }
            if self.waiting.is_empty() && self.held_idle.is_empty() && self.sessions.is_empty() {
                return;
            }
        }
    }
}

fn sessions_in(
    sessions: &HashMap<SessionId, (&'static str, SessionState)>,
    name: &str,
    state: SessionState,
) -> usize {
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

//! How a connection comes, changes and goes, whatever sessions it has.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::limit::LIMIT_RISES_AFTER;
use super::{Room, Seats, SessionId, Ticket};
use crate::metrics::Closed;

impl Room {
    /// The connection may have so many sessions from now on, and for so long they may be idle (the pod's time, where
    /// there is none); it is added where it is not there. What is above that is closed: an idle session now, one in
    /// use when it comes back. A limit that the server has lowered stays, as far as it fits.
    pub fn set_limits(&mut self, name: &Arc<str>, cap: usize, idle_timeout: Option<Duration>, now: Instant) {
        let cap = cap.max(1);
        let seats = self.connections.entry(Arc::clone(name)).or_insert_with(|| Seats::new(cap, now));
        if seats.is_removed {
            seats.forget_limit(now); // it may be another server now
        }
        seats.limit = if seats.limit == seats.cap { cap } else { seats.limit.min(cap) };
        (seats.cap, seats.idle_timeout, seats.is_removed) = (cap, idle_timeout, false);
        let spare = seats.idle.len().saturating_sub(seats.looking); // the others are promised to waiters
        let above = seats.live().saturating_sub(seats.limit).min(spare);
        let surplus: Vec<_> = seats.idle.iter().take(above).map(|(session, _)| *session).collect();
        for session in surplus {
            self.evict(session, Closed::MadeRoom);
        }
        self.serve();
    }

    /// The connection has other settings: sessions that are opened from now on have them. The idle ones are closed
    /// now, those in use when they come back. What its server has said of its limit was said to others.
    pub fn replace(&mut self, name: &str, now: Instant) {
        self.outdate(name);
        if let Some(seats) = self.connections.get_mut(name) {
            seats.forget_limit(now);
        }
        self.serve();
    }

    /// The connection is gone: no session is opened for it any more, and what there is is closed as by
    /// [`Room::replace`]. Gives those that waited, who are to be told.
    pub fn remove(&mut self, name: &str) -> Vec<Ticket> {
        self.outdate(name);
        let Some(seats) = self.connections.get_mut(name) else { return Vec::new() };
        seats.is_removed = true;
        let waiting: Vec<_> = std::mem::take(&mut seats.waiting).into_iter().collect();
        self.waiters -= waiting.len();
        self.forget_removed(name);
        self.serve();
        waiting
    }

    /// Whether sessions of the connection are counted: it is there, or was and has some left.
    pub fn knows(&self, name: &str) -> bool {
        self.connections.contains_key(name)
    }

    pub(super) fn is_outdated(&self, name: &str, session: SessionId) -> bool {
        self.connections.get(name).is_none_or(|seats| session < seats.oldest)
    }

    pub(super) fn forget_removed(&mut self, name: &str) {
        if self.connections.get(name).is_some_and(|seats| seats.is_removed && seats.open() == 0) {
            self.connections.remove(name);
        }
    }

    fn outdate(&mut self, name: &str) {
        let next = SessionId(self.number());
        let Some(seats) = self.connections.get_mut(name) else { return };
        seats.oldest = next;
        let idle: Vec<_> = seats.idle.iter().map(|(session, _)| *session).collect();
        for session in idle {
            self.evict(session, Closed::Replaced);
        }
    }
}

impl Seats {
    /// What a server has said of its limit was said of another one.
    fn forget_limit(&mut self, now: Instant) {
        (self.limit, self.limit_changed) = (self.cap, now);
        (self.rises_after, self.has_risen) = (LIMIT_RISES_AFTER, false);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Action, QUANTUM};
    use super::*;

    const CAP: usize = 10;

    fn room(connections: &[(&str, usize)]) -> Room {
        Room::new(CAP, connections.iter().map(|(name, cap)| (Arc::from(*name), *cap)), Instant::now())
    }

    /// Sessions of the connection, in use.
    fn open(room: &mut Room, name: &str, count: usize) -> Vec<SessionId> {
        for _ in 0..count {
            room.wait(name, None).unwrap();
        }
        let opened = room.take_actions().into_iter().filter_map(|action| match action {
            Action::MayConnect { session, .. } => Some(session),
            _ => None,
        });
        let opened: Vec<_> = opened.collect();
        for session in &opened {
            room.opened(*session);
        }
        opened
    }

    fn closed(room: &mut Room) -> Vec<SessionId> {
        let closed = room.take_actions().into_iter().filter_map(|action| match action {
            Action::Close { session, .. } => Some(session),
            _ => None,
        });
        closed.collect()
    }

    #[test]
    fn a_change_closes_what_is_idle_now_and_what_is_in_use_when_it_comes_back() {
        let (mut room, now) = (room(&[("a", 5), ("b", 5)]), Instant::now());
        let (a, b) = (open(&mut room, "a", 3), open(&mut room, "b", 1));
        assert_eq!(room.rest(a[0], now), None);
        room.replace("a", now);
        assert_eq!(closed(&mut room), [a[0]]);
        assert_eq!(room.yields(a[1], Duration::ZERO), Some(Closed::Replaced));
        assert_eq!(room.rest(a[2], now), Some(Closed::Replaced));
        assert_eq!((room.yields(b[0], QUANTUM), room.rest(b[0], now)), (None, None));
        let new = open(&mut room, "a", 1);
        assert_eq!((room.yields(new[0], QUANTUM), room.rest(new[0], now)), (None, None));
    }

    #[test]
    fn a_connection_that_comes_again_while_it_has_sessions_has_its_whole_limit() {
        let (mut room, now) = (room(&[("a", 4)]), Instant::now());
        let old = open(&mut room, "a", 2);
        room.lower_limit("a", now);
        assert_eq!(room.limit("a"), 1);
        room.remove("a");
        room.set_limits(&"a".into(), 4, None, now);
        assert_eq!((room.limit("a"), room.counts("a").busy), (4, old.len()));
    }

    #[test]
    fn who_was_told_of_an_idle_session_waits_for_a_new_one_after_a_change() {
        let (mut room, now) = (room(&[("a", 1)]), Instant::now());
        let old = open(&mut room, "a", 1);
        room.rest(old[0], now);
        let ticket = room.wait("a", None);
        assert!(matches!(room.take_actions()[..], [Action::LookForWarm { .. }]));
        room.replace("a", now);
        assert!(!room.claim(old[0]), "it is closing");
        assert_eq!(room.wait("a", ticket), ticket);
        room.settle("a");
        assert_eq!(closed(&mut room), old);
        room.released(old[0]);
        assert!(matches!(room.take_actions()[..], [Action::MayConnect { .. }]));
    }

    #[test]
    fn a_removed_connection_is_forgotten_with_its_last_session() {
        let (mut room, now) = (room(&[("a", 2)]), Instant::now());
        let sessions = open(&mut room, "a", 2);
        let ticket = room.wait("a", None).unwrap();
        assert_eq!(room.remove("a"), [ticket]);
        assert_eq!((room.wait("a", None), room.limit("a")), (None, 0));
        assert_eq!(room.rest(sessions[0], now), Some(Closed::Replaced));
        room.released(sessions[0]);
        assert!(room.knows("a"));
        room.released(sessions[1]);
        assert!(!room.knows("a"));
        assert_eq!((room.open(), room.waiters, room.closing), (0, 0, 0));
    }

    #[test]
    fn a_connection_that_comes_back_has_none_of_its_old_sessions() {
        let (mut room, now) = (room(&[("a", 2)]), Instant::now());
        let old = open(&mut room, "a", 1);
        room.remove("a");
        room.set_limits(&"a".into(), 2, None, now);
        let new = open(&mut room, "a", 1);
        assert_eq!(new.len(), 1, "the old one counts, and there is room for one more");
        assert_eq!(open(&mut room, "a", 1), []);
        assert_eq!(room.rest(old[0], now), Some(Closed::Replaced));
        assert_eq!(room.rest(new[0], now), None);
    }

    #[test]
    fn lower_limits_close_what_is_idle_and_what_comes_back_and_higher_ones_let_in() {
        let (mut room, now) = (room(&[("a", 4)]), Instant::now());
        let sessions = open(&mut room, "a", 4);
        room.rest(sessions[0], now);
        room.rest(sessions[1], now);
        room.set_limits(&"a".into(), 1, None, now);
        assert_eq!(closed(&mut room), sessions[..2]);
        assert_eq!(room.rest(sessions[2], now), Some(Closed::MadeRoom));
        for session in &sessions[..3] {
            room.doom(*session);
            room.released(*session);
        }
        assert_eq!(room.rest(sessions[3], now), None);
        room.set_limits(&"a".into(), 3, None, now);
        assert!(room.claim(sessions[3]));
        assert_eq!(open(&mut room, "a", 5).len(), 2);
    }

    #[test]
    fn a_limit_that_the_server_has_lowered_stays_until_the_settings_change() {
        let (mut room, now) = (room(&[("a", 4)]), Instant::now());
        open(&mut room, "a", 3);
        room.lower_limit("a", now);
        room.set_limits(&"a".into(), 5, None, now);
        assert_eq!(room.limit("a"), 2);
        room.replace("a", now);
        assert_eq!(room.limit("a"), 5);
    }
}

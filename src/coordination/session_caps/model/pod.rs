//! A pod of the simulation: the real holder, and sessions that open, work and close.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::super::holder::{Holder, LeasePhase, SessionUse};
use super::super::message::{CapRecord, PodIncarnation};
use super::world::Log;
use super::{Sabotage, millis};

/// A clock with its own origin and rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Duration,
    rate: f64,
}

impl Clock {
    pub fn random(rng: &mut StdRng) -> Self {
        Clock { origin: millis(rng, 0, 10_000_000), rate: rng.random_range(0.95..1.05) }
    }

    pub fn read(&self, now: Duration) -> Duration {
        self.origin + now.mul_f64(self.rate)
    }
}

/// Times are the world's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    Busy { until: Duration },
    Idle,
    Closing { until: Duration },
}

#[derive(Debug)]
pub(super) struct Pod {
    pub id: PodIncarnation,
    pub clock: Clock,
    pub frozen_until: Option<Duration>,
    /// No message reaches it, nor leaves it.
    pub cut_off_until: Duration,
    /// Sessions that were open when a frozen pod woke up after the end of its lease: the one exception.
    excused: usize,
    holder: Holder,
    position: u64,
    sessions: Vec<Session>,
    /// Sessions that it has work for.
    pub demand: usize,
    /// Since when it has work and no session.
    pub without_since: Option<Duration>,
}

pub(super) fn connection() -> String {
    "server".into()
}

impl Pod {
    pub fn new(number: usize, position: u64, sabotage: Sabotage, rng: &mut StdRng) -> Self {
        let id = PodIncarnation::new(&format!("pod-{}", number % 10), &number.to_string());
        let mut holder = Holder::new(id.clone());
        holder.sabotage = sabotage;
        Pod {
            id,
            clock: Clock::random(rng),
            frozen_until: None,
            cut_off_until: Duration::ZERO,
            excused: 0,
            holder,
            position,
            sessions: Vec::new(),
            demand: 0,
            without_since: None,
        }
    }

    /// Sessions that count against the total.
    pub fn counted(&self, now: Duration) -> usize {
        let is_excused =
            self.frozen_until.is_some() && self.holder.phase(self.clock.read(now)) == LeasePhase::Over;
        if is_excused { 0 } else { self.sessions.len().saturating_sub(self.excused) }
    }

    pub fn busy(&self) -> usize {
        self.sessions.iter().filter(|session| matches!(session, Session::Busy { .. })).count()
    }

    pub fn has_none(&self) -> bool {
        self.sessions.is_empty()
    }

    /// One turn of the pod's thread. Returns the report to send, if one is due.
    pub fn step(&mut self, log: &Log, total: usize, now: Duration, rng: &mut StdRng) -> Option<CapRecord> {
        let local = self.clock.read(now);
        if self.frozen_until.take().is_some() && self.holder.phase(local) == LeasePhase::Over {
            self.excused = self.sessions.len();
        }
        self.close_what_must_be_closed(local, now, rng);
        let most = match rng.random_range(0..4) {
            _ if self.cut_off_until > now => 0,
            0 => 2,
            _ => usize::MAX,
        };
        for (offset, record) in log.from(self.position).take(most) {
            match record {
                CapRecord::Report(pod, report) => self.holder.read_report(pod, report.number),
                CapRecord::Grants(connection, grants) => self.holder.read_grants(connection, grants),
                CapRecord::Forgotten(_) => {}
            }
            self.position = offset + 1;
        }
        self.close_what_must_be_closed(local, now, rng);
        self.work(local, now, rng);
        let open = self.sessions.len();
        self.without_since =
            if self.demand > 0 && open == 0 { self.without_since.or(Some(now)) } else { None };
        let session = SessionUse { total: Some(total), wants: self.demand, open };
        let report = self.holder.report(&BTreeMap::from([(connection(), session)]), local)?;
        Some(CapRecord::Report(self.id.clone(), report))
    }

    fn close_what_must_be_closed(&mut self, local: Duration, now: Duration, rng: &mut StdRng) {
        let before = self.sessions.len();
        self.sessions.retain(|session| !matches!(session, Session::Closing { until } if *until <= now));
        self.excused = self.excused.saturating_sub(before - self.sessions.len());
        let phase = self.holder.phase(local);
        let mut live = self.live();
        let limit = self.holder.limit(&connection(), local);
        for session in &mut self.sessions {
            let must_close = match session {
                Session::Closing { .. } => false,
                Session::Busy { .. } => phase == LeasePhase::Over,
                Session::Idle => live > limit,
            };
            if must_close {
                let most = if matches!(session, Session::Idle) { 100 } else { 4_000 };
                *session = Session::Closing { until: now + millis(rng, 0, most) };
                live -= 1;
            }
        }
    }

    fn live(&self) -> usize {
        self.sessions.iter().filter(|session| !matches!(session, Session::Closing { .. })).count()
    }

    /// Files end, sessions go to the next ones, and are opened as far as they may be.
    fn work(&mut self, local: Duration, now: Duration, rng: &mut StdRng) {
        let limit = self.holder.limit(&connection(), local);
        let (mut live, mut busy) = (self.live(), self.busy());
        for session in &mut self.sessions {
            match session {
                Session::Busy { until } if *until <= now => {
                    if live > limit {
                        *session = Session::Closing { until: now + millis(rng, 0, 100) };
                        (live, busy) = (live - 1, busy - 1);
                    } else if busy <= self.demand {
                        *session = Session::Busy { until: now + file(rng) };
                    } else {
                        *session = Session::Idle;
                        busy -= 1;
                    }
                }
                Session::Idle if busy < self.demand => {
                    *session = Session::Busy { until: now + file(rng) };
                    busy += 1;
                }
                _ => {}
            }
        }
        while self.sessions.len() < limit && busy < self.demand {
            self.sessions.push(Session::Busy { until: now + file(rng) });
            busy += 1;
        }
    }
}

fn file(rng: &mut StdRng) -> Duration {
    if rng.random_ratio(1, 50) { millis(rng, 3_000, 8_000) } else { millis(rng, 20, 1_500) }
}

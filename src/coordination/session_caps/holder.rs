//! A pod's side: what it may have now, what it reports, and when. Pure; time is an argument.
//!
//! A pod's lease begins when it begins to send a report, and only once it has read that report back from the log: so it
//! ends before the coordinator, which counts from when it read the report, gives the sessions to others. It is cut short by
//! [`MARGIN`], for sockets that take their time and clocks that differ in rate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::coordinator::LEASE;
use super::message::{ConnectionGrants, PodIncarnation, PodReport, SessionReport};

/// Between two reports, where nothing happens.
pub(super) const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Between two reports at least.
const REPORTS_APART: Duration = Duration::from_millis(100);
/// Transfers are interrupted this long before the lease ends.
pub(super) const MARGIN: Duration = Duration::from_secs(10);
/// Idle sessions are closed, and none is opened, this long before transfers are interrupted.
pub(super) const IDLE_MARGIN: Duration = Duration::from_secs(5);
/// Reports of which it is not known whether they are in the log.
const MAX_UNCONFIRMED: usize = 64;

/// How far the lease has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeasePhase {
    /// The grants hold.
    Live,
    /// No session is opened, and idle ones are closed.
    Ending,
    /// No session may be open.
    Over,
}

/// One connection's sessions now, as the pod counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionUse {
    /// `max_sessions_total`, if it is configured now.
    pub total: Option<usize>,
    pub wants: usize,
    pub open: usize,
}

/// What a pod has been granted.
#[derive(Debug)]
pub(super) struct Holder {
    pod: PodIncarnation,
    number: u64,
    /// Reports that have not been read back, with the time when each began to be sent.
    unconfirmed: VecDeque<(u64, Duration)>,
    /// When the last report that was read back began to be sent.
    leased_from: Option<Duration>,
    granted: BTreeMap<String, Granted>,
    last_sent: Option<(Duration, BTreeMap<String, SessionReport>)>,
    #[cfg(test)]
    pub sabotage: super::model::Sabotage,
}

#[derive(Clone, Copy, Debug, Default)]
struct Granted {
    granted: usize,
    seen: u64,
}

impl Holder {
    pub fn new(pod: PodIncarnation) -> Self {
        Holder {
            pod,
            number: 0,
            unconfirmed: VecDeque::new(),
            leased_from: None,
            granted: BTreeMap::new(),
            last_sent: None,
            #[cfg(test)]
            sabotage: super::model::Sabotage::None,
        }
    }

    /// A report has been read. Renews the lease if it is one of this pod's.
    pub fn read_report(&mut self, pod: &PodIncarnation, number: u64) {
        if *pod != self.pod {
            return;
        }
        while let Some(&(sent, at)) = self.unconfirmed.front() {
            if sent > number {
                return;
            }
            self.unconfirmed.pop_front();
            if sent == number {
                self.leased_from = Some(self.leased_from.map_or(at, |from| from.max(at)));
            }
        }
    }

    /// Grants have been read, in the log's order.
    pub fn read_grants(&mut self, connection: &str, grants: &ConnectionGrants) {
        let mine = grants.pods.get(&self.pod);
        if mine.is_none() && !self.granted.contains_key(connection) {
            return;
        }
        let known = self.granted.entry(connection.to_owned()).or_default();
        if grants.version > known.seen {
            *known = Granted { granted: mine.map_or(0, |grant| grant.granted), seen: grants.version };
        }
    }

    pub fn phase(&self, now: Duration) -> LeasePhase {
        #[cfg(test)]
        if self.sabotage == super::model::Sabotage::KeepsSessionsAfterLease {
            return LeasePhase::Live;
        }
        let Some(from) = self.leased_from else { return LeasePhase::Over };
        let over = from + LEASE.saturating_sub(MARGIN);
        if now >= over {
            LeasePhase::Over
        } else if now + IDLE_MARGIN >= over {
            LeasePhase::Ending
        } else {
            LeasePhase::Live
        }
    }

    /// How many sessions of the connection the pod may have now.
    pub fn limit(&self, connection: &str, now: Duration) -> usize {
        match self.phase(now) {
            LeasePhase::Live => self.granted(connection),
            LeasePhase::Ending | LeasePhase::Over => 0,
        }
    }

    /// What the coordinator has granted last, whether the lease holds or not.
    pub fn granted(&self, connection: &str) -> usize {
        self.granted.get(connection).map_or(0, |known| known.granted)
    }

    /// The report that is due now, if one is: every second, and where something has changed. The grants that were read
    /// must be applied to the sessions before they are counted for it.
    pub fn report(&mut self, uses: &BTreeMap<String, SessionUse>, now: Duration) -> Option<PodReport> {
        let since = self.last_sent.as_ref().map_or(Duration::MAX, |(at, _)| now.saturating_sub(*at));
        if since < REPORTS_APART {
            return None;
        }
        let connections = self.sessions(uses);
        let has_changed = self.last_sent.as_ref().is_none_or(|(_, last)| *last != connections);
        if since < REPORT_EVERY && !has_changed {
            return None;
        }
        self.last_sent = Some((now, connections.clone()));
        Some(self.next(connections, false, now))
    }

    /// The last report. All sessions must be closed by now.
    pub fn farewell(&mut self, now: Duration) -> PodReport {
        self.next(BTreeMap::new(), true, now)
    }

    fn next(
        &mut self,
        connections: BTreeMap<String, SessionReport>,
        leaves: bool,
        now: Duration,
    ) -> PodReport {
        self.number += 1;
        if self.unconfirmed.len() >= MAX_UNCONFIRMED {
            self.unconfirmed.pop_front();
        }
        self.unconfirmed.push_back((self.number, now));
        #[cfg(test)]
        if self.sabotage == super::model::Sabotage::RenewsWithoutReadingBack {
            self.leased_from = Some(now);
        }
        PodReport { number: self.number, leaves, connections }
    }

    /// Of every connection that has sessions, wants some, or was ever granted some: the coordinator must know
    /// what has been seen of those.
    fn sessions(&self, uses: &BTreeMap<String, SessionUse>) -> BTreeMap<String, SessionReport> {
        let report = |name: &String| {
            let SessionUse { total, wants, open } = uses.get(name).copied().unwrap_or_default();
            let known = self.granted.get(name);
            (wants > 0 || open > 0 || known.is_some()).then(|| {
                let seen = known.map_or(0, |known| known.seen);
                (name.clone(), SessionReport { total, wants, open, seen })
            })
        };
        let names: BTreeSet<&String> = uses.keys().chain(self.granted.keys()).collect();
        names.into_iter().filter_map(report).collect()
    }
}

//! The coordinator: decides from the pods' reports what each pod may have. Pure; time is an argument.
//!
//! It uses only the log, in the log's order: what it has written counts when it has read it back, and a successor that
//! reads the same log has the same state. Its state between two records keeps the sum of all bounds within the total:
//!
//! - a raise counts from when it is decided;
//! - a lower grant frees the difference when the pod reports that it has seen it, and how many sessions are still open;
//! - a pod that has not been heard from for [`LEASE`] loses its grants by a record. They are free when that record has
//!   been read back and no report preceded it in the log: the pod's own lease, which it counts from before such a
//!   report was sent, is over by then.
//!
//! A pod that has missed its reports for [`SILENCE`] keeps what it has and gets no more: it may be dead, and what it is
//! granted then is lost to the others for a whole lease.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::fair_share::{Claim, share};
use super::message::{CapRecord, ConnectionGrants, PodGrant, PodIncarnation, PodReport, SessionReport};

/// A pod that has not been heard from for this long has lost its sessions.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// A pod that has not been heard from for this long is granted no more than it has. Pods report every second.
pub(super) const SILENCE: Duration = Duration::from_secs(3);

/// Grants of all connections, and the pods that they are for.
#[derive(Debug, Default)]
pub(super) struct Coordinator {
    pods: BTreeMap<PodIncarnation, KnownPod>,
    connections: BTreeMap<String, SharedConnection>,
    /// Versions of the grants that were written and have not been read back.
    unread: BTreeSet<(String, u64)>,
    #[cfg(test)]
    pub sabotage: super::model::Sabotage,
}

#[derive(Debug)]
struct KnownPod {
    /// When its last report was read, or this coordinator began: its lease counts from then.
    heard_at: Duration,
    /// Whether this coordinator has read a report of it since it began. What a predecessor had read may be old.
    is_heard: bool,
    report: PodReport,
}

impl KnownPod {
    fn is_silent(&self, now: Duration) -> bool {
        !self.is_heard || now >= self.heard_at + SILENCE
    }
}

/// What a pod whose lease is not over has reported last of one connection.
#[derive(Debug)]
struct LiveReport<'a> {
    pod: &'a PodIncarnation,
    session: &'a SessionReport,
    is_silent: bool,
}

#[derive(Debug, Default)]
struct SharedConnection {
    version: u64,
    pods: BTreeMap<PodIncarnation, Granted>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Granted {
    claim: Claim,
    /// The version in which the grant last changed.
    version: u64,
    /// Its lease is over, which the record of that version says; no report has been read since.
    is_expiring: bool,
}

impl Coordinator {
    /// Applies a record, in the log's order.
    pub fn read(&mut self, record: CapRecord, now: Duration) {
        match record {
            CapRecord::Report(pod, report) => self.read_report(pod, report, now),
            CapRecord::Forgotten(pod) => drop(self.pods.remove(&pod)),
            CapRecord::Grants(connection, grants) => self.read_grants(&connection, &grants, now),
        }
    }

    /// The log has been read to its end: from now on this coordinator decides. All leases start anew.
    pub fn begin(&mut self, now: Duration) {
        for connection in self.connections.values() {
            for pod in connection.pods.keys() {
                let unheard = || KnownPod { heard_at: now, is_heard: false, report: PodReport::default() };
                self.pods.entry(pod.clone()).or_insert_with(unheard);
            }
        }
        for pod in self.pods.values_mut() {
            (pod.heard_at, pod.is_heard) = (now, false);
        }
    }

    /// What is to be written now, in one transaction; nothing while the last one has not been read back.
    pub fn decide(&mut self, now: Duration) -> Vec<CapRecord> {
        if !self.unread.is_empty() {
            return Vec::new();
        }
        let mut records = Vec::new();
        let names: BTreeSet<String> = self
            .pods
            .values()
            .flat_map(|pod| pod.report.connections.keys().cloned())
            .chain(self.connections.keys().cloned())
            .collect();
        for name in names {
            records.extend(self.decide_for(&name, now));
        }
        records.extend(self.forget_pods(now));
        records
    }

    fn read_report(&mut self, pod: PodIncarnation, report: PodReport, now: Duration) {
        if self.pods.get(&pod).is_some_and(|known| report.number <= known.report.number) {
            return; // the same again, or one that was overtaken
        }
        for (name, connection) in &mut self.connections {
            let Some(granted) = connection.pods.get_mut(&pod) else { continue };
            granted.is_expiring = false;
            if report.leaves {
                (granted.claim.granted, granted.claim.bound) = (0, 0);
            } else if let Some(session) = report.connections.get(name) {
                granted.heard(session, now);
                #[cfg(test)]
                if self.sabotage == super::model::Sabotage::FreesBeforeClosed {
                    granted.claim.bound = granted.claim.granted;
                }
            }
        }
        self.pods.insert(pod, KnownPod { heard_at: now, is_heard: true, report });
    }

    fn read_grants(&mut self, name: &str, grants: &ConnectionGrants, now: Duration) {
        if self.unread.remove(&(name.to_owned(), grants.version)) {
            let Some(connection) = self.connections.get_mut(name) else { return };
            for granted in connection.pods.values_mut() {
                if granted.is_expiring {
                    granted.claim.bound = 0;
                }
            }
            connection.drop_settled();
            return;
        }
        let connection = self.connections.entry(name.to_owned()).or_default();
        if grants.version <= connection.version {
            return;
        }
        connection.version = grants.version;
        connection.pods =
            grants.pods.iter().map(|(pod, grant)| (pod.clone(), Granted::restored(grant, now))).collect();
    }

    fn decide_for(&mut self, name: &str, now: Duration) -> Option<CapRecord> {
        let live: Vec<LiveReport<'_>> = self
            .pods
            .iter()
            .filter(|(_, pod)| !pod.report.leaves && now < pod.heard_at + LEASE)
            .filter_map(|(id, pod)| {
                let session = pod.report.connections.get(name)?;
                Some(LiveReport { pod: id, session, is_silent: pod.is_silent(now) })
            })
            .collect();
        // While a new configuration is rolled out, the lowest total holds.
        let total = live.iter().filter_map(|live| live.session.total).min().unwrap_or(0);
        let connection = self.connections.entry(name.to_owned()).or_default();
        let before = connection.grants();
        connection.note_wants(&live, now);
        let version = connection.version + 1;
        connection.expire(&self.pods, version, now);
        #[cfg(test)]
        if self.sabotage == super::model::Sabotage::FreesWithoutReadingBack {
            connection
                .pods
                .values_mut()
                .filter(|granted| granted.is_expiring)
                .for_each(|granted| granted.claim.bound = 0);
        }
        let claims: Vec<Claim> = connection.pods.values().map(|granted| granted.claim).collect();
        let shares = share(total, &claims, now);
        #[cfg(test)]
        let shares: Vec<usize> = if self.sabotage == super::model::Sabotage::NeverMoves {
            let stays = |(claim, share): (&Claim, usize)| share.max(claim.granted.min(claim.wants));
            claims.iter().zip(shares).map(stays).collect()
        } else {
            shares
        };
        for (granted, share) in connection.pods.values_mut().zip(shares) {
            granted.set(share, version, now);
        }
        connection.drop_settled();
        if connection.grants() == before {
            return None;
        }
        connection.version = version;
        self.unread.insert((name.to_owned(), version));
        Some(CapRecord::Grants(name.to_owned(), ConnectionGrants { version, pods: connection.grants() }))
    }

    /// Pods that have left, or were not heard of for long, and have nothing any more.
    fn forget_pods(&mut self, now: Duration) -> Vec<CapRecord> {
        let has_grants = |pod: &PodIncarnation| self.connections.values().any(|of| of.pods.contains_key(pod));
        let is_gone = |(id, pod): &(&PodIncarnation, &KnownPod)| {
            let is_over = now >= pod.heard_at + LEASE;
            (pod.report.leaves || is_over) && !has_grants(id)
        };
        let gone: Vec<PodIncarnation> = self.pods.iter().filter(is_gone).map(|(id, _)| id.clone()).collect();
        for pod in &gone {
            self.pods.remove(pod);
        }
        gone.into_iter().map(CapRecord::Forgotten).collect()
    }
}

impl SharedConnection {
    fn grants(&self) -> BTreeMap<PodIncarnation, PodGrant> {
        let grant = |granted: &Granted| PodGrant {
            granted: granted.claim.granted,
            bound: granted.claim.bound,
            version: granted.version,
        };
        // A bound that shrinks by a report need not be written: a successor that knows of more waits for the next report.
        let granted = self.pods.iter().filter(|(_, granted)| granted.claim.bound > 0);
        granted.map(|(pod, granted)| (pod.clone(), grant(granted))).collect()
    }

    fn note_wants(&mut self, live: &[LiveReport<'_>], now: Duration) {
        for granted in self.pods.values_mut() {
            granted.claim.wants = 0;
        }
        for LiveReport { pod, session, is_silent } in live {
            // A pod without the limit is not restricted: its open sessions count, but it is granted nothing.
            let mut wants = if session.total.is_some() { session.wants } else { 0 };
            if *is_silent {
                wants = wants.min(self.pods.get(*pod).map_or(0, |of| of.claim.granted));
            }
            if wants > 0 || self.pods.contains_key(*pod) {
                self.pods.entry((*pod).clone()).or_default().claim.wants = wants;
            }
        }
        for granted in self.pods.values_mut() {
            let claim = &mut granted.claim;
            let waits = claim.wants > 0 && claim.granted == 0;
            claim.waiting_since = if waits { claim.waiting_since.or(Some(now)) } else { None };
        }
    }

    /// Leases that are over: said by the record of this version.
    fn expire(&mut self, pods: &BTreeMap<PodIncarnation, KnownPod>, version: u64, now: Duration) {
        for (pod, granted) in &mut self.pods {
            let is_over = pods.get(pod).is_none_or(|pod| now >= pod.heard_at + LEASE);
            if is_over && !granted.is_expiring && granted.claim.bound > 0 {
                granted.is_expiring = true;
                (granted.claim.granted, granted.claim.lowered_at) = (0, now);
                granted.version = version;
            }
        }
    }

    fn drop_settled(&mut self) {
        self.pods.retain(|_, granted| granted.claim.bound > 0 || granted.claim.wants > 0);
    }
}

impl Granted {
    fn restored(grant: &PodGrant, now: Duration) -> Self {
        let claim = Claim {
            granted: grant.granted,
            bound: grant.bound.max(grant.granted),
            raised_at: now,
            lowered_at: now,
            ..Claim::default()
        };
        Granted { claim, version: grant.version, is_expiring: false }
    }

    /// A report that has seen the present grant says what may still be open.
    fn heard(&mut self, session: &SessionReport, now: Duration) {
        if session.seen >= self.version {
            let bound = self.claim.granted.max(session.open);
            if bound < self.claim.bound && bound > self.claim.granted {
                self.claim.lowered_at = now; // it releases sessions one after the other
            }
            self.claim.bound = bound;
        }
    }

    fn set(&mut self, grant: usize, version: u64, now: Duration) {
        let before = self.claim.granted;
        if grant == before {
            return;
        }
        if grant > before {
            self.claim.raised_at = now;
            self.claim.waiting_since = None;
        } else {
            self.claim.lowered_at = now;
        }
        self.claim.granted = grant;
        self.claim.bound = self.claim.bound.max(grant);
        self.version = version;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> PodIncarnation {
        PodIncarnation::new(name, "1")
    }

    /// A coordinator of five sessions, whose decisions are read back at once.
    #[derive(Default)]
    struct Pool {
        coordinator: Coordinator,
        reports: u64,
    }

    impl Pool {
        fn report(&mut self, name: &str, wants: usize, second: u64) {
            self.reports += 1;
            let seen = self.coordinator.connections.get("remote").map_or(0, |connection| connection.version);
            let open = self.granted(name);
            let session = SessionReport { total: Some(5), wants, open, seen };
            let connections = BTreeMap::from([("remote".to_owned(), session)]);
            let report = PodReport { number: self.reports, leaves: false, connections };
            self.coordinator.read(CapRecord::Report(pod(name), report), Duration::from_secs(second));
            self.decide(second);
        }

        fn decide(&mut self, second: u64) {
            let now = Duration::from_secs(second);
            for record in self.coordinator.decide(now) {
                self.coordinator.read(record, now);
            }
        }

        fn granted(&self, name: &str) -> usize {
            let connection = self.coordinator.connections.get("remote");
            let granted = connection.and_then(|connection| connection.pods.get(&pod(name)));
            granted.map_or(0, |granted| granted.claim.granted)
        }
    }

    #[test]
    fn a_pod_that_has_stopped_reporting_gets_nothing_of_what_another_one_does_not_need() {
        let mut pool = Pool::default();
        pool.report("dead", 5, 0);
        pool.report("live", 5, 0);
        for second in 1..30 {
            pool.report("live", 5, second);
            if second < 20 {
                pool.report("dead", 5, second);
            }
        }
        let before = pool.granted("dead");
        assert!((2..=3).contains(&before), "{before}");
        // its tasks are done, and the other one's partitions are not assigned to it yet
        for second in 30..40 {
            pool.report("live", 0, second);
        }
        assert_eq!(pool.granted("dead"), before);
        for second in 40..45 {
            pool.report("live", 5, second);
        }
        assert_eq!(pool.granted("live"), 5 - before);
        for second in 45..55 {
            pool.report("live", 5, second);
        }
        assert_eq!((pool.granted("dead"), pool.granted("live")), (0, 5), "its lease is over");
    }

    #[test]
    fn a_new_coordinator_raises_a_pod_only_once_it_has_heard_from_it() {
        let mut pool = Pool::default();
        pool.report("dead", 5, 0);
        pool.report("live", 1, 0);
        pool.report("live", 1, 1);
        pool.report("dead", 5, 1);
        let before = pool.granted("dead");
        assert_eq!((before, pool.granted("live")), (4, 1));
        pool.coordinator.begin(Duration::from_secs(2));
        pool.report("live", 0, 2);
        pool.decide(3);
        assert_eq!(pool.granted("dead"), before);
        pool.report("dead", 5, 4);
        pool.decide(4);
        pool.report("live", 0, 5);
        assert_eq!(pool.granted("dead"), 5);
    }
}

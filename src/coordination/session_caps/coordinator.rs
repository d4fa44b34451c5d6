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

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::fair_share::{Claim, share};
use super::message::{CapRecord, ConnectionGrants, PodGrant, PodIncarnation, PodReport, SessionReport};

/// A pod that has not been heard from for this long has lost its sessions.
pub(super) const LEASE: Duration = Duration::from_secs(30);

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
    /// When its last report was read.
    heard_at: Duration,
    report: PodReport,
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
                let unheard = || KnownPod { heard_at: now, report: PodReport::default() };
                self.pods.entry(pod.clone()).or_insert_with(unheard);
            }
        }
        for pod in self.pods.values_mut() {
            pod.heard_at = now;
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
        self.pods.insert(pod, KnownPod { heard_at: now, report });
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
        let live: Vec<(&PodIncarnation, &SessionReport)> = self
            .pods
            .iter()
            .filter(|(_, pod)| !pod.report.leaves && now < pod.heard_at + LEASE)
            .filter_map(|(id, pod)| Some((id, pod.report.connections.get(name)?)))
            .collect();
        // While a new configuration is rolled out, the lowest total holds.
        let total = live.iter().filter_map(|(_, session)| session.total).min().unwrap_or(0);
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

    fn note_wants(&mut self, live: &[(&PodIncarnation, &SessionReport)], now: Duration) {
        for granted in self.pods.values_mut() {
            granted.claim.wants = 0;
        }
        for (pod, session) in live {
            // A pod without the limit is not restricted: its open sessions count, but it is granted nothing.
            let wants = if session.total.is_some() { session.wants } else { 0 };
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

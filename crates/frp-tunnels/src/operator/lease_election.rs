//! Which of several operators works: the holder of a Lease. The rules are those of Kubernetes' own components: a Lease
//! that nobody has changed for its duration, by the watcher's clock, is free. Clocks of two machines are never compared.

use std::time::{Duration, Instant};

/// How long a holder is trusted that says nothing.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long stops working, before another may begin.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at the Lease.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// The Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Empty: given up.
    pub holder: String,
    /// Changes with every renewal, whatever it says.
    pub version: String,
    pub duration: Duration,
    pub transitions: i32,
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseStep {
    /// There is none: make it.
    Create,
    /// It is ours, or it is free: write our name, only over this version.
    Take { version: String, transitions: i32 },
    /// Another holds it.
    Wait,
}

/// What one candidate has seen.
#[derive(Debug)]
pub struct LeaseCandidate {
    identity: String,
    seen: Option<(LeaseRecord, Instant)>,
    /// When our name was last written.
    renewed: Option<Instant>,
}

impl LeaseCandidate {
    pub fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), seen: None, renewed: None }
    }

    /// Whether it may work now.
    pub fn is_leader(&self, now: Instant) -> bool {
        self.renewed.is_some_and(|renewed| now.saturating_duration_since(renewed) < RENEW_DEADLINE)
    }

    /// What to do about the Lease as it is.
    pub fn decide(&mut self, found: Option<LeaseRecord>, now: Instant) -> LeaseStep {
        let Some(record) = found else {
            self.seen = None;
            return LeaseStep::Create;
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == record => *since,
            _ => now,
        };
        let is_ours = record.holder == self.identity;
        let is_stale = now.saturating_duration_since(since) >= record.duration;
        let step = if is_ours || record.holder.is_empty() || is_stale {
            let transitions = record.transitions.saturating_add(i32::from(!is_ours));
            LeaseStep::Take { version: record.version.clone(), transitions }
        } else {
            LeaseStep::Wait
        };
        if !is_ours {
            self.renewed = None;
        }
        self.seen = Some((record, since));
        step
    }

    /// Our name was written; `began` is when the request was sent.
    pub fn renewed(&mut self, began: Instant) {
        self.renewed = Some(began);
    }

    /// It was given up, or another was faster.
    pub fn lost(&mut self) {
        self.renewed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(holder: &str, version: u64) -> LeaseRecord {
        LeaseRecord {
            holder: holder.into(),
            version: version.to_string(),
            duration: LEASE_DURATION,
            transitions: 0,
        }
    }

    #[test]
    fn a_lease_is_taken_when_nobody_has_changed_it_for_its_duration() {
        let begun = Instant::now();
        let mut candidate = LeaseCandidate::new("b");
        assert_eq!(candidate.decide(None, begun), LeaseStep::Create);
        assert_eq!(candidate.decide(Some(record("a", 1)), begun), LeaseStep::Wait);
        let almost = begun + LEASE_DURATION - Duration::from_millis(1);
        assert_eq!(candidate.decide(Some(record("a", 1)), almost), LeaseStep::Wait);
        // renewed at the last moment
        assert_eq!(candidate.decide(Some(record("a", 2)), almost), LeaseStep::Wait);
        assert_eq!(candidate.decide(Some(record("a", 2)), begun + LEASE_DURATION), LeaseStep::Wait);
        let step = LeaseStep::Take { version: "2".into(), transitions: 1 };
        assert_eq!(candidate.decide(Some(record("a", 2)), almost + LEASE_DURATION), step);
        let given_up = LeaseStep::Take { version: "3".into(), transitions: 1 };
        assert_eq!(candidate.decide(Some(record("", 3)), almost), given_up);
    }

    proptest! {
        /// Two candidates look at one Lease at any times; requests are lost at random. Never do both lead.
        #[test]
        fn there_are_never_two_leaders(steps in prop::collection::vec((any::<bool>(), 0_u64..9_000, any::<bool>()), 1..200)) {
            let mut now = Instant::now();
            let mut lease: Option<LeaseRecord> = None;
            let mut candidates = [LeaseCandidate::new("a"), LeaseCandidate::new("b")];
            let mut version = 0;
            for (who, wait, arrives) in steps {
                now += Duration::from_millis(wait);
                let candidate = &mut candidates[usize::from(who)];
                let is_written = match candidate.decide(lease.clone(), now) {
                    LeaseStep::Wait => false,
                    _ => arrives,
                };
                if is_written {
                    version += 1;
                    lease = Some(record(if who { "b" } else { "a" }, version));
                    candidate.renewed(now);
                }
                prop_assert!(!(candidates[0].is_leader(now) && candidates[1].is_leader(now)));
            }
        }
    }
}

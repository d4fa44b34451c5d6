//! A breaker for each local connection: a full, read-only, hung or missing file system is treated like a server that is
//! down.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::outage_log::{OutageEvent, OutageLog};
use crate::breaker::{BreakerDecision, BreakerState, CircuitBreaker};
use crate::failure::{Failure, Remedy, TryError};

/// Why a task may not be tried now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalOutage {
    /// The next try is not before this.
    pub until: Instant,
    pub last: Failure,
    /// The answer of a task that cannot be deferred and has waited for too long.
    pub expired: Option<Failure>,
    /// The task has waited here for long enough to be deferred.
    pub is_long: bool,
}

/// By local connection name; contains only those that have failed. The lock is never held across an await.
#[derive(Debug, Default)]
pub(super) struct LocalBreakers {
    breakers: Mutex<HashMap<String, CircuitBreaker>>,
    /// Those that were logged as down.
    logs: Mutex<HashMap<String, OutageLog>>,
}

impl LocalBreakers {
    /// Why a task of this local connection, queued at that time, must wait; `None` if it may be tried. If it is the
    /// breaker's probe, other tasks wait for its result.
    pub fn outage(
        &self,
        local: &str,
        retry_count: u32,
        queued_at: Instant,
        now: Instant,
    ) -> Option<LocalOutage> {
        let mut breakers = self.lock();
        let breaker = breakers.get_mut(local)?;
        let BreakerDecision::Wait { until } = breaker.decide(now) else {
            breaker.probe_begins(now);
            return None;
        };
        Some(LocalOutage {
            until,
            last: breaker.last_failure()?.clone(),
            expired: breaker.expired_answer(queued_at, retry_count, now),
            is_long: breaker.failing_for(super::deferral::PATIENCE, queued_at, now).is_some(),
        })
    }

    /// The answer of a task that has waited for too long since this local connection began to fail.
    pub fn expired(
        &self,
        local: &str,
        retry_count: u32,
        queued_at: Instant,
        now: Instant,
    ) -> Option<Failure> {
        self.lock().get(local)?.expired_answer(queued_at, retry_count, now)
    }

    /// A try has ended, with `error` if it failed; true if others have failed the same way since the last one that
    /// succeeded: then it says nothing about its task.
    pub fn tried(&self, local: &str, error: Option<&TryError>, now: Instant, jitter: f64) -> bool {
        let mut breakers = self.lock();
        let Some(error) = error else {
            breakers.remove(local);
            return false;
        };
        if error.remedy != Remedy::LocalOutage {
            breakers.get_mut(local).into_iter().for_each(CircuitBreaker::probe_ended);
            return false;
        }
        let breaker = breakers.entry(local.to_owned()).or_default();
        let has_failed = breaker.is_in_trouble();
        breaker.probe_ended();
        breaker.transfer_failed(error.failure.clone(), now, jitter);
        has_failed
    }

    /// Those that are not closed now.
    pub fn tripped(&self, now: Instant) -> HashMap<String, BreakerState> {
        let breakers = self.lock();
        let states = breakers.iter().map(|(local, breaker)| (local.clone(), breaker.state(now)));
        states.filter(|(_, state)| *state != BreakerState::Closed).collect()
    }

    /// The local connections that have gone down, or come up, since the last call; for the log.
    pub fn outage_events(&self, now: Instant) -> Vec<(String, OutageEvent)> {
        let breakers = self.lock();
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        for local in breakers.keys() {
            logs.entry(local.clone()).or_default();
        }
        let well = CircuitBreaker::default();
        let mut events = Vec::new();
        for (local, log) in &mut *logs {
            let breaker = breakers.get(local).unwrap_or(&well);
            events.extend(log.observe(breaker, now).map(|event| (local.clone(), event)));
        }
        logs.retain(|local, _| breakers.contains_key(local));
        events
    }

    /// Local connections that are reconfigured or removed start with a closed breaker.
    pub fn reset<'a>(&self, locals: impl IntoIterator<Item = &'a String>) {
        let mut breakers = self.lock();
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        for local in locals {
            breakers.remove(local);
            logs.remove(local);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CircuitBreaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::Code;

    #[test]
    fn an_outage_is_told_once_when_it_begins_and_once_when_it_is_over() {
        let (breakers, mut now) = (LocalBreakers::default(), Instant::now());
        let full = TryError {
            failure: Failure::new(Code::StorageFull, "no space left"),
            remedy: Remedy::LocalOutage,
        };
        let mut told = Vec::new();
        for _ in 0..10 {
            breakers.tried("small", Some(&full), now, 1.0);
            told.extend(breakers.outage_events(now));
            now += Duration::from_secs(10);
        }
        assert!(
            matches!(&told[..], [(local, OutageEvent::Down { error, .. })] if local == "small" && error.contains("no space")),
            "{told:?}"
        );
        breakers.tried("small", None, now, 1.0);
        assert!(matches!(&breakers.outage_events(now)[..], [(_, OutageEvent::Up { .. })]));
        assert!(breakers.outage_events(now).is_empty());
    }
}

//! A breaker for each local connection: a full, read-only, frozen or missing file system is like a server that is down.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::breaker::{BreakerDecision, BreakerState, CircuitBreaker};
use crate::failure::{Failure, Remedy, TryError};

/// Why a task may not be tried now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalOutage {
    /// Not before this.
    pub until: Instant,
    pub last: Failure,
    /// The answer of a task that cannot be deferred and has waited for too long.
    pub expired: Option<Failure>,
    /// The task has waited here for long enough to be deferred.
    pub is_long: bool,
}

/// By the local connections' names; only those are listed that have had a failure. The lock is never held across an await.
#[derive(Debug, Default)]
pub(super) struct LocalBreakers(Mutex<HashMap<String, CircuitBreaker>>);

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

    /// A try has ended, with `error` if it failed; true if others have failed like it since the last one that succeeded:
    /// then it says nothing about its task.
    pub fn tried(&self, local: &str, error: Option<&TryError>, now: Instant, jitter: f64) -> bool {
        let mut breakers = self.lock();
        let Some(error) = error else {
            if let Some(breaker) = breakers.remove(local)
                && breaker.state(now) != BreakerState::Closed
            {
                let after =
                    breaker.outage().map(|(since, ..)| now.saturating_duration_since(since).as_secs());
                tracing::info!(
                    event = "local_connection_up",
                    local,
                    after,
                    "local connection {local} is up again after {} s",
                    after.unwrap_or_default(),
                );
            }
            return false;
        };
        if error.remedy != Remedy::LocalOutage {
            breakers.get_mut(local).into_iter().for_each(CircuitBreaker::probe_ended);
            return false;
        }
        let breaker = breakers.entry(local.to_owned()).or_default();
        let has_failed = breaker.is_in_trouble();
        let was_open = breaker.state(now) != BreakerState::Closed;
        breaker.probe_ended();
        breaker.transfer_failed(error.failure.clone(), now, jitter);
        if !was_open && breaker.state(now) != BreakerState::Closed {
            let next_try = breaker.outage().map(|(_, next_try, _)| next_try.saturating_duration_since(now));
            let next_try_in = next_try.unwrap_or_default().as_secs_f64().ceil();
            tracing::warn!(
                event = "local_connection_down", local, error = %error.failure, next_try_in,
                "local connection {local} is down: {}; its tasks wait, next try in {next_try_in} s",
                error.failure,
            );
        }
        has_failed
    }

    /// Those that are not closed now.
    pub fn tripped(&self, now: Instant) -> HashMap<String, BreakerState> {
        let breakers = self.lock();
        let states = breakers.iter().map(|(local, breaker)| (local.clone(), breaker.state(now)));
        states.filter(|(_, state)| *state != BreakerState::Closed).collect()
    }

    /// Local connections that are reconfigured or removed begin with a closed breaker.
    pub fn reset<'a>(&self, locals: impl IntoIterator<Item = &'a String>) {
        let mut breakers = self.lock();
        for local in locals {
            breakers.remove(local);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CircuitBreaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

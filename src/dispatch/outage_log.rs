//! Logs once that a connection is down, and once that it is up again. Pure except for the log lines.

use std::time::Duration;

use tokio::time::Instant;

use crate::breaker::{BreakerState, CircuitBreaker};

/// A change of a connection's breaker that should be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OutageEvent {
    Down { error: String, next_try_in: Duration },
    Up { after: Duration },
}

/// One connection's outage, from the first failure on.
#[derive(Debug, Default)]
pub(super) struct OutageLog {
    /// The start of the outage that was logged.
    since: Option<Instant>,
}

impl OutageLog {
    /// Must be called periodically.
    pub fn observe(&mut self, breaker: &CircuitBreaker, now: Instant) -> Option<OutageEvent> {
        let is_up = breaker.state(now) == BreakerState::Closed;
        match (self.since, breaker.outage()) {
            (None, Some((since, next_try, last))) if !is_up => {
                self.since = Some(since);
                let next_try_in = next_try.saturating_duration_since(now);
                Some(OutageEvent::Down { error: last.to_string(), next_try_in })
            }
            (Some(since), _) if is_up => {
                self.since = None;
                Some(OutageEvent::Up { after: now.saturating_duration_since(since) })
            }
            _ => None,
        }
    }
}

impl OutageEvent {
    /// `waiting` tasks to or from this local connection are in the pod.
    pub fn log_local(&self, local: &str, waiting: usize) {
        match self {
            OutageEvent::Down { error, next_try_in } => {
                let next_try_in = next_try_in.as_secs_f64().ceil();
                tracing::warn!(
                    event = "local_connection_down",
                    local,
                    error,
                    waiting,
                    next_try_in,
                    "local connection {local} is down: {error}; {waiting} tasks wait, next try in {next_try_in} s"
                );
            }
            OutageEvent::Up { after } => {
                let after = after.as_secs();
                tracing::info!(
                    event = "local_connection_up",
                    local,
                    after,
                    waiting,
                    "local connection {local} is up again after {after} s; {waiting} tasks wait"
                );
            }
        }
    }

    /// `waiting` tasks of the connection are in the pod.
    pub fn log(&self, connection: &str, waiting: usize) {
        match self {
            OutageEvent::Down { error, next_try_in } => {
                let next_try_in = next_try_in.as_secs_f64().ceil();
                tracing::warn!(
                    event = "connection_down",
                    connection,
                    error,
                    waiting,
                    next_try_in,
                    "connection {connection} is down: {error}; {waiting} tasks wait, next try in \
                     {next_try_in} s"
                );
            }
            OutageEvent::Up { after } => {
                let after = after.as_secs();
                tracing::info!(
                    event = "connection_up",
                    connection,
                    after,
                    waiting,
                    "connection {connection} is up again after {after} s; {waiting} tasks wait"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::OPENS_AFTER;
    use crate::failure::{Code, Failure};

    #[test]
    fn an_outage_is_told_once_when_it_begins_and_once_when_it_is_over() {
        let (mut log, mut breaker, start) = (OutageLog::default(), CircuitBreaker::default(), Instant::now());
        assert_eq!(log.observe(&breaker, start), None);
        let mut now = start;
        for failures in 1..=OPENS_AFTER {
            breaker.login_failed(Failure::new(Code::ConnectFailed, "refused"), now, 1.0);
            let seen = log.observe(&breaker, now);
            let is_down = matches!(&seen, Some(OutageEvent::Down { error, .. }) if error.contains("refused"));
            assert_eq!(is_down, failures == OPENS_AFTER, "{seen:?}");
            now += Duration::from_secs(10);
            assert_eq!(log.observe(&breaker, now), None, "once");
        }
        breaker.login_succeeded();
        let after = now - start;
        assert_eq!(log.observe(&breaker, now), Some(OutageEvent::Up { after }));
        assert_eq!(log.observe(&breaker, now), None, "once");
    }

    #[test]
    fn a_failure_that_does_not_open_the_breaker_is_no_outage() {
        let (mut log, mut breaker, now) = (OutageLog::default(), CircuitBreaker::default(), Instant::now());
        breaker.login_failed(Failure::new(Code::ConnectFailed, "refused"), now, 1.0);
        assert_eq!(log.observe(&breaker, now), None);
        breaker.login_succeeded();
        assert_eq!(log.observe(&breaker, now), None);
    }
}

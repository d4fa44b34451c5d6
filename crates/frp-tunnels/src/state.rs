//! The states of a tunnel, and which may follow which.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::failure::Failure;

/// Where a tunnel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelState {
    /// Wanted; not yet passed to a process.
    Pending,
    /// frpc is starting it, or the probe has not succeeded yet.
    Connecting,
    /// The probe went through it.
    Connected,
    /// It was connected, and is not now; it is tried again.
    Disconnected(Failure),
    /// It cannot be connected for this reason; it is tried again unless the class is permanent.
    Failed(Failure),
    /// Gone for good.
    Closed,
}

impl TunnelState {
    /// The word for it in output and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected(_) => "disconnected",
            Self::Failed(_) => "error",
            Self::Closed => "closed",
        }
    }

    /// All labels, in the order of a tunnel's life.
    pub const LABELS: [&str; 6] = ["pending", "connecting", "connected", "disconnected", "error", "closed"];

    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Disconnected(failure) | Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Whether `next` may follow: a step that is not in the table is a fault of this program.
    pub fn may_become(&self, next: &Self) -> bool {
        use TunnelState::{Closed, Connected, Connecting, Disconnected, Failed, Pending};
        match (self, next) {
            (Closed, _) | (_, Pending) => false,
            (_, Closed)
            | (Pending | Disconnected(_), Connecting | Failed(_))
            | (Connecting, Connected | Failed(_))
            | (Connected, Disconnected(_))
            | (Failed(_), Connecting) => true,
            // another reason for the same state
            (Failed(a), Failed(b)) | (Disconnected(a), Disconnected(b)) => a != b,
            _ => false,
        }
    }
}

/// A step that the table does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tunnel that is {from} cannot become {to}")]
pub struct IllegalTransition {
    pub from: &'static str,
    pub to: &'static str,
}

/// A state with its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelStatus {
    pub state: TunnelState,
    pub created_at: Timestamp,
    /// When the state began.
    pub since: Timestamp,
    pub last_connected_at: Option<Timestamp>,
    /// How often it has become connected.
    pub connections: u32,
    /// From the first attempt to the probe's success, the last time.
    pub connect_duration: Option<Duration>,
    /// When the attempt that is under way began.
    connecting_since: Option<Timestamp>,
}

impl TunnelStatus {
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: TunnelState::Pending,
            created_at: now,
            since: now,
            last_connected_at: None,
            connections: 0,
            connect_duration: None,
            connecting_since: None,
        }
    }

    /// Enters the next state; `Ok(None)` if it is in that state already.
    pub fn become_state(
        &mut self,
        next: TunnelState,
        now: Timestamp,
    ) -> Result<Option<TunnelState>, IllegalTransition> {
        if self.state == next {
            return Ok(None);
        }
        if !self.state.may_become(&next) {
            return Err(IllegalTransition { from: self.state.label(), to: next.label() });
        }
        match &next {
            TunnelState::Connecting if self.connecting_since.is_none() => self.connecting_since = Some(now),
            TunnelState::Connected => {
                self.last_connected_at = Some(now);
                self.connections = self.connections.saturating_add(1);
                let began = self.connecting_since.take().unwrap_or(now);
                self.connect_duration = Duration::try_from(now.duration_since(began)).ok();
            }
            _ => {}
        }
        self.since = now;
        Ok(Some(std::mem::replace(&mut self.state, next)))
    }
}

impl fmt::Display for TunnelState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failure() {
            Some(failure) => write!(out, "{}: {failure}", self.label()),
            None => out.write_str(self.label()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureClass;
    use proptest::prelude::*;

    fn failure(message: &str) -> Failure {
        Failure::new(FailureClass::Unknown, message)
    }

    fn any_state() -> impl Strategy<Value = TunnelState> {
        prop_oneof![
            Just(TunnelState::Pending),
            Just(TunnelState::Connecting),
            Just(TunnelState::Connected),
            "[ab]".prop_map(|word| TunnelState::Disconnected(failure(&word))),
            "[ab]".prop_map(|word| TunnelState::Failed(failure(&word))),
            Just(TunnelState::Closed),
        ]
    }

    #[test]
    fn a_life_is_counted_and_timed() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut status = TunnelStatus::new(at(0));
        for (second, state) in [
            (1, TunnelState::Connecting),
            (3, TunnelState::Connected),
            (9, TunnelState::Disconnected(failure("x"))),
            (10, TunnelState::Connecting),
            (11, TunnelState::Failed(failure("x"))),
            (12, TunnelState::Connecting),
            (15, TunnelState::Connected),
        ] {
            status.become_state(state, at(second)).unwrap();
        }
        assert_eq!(status.connections, 2);
        assert_eq!(status.connect_duration, Some(Duration::from_secs(5)));
        assert_eq!((status.since, status.last_connected_at), (at(15), Some(at(15))));
        let error = status.become_state(TunnelState::Pending, at(16)).unwrap_err();
        assert_eq!(error.to_string(), "a tunnel that is connected cannot become pending");
    }

    proptest! {
        #[test]
        fn only_steps_of_the_table_are_taken(steps in prop::collection::vec(any_state(), 0..40)) {
            let mut status = TunnelStatus::new(Timestamp::UNIX_EPOCH);
            let mut connected = 0;
            for (at, next) in steps.into_iter().enumerate() {
                let before = status.clone();
                let now = Timestamp::from_second(i64::try_from(at).unwrap()).unwrap();
                let is_same = before.state == next;
                match status.become_state(next.clone(), now) {
                    Ok(Some(from)) => {
                        prop_assert!(from.may_become(&next));
                        prop_assert_eq!(&status.state, &next);
                        prop_assert_eq!(status.since, now);
                        // nothing is connected that did not connect, and what is closed stays so
                        prop_assert!(next != TunnelState::Connected || from == TunnelState::Connecting);
                        prop_assert!(from != TunnelState::Closed);
                        connected += u32::from(next == TunnelState::Connected);
                    }
                    Ok(None) => prop_assert!(is_same),
                    Err(_) => prop_assert_eq!(&status, &before),
                }
            }
            prop_assert_eq!(status.connections, connected);
        }
    }
}

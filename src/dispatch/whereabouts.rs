//! Where a task is in the dispatcher, and what it waits for: for the log of those that take too long.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::Dispatcher;
use super::breaker;
use super::order::Place;
use super::task_executor::TaskExecutor;
use crate::pool::SessionConnector;
use crate::record::Origin;

/// A task that has not been answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    pub task_id: String,
    pub connection: String,
    /// Tries begun.
    pub attempts: u32,
    pub waits_for: WaitsFor,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// The task with this id, which has the same destination and came first.
    Order { behind: Option<String> },
    /// A session: so many of its connection's tasks are ahead of it, so many sessions work on them.
    Session { ahead: usize, sessions: usize },
    /// Its server, which failed like this.
    Breaker { state: breaker::State, last: String },
    /// Its next try.
    Retry { due_in: Duration },
    /// The login that it is tried with.
    Login { since: Duration },
    /// Its transfer.
    Transfer { since: Duration },
}

impl WaitsFor {
    /// One word, from a closed list.
    pub const fn as_str(&self) -> &'static str {
        match self {
            WaitsFor::Order { .. } => "order",
            WaitsFor::Session { .. } => "session",
            WaitsFor::Breaker { .. } => "breaker",
            WaitsFor::Retry { .. } => "retry",
            WaitsFor::Login { .. } => "login",
            WaitsFor::Transfer { .. } => "transfer",
        }
    }
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitsFor::Order { behind: Some(task) } => {
                write!(f, "task {task:?}, which has the same destination and came first")
            }
            WaitsFor::Order { behind: None } => f.write_str("another task, which has the same destination"),
            WaitsFor::Session { ahead, sessions } => write!(
                f,
                "a session: {ahead} of its connection's tasks are ahead of it, {sessions} sessions work on them"
            ),
            WaitsFor::Breaker { state, last } => {
                let state = match state {
                    breaker::State::Closed => "fails",
                    breaker::State::HalfOpen => "is probed",
                    breaker::State::Open => "is left alone",
                };
                write!(f, "its server, which {state}: {last}")
            }
            WaitsFor::Retry { due_in } => write!(f, "its next try, due in {} s", due_in.as_secs()),
            WaitsFor::Login { since } => write!(f, "a login, for {} s now", since.as_secs()),
            WaitsFor::Transfer { since } => write!(f, "its transfer, for {} s now", since.as_secs()),
        }
    }
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Dispatcher<C, T> {
    /// Where the task of the record at `origin` is; `None` where it is not here (any more): its answer is on its
    /// way to Kafka.
    pub fn whereabouts(&self, origin: &Origin) -> Option<Whereabouts> {
        let now = Instant::now();
        let lines = self.shared.lines();
        let lines = || lines.values();
        if let Some(found) = lines().find_map(|line| line.whereabouts(origin, now)) {
            return Some(found);
        }
        let (mut found, place) = self.shared.order.whereabouts(origin)?;
        let holder = |place: Place| lines().find_map(|line| line.holder(place));
        found.waits_for = WaitsFor::Order { behind: holder(place) };
        Some(found)
    }
}

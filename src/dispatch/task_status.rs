//! What a task is doing and waits for, for the log of tasks that take too long.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::Dispatcher;
use super::destination_order::DestinationKey;
use super::task_executor::TaskExecutor;
use crate::breaker::BreakerState;
use crate::pool::SessionConnector;
use crate::record::Origin;

/// A task that has not been answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStatus {
    pub task_id: String,
    pub connection: String,
    /// Tries begun.
    pub attempts: u32,
    pub wait_reason: WaitReason,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// The task with this id, which has the same destination and came first.
    DestinationOrder { behind: Option<String> },
    /// A session: `ahead` tasks of its connection come first, and `sessions` sessions process them.
    Session { ahead: usize, sessions: usize },
    /// Its server, whose last error this is.
    CircuitBreaker { state: BreakerState, last: String },
    /// Its next try.
    Retry { due_in: Duration },
    /// The login that it is tried with.
    Login { since: Duration },
    /// Its transfer.
    Transfer { since: Duration },
}

impl WaitReason {
    /// One word, from a closed list.
    pub const fn as_str(&self) -> &'static str {
        match self {
            WaitReason::DestinationOrder { .. } => "order",
            WaitReason::Session { .. } => "session",
            WaitReason::CircuitBreaker { .. } => "breaker",
            WaitReason::Retry { .. } => "retry",
            WaitReason::Login { .. } => "login",
            WaitReason::Transfer { .. } => "transfer",
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitReason::DestinationOrder { behind: Some(task) } => {
                write!(f, "task {task:?}, which has the same destination and came first")
            }
            WaitReason::DestinationOrder { behind: None } => {
                f.write_str("another task, which has the same destination")
            }
            WaitReason::Session { ahead, sessions } => write!(
                f,
                "a session: {ahead} of its connection's tasks are ahead of it, {sessions} sessions work on them"
            ),
            WaitReason::CircuitBreaker { state, last } => {
                let state = match state {
                    BreakerState::Closed => "fails",
                    BreakerState::HalfOpen => "is probed",
                    BreakerState::Open => "is left alone",
                };
                write!(f, "its server, which {state}: {last}")
            }
            WaitReason::Retry { due_in } => write!(f, "its next try, due in {} s", due_in.as_secs()),
            WaitReason::Login { since } => write!(f, "a login, for {} s now", since.as_secs()),
            WaitReason::Transfer { since } => write!(f, "its transfer, for {} s now", since.as_secs()),
        }
    }
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Dispatcher<C, T> {
    /// The status of this record's task; `None` if it is not here (any more): its answer is on its way to Kafka.
    pub fn task_status(&self, origin: &Origin) -> Option<TaskStatus> {
        let now = Instant::now();
        let queues = self.shared.queues();
        let queues = || queues.values();
        if let Some(found) = queues().find_map(|queue| queue.task_status(origin, now)) {
            return Some(found);
        }
        let (mut found, destination) = self.shared.order.task_status(origin)?;
        let holder = |destination: DestinationKey| queues().find_map(|queue| queue.holder(destination));
        found.wait_reason = WaitReason::DestinationOrder { behind: holder(destination) };
        Some(found)
    }
}

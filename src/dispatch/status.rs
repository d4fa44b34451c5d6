//! The dispatcher's part of the status API: connections, and tasks in flight.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::Dispatcher;
use super::connection_queue::RunningTask;
use super::task_executor::TaskExecutor;
use crate::config::FtpConnection;
use crate::insight::{
    ActiveTransfer, ConnectionState, LongestRunning, TransferList, TransferQuery, tls_name,
};
use crate::pool::SessionConnector;

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Dispatcher<C, T> {
    /// The tasks in flight, the longest-running first. Each queue's lock is held only while its tasks' start times are
    /// read.
    #[must_use]
    pub fn transfers(&self, query: &TransferQuery) -> TransferList {
        let mut longest = LongestRunning::new(query);
        for queue in self.shared.queues().values() {
            if query.connection.as_ref().is_none_or(|connection| *connection == *queue.connection) {
                queue.show(&mut longest);
            }
        }
        let (now, wall) = (Instant::now(), Timestamp::now());
        let (total, running) = longest.of(query);
        let show = |RunningTask { task, attempts, since, gauge, .. }: &RunningTask| {
            let began = before(wall, now.saturating_duration_since(*since));
            ActiveTransfer::new(task, *attempts, (began, since.into_std()), gauge, now.into_std())
        };
        TransferList { total, transfers: running.iter().map(show).collect() }
    }

    /// The state of this connection's server; `None` if the dispatcher has no connection of this name.
    #[must_use]
    pub fn connection(&self, configured: &FtpConnection) -> Option<ConnectionState> {
        let queues = self.shared.queues();
        let queue = queues.get(&*configured.name)?;
        let (now, wall) = (Instant::now(), Timestamp::now());
        let (breaker, until, last_error) = queue.breaker_status(now);
        let host = &configured.host;
        Some(ConnectionState {
            name: configured.name.clone(),
            server: if host.contains(':') && !host.starts_with('[') {
                format!("[{host}]:{}", configured.port)
            } else {
                format!("{host}:{}", configured.port)
            },
            via: configured.network.via.clone(),
            tls: tls_name(configured.tls.mode),
            breaker: breaker.as_str(),
            breaker_until: until.map(|until| after(wall, until.saturating_duration_since(now))),
            last_error,
            limit: self.shared.pool.limit(&configured.name),
            max_sessions: configured.max_sessions,
            max_sessions_total: configured.max_sessions_total,
            granted: self.shared.pool.grant(&configured.name),
            deferred: self.shared.recent_deferrals.count(&configured.name, now),
        })
    }
}

fn after(wall: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| wall.checked_add(time).ok()).unwrap_or(Timestamp::MAX)
}

fn before(wall: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| wall.checked_sub(time).ok()).unwrap_or(Timestamp::MIN)
}

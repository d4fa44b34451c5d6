//! What the dispatcher tells of its connections and of the tasks in flight.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::Dispatcher;
use super::line::Carried;
use super::task_executor::TaskExecutor;
use crate::config::FtpConnection;
use crate::insight::{ConnectionState, Longest, Query, Transfer, Transfers, tls_name};
use crate::pool::SessionConnector;

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Dispatcher<C, T> {
    /// The tasks in flight, those first that have been so for the longest. Each line's lock is held for as long as it
    /// takes to look at when its tasks began; what is shown is put together after that.
    #[must_use]
    pub fn transfers(&self, query: &Query) -> Transfers {
        let mut longest = Longest::new(query);
        for line in self.shared.lines().values() {
            if query.connection.as_ref().is_none_or(|connection| *connection == *line.connection) {
                line.show(&mut longest);
            }
        }
        let (now, wall) = (Instant::now(), Timestamp::now());
        let (total, carried) = longest.of(query);
        let show = |Carried { task, attempts, since, gauge, .. }: &Carried| {
            let began = before(wall, now.saturating_duration_since(*since));
            Transfer::new(task, *attempts, (began, since.into_std()), gauge, now.into_std())
        };
        Transfers { total, transfers: carried.iter().map(show).collect() }
    }

    /// What is known of this connection's server; `None` where the dispatcher has none of this name.
    #[must_use]
    pub fn connection(&self, configured: &FtpConnection) -> Option<ConnectionState> {
        let lines = self.shared.lines();
        let line = lines.get(&*configured.name)?;
        let (now, wall) = (Instant::now(), Timestamp::now());
        let (breaker, until, last_error) = line.standing(now);
        let host = &configured.host;
        Some(ConnectionState {
            name: configured.name.clone(),
            server: if host.contains(':') && !host.starts_with('[') {
                format!("[{host}]:{}", configured.port)
            } else {
                format!("{host}:{}", configured.port)
            },
            tls: tls_name(configured.tls.mode),
            breaker: breaker.as_str(),
            breaker_until: until.map(|until| after(wall, until.saturating_duration_since(now))),
            last_error,
            limit: self.shared.pool.limit(&configured.name),
            max_sessions: configured.max_sessions,
        })
    }
}

fn after(wall: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| wall.checked_add(time).ok()).unwrap_or(Timestamp::MAX)
}

fn before(wall: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| wall.checked_sub(time).ok()).unwrap_or(Timestamp::MIN)
}

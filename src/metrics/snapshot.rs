//! The metrics in the page's format: by connection, summed, as JSON.

use std::ops::AddAssign;

use prometheus::IntGauge;
use prometheus::core::Collector;
use serde::{Deserialize, Serialize};

use super::Metrics;
use super::connection::ConnectionSeries;
use crate::breaker::BreakerState;

/// The pod's present figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetricsSnapshot {
    /// Seconds since the epoch.
    pub started_at: i64,
    pub held_tasks: u64,
    pub held_bytes: u64,
    pub assigned_partitions: u64,
    pub paused_partitions: u64,
    /// Over the assigned partitions; not negative.
    pub lag_records: u64,
    pub committed_answers: u64,
    pub tasks: TaskSnapshot,
    pub sessions: SessionSnapshot,
    /// Including those of removed connections.
    pub totals: ConnectionTotals,
    /// By name.
    pub connections: Vec<ConnectionSnapshot>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionSnapshot {
    pub name: String,
    /// `closed`, `half-open` or `open`.
    pub breaker: &'static str,
    pub tasks: TaskSnapshot,
    pub sessions: SessionSnapshot,
    pub totals: ConnectionTotals,
}

/// Tasks now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskSnapshot {
    pub waiting: u64,
    pub delayed: u64,
    pub in_flight: u64,
}

/// Sessions now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionSnapshot {
    pub idle: u64,
    pub busy: u64,
    pub connecting: u64,
}

/// Since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionTotals {
    pub completed: u64,
    pub failed: u64,
    pub downloaded_bytes: u64,
    pub uploaded_bytes: u64,
    pub sessions_opened: u64,
}

impl Metrics {
    /// The present figures. Each is read separately: two of them may be a moment apart.
    #[must_use]
    pub fn snapshot(&self) -> MetricsSnapshot {
        let series = &self.inner.series;
        let (connections, retired) = self.inner.connections.sorted();
        let connections: Vec<_> = connections.iter().map(|connection| connection.snapshot()).collect();
        MetricsSnapshot {
            started_at: self.inner.process.started_at(),
            held_tasks: now(&series.held_tasks),
            held_bytes: now(&series.held_bytes),
            assigned_partitions: now(&series.partitions_assigned),
            paused_partitions: now(&series.partitions_paused),
            lag_records: self.lag_sum(),
            committed_answers: series.committed.get(),
            tasks: sum(connections.iter().map(|connection| connection.tasks)),
            sessions: sum(connections.iter().map(|connection| connection.sessions)),
            totals: sum(connections.iter().map(|connection| connection.totals).chain([retired])),
            connections,
        }
    }

    fn lag_sum(&self) -> u64 {
        let families = self.inner.series.lag.collect();
        let partitions = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
        let lag: f64 = partitions.map(|metric| metric.get_gauge().get_value().max(0.0)).sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative; `as` saturates"
        )]
        let lag = lag as u64;
        lag
    }
}

impl ConnectionSeries {
    fn snapshot(&self) -> ConnectionSnapshot {
        ConnectionSnapshot {
            name: self.name.clone(),
            breaker: BreakerState::name_of(self.breaker.get()),
            tasks: TaskSnapshot {
                waiting: now(&self.tasks.waiting),
                delayed: now(&self.tasks.delayed),
                in_flight: now(&self.tasks.in_flight),
            },
            sessions: SessionSnapshot {
                idle: now(&self.sessions.idle),
                busy: now(&self.sessions.busy),
                connecting: now(&self.sessions.connecting),
            },
            totals: self.totals(),
        }
    }
}

fn now(gauge: &IntGauge) -> u64 {
    u64::try_from(gauge.get()).unwrap_or(0)
}

pub(super) fn sum<T: Default + AddAssign>(parts: impl IntoIterator<Item = T>) -> T {
    parts.into_iter().fold(T::default(), |mut total, part| {
        total += part;
        total
    })
}

impl AddAssign for TaskSnapshot {
    fn add_assign(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.delayed += other.delayed;
        self.in_flight += other.in_flight;
    }
}

impl AddAssign for SessionSnapshot {
    fn add_assign(&mut self, other: Self) {
        self.idle += other.idle;
        self.busy += other.busy;
        self.connecting += other.connecting;
    }
}

impl AddAssign for ConnectionTotals {
    fn add_assign(&mut self, other: Self) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.downloaded_bytes += other.downloaded_bytes;
        self.uploaded_bytes += other.uploaded_bytes;
        self.sessions_opened += other.sessions_opened;
    }
}

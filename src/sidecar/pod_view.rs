//! What the sidecar shows: read on request, never changed.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use service_kit::health::{HealthReport, ReportHealth};
use service_kit::http::host::AllowedHosts;
use service_kit::http::token::{BearerToken, TokenGuard};
use service_kit::metrics::EncodeMetrics;

use super::answers::{ConnectionAnswer, FeedAnswer, PoolAnswer, SnapshotEvent, StatusAnswer};
use super::event_feed::EventFeed;
use super::history::ThroughputHistory;
use crate::insight::{PodInsight, TransferQuery};
use crate::metrics::Metrics;

/// How many of the longest transfers an event contains.
const LONGEST: usize = 50;
/// How many of the last failures an event contains.
const LAST: usize = 20;

/// The key that adds host names.
const ALLOWED_HOSTS: &str = "api.allowed_hosts";

/// What the sidecar shows. Cheap to clone.
#[derive(Clone)]
pub struct PodView {
    health: Arc<dyn ReportHealth>,
    pub(super) metrics: Metrics,
    pub(super) insight: Arc<dyn PodInsight>,
    guard: Arc<TokenGuard>,
    pub(super) hosts: AllowedHosts,
    pub(super) history: Arc<ThroughputHistory>,
    pub(super) feed: Arc<EventFeed>,
}

impl PodView {
    pub fn new(health: Arc<dyn ReportHealth>, metrics: Metrics, insight: Arc<dyn PodInsight>) -> Self {
        PodView {
            history: Arc::new(ThroughputHistory::new(metrics.snapshot().totals)),
            health,
            metrics,
            insight,
            guard: guard(|| None),
            hosts: AllowedHosts::new(ALLOWED_HOSTS, [""; 0]),
            feed: Arc::default(),
        }
    }

    /// Shown only to clients that have the currently valid token, if there is one.
    #[must_use]
    pub fn with_token(self, token: impl Fn() -> Option<Arc<BearerToken>> + Send + Sync + 'static) -> Self {
        PodView { guard: guard(token), ..self }
    }

    /// Additional host names that are accepted, separated by commas: see [`AllowedHosts`].
    #[must_use]
    pub fn with_allowed_hosts(self, names: &str) -> Self {
        PodView { hosts: AllowedHosts::new(ALLOWED_HOSTS, names.split(',').map(str::trim)), ..self }
    }

    pub(super) fn guard(&self) -> Arc<TokenGuard> {
        Arc::clone(&self.guard)
    }

    fn health_report(&self) -> HealthReport {
        self.health.report(Instant::now())
    }

    pub(super) fn status(&self) -> StatusAnswer {
        StatusAnswer::new(&*self.insight, self.health_report(), self.metrics.snapshot())
    }

    pub(super) fn connections(&self) -> Vec<ConnectionAnswer> {
        ConnectionAnswer::all(&*self.insight, &self.metrics.snapshot().connections)
    }

    /// The content of an event `pool`.
    pub(super) fn pool(&self) -> PoolAnswer {
        PoolAnswer::new(&*self.insight)
    }

    /// The content of an event `snapshot`.
    pub(super) fn everything(&self) -> SnapshotEvent {
        let figures = self.metrics.snapshot();
        let connections = ConnectionAnswer::all(&*self.insight, &figures.connections);
        let query = TransferQuery { limit: LONGEST, offset: 0, connection: None };
        SnapshotEvent {
            status: StatusAnswer::new(&*self.insight, self.health_report(), figures),
            connections,
            transfers: self.insight.transfers(&query),
            failures: self.insight.failures(LAST),
            partitions: self.insight.partitions(),
            tunnels: self.insight.tunnels(),
            feeds: FeedAnswer::all(&*self.insight),
        }
    }
}

impl ReportHealth for PodView {
    fn report(&self, now: Instant) -> HealthReport {
        self.health.report(now)
    }
}

impl EncodeMetrics for PodView {
    fn encode(&self) -> String {
        let report = self.health_report();
        self.metrics.health(report.is_healthy(), report.is_ready());
        self.metrics.encode()
    }
}

fn guard(token: impl Fn() -> Option<Arc<BearerToken>> + Send + Sync + 'static) -> Arc<TokenGuard> {
    TokenGuard::new("ftp-pooler", "api.token", token)
}

impl fmt::Debug for PodView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("health", &self.health).finish_non_exhaustive()
    }
}

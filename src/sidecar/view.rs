//! What the sidecar shows: read when it is asked for, changed never.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::answers::{Connection, Everything, Status};
use super::feed::Feed;
use super::history::History;
use crate::config::ApiToken;
use crate::health::{Health, Verdict};
use crate::insight::{Insight, Query};
use crate::metrics::Metrics;

/// The longest transfers that an event holds.
const LONGEST: usize = 50;
/// The last failures that an event holds.
const LAST: usize = 20;

/// What the sidecar shows. Cheap to clone.
#[derive(Clone)]
pub struct View {
    pub(super) health: Arc<Health>,
    pub(super) metrics: Metrics,
    pub(super) insight: Arc<dyn Insight>,
    token: Arc<dyn Fn() -> Option<Arc<ApiToken>> + Send + Sync>,
    clock: Arc<dyn Fn() -> Instant + Send + Sync>,
    pub(super) history: Arc<History>,
    pub(super) feed: Arc<Feed>,
}

impl View {
    pub fn new(health: Arc<Health>, metrics: Metrics, insight: Arc<dyn Insight>) -> Self {
        View {
            history: Arc::new(History::new(metrics.snapshot().totals)),
            health,
            metrics,
            insight,
            token: Arc::new(|| None),
            clock: Arc::new(Instant::now),
            feed: Arc::default(),
        }
    }

    /// Shown to those alone who have the token that holds at the time, where there is one.
    #[must_use]
    pub fn with_token(self, token: impl Fn() -> Option<Arc<ApiToken>> + Send + Sync + 'static) -> Self {
        View { token: Arc::new(token), ..self }
    }

    /// With another clock, by which the loops' silence is judged.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        View { clock: Arc::new(clock), ..self }
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.health.verdict((self.clock)())
    }

    pub(super) fn token(&self) -> Option<Arc<ApiToken>> {
        (self.token)()
    }

    pub(super) fn status(&self) -> Status {
        Status::new(&*self.insight, self.verdict(), self.metrics.snapshot())
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        Connection::all(&*self.insight, &self.metrics.snapshot().connections)
    }

    /// What an event `snapshot` holds.
    pub(super) fn everything(&self) -> Everything {
        let figures = self.metrics.snapshot();
        let connections = Connection::all(&*self.insight, &figures.connections);
        let query = Query { limit: LONGEST, offset: 0, connection: None };
        Everything {
            status: Status::new(&*self.insight, self.verdict(), figures),
            connections,
            transfers: self.insight.transfers(&query),
            failures: self.insight.failures(LAST),
            partitions: self.insight.partitions(),
        }
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("health", &self.health).finish_non_exhaustive()
    }
}

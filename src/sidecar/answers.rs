//! The API's answers, as JSON. `openapi.json` describes them; `tests/sidecar.rs` verifies that they agree.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use service_kit::health::{HealthReport, LoopState};

use crate::config::LastReload;
use crate::feeds::FeedStatus;
use crate::insight::{
    AssignedPartition, ConnectionState, FailureEntry, OpenBatches, PodInsight, SessionSharing, TransferList,
    TunnelReport,
};
use crate::metrics::{ConnectionSnapshot, ConnectionTotals, MetricsSnapshot, SessionSnapshot, TaskSnapshot};
use crate::pods::PoolSnapshot;
use crate::text::rfc3339;

/// The pod's present state. Names are part of the API: fields are added, never renamed.
#[derive(Debug, Serialize)]
pub(super) struct StatusAnswer {
    version: &'static str,
    pod: String,
    group: String,
    now: String,
    healthy: bool,
    stuck: Vec<Cow<'static, str>>,
    loops: Vec<LoopState>,
    ready: bool,
    reasons: Vec<String>,
    notes: Vec<String>,
    draining: bool,
    configuration: ReloadAnswer,
    #[serde(flatten)]
    figures: MetricsSnapshot,
}

/// The result of the last reload.
#[derive(Debug, Serialize)]
struct ReloadAnswer {
    /// `applied`, `unchanged` or `refused`.
    result: &'static str,
    at: String,
    /// If refused: every error, one per line.
    reason: Option<String>,
    /// When the configuration in force was read.
    in_force_since: String,
}

impl From<LastReload> for ReloadAnswer {
    fn from(last: LastReload) -> Self {
        ReloadAnswer {
            result: last.result.as_str(),
            at: rfc3339(last.at),
            reason: last.reason,
            in_force_since: rfc3339(last.in_force_since),
        }
    }
}

impl StatusAnswer {
    pub(super) fn new(insight: &dyn PodInsight, health: HealthReport, figures: MetricsSnapshot) -> Self {
        StatusAnswer {
            version: env!("CARGO_PKG_VERSION"),
            pod: insight.pod().to_owned(),
            group: insight.group().to_owned(),
            now: rfc3339(Timestamp::now()),
            healthy: health.is_healthy(),
            stuck: health.stuck(),
            ready: health.is_ready(),
            draining: health.draining,
            configuration: insight.last_reload().into(),
            loops: health.loops,
            reasons: health.reasons,
            notes: health.notes,
            figures,
        }
    }
}

/// A connection's configuration, and its figures.
#[derive(Debug, Serialize)]
pub(super) struct ConnectionAnswer {
    #[serde(flatten)]
    state: ConnectionState,
    sessions: SessionSnapshot,
    tasks: TaskSnapshot,
    totals: ConnectionTotals,
}

impl ConnectionAnswer {
    /// `figures` are by name. A new connection has none yet; a removed one is not shown.
    pub(super) fn all(insight: &dyn PodInsight, figures: &[ConnectionSnapshot]) -> Vec<ConnectionAnswer> {
        let with_figures = |state: ConnectionState| {
            let found = figures.binary_search_by(|figures| figures.name.cmp(&state.name));
            let figures = found.ok().and_then(|at| figures.get(at));
            let (sessions, tasks, totals) =
                figures.map(|of| (of.sessions, of.tasks, of.totals)).unwrap_or_default();
            ConnectionAnswer { state, sessions, tasks, totals }
        };
        insight.connections().into_iter().map(with_figures).collect()
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ConnectionsAnswer {
    pub connections: Vec<ConnectionAnswer>,
}

/// All pods that this one knows.
#[derive(Debug, Serialize)]
pub(super) struct PoolAnswer {
    now: String,
    group: String,
    session_sharing: SessionSharing,
    batches: OpenBatches,
    feeds: Vec<FeedAnswer>,
    #[serde(flatten)]
    pool: PoolSnapshot,
}

impl PoolAnswer {
    pub(super) fn new(insight: &dyn PodInsight) -> Self {
        let mut pool = insight.pool();
        PoolAnswer {
            feeds: std::mem::take(&mut pool.feeds).into_iter().map(FeedAnswer::new).collect(),
            now: rfc3339(Timestamp::now()),
            group: insight.group().to_owned(),
            session_sharing: insight.session_sharing(),
            batches: insight.batches(),
            pool,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct TunnelsAnswer {
    pub tunnels: Vec<TunnelReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct FeedsAnswer {
    pub feeds: Vec<FeedAnswer>,
}

/// A feed, with its state in one word.
#[derive(Debug, Serialize)]
pub(super) struct FeedAnswer {
    state: &'static str,
    #[serde(flatten)]
    status: FeedStatus,
}

impl FeedAnswer {
    fn new(status: FeedStatus) -> FeedAnswer {
        FeedAnswer { state: status.state(), status }
    }

    pub fn all(insight: &dyn PodInsight) -> Vec<FeedAnswer> {
        insight.feeds().into_iter().map(FeedAnswer::new).collect()
    }
}

#[derive(Debug, Serialize)]
pub(super) struct FailuresAnswer {
    pub failures: Vec<FailureEntry>,
}

#[derive(Debug, Serialize)]
pub(super) struct PartitionsAnswer {
    pub partitions: Vec<AssignedPartition>,
}

#[derive(Debug, Serialize)]
pub(super) struct ConfigAnswer {
    pub yaml: String,
}

/// The error in a request.
#[derive(Debug, Serialize)]
pub(super) struct ErrorAnswer {
    pub error: String,
}

/// Everything that the page shows, except the last hour and the configuration.
#[derive(Debug, Serialize)]
pub(super) struct SnapshotEvent {
    pub status: StatusAnswer,
    pub connections: Vec<ConnectionAnswer>,
    pub transfers: TransferList,
    pub failures: Vec<FailureEntry>,
    pub partitions: Vec<AssignedPartition>,
    pub tunnels: Vec<TunnelReport>,
    pub feeds: Vec<FeedAnswer>,
}

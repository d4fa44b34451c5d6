//! The API's answers, as JSON. `openapi.json` describes them; `tests/sidecar.rs` holds both together.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use service_kit::health::{HealthReport, LoopState};

use crate::config::LastReload;
use crate::insight::{ConnectionState, Failed, Insight, Partition, Transfers};
use crate::metrics::{ConnectionSnapshot, SessionCounts, Snapshot, TaskCounts, Totals};
use crate::text::rfc3339;

/// The pod now. Names are part of the API: fields are added, never renamed.
#[derive(Debug, Serialize)]
pub(super) struct Status {
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
    configuration: Configuration,
    #[serde(flatten)]
    figures: Snapshot,
}

/// What came of reading the configuration's files the last time.
#[derive(Debug, Serialize)]
struct Configuration {
    /// `applied`, `unchanged` or `refused`.
    result: &'static str,
    at: String,
    /// Of a refusal: every mistake, a line each.
    reason: Option<String>,
    /// When what holds now was read.
    in_force_since: String,
}

impl From<LastReload> for Configuration {
    fn from(last: LastReload) -> Self {
        Configuration {
            result: last.result.as_str(),
            at: rfc3339(last.at),
            reason: last.reason,
            in_force_since: rfc3339(last.in_force_since),
        }
    }
}

impl Status {
    pub(super) fn new(insight: &dyn Insight, health: HealthReport, figures: Snapshot) -> Self {
        Status {
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

/// A connection as it is configured, and its figures.
#[derive(Debug, Serialize)]
pub(super) struct Connection {
    #[serde(flatten)]
    state: ConnectionState,
    sessions: SessionCounts,
    tasks: TaskCounts,
    totals: Totals,
}

impl Connection {
    /// `figures` are by name. A connection that is new has none yet; one that is gone is not shown.
    pub(super) fn all(insight: &dyn Insight, figures: &[ConnectionSnapshot]) -> Vec<Connection> {
        let with_figures = |state: ConnectionState| {
            let found = figures.binary_search_by(|figures| figures.name.cmp(&state.name));
            let figures = found.ok().and_then(|at| figures.get(at));
            let (sessions, tasks, totals) =
                figures.map(|of| (of.sessions, of.tasks, of.totals)).unwrap_or_default();
            Connection { state, sessions, tasks, totals }
        };
        insight.connections().into_iter().map(with_figures).collect()
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Connections {
    pub connections: Vec<Connection>,
}

#[derive(Debug, Serialize)]
pub(super) struct Failures {
    pub failures: Vec<Failed>,
}

#[derive(Debug, Serialize)]
pub(super) struct Partitions {
    pub partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
pub(super) struct Yaml {
    pub yaml: String,
}

/// What was wrong with a request.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub error: String,
}

/// All that the page shows, but for the last hour and the configuration.
#[derive(Debug, Serialize)]
pub(super) struct Everything {
    pub status: Status,
    pub connections: Vec<Connection>,
    pub transfers: Transfers,
    pub failures: Vec<Failed>,
    pub partitions: Vec<Partition>,
}

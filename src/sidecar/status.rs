//! `/api/v1/status`: what the page shows, as JSON.

use serde::Serialize;

use crate::health::{LoopState, Verdict};
use crate::metrics::Snapshot;

/// The pod now. Names are part of the API: fields are added, never renamed.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    healthy: bool,
    stuck: Vec<&'static str>,
    loops: Vec<LoopState>,
    ready: bool,
    reasons: Vec<String>,
    draining: bool,
    #[serde(flatten)]
    figures: Snapshot,
}

impl Status {
    pub(super) fn new(verdict: Verdict, figures: Snapshot) -> Self {
        Status {
            version: env!("CARGO_PKG_VERSION"),
            healthy: verdict.is_healthy(),
            stuck: verdict.stuck(),
            ready: verdict.is_ready(),
            draining: verdict.draining,
            loops: verdict.loops,
            reasons: verdict.reasons,
            figures,
        }
    }
}

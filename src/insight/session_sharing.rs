//! Whether the pods share sessions with servers (`max_sessions_total`), for the page.

use serde::Serialize;

/// Whether this pod's grants are valid now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionSharing {
    /// `off` (no connection has a total), `needs_transactions` (none can have one), `starting`, `live`, `ending` (idle
    /// sessions are closed), `over` (none is open) or `unavailable`.
    pub state: &'static str,
    /// Why it is not live, if it should be.
    pub reason: Option<String>,
}

impl SessionSharing {
    #[must_use]
    pub fn new(state: &'static str) -> Self {
        SessionSharing { state, reason: None }
    }

    #[must_use]
    pub fn because(state: &'static str, reason: impl Into<String>) -> Self {
        SessionSharing { state, reason: Some(reason.into()) }
    }
}

//! The configuration in force: one snapshot, replaced as a whole, and the result of the last reload.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;

use super::Config;

/// Shared by all parts that need the configuration in force. Neither lock is held for longer than a copy takes.
pub struct CurrentConfig {
    config: RwLock<Arc<Config>>,
    last: Mutex<LastReload>,
}

/// The result of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadResult {
    /// The files' content is in force now; also the initial state.
    Applied,
    /// The files' content was in force already.
    Unchanged,
    /// The files have errors, and nothing has changed.
    Refused,
}

impl ReloadResult {
    pub const ALL: [ReloadResult; 3] =
        [ReloadResult::Applied, ReloadResult::Unchanged, ReloadResult::Refused];

    /// The value of the label `result`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ReloadResult::Applied => "applied",
            ReloadResult::Unchanged => "unchanged",
            ReloadResult::Refused => "refused",
        }
    }
}

/// The last reload that had a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReload {
    pub result: ReloadResult,
    pub at: Timestamp,
    /// If rejected: every error with its file, line and key, one per line. It contains no secret.
    pub reason: Option<String>,
    /// When the configuration in force was read.
    pub in_force_since: Timestamp,
}

impl LastReload {
    /// The configuration read at the start is in force.
    #[must_use]
    pub fn at_the_start() -> Self {
        let now = Timestamp::now();
        LastReload { result: ReloadResult::Applied, at: now, reason: None, in_force_since: now }
    }
}

impl CurrentConfig {
    /// The state at the start.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        let last = LastReload::at_the_start();
        Arc::new(CurrentConfig { config: RwLock::new(Arc::new(config)), last: Mutex::new(last) })
    }

    /// The configuration in force. A caller that keeps it continues to use this snapshot.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    #[must_use]
    pub fn last_reload(&self) -> LastReload {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts this configuration into force.
    pub fn apply(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.note(ReloadResult::Applied, None);
    }

    /// The files' content is in force already.
    pub fn unchanged(&self) {
        self.note(ReloadResult::Unchanged, None);
    }

    /// The files have errors. Returns false if that is known: the last time had the same reason.
    pub fn refuse(&self, reason: &str) -> bool {
        let is_known = self.last_reload().reason.is_some_and(|known| known == reason);
        self.note(ReloadResult::Refused, Some(reason.to_owned()));
        !is_known
    }

    fn note(&self, result: ReloadResult, reason: Option<String>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Timestamp::now();
        let in_force_since = if result == ReloadResult::Applied { at } else { last.in_force_since };
        *last = LastReload { result, at, reason, in_force_since };
    }
}

impl fmt::Debug for CurrentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentConfig").field("last", &self.last_reload()).finish_non_exhaustive()
    }
}

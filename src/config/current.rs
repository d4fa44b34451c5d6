//! The configuration that holds now: one snapshot, replaced as a whole, and what came of the last time that the files
//! were read.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;

use super::Config;

/// Shared by all who must know what holds now. Neither lock is ever held for longer than a copy takes.
pub struct CurrentConfig {
    config: RwLock<Arc<Config>>,
    last: Mutex<LastReload>,
}

/// What came of reading the files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadResult {
    /// What they say holds now; so it is at the start.
    Applied,
    /// They say what holds already.
    Unchanged,
    /// They are wrong, and nothing has changed.
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

/// The last time that the files were read with a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReload {
    pub result: ReloadResult,
    pub at: Timestamp,
    /// Of a refusal: every mistake with its file, line and key, a line each. No secret is in it.
    pub reason: Option<String>,
    /// When what holds now was read.
    pub in_force_since: Timestamp,
}

impl LastReload {
    /// What was read at the start holds.
    #[must_use]
    pub fn at_the_start() -> Self {
        let now = Timestamp::now();
        LastReload { result: ReloadResult::Applied, at: now, reason: None, in_force_since: now }
    }
}

impl CurrentConfig {
    /// As it was read at the start.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        let last = LastReload::at_the_start();
        Arc::new(CurrentConfig { config: RwLock::new(Arc::new(config)), last: Mutex::new(last) })
    }

    /// What holds now. Whoever keeps it goes on with what held when they asked.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    #[must_use]
    pub fn last_reload(&self) -> LastReload {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this holds.
    pub fn apply(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.note(ReloadResult::Applied, None);
    }

    /// The files say what holds already.
    pub fn unchanged(&self) {
        self.note(ReloadResult::Unchanged, None);
    }

    /// The files are wrong. False where that is known: the last time had the same reason.
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

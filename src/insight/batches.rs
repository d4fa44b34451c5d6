//! The open batches, as far as pods know cheaply: what the control topic says of them, and the answers that pods have counted,
//! over their restarts. No topic of answers is read for it.

use serde::Serialize;

/// Batches that are shown, the newest first.
pub const MAX_OPEN_BATCHES: usize = 50;

/// Those that are shown, of how many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OpenBatches {
    pub total: usize,
    pub batches: Vec<OpenBatch>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenBatch {
    pub batch: String,
    /// When it was submitted; RFC 3339.
    pub at: String,
    pub by: String,
    /// Such as `remote-ftp:/pub/ → local:/in/`.
    pub what: String,
    pub tasks: u64,
    pub completed: u64,
    pub failed: u64,
    /// Without an answer yet: at most so many, unless `is_exact`.
    pub open: u64,
    /// No pod has started or crashed since it was submitted that may have answered its tasks uncounted: no answer is missing.
    pub is_exact: bool,
}

//! The open batches, as far as pods know them cheaply: the entries of the control topic, and the answers that pods have
//! counted, over their restarts. No other topic is read.

use serde::Serialize;

/// How many batches are shown, the newest first.
pub const MAX_OPEN_BATCHES: usize = 50;

/// The batches shown, and their total number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OpenBatches {
    pub total: usize,
    pub batches: Vec<OpenBatch>,
}

/// One open batch.
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
    /// Not answered yet: an upper bound unless `is_exact`.
    pub open: u64,
    /// No answer is missing: no pod that may have answered its tasks has started or crashed since it was submitted.
    pub is_exact: bool,
}

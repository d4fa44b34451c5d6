//! The contract out: how a task ended, and the message that says so.
//!
//! ```text
//! encode            from an outcome to the message that is sent, within its topic's size limit
//! envelope          an answer's key and headers, and the room they leave
//! json              JSON of a length known beforehand
//! original          the original record within a failure
//! transfer_details  a result's details beyond the contract's fixed fields
//! ```

mod encode;
mod envelope;
mod json;
mod original;
mod transfer_details;

use std::time::Duration;

use jiff::Timestamp;

pub use encode::{Answer, AnswerKind, LEAST_MESSAGE_BYTES, MIN_MESSAGE_BYTES};
pub use original::MAX_EMBEDDED_DEPTH;
pub use transfer_details::{MovedFile, SourceFate, TransferDetails};

use crate::admission::Admission;
use crate::failure::Failure;
use crate::record::{Record, RetryState};

/// What a transfer that succeeded did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    pub bytes_transferred: u64,
    /// From the first try's begin to the last one's end.
    pub duration: Duration,
    /// Remarks such as `size not verified: the server has no SIZE`; absent from the message when empty.
    pub notes: Vec<String>,
    pub details: TransferDetails,
}

/// The outcome of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Completed(Completed),
    Failed(Failure),
    /// No answer yet: the record goes to the retry topic, with this in headers besides its own.
    Deferred(Box<RetryState>),
}

impl From<Result<Completed, Failure>> for Verdict {
    fn from(result: Result<Completed, Failure>) -> Self {
        result.map_or_else(Verdict::Failed, Verdict::Completed)
    }
}

/// The one answer to one record, or its way to the retry topic, which is as final for this record.
#[derive(Debug)]
pub struct Outcome {
    pub record: Box<Record>,
    /// As far as it could be read; a failure carries null otherwise. At most
    /// [`MAX_TASK_ID_BYTES`](crate::task::MAX_TASK_ID_BYTES), which decoding sees to.
    pub task_id: Option<String>,
    /// Tries begun, 0 if none.
    pub attempts: u32,
    pub at: Timestamp,
    pub verdict: Verdict,
}

/// An outcome on its way to publication. The admission goes with it, so that a task counts as held until its answer is
/// committed.
#[derive(Debug)]
pub struct AdmittedOutcome {
    pub outcome: Outcome,
    pub admission: Admission,
}

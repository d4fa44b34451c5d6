//! The contract for answers: how a task ended, and the message that reports it.
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

/// What a successful transfer did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    pub bytes_transferred: u64,
    /// From the start of the first try to the end of the last one.
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
    /// No answer yet: the record goes to the retry topic, with this state in headers besides its own.
    Deferred(Box<RetryState>),
}

impl From<Result<Completed, Failure>> for Verdict {
    fn from(result: Result<Completed, Failure>) -> Self {
        result.map_or_else(Verdict::Failed, Verdict::Completed)
    }
}

/// The one answer to one record, or its deferral to the retry topic, which is equally final for this record.
#[derive(Debug)]
pub struct Outcome {
    pub record: Box<Record>,
    /// If it could be read; otherwise a failure has null. At most
    /// [`MAX_TASK_ID_BYTES`](crate::task::MAX_TASK_ID_BYTES), which decoding ensures.
    pub task_id: Option<String>,
    /// How many tries were started, 0 if none.
    pub attempts: u32,
    pub at: Timestamp,
    pub verdict: Verdict,
}

/// An outcome on its way to publication. It includes the admission, so that a task counts as held until its answer is
/// committed.
#[derive(Debug)]
pub struct AdmittedOutcome {
    pub outcome: Outcome,
    pub admission: Admission,
}

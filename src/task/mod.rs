//! The contract for tasks: a record's payload, decoded and validated.
//!
//! ```text
//! decode     payload → task, or a failure that lists every problem
//! json       the accepted JSON: no duplicate keys, bounded
//! foreign    records in other programs' formats: what they are, and what to do
//! options    a task's `options`
//! side       `source` and `destination`
//! path       a path's rules
//! problems   all problems of a record, by field
//! fuzz       any bytes as a payload, for `make fuzz`
//! ```

mod decode;
mod foreign;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod json;
mod options;
mod path;
mod problems;
mod side;

use jiff::Timestamp;

pub use decode::{MAX_TASK_ID_BYTES, Rejected, decode};
pub use options::{MAX_RETRY_COUNT, UnknownOption};
pub use path::{MAX_NAME_BYTES, MAX_PATH_BYTES};

/// The direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Download,
    Upload,
}

impl Operation {
    /// Its name in tasks and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::Download => "download",
            Operation::Upload => "upload",
        }
    }
}

/// How a transferred file is verified before it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    None,
    Size,
    Hash,
    Auto,
}

/// What happens to a download's source once the file is safely stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    Keep,
    Delete,
    MoveTo(String),
}

/// `options`, with defaults filled in.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the contract's fields, each with its own meaning"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub overwrite: bool,
    /// How often the pooler retries automatically: 0 to 100, 3 if absent.
    pub retry_count: u32,
    pub verify: Verify,
    pub resume: bool,
    pub preserve_mtime: bool,
    /// The task is not started after this.
    pub deadline: Option<Timestamp>,
    pub defer: bool,
    pub after: After,
    /// The first few that are not part of the contract.
    pub unknown: Vec<UnknownOption>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            overwrite: true,
            retry_count: 3,
            verify: Verify::Size,
            resume: true,
            preserve_mtime: false,
            deadline: None,
            defer: true,
            after: After::Keep,
            unknown: Vec::new(),
        }
    }
}

/// A valid task: one side remote, the other local, both connections known, both paths well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub task_id: String,
    pub operation: Operation,
    /// The FTP connection's name.
    pub remote: String,
    /// Path on the server, as the task wrote it.
    pub remote_path: String,
    /// The local connection's name.
    pub local: String,
    /// Path beneath the local connection's `base_path`, as the task wrote it.
    pub local_path: String,
    pub options: Options,
}

impl Task {
    /// The source, in the notation of `submit`: `CONNECTION:PATH`.
    #[must_use]
    pub fn source(&self) -> String {
        match self.operation {
            Operation::Download => format!("{}:{}", self.remote, self.remote_path),
            Operation::Upload => format!("{}:{}", self.local, self.local_path),
        }
    }

    /// The destination: `CONNECTION:PATH`.
    #[must_use]
    pub fn destination(&self) -> String {
        match self.operation {
            Operation::Download => format!("{}:{}", self.local, self.local_path),
            Operation::Upload => format!("{}:{}", self.remote, self.remote_path),
        }
    }
}

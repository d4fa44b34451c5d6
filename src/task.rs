//! The contract in: a record's payload, decoded and validated.

use jiff::Timestamp;

/// Which way the file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Download,
    Upload,
}

/// How a transferred file is verified before it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    None,
    Size,
    Hash,
    Auto,
}

/// What becomes of a download's source once the file is safely there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    Keep,
    Delete,
    MoveTo(String),
}

/// `options`, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub overwrite: bool,
    /// How often the pooler tries again by itself: 0 to 100, 3 where absent.
    pub retry_count: u32,
    pub verify: Verify,
    pub resume: bool,
    pub preserve_mtime: bool,
    /// The task is not begun after this.
    pub deadline: Option<Timestamp>,
    pub defer: bool,
    pub after: After,
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

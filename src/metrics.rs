//! Every metric, declared once.

use std::sync::Arc;
use std::time::Duration;

/// The pod's metrics; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    inner: Arc<()>,
}

/// Why a session was closed (label `reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Idle,
    MadeRoom,
    InDoubt,
    Dead,
    Shutdown,
}

impl Metrics {
    /// A task was answered: its operation (`download`, `upload`, `invalid`), its error code if it failed.
    pub fn answered(&self, operation: &str, connection: &str, code: Option<&str>, took: Duration) {}
    /// Payload bytes that crossed a data connection, counted while they do.
    pub fn bytes(&self, operation: &str, connection: &str, bytes: u64) {}
    /// A try is made again after an error with this code.
    pub fn retried(&self, connection: &str, code: &str) {}
    /// Sessions of a connection now, by state; set, not added.
    pub fn sessions(&self, connection: &str, idle: usize, busy: usize, connecting: usize) {}
    pub fn session_opened(&self, connection: &str) {}
    pub fn session_closed(&self, connection: &str, reason: Closed) {}
    /// Tasks of a connection: waiting for a session, waiting for a retry's time, in flight.
    pub fn tasks(&self, connection: &str, waiting: usize, delayed: usize, in_flight: usize) {}
    /// Tasks the pod holds from intake to commit, and their payload bytes.
    pub fn held(&self, tasks: usize, bytes: usize) {}
    /// From the record's timestamp to the begin of its first try.
    pub fn waited(&self, connection: &str, wait: Duration) {}
    /// Records of a partition not yet answered and committed (log end offset - low-water mark).
    pub fn lag(&self, topic: &str, partition: i32, records: i64) {}
    /// The partition left this pod: its series end.
    pub fn forget_partition(&self, topic: &str, partition: i32) {}
    pub fn partitions(&self, assigned: usize, paused: usize) {}
    /// One batch of answers was sent and its offsets committed.
    pub fn committed(&self, answers: usize, took: Duration) {}
    /// Kafka said no: `what` is `produce`, `commit`, `consume`, …
    pub fn kafka_error(&self, what: &str) {}
}

//! What a running pod reports about itself beyond its metrics. Written by the parts, read by the sidecar on request.
//!
//! ```text
//! transfers         the running tasks, and which of them are shown
//! gauge             a transfer's progress
//! failures          the last failures: a ring
//! batches           batches that are not completely answered yet
//! connections       one FTP connection: its configuration, and what is known about its server
//! tunnels           one tunnel: its state, and why it is not connected
//! session_sharing   whether max_sessions_total is enforced over all pods
//! partition_board   what the consuming thread knows about its partitions
//! time              times as the API writes them
//! ```
//!
//! Everything here is bounded; its cost for a transfer is an addition to an atomic number.

mod batches;
mod connections;
mod failures;
mod gauge;
mod partition_board;
mod session_sharing;
mod time;
mod transfers;
mod tunnels;

use crate::config::LastReload;
use crate::feeds::FeedStatus;
use crate::pods::PoolSnapshot;
pub use batches::{MAX_OPEN_BATCHES, OpenBatch, OpenBatches};
pub use connections::{ConnectionState, LastError, tls_name};
pub use failures::{FailureEntry, MAX_FAILURES, RecentFailures};
pub use gauge::{ProgressGauge, TransferPhase};
pub use partition_board::{AssignedPartition, PartitionBoard, PauseReason};
pub use session_sharing::SessionSharing;
pub use transfers::{ActiveTransfer, LongestRunning, MAX_TRANSFERS, TransferList, TransferQuery};
pub use tunnels::{TunnelErrorReport, TunnelReport};

/// A pod from the sidecar's point of view. Each call returns the present state, and is cheap enough for once a second.
pub trait PodInsight: Send + Sync {
    /// The pod's name.
    fn pod(&self) -> &str;

    /// Its consumer group.
    fn group(&self) -> &str;

    /// The present FTP connections, by name.
    fn connections(&self) -> Vec<ConnectionState>;

    /// The tunnels that connections name in `via`, by name.
    fn tunnels(&self) -> Vec<TunnelReport> {
        Vec::new()
    }

    /// The feeds that this pod lists, by name.
    fn feeds(&self) -> Vec<FeedStatus> {
        Vec::new()
    }

    /// All pods of the pool, as far as this one knows.
    fn pool(&self) -> PoolSnapshot;

    /// The batches whose tasks are not all answered, the newest first.
    fn batches(&self) -> OpenBatches;

    /// Whether sessions are shared with the other pods.
    fn session_sharing(&self) -> SessionSharing;

    /// The running tasks, those that have run longest first.
    fn transfers(&self, query: &TransferQuery) -> TransferList;

    /// The last failures, the newest first.
    fn failures(&self, limit: usize) -> Vec<FailureEntry>;

    /// This pod's partitions, by topic and number.
    fn partitions(&self) -> Vec<AssignedPartition>;

    /// The configuration in force, without its secrets, as YAML.
    fn config(&self) -> String;

    /// The result of the last reload.
    fn last_reload(&self) -> LastReload;
}

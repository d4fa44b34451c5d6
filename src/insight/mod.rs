//! What a running pod reports about itself beyond its metrics. Written by the parts that know, read by the sidecar on request.
//!
//! ```text
//! transfers         the running tasks, and which of them are shown
//! gauge             how far a transfer is
//! failures          the last failures: a ring
//! batches           what was submitted together and is not answered yet
//! connections       one FTP connection: its configuration, and what is known about its server
//! tunnels           one tunnel: its state, and why it is not connected
//! session_sharing   whether max_sessions_total is held over all pods
//! partition_board   what the consuming thread knows about its partitions
//! time              times as the API writes them
//! ```
//!
//! Everything here is bounded, and what a transfer pays for it is an addition to an atomic number.

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

/// A pod, as the sidecar asks about it. Each call checks what holds now, and is cheap enough for once a second.
pub trait PodInsight: Send + Sync {
    /// The pod's name.
    fn pod(&self) -> &str;

    /// Its consumer group.
    fn group(&self) -> &str;

    /// The FTP connections that there are now, by name.
    fn connections(&self) -> Vec<ConnectionState>;

    /// The tunnels that connections name in `via`, by name.
    fn tunnels(&self) -> Vec<TunnelReport> {
        Vec::new()
    }

    /// The feeds that this pod lists for, by name.
    fn feeds(&self) -> Vec<FeedStatus> {
        Vec::new()
    }

    /// All pods of the pool, as far as this one knows.
    fn pool(&self) -> PoolSnapshot;

    /// The batches whose tasks are not all answered, the newest first.
    fn batches(&self) -> OpenBatches;

    /// Whether sessions are shared with the other pods.
    fn session_sharing(&self) -> SessionSharing;

    /// The tasks in flight, those first that have been so for the longest.
    fn transfers(&self, query: &TransferQuery) -> TransferList;

    /// The last failures, the newest first.
    fn failures(&self, limit: usize) -> Vec<FailureEntry>;

    /// The partitions that are this pod's, by topic and number.
    fn partitions(&self) -> Vec<AssignedPartition>;

    /// The configuration that holds now, without its secrets, as YAML.
    fn config(&self) -> String;

    /// What came of reading its files the last time.
    fn last_reload(&self) -> LastReload;
}

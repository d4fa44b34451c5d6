//! The right to answer a partition's records, from its assignment until it is revoked or lost.
//!
//! ```text
//! suspend_detector     notices that the process was suspended for so long that its leases have ended
//! coordinator_silence  notices that the group's coordinator was silent for so long
//! ```

mod coordinator_silence;
mod suspend_detector;

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

pub(crate) use coordinator_silence::CoordinatorSilence;
pub(crate) use suspend_detector::{SuspendDetector, since_boot};

/// Held by every record; ends when its partition leaves this pod. A new assignment is a new lease, distinguished by its
/// epoch. (Not Kafka's generation: that increases at every rebalance.)
#[derive(Clone, Debug)]
pub struct Lease {
    epoch: u64,
    since: Instant,
    suspend_detector: Arc<SuspendDetector>,
    closed: CancellationToken,
    ended: CancellationToken,
}

impl Default for Lease {
    fn default() -> Self {
        Lease::new(0)
    }
}

impl Lease {
    /// A lease that only [`Lease::end`] ends.
    pub fn new(epoch: u64) -> Self {
        Lease::with_detector(epoch, Arc::default())
    }

    pub(crate) fn with_detector(epoch: u64, suspend_detector: Arc<SuspendDetector>) -> Self {
        let (closed, ended) = (CancellationToken::new(), CancellationToken::new());
        Lease { epoch, since: Instant::now(), suspend_detector, closed, ended }
    }

    /// When the partition was assigned.
    pub fn since(&self) -> Instant {
        self.since
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// False once the partition is about to leave: what is in flight may finish, nothing new may start.
    pub fn may_begin(&self) -> bool {
        !self.closed.is_cancelled() && self.is_live()
    }

    /// False once the partition has left this pod, or may have: nothing may be published for the record any more. It
    /// returns false from the first moment after the process was suspended for too long.
    pub fn is_live(&self) -> bool {
        self.suspend_detector.suspended_for().is_none() && !self.ended.is_cancelled()
    }

    /// Resolves when the lease ends.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Prevents anything from being started under this lease and its clones.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Ends this lease and all its clones.
    pub fn end(&self) {
        self.ended.cancel();
    }
}

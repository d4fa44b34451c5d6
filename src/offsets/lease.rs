//! The right to answer a partition's records, from its assignment until it is revoked or lost.

use tokio_util::sync::CancellationToken;

/// Held by every record; ends when its partition leaves this pod. A new assignment is a new lease, told
/// from the others by its epoch. (Kafka's generation is not it: that rises at every rebalance.)
#[derive(Clone, Debug, Default)]
pub struct Lease {
    epoch: u64,
    closed: CancellationToken,
    ended: CancellationToken,
}

impl Lease {
    pub fn new(epoch: u64) -> Self {
        Lease { epoch, ..Lease::default() }
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// False once the partition is about to leave: what is in flight may finish, nothing begins any more.
    pub fn may_begin(&self) -> bool {
        !self.closed.is_cancelled() && self.is_live()
    }

    /// False once the partition has left this pod: nothing may be published for the record any more.
    pub fn is_live(&self) -> bool {
        !self.ended.is_cancelled()
    }

    /// Resolves when the lease ends.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Lets nothing begin any more under this lease and its clones.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Ends this lease and all its clones.
    pub fn end(&self) {
        self.ended.cancel();
    }
}

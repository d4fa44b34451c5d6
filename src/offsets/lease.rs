//! The right to answer a partition's records, from its assignment until it is revoked or lost.

use tokio_util::sync::CancellationToken;

/// Held by every record; ends when its partition leaves this pod. A new assignment is a new lease.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    ended: CancellationToken,
}

impl Lease {
    /// False once the partition has left this pod: nothing may be published for the record any more.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.ended.is_cancelled()
    }

    /// Resolves when the lease ends.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Ends this lease and all its clones.
    pub fn end(&self) {
        self.ended.cancel();
    }
}

//! The right to answer a partition's records, from its assignment until it is revoked or lost.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::suspend_detector::SuspendDetector;

/// Held by every record; ends when its partition leaves this pod. A new assignment is a new lease, told
/// from the others by its epoch. (Kafka's generation is not it: that rises at every rebalance.)
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

    pub(super) fn with_detector(epoch: u64, suspend_detector: Arc<SuspendDetector>) -> Self {
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

    /// False once the partition is about to leave: what is in flight may finish, nothing begins any more.
    pub fn may_begin(&self) -> bool {
        !self.closed.is_cancelled() && self.is_live()
    }

    /// False once the partition has left this pod, or may have: nothing may be published for the record any
    /// more. It says so from the first moment after the process stood still for too long.
    pub fn is_live(&self) -> bool {
        self.suspend_detector.suspended_for().is_none() && !self.ended.is_cancelled()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::offsets::{Offsets, TopicPartition, run_heartbeat};
    use crate::record::Origin;

    use super::*;

    const SUSPENSION: Duration = Duration::from_millis(300);

    fn at() -> TopicPartition {
        TopicPartition { topic: "t".into(), partition: 0 }
    }

    fn assigned(offsets: &Offsets) -> Lease {
        offsets.assign(at(), None, None);
        offsets
            .begin(&at(), offsets.snapshot().first().and_then(|state| state.low_water).unwrap_or(0))
            .unwrap()
    }

    #[test]
    fn a_lease_lives_as_long_as_the_process_beats() {
        let offsets = Arc::new(Offsets::new(SUSPENSION));
        run_heartbeat(&offsets).unwrap();
        let lease = assigned(&offsets);
        let until = Instant::now() + 2 * SUSPENSION;
        while Instant::now() < until {
            assert!(lease.is_live() && lease.may_begin());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!offsets.take_suspension());
    }

    #[test]
    fn a_lease_that_slept_too_long_is_over_before_anybody_notices_and_does_not_come_back() {
        let offsets = Offsets::new(SUSPENSION);
        offsets.beat();
        let lease = assigned(&offsets);
        std::thread::sleep(SUSPENSION); // as if the process had been stopped
        assert!(!lease.is_live());
        let origin = Origin { topic: at().topic, partition: 0, offset: 0 };
        assert!(!offsets.is_owned(&origin, &lease));

        offsets.beat();
        assert!(!lease.is_live() && !lease.may_begin());
        assert!(offsets.begin(&at(), 5).is_none(), "until the partition is assigned anew");
        assert!(offsets.is_drained(&[at()]), "nobody waits for what will never be answered");
        assert!(offsets.take_suspension() && !offsets.take_suspension());

        let next = assigned(&offsets);
        assert!(next.is_live() && !lease.is_live());
    }
}

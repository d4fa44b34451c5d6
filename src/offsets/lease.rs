//! The right to answer a partition's records, from its assignment until it is revoked or lost.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::pulse::Pulse;

/// Held by every record; ends when its partition leaves this pod. A new assignment is a new lease, told
/// from the others by its epoch. (Kafka's generation is not it: that rises at every rebalance.)
#[derive(Clone, Debug)]
pub struct Lease {
    epoch: u64,
    since: Instant,
    pulse: Arc<Pulse>,
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
        Lease::with_pulse(epoch, Arc::default())
    }

    pub(super) fn with_pulse(epoch: u64, pulse: Arc<Pulse>) -> Self {
        let (closed, ended) = (CancellationToken::new(), CancellationToken::new());
        Lease { epoch, since: Instant::now(), pulse, closed, ended }
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
        self.pulse.standstill().is_none() && !self.ended.is_cancelled()
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

    use crate::offsets::{Offsets, TopicPartition, keep_beating};
    use crate::record::Origin;

    use super::*;

    const STANDSTILL: Duration = Duration::from_millis(300);

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
        let offsets = Arc::new(Offsets::new(STANDSTILL));
        keep_beating(&offsets).unwrap();
        let lease = assigned(&offsets);
        let until = Instant::now() + 2 * STANDSTILL;
        while Instant::now() < until {
            assert!(lease.is_live() && lease.may_begin());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!offsets.take_standstill());
    }

    #[test]
    fn a_lease_that_slept_too_long_is_over_before_anybody_notices_and_does_not_come_back() {
        let offsets = Offsets::new(STANDSTILL);
        offsets.beat();
        let lease = assigned(&offsets);
        std::thread::sleep(STANDSTILL); // as if the process had been stopped
        assert!(!lease.is_live());
        let origin = Origin { topic: at().topic, partition: 0, offset: 0 };
        assert!(!offsets.is_owned(&origin, &lease));

        offsets.beat();
        assert!(!lease.is_live() && !lease.may_begin());
        assert!(offsets.begin(&at(), 5).is_none(), "until the partition is assigned anew");
        assert!(offsets.is_drained(&[at()]), "nobody waits for what will never be answered");
        assert!(offsets.take_standstill() && !offsets.take_standstill());

        let next = assigned(&offsets);
        assert!(next.is_live() && !lease.is_live());
    }
}

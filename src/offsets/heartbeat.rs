//! The thread whose beats keep the leases alive: a suspended process does not beat.

use std::sync::Arc;
use std::time::Duration;

use super::Offsets;

const EVERY: Duration = Duration::from_millis(100);

/// Starts the thread that beats; it ends soon after the last other handle is dropped.
///
/// # Errors
/// If no thread can be started.
pub fn run_heartbeat(offsets: &Arc<Offsets>) -> std::io::Result<()> {
    let offsets = Arc::downgrade(offsets);
    let beat = move || {
        while let Some(offsets) = offsets.upgrade() {
            offsets.beat();
            drop(offsets);
            std::thread::sleep(EVERY);
        }
    };
    std::thread::Builder::new().name("pulse".into()).spawn(beat).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::offsets::{Offsets, TopicPartition, run_heartbeat};
    use crate::record::Origin;

    use super::*;
    use crate::lease::Lease;

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

//! What ends all leases at once: the process was suspended, or has not heard from the group's coordinator for a session
//! timeout. And the thread whose beats notice it: a suspended process does not beat.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Offsets;

const EVERY: Duration = Duration::from_millis(100);

/// After so long without a heartbeat the coordinator may have given this pod's partitions to others: two thirds of the
/// session's timeout, since the last heartbeat may have been a third of it ago already.
fn suspension_limit(session: Duration) -> Duration {
    session * 2 / 3
}

impl Offsets {
    /// How long the group's coordinator waits for a member's heartbeat. With `is_counted_here` the leases end as well where
    /// the coordinator is not heard of for as long, see [`Offsets::coordinator_heard`].
    pub fn set_session_timeout(&self, session: Duration, is_counted_here: bool) {
        self.suspend_detector.set_limit(suspension_limit(session));
        if is_counted_here {
            self.coordinator_silence.set_limit(session);
        }
    }

    /// The group's coordinator sent something at this time, by `CLOCK_MONOTONIC`.
    pub fn coordinator_heard(&self, at: Duration) {
        self.coordinator_silence.heard(at);
    }

    /// The process runs. Where it had been suspended for too long, all leases end before they can seem live again.
    pub fn beat(&self) {
        if let Some(silence) = self.suspend_detector.suspended_for() {
            let seconds = silence.as_secs_f64();
            tracing::warn!(
                event = "process_suspended",
                seconds,
                "process was suspended; its partitions may have been reassigned"
            );
            self.end_leases();
            self.must_rejoin.store(true, Ordering::Release);
        }
        self.suspend_detector.beat();
    }

    /// Ends all leases where the coordinator has not been heard of for a session. To be called by the thread that hears of
    /// it, right after it has: what it has not been told yet is no silence.
    pub fn end_session_of_silence(&self) {
        let Some(silence) = self.coordinator_silence.take() else { return };
        if self.end_leases() {
            let seconds = silence.as_secs_f64();
            tracing::warn!(
                event = "group_session_over",
                seconds,
                "the group's coordinator has not been heard of for a session: the pod's partitions may have been \
                 reassigned; their transfers are cancelled"
            );
            self.must_rejoin.store(true, Ordering::Release);
        }
    }

    /// True once each time that all leases have ended: the group must be rejoined, also where the coordinator has noticed
    /// nothing.
    pub fn take_rejoin(&self) -> bool {
        self.must_rejoin.swap(false, Ordering::AcqRel)
    }
}

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
    const SESSION: Duration = Duration::from_millis(450);

    fn offsets() -> Offsets {
        let offsets = Offsets::default();
        offsets.set_session_timeout(SESSION, false);
        offsets
    }

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
        let offsets = Arc::new(offsets());
        run_heartbeat(&offsets).unwrap();
        let lease = assigned(&offsets);
        let until = Instant::now() + 2 * SUSPENSION;
        while Instant::now() < until {
            assert!(lease.is_live() && lease.may_begin());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!offsets.take_rejoin());
    }

    #[test]
    fn a_lease_that_slept_too_long_is_over_before_anybody_notices_and_does_not_come_back() {
        let offsets = offsets();
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
        assert!(offsets.take_rejoin() && !offsets.take_rejoin());

        let next = assigned(&offsets);
        assert!(next.is_live() && !lease.is_live());
    }

    #[test]
    fn a_lease_ends_when_the_coordinator_is_silent_for_a_session_where_nobody_else_counts_that() {
        for is_counted_here in [false, true] {
            let offsets = Offsets::default();
            offsets.set_session_timeout(SESSION, is_counted_here);
            let lease = assigned(&offsets);
            offsets.end_session_of_silence();
            assert!(lease.is_live(), "it was never heard of");
            offsets.coordinator_heard(Duration::from_millis(1)); // since this machine was started
            offsets.end_session_of_silence();
            assert_eq!(lease.is_live(), !is_counted_here);
            assert_eq!(offsets.take_rejoin(), is_counted_here);
            offsets.end_session_of_silence();
            assert!(!offsets.take_rejoin(), "once");
        }
    }

    #[test]
    fn a_standstill_is_shorter_than_the_session_by_a_heartbeat() {
        assert_eq!(suspension_limit(Duration::from_secs(15)), Duration::from_secs(10));
    }
}

//! Recreates the clients that have lost Kafka for good, as the watchdog has found.

use super::super::rebalance::{AssignmentChange, Rebalances};
use super::{EndMarkerScanner, Phase, PollLoop, is_done};

impl PollLoop {
    /// All partitions are lost: their leases end before another client can be assigned them, and nothing that the old
    /// clients still do or hear has a say any more.
    pub(super) fn recreate_clients(&mut self) {
        if !self.parts.renewal.take_consumers() || self.is_at(Phase::Hold) {
            return;
        }
        let owned = self.parts.offsets.snapshot();
        let lost: Vec<_> = owned.into_iter().map(|state| state.at).collect();
        self.parts.offsets.verify(None);
        self.parts.offsets.release(&lost);
        self.retry_assignment.start_over();
        self.halts.start_over();
        self.rights.start_over();
        self.session_timeout.start_over();
        self.rebalances = Rebalances::default();
        self.end_markers = EndMarkerScanner::default();
        if let Some(rebalance_reader) = self.rebalance_reader.take() {
            self.parts.group.end_elsewhere(rebalance_reader);
        }
        self.parts.health.set_joined(false);
        self.apply(AssignmentChange { released: lost, lost: true, ..AssignmentChange::default() });
        match self.parts.group.recreate() {
            Ok(()) => drop(is_done("subscribe", &self.subscribe())),
            // The watchdog asks for it again.
            Err(error) => {
                tracing::error!(
                    event = "consumer_creation_failed", %error,
                    "cannot create a new consumer; rejoining the group"
                );
                self.rejoin();
            }
        }
    }
}

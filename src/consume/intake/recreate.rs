//! Makes the clients anew that have lost Kafka for good, as the watchdog has found.

use super::super::rebalance::{Changed, Rebalances};
use super::{Loop, Phase, Trailing, is_done};

impl Loop {
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
        self.following.begin_anew();
        self.halts.begin_anew();
        self.rights.begin_anew();
        self.rebalances = Rebalances::default();
        self.trailing = Trailing::default();
        if let Some(stand_in) = self.stand_in.take() {
            self.parts.group.end_elsewhere(stand_in);
        }
        self.parts.health.set_joined(false);
        self.apply(Changed { released: lost, lost: true, ..Changed::default() });
        match self.parts.group.recreate() {
            Ok(()) => drop(is_done("subscribe", &self.subscribe())),
            // The watchdog asks for it again.
            Err(error) => {
                tracing::error!(%error, "cannot create a new consumer; leaving the group and joining it anew");
                self.rejoin();
            }
        }
    }
}

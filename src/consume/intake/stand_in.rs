//! Reads the partitions that stay while others leave.
//!
//! From the announcement of a rebalance until it is answered librdkafka fetches nothing, of no partition; and a
//! revocation is answered only when the leaving partitions' transfers have finished, which may take seconds.
//! Meanwhile a reader of its own, no member of the group, goes on where the ledgers are. The member reads the same records
//! again afterwards, and the ledgers know them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::rebalance::list_of;
use super::{BURST, Halts, Loop, Phase};
use crate::kafka::{reader_properties, without_value};
use crate::offsets::{Ownership, PartitionState, TopicPartition};

/// A rebalance that is answered sooner needs no other reader.
const STAND_IN_AFTER: Duration = Duration::from_millis(500);

pub(super) struct StandIn {
    reader: BaseConsumer<DefaultConsumerContext>,
    read: HashSet<TopicPartition>,
}

impl StandIn {
    /// Reads these partitions on; `properties` are the member's.
    pub fn start(properties: &ClientConfig, staying: &[PartitionState]) -> KafkaResult<StandIn> {
        let reader: BaseConsumer<DefaultConsumerContext> =
            reader_properties(properties).create().map_err(without_value)?;
        let mut list = TopicPartitionList::with_capacity(staying.len());
        for state in staying {
            let start = state.position.map_or(Offset::Beginning, Offset::Offset);
            list.add_partition_offset(&state.at.topic, state.at.partition, start)?;
        }
        reader.assign(&list)?;
        Ok(StandIn { reader, read: staying.iter().map(|state| state.at.clone()).collect() })
    }

    /// The next record that is there; does not wait.
    pub fn poll(&self) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
        self.reader.poll(Duration::ZERO)
    }

    /// Reads no more of those partitions for which `is_held`: the member does, later.
    pub fn leave_alone(&mut self, is_held: impl Fn(&TopicPartition) -> bool) {
        let held: Vec<_> = self.read.iter().filter(|at| is_held(at)).cloned().collect();
        if !held.is_empty() {
            if let Err(error) = self.reader.pause(&list_of(&held)) {
                tracing::warn!(%error, "pause");
            }
            self.read.retain(|at| !held.contains(at));
        }
    }
}

impl Loop {
    /// Reads what stays, while a rebalance holds up fetching for more than a moment.
    pub(super) fn stand_in(&mut self) {
        let pending =
            self.rebalances.pending_since().filter(|since| self.gave_up_standing_in != Some(*since));
        let since = pending.filter(|since| since.elapsed() >= STAND_IN_AFTER && !self.is_at(Phase::Hold));
        let Some(since) = since else {
            self.stand_in = None;
            return;
        };
        let owned = self.parts.offsets.snapshot();
        let Some(mut stand_in) = self.stand_in.take().or_else(|| self.start_stand_in(&owned, since)) else {
            return;
        };
        stand_in.leave_alone(|at| self.early.holds(at) || !may_be_read(&owned, &self.halts, at));
        for _ in 0..BURST {
            if self.parts.budget.is_full() {
                break;
            }
            match stand_in.poll() {
                None => break,
                Some(Ok(message)) => {
                    if !self.take_in(&message) {
                        drop(message);
                        stand_in.leave_alone(|at| self.early.holds(at));
                    }
                }
                Some(Err(error)) => tracing::debug!(%error, "reading while partitions leave"),
            }
        }
        self.stand_in = Some(stand_in);
    }

    /// `None` where it cannot be had, and for this rebalance from then on.
    fn start_stand_in(&mut self, owned: &[PartitionState], since: Instant) -> Option<StandIn> {
        let may_be_read = |state: &&PartitionState| may_be_read(owned, &self.halts, &state.at);
        let staying: Vec<_> = owned.iter().filter(may_be_read).cloned().collect();
        StandIn::start(&self.parts.group.properties.0, &staying)
            .inspect_err(|error| {
                tracing::warn!(%error, "no partition is read while others leave");
                self.gave_up_standing_in = Some(since);
            })
            .ok()
    }
}

/// As [`Loop::pause_and_resume`] decides for the member: an offset that is out of range halts the loop's reading alone,
/// the ledger knows nothing of it.
fn may_be_read(owned: &[PartitionState], halts: &Halts, at: &TopicPartition) -> bool {
    !halts.contains(at)
        && !owned
            .iter()
            .any(|state| state.at == *at && (state.is_full || state.ownership == Ownership::Following))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::PodHealth;
    use crate::offsets::Offsets;

    #[test]
    fn a_halted_partition_is_not_read_while_others_leave() {
        let (offsets, health, mut halts) = (Offsets::default(), PodHealth::new(), Halts::default());
        let [halted, leaving, staying] =
            [0, 1, 2].map(|partition| TopicPartition { topic: "t".into(), partition });
        for at in [&halted, &leaving, &staying] {
            offsets.assign(at.clone(), None, None);
        }
        halts.halt(halted.clone(), "out of range".into(), &health);
        offsets.start_revoke(std::slice::from_ref(&leaving));
        let owned = offsets.snapshot();
        let read = [&halted, &leaving, &staying].map(|at| may_be_read(&owned, &halts, at));
        assert_eq!(read, [false, false, true]);
        halts.lift(&halted, &health);
        assert!(may_be_read(&owned, &halts, &halted));
    }
}

//! Reads the partitions that stay while others leave.
//!
//! From the announcement of a rebalance until it is answered, librdkafka fetches nothing, of no partition; and a
//! revocation is answered only when the leaving partitions' transfers have finished, which may take seconds. Meanwhile
//! a separate reader, outside the group, continues from the ledgers' positions. The member reads the same records again
//! afterwards, and the ledgers recognise them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::Offset;

use super::super::rebalance::list_of;
use super::{BURST, HaltedPartitions, Phase, PollLoop};
use crate::kafka::{PartitionReader, open_reader, reader_properties};
use crate::offsets::{Ownership, PartitionState, TopicPartition};

/// A rebalance that is answered sooner needs no other reader.
const REBALANCE_READER_AFTER: Duration = Duration::from_millis(500);

pub(super) struct RebalanceReader {
    reader: PartitionReader,
    read: HashSet<TopicPartition>,
}

impl RebalanceReader {
    /// Reads these partitions on; `properties` are the member's.
    pub fn start(properties: &ClientConfig, staying: &[PartitionState]) -> KafkaResult<RebalanceReader> {
        let start = |state: &PartitionState| state.position.map_or(Offset::Beginning, Offset::Offset);
        let from = staying.iter().map(|state| (&*state.at.topic, state.at.partition, start(state)));
        let reader = open_reader(&reader_properties(properties), from)?;
        Ok(RebalanceReader { reader, read: staying.iter().map(|state| state.at.clone()).collect() })
    }

    /// The next available record; does not wait.
    pub fn poll(&self) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
        self.reader.poll(Duration::ZERO)
    }

    /// Stops reading the partitions for which `is_blocked`: the member reads them later.
    pub fn pause(&mut self, is_blocked: impl Fn(&TopicPartition) -> bool) {
        let blocked: Vec<_> = self.read.iter().filter(|at| is_blocked(at)).cloned().collect();
        if !blocked.is_empty() {
            if let Err(error) = self.reader.pause(&list_of(&blocked)) {
                tracing::warn!(event = "kafka_request_failed", %error, "cannot pause a partition");
            }
            self.read.retain(|at| !blocked.contains(at));
        }
    }
}

impl PollLoop {
    /// Reads what stays, while a rebalance holds up fetching for more than a moment.
    pub(super) fn read_during_rebalance(&mut self) {
        let pending = self.rebalances.pending_since().filter(|since| self.unreadable_since != Some(*since));
        let since =
            pending.filter(|since| since.elapsed() >= REBALANCE_READER_AFTER && !self.is_at(Phase::Hold));
        let Some(since) = since else {
            self.rebalance_reader = None;
            return;
        };
        let owned = self.parts.offsets.snapshot();
        let Some(mut rebalance_reader) =
            self.rebalance_reader.take().or_else(|| self.start_rebalance_reader(&owned, since))
        else {
            return;
        };
        rebalance_reader.pause(|at| self.delayed.holds(at) || !may_be_read(&owned, &self.halts, at));
        for _ in 0..BURST {
            if self.parts.budget.is_full() {
                break;
            }
            match rebalance_reader.poll() {
                None => break,
                Some(Ok(message)) => {
                    if !self.take_in(&message) {
                        drop(message);
                        rebalance_reader.pause(|at| self.delayed.holds(at));
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(
                        event = "rebalance_read_failed", %error,
                        "read error during the rebalance"
                    );
                }
            }
        }
        self.rebalance_reader = Some(rebalance_reader);
    }

    /// `None` if it cannot be created; it is then not tried again during this rebalance.
    fn start_rebalance_reader(
        &mut self,
        owned: &[PartitionState],
        since: Instant,
    ) -> Option<RebalanceReader> {
        let may_be_read = |state: &&PartitionState| may_be_read(owned, &self.halts, &state.at);
        let staying: Vec<_> = owned.iter().filter(may_be_read).cloned().collect();
        RebalanceReader::start(&self.parts.group.properties.0, &staying)
            .inspect_err(|error| {
                tracing::warn!(
                    event = "rebalance_reader_failed", %error,
                    "consumption paused during rebalance"
                );
                self.unreadable_since = Some(since);
            })
            .ok()
    }
}

/// As [`PollLoop::pause_and_resume`] decides for the member: an offset that is out of range halts the loop's reading alone,
/// the ledger knows nothing of it.
fn may_be_read(owned: &[PartitionState], halts: &HaltedPartitions, at: &TopicPartition) -> bool {
    !halts.contains(at)
        && !owned
            .iter()
            .any(|state| state.at == *at && (state.is_full || state.ownership == Ownership::CoPartitioned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::PodHealth;
    use crate::offsets::Offsets;

    #[test]
    fn a_halted_partition_is_not_read_while_others_leave() {
        let (offsets, health, mut halts) =
            (Offsets::default(), PodHealth::new(), HaltedPartitions::default());
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

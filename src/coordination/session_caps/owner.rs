//! The coordinator as the state of the coordination topic's one partition, worked on by the pod that owns it.

use std::sync::Arc;
use std::time::Duration;

use super::coordinator::Coordinator;
use super::message::CapRecord;
use crate::kafka::{OwnedRecord, OwnedState};

/// The coordination topic has one partition: all that is shared is decided in one order.
pub const COORDINATION_PARTITION: i32 = 0;
/// Leases end and quanta pass without a record.
const DECIDE_EVERY: Duration = Duration::from_millis(250);

/// The coordinator's decisions as records.
#[derive(Debug)]
pub struct CoordinatorState {
    coordinator: Coordinator,
    topic: Arc<str>,
    has_read: bool,
    decided_at: Duration,
}

impl CoordinatorState {
    #[must_use]
    pub fn new(topic: Arc<str>) -> Self {
        CoordinatorState {
            coordinator: Coordinator::default(),
            topic,
            has_read: false,
            decided_at: Duration::ZERO,
        }
    }
}

impl OwnedState for CoordinatorState {
    fn read(&mut self, key: &[u8], value: Option<&[u8]>, now: Duration) {
        if let Some(record) = CapRecord::decode(key, value) {
            self.coordinator.read(record, now);
            self.has_read = true;
        }
    }

    fn begin(&mut self, now: Duration) {
        self.coordinator.begin(now);
    }

    fn decide(&mut self, now: Duration) -> Vec<OwnedRecord> {
        if !std::mem::take(&mut self.has_read) && now < self.decided_at + DECIDE_EVERY {
            return Vec::new();
        }
        self.decided_at = now;
        let record = |record: CapRecord| OwnedRecord {
            topic: Arc::clone(&self.topic),
            partition: Some(COORDINATION_PARTITION),
            key: record.key(),
            value: record.value(),
        };
        let decided = self.coordinator.decide(now);
        for record in &decided {
            tracing::debug!(event = "grants_decided", key = record.key(), ?record, "grants decided");
        }
        decided.into_iter().map(record).collect()
    }
}

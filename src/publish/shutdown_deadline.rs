//! How long the thread waits for Kafka: while the pod runs for ever, beating; at its end for some seconds.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::health::PodHealth;
use crate::kafka::ClientRenewal;

/// At the end, answers that Kafka does not take for this long are left to the next owner.
pub const FINAL_PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Asked in every wait for Kafka. No single call of librdkafka's that is asked in between may take long.
#[derive(Debug)]
pub struct ShutdownDeadline {
    health: Arc<PodHealth>,
    renewal: Arc<ClientRenewal>,
    finish: CancellationToken,
    /// When the end was first noticed.
    ending: Cell<Option<Instant>>,
}

impl ShutdownDeadline {
    /// It ends [`FINAL_PUBLISH_TIMEOUT`] after `finish` was cancelled.
    pub fn new(health: Arc<PodHealth>, renewal: Arc<ClientRenewal>, finish: CancellationToken) -> Self {
        ShutdownDeadline { health, renewal, finish, ending: Cell::new(None) }
    }

    /// Sends a heartbeat; false if there is nothing left to wait for, or nothing with this producer.
    pub fn keep_waiting(&self) -> bool {
        self.health.publish.beat();
        !self.has_passed() && !self.renewal.wants_producer()
    }

    pub fn has_passed(&self) -> bool {
        if !self.finish.is_cancelled() {
            return false;
        }
        let since = self.ending.get().unwrap_or_else(Instant::now);
        self.ending.set(Some(since));
        since.elapsed() > FINAL_PUBLISH_TIMEOUT
    }

    /// Sleeps, unless it is over.
    pub fn sleep(&self, time: Duration) {
        if self.keep_waiting() {
            std::thread::sleep(time);
        }
    }
}

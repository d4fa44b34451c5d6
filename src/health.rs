//! What the pod knows of its own state: are the loops alive, is it ready, is it draining?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A loop that beats regularly while it is alive.
#[derive(Debug)]
pub struct Pulse {
    name: &'static str,
    born: Instant,
    last_beat_ms: std::sync::atomic::AtomicU64,
}

impl Pulse {
    fn new(name: &'static str) -> Self {
        Pulse { name, born: Instant::now(), last_beat_ms: 0.into() }
    }

    /// Says that the loop is alive; call it at least once a second.
    pub fn beat(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_beat_ms.store(now, Ordering::Relaxed);
    }

    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Time since the last beat.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let beat = Duration::from_millis(self.last_beat_ms.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(beat)
    }
}

/// Shared by the loops, which write it, and the sidecar, which reads it.
#[derive(Debug)]
pub struct Health {
    pub consume: Pulse,
    pub publish: Pulse,
    /// The consumer is a member of the group (partitions assigned, or joined and none left for it).
    joined: AtomicBool,
    draining: AtomicBool,
}

impl Health {
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Health {
            consume: Pulse::new("consume"),
            publish: Pulse::new("publish"),
            joined: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        })
    }

    pub fn set_joined(&self, joined: bool) {
        self.joined.store(joined, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// From now on the pod takes no new tasks.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

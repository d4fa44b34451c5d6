//! Which of the pod's clients are of no more use, as the watchdog has found: told to the threads that hold them.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the watchdog; each thread takes its own, and makes its clients anew.
#[derive(Debug, Default)]
pub struct ClientRenewal {
    consumers: AtomicBool,
    producer: AtomicBool,
}

impl ClientRenewal {
    /// The consuming thread is to make its clients anew.
    pub fn want_consumers(&self) {
        self.consumers.store(true, Ordering::Relaxed);
    }

    /// The publishing thread is to make its producer anew.
    pub fn want_producer(&self) {
        self.producer.store(true, Ordering::Relaxed);
    }

    /// True once each time.
    pub fn take_consumers(&self) -> bool {
        self.consumers.swap(false, Ordering::Relaxed)
    }

    /// True once each time.
    pub fn take_producer(&self) -> bool {
        self.producer.swap(false, Ordering::Relaxed)
    }

    /// Whoever waits with the producer need not wait for it any longer.
    pub fn wants_producer(&self) -> bool {
        self.producer.load(Ordering::Relaxed)
    }
}

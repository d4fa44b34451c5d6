//! Which of the pod's clients are broken, as detected by the watchdog, and must be recreated by their threads.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the watchdog; each thread takes its own request, and recreates its clients.
#[derive(Debug, Default)]
pub struct ClientRenewal {
    consumers: AtomicBool,
    producer: AtomicBool,
}

impl ClientRenewal {
    /// Requests that the consuming thread recreate its clients.
    pub fn want_consumers(&self) {
        self.consumers.store(true, Ordering::Relaxed);
    }

    /// Requests that the publishing thread recreate its producer.
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

    /// Whether a wait for the producer should be given up.
    pub fn wants_producer(&self) -> bool {
        self.producer.load(Ordering::Relaxed)
    }
}

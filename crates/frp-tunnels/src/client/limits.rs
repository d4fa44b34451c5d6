//! How many tunnels there may be, and how many callers may wait for one to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("{max_tunnels} tunnels are open, and {max_queued} more wait already")]
    QueueFull { max_tunnels: usize, max_queued: usize },
    #[error("{max_tunnels} tunnels are open, and none was closed within {} s", waited.as_secs_f32())]
    QueueTimeout { max_tunnels: usize, waited: Duration },
}

#[derive(Debug)]
pub(super) struct TunnelLimits {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_tunnels: usize,
    max_queued: usize,
    queue_wait: Duration,
}

/// Counts a caller as waiting until it is dropped, also when the caller gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TunnelLimits {
    pub(super) fn new(max_tunnels: usize, max_queued: usize, queue_wait: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(max_tunnels.min(Semaphore::MAX_PERMITS)));
        Self { permits, waiting: AtomicUsize::new(0), max_tunnels, max_queued, queue_wait }
    }

    /// A place for one tunnel: at once, or when another is closed.
    pub(super) async fn acquire(&self) -> Result<OwnedSemaphorePermit, LimitError> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let full = LimitError::QueueFull { max_tunnels: self.max_tunnels, max_queued: self.max_queued };
        let queued = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if queued >= self.max_queued {
            return Err(full);
        }
        let late = LimitError::QueueTimeout { max_tunnels: self.max_tunnels, waited: self.queue_wait };
        match timeout(self.queue_wait, self.permits.clone().acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| late),
            Err(_) => Err(late),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_in_length_and_time() {
        let limits = Arc::new(TunnelLimits::new(1, 1, Duration::from_secs(30)));
        let first = limits.acquire().await.unwrap();
        let second = tokio::spawn({
            let limits = limits.clone();
            async move { limits.acquire().await }
        });
        tokio::task::yield_now().await;
        assert!(matches!(limits.acquire().await, Err(LimitError::QueueFull { .. })));
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert!(matches!(limits.acquire().await, Err(LimitError::QueueTimeout { .. })));
        drop(second);
        let _third = limits.acquire().await.unwrap();
    }
}

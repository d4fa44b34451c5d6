//! How long a task's try has been waiting for the file system, for those who need its session.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Monitors the consecutive tries of one task.
#[derive(Debug, Default)]
pub struct CallWatch {
    waits: Mutex<WaitState>,
    give_up: Notify,
}

#[derive(Debug, Default)]
struct WaitState {
    /// Waits in progress.
    count: usize,
    /// When the first of them began, or the last one ended, whichever was later.
    since: Option<Instant>,
}

/// A wait for the file system.
#[derive(Debug)]
pub struct WatchedWait<'a>(&'a CallWatch);

impl CallWatch {
    /// A wait begins; it ends when the guard is dropped.
    pub fn enter(&self) -> WatchedWait<'_> {
        let mut waits = self.waits();
        waits.count += 1;
        waits.since.get_or_insert_with(Instant::now);
        WatchedWait(self)
    }

    /// How long the try has waited without an answer; zero if it does not wait.
    pub fn hanging_for(&self, now: Instant) -> Duration {
        self.waits().since.map(|since| now.saturating_duration_since(since)).unwrap_or_default()
    }

    /// Requests that the try end, if it still hangs.
    pub fn give_up(&self) {
        self.give_up.notify_one();
    }

    /// Resolves once the try should end: that was requested, and it has hung for at least `after`.
    pub async fn given_up(&self, after: Duration) -> Duration {
        loop {
            self.give_up.notified().await;
            let hanging = self.hanging_for(Instant::now());
            if hanging >= after {
                return hanging;
            }
        }
    }

    fn waits(&self) -> MutexGuard<'_, WaitState> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WatchedWait<'_> {
    fn drop(&mut self) {
        let mut waits = self.0.waits();
        waits.count -= 1;
        waits.since = (waits.count > 0).then(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_try_hangs_from_the_last_answer_on_and_gives_up_only_if_it_does() {
        let watch = CallWatch::default();
        let hanging = || watch.hanging_for(Instant::now());
        let first = watch.enter();
        tokio::time::advance(SECOND).await;
        let second = watch.enter();
        assert_eq!(hanging(), SECOND);
        drop(first);
        assert_eq!(hanging(), Duration::ZERO, "it has just had an answer");
        tokio::time::advance(SECOND).await;
        assert_eq!(hanging(), SECOND);
        drop(second);
        assert_eq!(hanging(), Duration::ZERO);

        watch.give_up(); // too late
        let waiting = tokio::time::timeout(SECOND, watch.given_up(SECOND));
        assert!(waiting.await.is_err());
        let _hangs = watch.enter();
        tokio::time::advance(2 * SECOND).await;
        watch.give_up();
        assert_eq!(watch.given_up(SECOND).await, 2 * SECOND);
    }
}

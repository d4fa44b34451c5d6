//! Deadlines that cost next to nothing while they are not reached: a timer is set once and, when it fires early, set
//! again; a request that ends in time only writes a number.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// A timer that outlives the request that needs it.
#[derive(Debug, Default)]
pub struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Ready once `deadline` is past. The timer beneath may be set earlier than that, never later.
    pub fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if sleep.deadline().into_std() > deadline {
            sleep.as_mut().reset(deadline.into());
        }
        loop {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.into());
        }
    }

    /// The future's output, or none once `deadline()` is past; that may move on while the future runs.
    pub async fn limit<F: Future>(&mut self, deadline: impl Fn() -> Instant, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll(deadline(), cx).map(|()| None)
        })
        .await
    }
}

/// `timeout` from now; a year hence for "never".
pub fn after(now: Instant, timeout: Option<Duration>) -> Instant {
    const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
    now + timeout.unwrap_or(NEVER).min(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_may_move_on_and_the_timer_be_used_again() {
        // The timer follows tokio's clock, the deadline the real one: only what is past fires.
        let mut timer = LazyTimer::default();
        let past = Instant::now();
        assert!(timer.limit(|| past, std::future::pending::<()>()).await.is_none());
        let later = after(Instant::now(), None);
        assert_eq!(timer.limit(|| later, async { 7 }).await, Some(7));
        assert!(timer.limit(|| past, std::future::pending::<()>()).await.is_none());
    }
}

//! Deadlines that cost next to nothing while they are not reached: a timer is set once and, when it fires early, set
//! again; a request that ends in time only stores a number.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// A timer that outlives the request that needs it.
#[derive(Debug, Default)]
pub struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The task that the underlying timer wakes: while it is the same, the timer need not be polled again until it has
    /// fired.
    waker: Option<Waker>,
}

impl LazyTimer {
    /// Ready once `deadline` is past. The underlying timer may be set to an earlier time, never to a later one.
    pub fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if sleep.deadline().into_std() > deadline {
            sleep.as_mut().reset(deadline.into());
            self.waker = None;
        }
        let wakes_us = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if wakes_us && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        loop {
            if sleep.as_mut().poll(cx).is_pending() {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.into());
        }
    }

    /// The future's output, or none once `deadline()` is past; the deadline may be postponed while the future runs.
    pub fn limit<F: Future>(
        &mut self,
        deadline: impl Fn() -> Instant,
        mut future: Pin<&mut F>,
    ) -> impl Future<Output = Option<F::Output>> {
        std::future::poll_fn(move |cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll(deadline(), cx).map(|()| None)
        })
    }
}

/// `timeout` from now; in a year for "never".
pub fn after(now: Instant, timeout: Option<Duration>) -> Instant {
    const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
    now + timeout.unwrap_or(NEVER).min(NEVER)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_timer_that_another_task_has_used_wakes_the_next_one() {
        let mut timer = LazyTimer::default();
        let soon = || Instant::now() + Duration::from_millis(30);
        let first = soon();
        let mut never = pin!(std::future::pending::<()>());
        tokio::select! {
            biased;
            ended = timer.limit(|| first, never.as_mut()) => assert!(ended.is_none()),
            () = std::future::ready(()) => {}
        }
        let second = soon();
        let moved = tokio::spawn(async move {
            timer.limit(|| second, pin!(std::future::pending::<()>())).await.is_none()
        });
        assert!(moved.await.unwrap());
    }

    #[tokio::test]
    async fn a_deadline_may_move_on_and_the_timer_be_used_again() {
        let mut timer = LazyTimer::default();
        let past = Instant::now();
        assert!(timer.limit(|| past, pin!(std::future::pending::<()>())).await.is_none());
        let later = after(Instant::now(), None);
        assert_eq!(timer.limit(|| later, pin!(async { 7 })).await, Some(7));
        assert!(timer.limit(|| past, pin!(std::future::pending::<()>())).await.is_none());
    }
}

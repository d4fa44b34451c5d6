//! Removes orphaned temp files from servers that have no tasks, on one session, as long as no task needs it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::DispatcherInner;
use super::connection_queue::ConnectionQueue;
use super::task_executor::TaskExecutor;
use crate::breaker::BreakerState;
use crate::pool::{Reservation, SessionConnector};

/// How long it may wait for a session: connections with tasks go first.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(1);

impl<C: SessionConnector, T: TaskExecutor<C::Session>> DispatcherInner<C, T> {
    /// Starts the cleanup if there is something to do and the queue has no tasks. If it has tasks, its workers clean up
    /// between them.
    pub(super) fn clean_up_if_idle(
        self: &Arc<Self>,
        queue: &Arc<ConnectionQueue>,
        tasks: usize,
        now: Instant,
    ) {
        let may_clean = tasks == 0
            && !self.workers.is_closed()
            && queue.breaker(now) == BreakerState::Closed
            && self.executor.needs_cleanup(&queue.connection);
        if may_clean && !queue.is_cleaned.swap(true, Ordering::AcqRel) {
            let (shared, queue) = (Arc::clone(self), Arc::clone(queue));
            self.workers.spawn_on(
                async move {
                    shared.clean_up(&queue).await;
                    queue.is_cleaned.store(false, Ordering::Release);
                },
                &self.handle,
            );
        }
    }

    async fn clean_up(&self, queue: &ConnectionQueue) {
        let reserve = timeout(RESERVE_TIMEOUT, self.pool.reserve(&queue.connection));
        let mut session = match reserve.await {
            Ok(Ok(Reservation::Idle(session))) => session,
            Ok(Ok(Reservation::MayOpen(permit))) => {
                let version = permit.version();
                let login = async { Some(permit.open().await) };
                match self.unless_cut_off_or(login, None).await {
                    Some(Ok(session)) => session,
                    Some(Err(_)) if version.is_outdated() => return, // it has been reconfigured since
                    // It counts like any other: temp files are not worth a locked account.
                    Some(Err(error)) => return queue.login_failed(&error, Instant::now(), rand::random()),
                    None => return,
                }
            }
            Ok(Err(_)) | Err(_) => return,
        };
        let is_wanted = || queue.counts().waiting == 0 && !self.workers.is_closed();
        while session.is_reusable() && !session.must_yield() && is_wanted() {
            if !self.unless_cut_off(self.executor.clean_up(&mut session)).await {
                break;
            }
        }
    }

    /// False if the drain's deadline has passed.
    pub(super) async fn unless_cut_off(&self, work: impl Future<Output = bool>) -> bool {
        self.unless_cut_off_or(work, false).await
    }

    pub(super) async fn unless_cut_off_or<R>(&self, work: impl Future<Output = R>, otherwise: R) -> R {
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => otherwise,
            done = work => done,
        }
    }
}

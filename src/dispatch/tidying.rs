//! What is to be tidied up on a server that gets no tasks: with one session, as long as nobody needs it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Shared;
use super::breaker;
use super::line::Line;
use super::task_executor::TaskExecutor;
use crate::pool::{Reservation, SessionConnector};

/// For a session that nobody uses, or the room for one: who has tasks goes first.
const ROOM_WITHIN: Duration = Duration::from_secs(1);

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Shared<C, T> {
    /// Has somebody tidy up, where there is something to be done, and the line, which has so many tasks, leaves
    /// room for it. Its lanes do that beside their tasks.
    pub(super) fn tidy(self: &Arc<Self>, line: &Arc<Line>, tasks: usize, now: Instant) {
        let may_tidy = tasks == 0
            && !self.lanes.is_closed()
            && line.breaker(now) == breaker::State::Closed
            && self.executor.needs_cleanup(&line.connection);
        if may_tidy && !line.is_tidied.swap(true, Ordering::AcqRel) {
            let (shared, line) = (Arc::clone(self), Arc::clone(line));
            self.lanes.spawn_on(
                async move {
                    shared.tidy_up(&line).await;
                    line.is_tidied.store(false, Ordering::Release);
                },
                &self.handle,
            );
        }
    }

    async fn tidy_up(&self, line: &Line) {
        let reserve = timeout(ROOM_WITHIN, self.pool.reserve(&line.connection));
        let mut session = match reserve.await {
            Ok(Ok(Reservation::Idle(session))) => session,
            Ok(Ok(Reservation::MayOpen(permit))) => {
                let version = permit.version();
                let login = async { Some(permit.open().await) };
                match self.unless_cut_off_or(login, None).await {
                    Some(Ok(session)) => session,
                    Some(Err(_)) if version.is_outdated() => return, // other settings hold by now
                    // It counts as any other: an account must not be locked for the sake of some litter.
                    Some(Err(error)) => return line.login_failed(&error, Instant::now(), rand::random()),
                    None => return,
                }
            }
            Ok(Err(_)) | Err(_) => return,
        };
        let is_wanted = || line.counts().waiting == 0 && !self.lanes.is_closed();
        while session.is_sound() && !session.must_yield() && is_wanted() {
            if !self.unless_cut_off(self.executor.clean_up(&mut session)).await {
                break;
            }
        }
    }

    /// False where the pod's time to drain is over.
    pub(super) async fn unless_cut_off(&self, work: impl Future<Output = bool>) -> bool {
        self.unless_cut_off_or(work, false).await
    }

    async fn unless_cut_off_or<R>(&self, work: impl Future<Output = R>, otherwise: R) -> R {
        tokio::select! {
            biased;
            () = self.cut_off.cancelled() => otherwise,
            done = work => done,
        }
    }
}

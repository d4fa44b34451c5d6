//! A worker: gets one session of its connection and runs the connection's tasks on it, one after another, until the
//! queue is empty, the session is unusable, or another connection needs the capacity.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::connection_queue::{ConnectionQueue, WorkerAction, WorkerSlot};
use super::lifecycle::{TaskExit, TryCancelled};
use super::pipelined_tasks::PipelinedTasks;
use super::queued_task::QueuedTask;
use super::retry::may_be_route_failure;
use super::task_executor::{TaskExecutor, catch_panic};
use super::{DispatcherInner, report};
use crate::breaker::BreakerState;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::lease::Lease;
use crate::pool::{LeasedSession, OpenPermit, Reservation, SessionConnector};

pub(super) struct SessionWorker<C: SessionConnector, T> {
    pub(super) shared: Arc<DispatcherInner<C, T>>,
    pub(super) slot: WorkerSlot,
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> SessionWorker<C, T> {
    pub fn new(shared: Arc<DispatcherInner<C, T>>, slot: WorkerSlot) -> Self {
        SessionWorker { shared, slot }
    }

    pub async fn work(mut self) {
        while let Some(reservation) = self.reserve().await {
            // A task is taken only now, with a session or the permission to open one: its try starts.
            let Some(queued) = self.take() else { continue };
            match reservation {
                Reservation::Idle(session) => self.use_session(session, queued).await,
                Reservation::MayOpen(permit) => self.log_in(permit, queued).await,
            }
        }
    }

    /// Waits, without a task, for a session or for permission to open one; `None` once the worker is not needed.
    async fn reserve(&mut self) -> Option<Reservation<C>> {
        let queue = Arc::clone(self.slot.queue());
        loop {
            let changed = queue.changed.notified(); // before checking, so that no change is missed
            match self.next_action() {
                WorkerAction::Leave => return None,
                WorkerAction::Refuse(failure) => {
                    let failure = untried(&failure);
                    for queued in queue.take_ready() {
                        self.shared.finish(queued, TaskExit::Answered(Err(failure.clone())));
                    }
                }
                WorkerAction::Wait(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = changed => {}
                },
                WorkerAction::Go => match self.wait_for_session(&queue).await? {
                    idle @ Reservation::Idle(_) => return Some(idle),
                    // Another worker's login may have failed while this one waited.
                    may_open @ Reservation::MayOpen(_) => match self.next_action() {
                        WorkerAction::Go => return Some(may_open),
                        WorkerAction::Leave => return None,
                        WorkerAction::Wait(_) | WorkerAction::Refuse(_) => {}
                    },
                },
            }
        }
    }

    /// `None` once the worker is not needed, or the pool is closed.
    async fn wait_for_session(&mut self, queue: &ConnectionQueue) -> Option<Reservation<C>> {
        let pool = self.shared.pool.clone();
        let mut reservation = pin!(pool.reserve(&queue.connection));
        loop {
            let changed = queue.changed.notified();
            if matches!(self.next_action(), WorkerAction::Leave) {
                return None;
            }
            tokio::select! {
                reservation = &mut reservation => return reservation.ok(),
                () = changed => {}
            }
        }
    }

    fn next_action(&mut self) -> WorkerAction {
        let limit = self.shared.pool.limit(&self.slot.queue().connection);
        self.slot.next_action(Instant::now(), limit)
    }

    fn take(&mut self) -> Option<Box<QueuedTask>> {
        self.shared.take(&mut self.slot)
    }

    async fn log_in(&mut self, permit: OpenPermit<C>, queued: Box<QueuedTask>) {
        let (version, interrupted) = (permit.version(), permit.interrupted());
        let login = {
            let login = pin!(permit.open());
            let login = pin!(self.unless_cancelled(&queued.record.lease, catch_panic(login)));
            tokio::select! {
                biased;
                login = login => Some(login),
                () = interrupted.cancelled() => None,
            }
        };
        let Some(login) = login else {
            return self.retry_uncounted(queued, &session_interrupted(), None);
        };
        match login {
            Err(TryCancelled) => self.finish(queued, TaskExit::Cancelled),
            Ok(Ok(session)) => {
                if !version.is_outdated() {
                    self.slot.queue().login_succeeded();
                }
                self.slot.got_session();
                self.shared.start_workers(self.slot.queue());
                self.use_session(session, queued).await;
            }
            // The connection has been reconfigured since: the task is tried with its new settings.
            Ok(Err(error)) if version.is_outdated() => self.retry_uncounted(queued, &error, None),
            Ok(Err(error)) if self.is_route_failure(&error).await => self.try_ended(queued, Err(error)),
            Ok(Err(error)) => {
                let was_closed = self.slot.queue().breaker(Instant::now()) == BreakerState::Closed;
                self.slot.queue().login_failed(&error, Instant::now(), rand::random());
                if queued.login_is_uncounted(&error, was_closed) {
                    self.retry_uncounted(queued, &error, None);
                } else {
                    self.try_ended(queued, Err(error));
                }
            }
        }
    }

    /// Runs the queue's tasks on one session, starting with one whose try has begun.
    async fn use_session(&mut self, mut session: LeasedSession<C>, queued: Box<QueuedTask>) {
        self.slot.got_session();
        let mut tasks = PipelinedTasks::default();
        let mut next = Some(queued);
        while let Some(queued) = next {
            if !self.run(&mut session, &mut tasks, queued).await {
                session.throw_away();
                self.retry_next(tasks);
                self.slot.lost_session();
                return;
            }
            next = match tasks.next.take() {
                Some(queued) => Some(queued),
                None => self.next_task(&mut session).await,
            };
        }
        // The session first, so that it is available to other workers from now on.
        drop(session);
        self.slot.lost_session();
    }

    /// Whether this failure was caused by the route rather than the server: the connection's queue is then notified,
    /// too.
    pub(super) async fn is_route_failure(&self, error: &TryError) -> bool {
        let queue = self.slot.queue();
        if !may_be_route_failure(error) {
            return false;
        }
        if queue.is_route_lost() {
            return true;
        }
        let verdict = pin!(self.shared.pool.route_lost(&queue.connection));
        let Some(failure) = self.shared.unless_cut_off_or(verdict, None).await else { return false };
        queue.route_lost(&failure, Instant::now());
        true
    }

    /// The session is lost, through no fault of the next task, which was started on it: it is tried again.
    fn retry_next(&mut self, tasks: PipelinedTasks<T::Pipeline>) {
        if let Some(mut next) = tasks.next {
            next.tries.take_back();
            self.retry(next, None, None);
        }
    }

    /// The next task for this session. While there is none, the session is used to clean up on the server.
    async fn next_task(&mut self, session: &mut LeasedSession<C>) -> Option<Box<QueuedTask>> {
        let shared = Arc::clone(&self.shared);
        shared.unless_cut_off(pin!(shared.executor.clean_up_at_once(session))).await;
        while session.is_reusable() && !session.must_yield() && !session.is_awaited() {
            if let Some(queued) = self.take() {
                return Some(queued);
            }
            if !shared.unless_cut_off(pin!(shared.executor.clean_up(session))).await {
                break;
            }
        }
        None
    }

    /// A login is aborted without delay.
    async fn unless_cancelled<R>(
        &self,
        lease: &Lease,
        work: impl Future<Output = R>,
    ) -> Result<R, TryCancelled> {
        tokio::select! {
            biased;
            () = self.shared.cancelled.cancelled() => Err(TryCancelled),
            () = lease.ended() => Err(TryCancelled),
            result = work => Ok(result),
        }
    }

    /// The try failed as it would for every task: this one continues to wait, like all others, without counting.
    pub(super) fn retry_uncounted(
        &mut self,
        mut queued: Box<QueuedTask>,
        error: &TryError,
        due: Option<Instant>,
    ) {
        queued.tries.take_back();
        queued.notes.try_failed(error.failure.code.as_str());
        report::retried(&self.shared.metrics, &queued, error, None);
        self.retry(queued, due, Some(&error.failure));
    }
}

/// The pod must not keep the session, whatever it is doing: another pod may have it.
pub(super) fn session_interrupted() -> TryError {
    let failure =
        Failure::new(Code::ServerBusy, "the session was taken back: max_sessions_total is for all pods");
    TryError { failure, remedy: Remedy::FreshSession }
}

/// The answer of a task that was not begun because of another one's login.
fn untried(login: &Failure) -> Failure {
    let message = format!("not tried, since the connection's last login failed: {}", login.message);
    Failure { ftp_code: login.ftp_code, ..Failure::new(login.code, message) }
}

//! A lane: gets one session of its connection and works through the connection's queue with it, file
//! after file, until the queue is empty, the session is in doubt or another connection needs the room.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Job;
use super::breaker;
use super::deferral::{Outlook, PATIENCE, Why};
use super::line::{Duty, Line, Seek};
use super::pipelined_tasks::{self, NextInQueue, PipelinedTasks};
use super::queue::Entry;
use super::retry::Next;
use super::task_executor::{TaskExecutor, catch_panic};
use super::{Shared, UNDO_BOUND, report};
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::offsets::Lease;
use crate::outcome::Completed;
use crate::pool::{LeasedSession, OpenPermit, Reservation, SessionConnector};
use crate::transfer::{TransferError, TransferProgress, TransferRequest, TransferredFile};

pub(super) struct Lane<C: SessionConnector, T> {
    shared: Arc<Shared<C, T>>,
    duty: Duty,
}

/// The try was cut off: by the end of the task's lease, or of the pod's time to drain. No answer.
struct Cancelled;

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Lane<C, T> {
    pub fn new(shared: Arc<Shared<C, T>>, duty: Duty) -> Self {
        Lane { shared, duty }
    }

    pub async fn run(mut self) {
        while let Some(reservation) = self.reserve().await {
            // Only now, with a session or the room for one, a task is taken: its try begins.
            let Some(entry) = self.next_task() else { continue };
            match reservation {
                Reservation::Idle(session) => self.work(session, entry).await,
                Reservation::MayOpen(permit) => self.log_in(permit, entry).await,
            }
        }
    }

    /// Waits, without a task, for a session or for room to open one; `None` once the lane has left.
    async fn reserve(&mut self) -> Option<Reservation<C>> {
        let line = Arc::clone(self.duty.line());
        loop {
            let changed = line.changed.notified(); // before looking, so that no change is missed
            match self.seek() {
                Seek::Leave => return None,
                Seek::Refuse(failure) => {
                    for entry in line.take_ready() {
                        self.shared.answer(entry, Err(failure.clone()));
                    }
                }
                Seek::Wait(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = changed => {}
                },
                Seek::Go => match self.stand_in_line(&line).await? {
                    idle @ Reservation::Idle(_) => return Some(idle),
                    // While this lane waited for room, another's login may have failed.
                    may_open @ Reservation::MayOpen(_) => match self.seek() {
                        Seek::Go => return Some(may_open),
                        Seek::Leave => return None,
                        Seek::Wait(_) | Seek::Refuse(_) => {}
                    },
                },
            }
        }
    }

    /// `None` once the lane has left, or the pool is closed.
    async fn stand_in_line(&mut self, line: &Line) -> Option<Reservation<C>> {
        let pool = self.shared.pool.clone();
        let mut reservation = pin!(pool.reserve(&line.connection));
        loop {
            let changed = line.changed.notified();
            if matches!(self.seek(), Seek::Leave) {
                return None;
            }
            tokio::select! {
                reservation = &mut reservation => return reservation.ok(),
                () = changed => {}
            }
        }
    }

    fn seek(&mut self) -> Seek {
        let limit = self.shared.pool.limit(&self.duty.line().connection);
        self.duty.seek(Instant::now(), limit)
    }

    fn next_task(&mut self) -> Option<Box<Entry>> {
        self.shared.take_for(&mut self.duty)
    }

    async fn log_in(&mut self, permit: OpenPermit<C>, entry: Box<Entry>) {
        let version = permit.version();
        let login = {
            let login = pin!(permit.open());
            self.unless_cancelled(&entry.job.record.lease, catch_panic(login)).await
        };
        match login {
            Err(Cancelled) => self.forget(entry),
            Ok(Ok(session)) => {
                if !version.is_outdated() {
                    self.duty.line().login_succeeded();
                }
                self.duty.got_session();
                self.shared.staff(self.duty.line());
                self.work(session, entry).await;
            }
            // The connection has other settings since: the task is tried with those.
            Ok(Err(error)) if version.is_outdated() => self.probed(entry, &error),
            Ok(Err(error)) => {
                let was_closed = self.duty.line().breaker(Instant::now()) == breaker::State::Closed;
                self.duty.line().login_failed(&error, Instant::now(), rand::random());
                if entry.bears(&error, was_closed) {
                    self.probed(entry, &error);
                } else {
                    self.settle(entry, Err(error));
                }
            }
        }
    }

    /// Works through the queue with one session, beginning with a task whose try has begun.
    async fn work(&mut self, mut session: LeasedSession<C>, entry: Box<Entry>) {
        self.duty.got_session();
        let mut tasks = PipelinedTasks::default();
        let mut next = Some(entry);
        while let Some(entry) = next {
            if !self.carry(&mut session, &mut tasks, entry).await {
                session.throw_away();
                self.break_off(tasks);
                self.duty.lost_session();
                return;
            }
            next = match tasks.next.take() {
                Some(entry) => Some(entry),
                None => self.next_on(&mut session).await,
            };
        }
        // The session first: whoever seeks one from now on finds it.
        drop(session);
        self.duty.lost_session();
    }

    /// The session is lost, through no fault of the next task: it is tried again.
    fn break_off(&mut self, tasks: PipelinedTasks<T::Pipeline>) {
        if let Some(mut next) = tasks.next {
            next.tries.take_back();
            self.give_back(next, None, None);
        }
    }

    /// The next task for this session. While there is none, the session is put to what else is due on it.
    async fn next_on(&mut self, session: &mut LeasedSession<C>) -> Option<Box<Entry>> {
        let shared = Arc::clone(&self.shared);
        shared.unless_cut_off(pin!(shared.executor.clean_up_at_once(session))).await;
        while session.is_sound() && !session.must_yield() {
            if let Some(entry) = self.next_task() {
                return Some(entry);
            }
            if !shared.unless_cut_off(pin!(shared.executor.clean_up(session))).await {
                break;
            }
        }
        None
    }

    /// One try on this session; false if the session is in doubt, whatever it says of itself.
    async fn carry(
        &mut self,
        session: &mut LeasedSession<C>,
        tasks: &mut PipelinedTasks<T::Pipeline>,
        mut entry: Box<Entry>,
    ) -> bool {
        let gauge = self.duty.transfers(&entry, Instant::now());
        let shared = Arc::clone(&self.shared);
        // Asked before each file: one that is begun ahead is carried in any case.
        let may_pipeline = !session.must_yield() && entry.tries.is_first();
        let ended = {
            entry.is_bound = true;
            let Entry { job: Job { record, task, .. }, files, kept, .. } = &mut *entry;
            let (request, lease) = (TransferRequest { task, record, files }, &record.lease);
            let PipelinedTasks { pipeline, next, previous_ended, .. } = &mut *tasks;
            let duty = &mut self.duty;
            let mut next_task = NextInQueue { shared: &shared, duty, may_pipeline, next, previous_ended };
            let try_at = (request, &*gauge);
            let cut_off = &shared.cut_off;
            // Pinned here, and lent: a future is large, and each function that takes it whole copies it, and
            // has room for it twice.
            let carried =
                pin!(shared.executor.execute(session, pipeline, try_at, kept, &mut next_task, cut_off));
            let caught = pin!(catch_panic(carried));
            until_cut_off(cut_off, lease, caught).await
        };
        self.previous_ended(tasks);
        let result = match ended {
            Ok(Ok(TransferProgress::Done(transferred))) => Ok(transferred),
            Ok(Ok(TransferProgress::RenamePending)) => {
                tasks.rename_pending = Some(entry);
                return true;
            }
            Ok(Err(TransferError::Failed(error))) => Err(error),
            Ok(Err(TransferError::LeaseEnded | TransferError::Cancelled)) | Err(Cancelled) => {
                self.forget(entry);
                return false;
            }
        };
        let is_outdated = session.is_outdated();
        if !is_outdated {
            self.duty.line().tried(result.as_ref().err(), Instant::now(), rand::random());
        }
        if !is_outdated && result.as_ref().is_err_and(|error| error.remedy == Remedy::LowerLimit) {
            self.shared.pool.lower_limit(&self.duty.line().connection);
        }
        let is_doubtful = result
            .as_ref()
            .is_err_and(|error| error.remedy == Remedy::FreshSession || error.failure.code == Code::Internal);
        self.settle(entry, result);
        !is_doubtful
    }

    /// Ends the task before the one that has just run, where its rename was pending.
    fn previous_ended(&mut self, tasks: &mut PipelinedTasks<T::Pipeline>) {
        let Some(previous) = tasks.rename_pending.take() else { return };
        let is_over = self.shared.cut_off.is_cancelled() || !previous.job.record.lease.is_live();
        match tasks.previous_ended.take() {
            Some(Ok(transferred)) => self.settle(previous, Ok(transferred)),
            Some(Err(TransferError::Failed(error))) => self.settle(previous, Err(error)),
            _ if is_over => self.forget(previous),
            // The try was cut off, or panicked, before it could say; or its neighbour's lease ended.
            _ => self.settle(previous, Err(pipelined_tasks::interrupted())),
        }
    }

    /// A login is cut off at once.
    async fn unless_cancelled<R>(
        &self,
        lease: &Lease,
        work: impl Future<Output = R>,
    ) -> Result<R, Cancelled> {
        tokio::select! {
            biased;
            () = self.shared.cut_off.cancelled() => Err(Cancelled),
            () = lease.ended() => Err(Cancelled),
            result = work => Ok(result),
        }
    }

    /// The login failed, as it would for every task: this one waits on, as all others do.
    fn probed(&mut self, mut entry: Box<Entry>, error: &TryError) {
        entry.tries.take_back();
        entry.notes.try_failed(error.failure.code.as_str());
        report::retried(&self.shared.metrics, &entry, error, None);
        self.give_back(entry, None, Some(&error.failure));
    }

    /// The try is over: the task is answered, or will be tried again.
    fn settle(&mut self, mut entry: Box<Entry>, result: Result<TransferredFile, TryError>) {
        let error = match result {
            Ok(transferred) => {
                let TransferredFile { bytes, notes, facts } = transferred;
                let duration = entry.elapsed();
                let completed = Completed { bytes_transferred: bytes, duration, notes, facts };
                return self.finish(entry, Ok(completed));
            }
            Err(error) => error,
        };
        entry.notes.try_failed(error.failure.code.as_str());
        let retry_count = entry.job.task.options.retry_count;
        let next = entry.tries.failed(&error, retry_count, rand::random());
        let due = match next {
            Next::Answer => return self.finish(entry, Err(error.failure)),
            Next::AtOnce => None,
            Next::After(wait) => Some(wait),
        };
        let is_long = due.is_some_and(|wait| wait > PATIENCE);
        if is_long && self.shared.deferral.outlook(&entry, Timestamp::now()) == Outlook::Possible {
            self.duty.finish(&entry);
            return self.shared.defer(entry, Why::Backoff);
        }
        if let Some(failure) = entry.past_deadline_in(due.unwrap_or_default(), &error.failure) {
            return self.finish(entry, Err(failure));
        }
        report::retried(&self.shared.metrics, &entry, &error, due);
        self.give_back(entry, due.map(|wait| Instant::now() + wait), Some(&error.failure));
    }

    /// The task waits for its next try; where its connection is no more it is answered, `last` being what came of its
    /// last one.
    fn give_back(&mut self, entry: Box<Entry>, due: Option<Instant>, last: Option<&Failure>) {
        if let Some(entry) = self.duty.give_back(entry, due) {
            self.shared.refuse(entry, last);
        }
    }

    /// Without an answer.
    fn forget(&mut self, entry: Box<Entry>) {
        self.duty.finish(&entry);
        let place = entry.place;
        drop(entry);
        self.shared.give_up(place);
    }

    fn finish(&mut self, entry: Box<Entry>, verdict: Result<Completed, Failure>) {
        self.duty.finish(&entry);
        self.shared.answer(entry, verdict);
    }
}

/// A transfer undoes what it began, and has some time for that.
async fn until_cut_off<R>(
    cut_off: &CancellationToken,
    lease: &Lease,
    work: impl Future<Output = R>,
) -> Result<R, Cancelled> {
    let out_of_time = async {
        tokio::select! {
            () = cut_off.cancelled() => {}
            () = lease.ended() => {}
        }
        sleep(UNDO_BOUND).await;
    };
    tokio::select! {
        biased;
        result = work => Ok(result),
        () = out_of_time => Err(Cancelled),
    }
}

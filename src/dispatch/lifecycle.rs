//! A task's path through the dispatcher: submit → enqueue → take → run → finish. The states are drawn in [`super`].

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::connection_queue::{ConnectionQueue, WorkerSlot};
use super::deferral::{DeferReason, DeferralDecision, PATIENCE, TaskCountGuard};
use super::destination_order::DestinationKey;
use super::hung_tries;
use super::local_breakers::LocalOutage;
use super::pipelined_tasks::{self, NextInQueue, PipelinedTasks};
use super::queued_task::QueuedTask;
use super::retry::{RetryDecision, may_be_route_failure};
use super::task_executor::{TaskExecutor, TryEnd, catch_panic, until_cancelled};
use super::worker::{SessionWorker, session_interrupted};
use super::{Dispatcher, DispatcherInner, SubmittedTask, report};
use crate::breaker::BreakerState;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::outcome::{AdmittedOutcome, Completed, MovedFile, Outcome, Verdict};
use crate::pool::{LeasedSession, SessionConnector};
use crate::task::{Task, UnknownOption};
use crate::traces::SpanEnd;
use crate::transfer::{ResumeState, TransferError, TransferProgress, TransferRequest, TransferredFile};

/// A task whose local connection has failed before is tried again after this, unless its breaker has opened by then.
const LOCAL_RETRY: Duration = Duration::from_millis(500);

/// How a task leaves the dispatcher.
#[derive(Debug)]
pub(super) enum TaskExit {
    /// Completed or failed: its answer is published.
    Answered(Result<Completed, Failure>),
    /// Its record goes to the retry topic.
    Deferred(DeferReason),
    /// Dropped before its next try: its partition leaves this pod, and the next owner processes it.
    Withdrawn,
    /// Dropped during a try, at the end of its lease or at the drain's deadline.
    Cancelled,
}

/// The try was aborted at the end of the task's lease or at the drain's deadline.
pub(super) struct TryCancelled;

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Dispatcher<C, T> {
    /// Queues a task; never blocks. A task that cannot be tried at all is answered at once; while draining it is
    /// dropped, and processed by the next owner of its partition.
    pub fn submit(&self, submitted: SubmittedTask) {
        let shared = &self.shared;
        let _unchanged = shared.changing.read().unwrap_or_else(PoisonError::into_inner);
        let SubmittedTask { record, task, .. } = &submitted;
        let ends = (shared.order.key(record, task), shared.order.files(task));
        let mut queued = QueuedTask::new(submitted, ends, Instant::now());
        let refusal = shared.executor.unsupported(&queued.task);
        queued.notes = shared.traces.notes();
        let refusal = refusal.or_else(|| shared.batches.cancellation(&queued.record.headers));
        if let Some(failure) = refusal.or_else(|| queued.past_deadline(Timestamp::now())) {
            return shared.finish(queued, TaskExit::Answered(Err(failure)));
        }
        let queues = shared.queues();
        let Some(queue) = queues.get(&*queued.task.remote) else {
            return shared.finish_unknown(queued, None);
        };
        if shared.is_surplus(queue, &queued) {
            return shared.finish(queued, TaskExit::Deferred(DeferReason::Surplus));
        }
        queued.counted = Some(TaskCountGuard::in_count(&queue.task_count));
        shared.enqueue(queue, queued);
    }
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> DispatcherInner<C, T> {
    /// A connection may have as many tasks as there is room left in the pod: so one backlog takes half of the pod, two
    /// take a third each, and there is always room for the others. The excess is deferred: all of it if the server is
    /// down, otherwise little by little.
    fn is_surplus(&self, queue: &ConnectionQueue, queued: &QueuedTask) -> bool {
        let is_over =
            self.queues().len() > 1 && queue.task_count.load(Ordering::Relaxed) >= self.budget.room();
        is_over
            && self.deferral.decide(queued, Timestamp::now()) == DeferralDecision::Possible
            && (queue.breaker(Instant::now()) != BreakerState::Closed || self.overflow.take())
    }

    /// The task waits for a worker, or for the task before it with the same destination.
    pub(super) fn enqueue(self: &Arc<Self>, queue: &Arc<ConnectionQueue>, queued: Box<QueuedTask>) {
        let Some(queued) = self.order.enter(queued) else { return };
        match queue.push_back(queued) {
            None => self.start_workers(queue),
            Some(queued) => self.finish_unknown(queued, None),
        }
    }

    /// Takes the queue's next task that may still be tried; its try begins.
    pub(super) fn take(self: &Arc<Self>, slot: &mut WorkerSlot) -> Option<Box<QueuedTask>> {
        loop {
            let mut queued = slot.take(Instant::now())?;
            let exit = if !queued.record.lease.may_begin() {
                Some(TaskExit::Withdrawn)
            } else if let Some(failure) = self.cancelled_or_expired(&queued) {
                Some(TaskExit::Answered(Err(failure)))
            } else if let Some(outage) = self.local_outage(slot.queue(), &queued) {
                let exit = self.exit_of_outage(&queued, &outage);
                if exit.is_none() {
                    if let Some(queued) = slot.retry(queued, Some(outage.until)) {
                        self.finish_unknown(queued, None);
                    }
                    continue;
                }
                exit
            } else {
                None
            };
            let Some(exit) = exit else {
                queued.tries.begin();
                queued.notes.try_begins();
                if queued.begun.is_none() {
                    queued.begun = Some(Instant::now());
                    report::waited(&self.metrics, &queued);
                }
                return Some(queued);
            };
            slot.remove(&queued);
            self.finish(queued, exit);
        }
    }

    /// Why the task is not tried any more.
    fn cancelled_or_expired(&self, queued: &QueuedTask) -> Option<Failure> {
        let cancelled = self.batches.cancellation(&queued.record.headers);
        cancelled.or_else(|| queued.past_deadline(Timestamp::now()))
    }

    fn local_outage(&self, queue: &ConnectionQueue, queued: &QueuedTask) -> Option<LocalOutage> {
        // Before the breaker, which relies on its probe.
        self.hung_outage(queue, queued).or_else(|| {
            let Task { local, options, .. } = &*queued.task;
            self.local_breakers.outage(local, options.retry_count, queued.queued_at, Instant::now())
        })
    }

    /// The exit of a task whose local connection is down; `None` if it continues to wait.
    fn exit_of_outage(&self, queued: &QueuedTask, outage: &LocalOutage) -> Option<TaskExit> {
        match self.deferral.decide(queued, Timestamp::now()) {
            DeferralDecision::Possible if outage.is_long => {
                Some(TaskExit::Deferred(DeferReason::LocalOutage))
            }
            DeferralDecision::Possible => None,
            DeferralDecision::Exhausted => {
                Some(TaskExit::Answered(Err(queued.deferral_exhausted(&outage.last))))
            }
            DeferralDecision::Never => outage.expired.clone().map(|failure| TaskExit::Answered(Err(failure))),
        }
    }
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> SessionWorker<C, T> {
    /// Runs one try on this session; false if the session must not be used again, even if it seems usable.
    pub(super) async fn run(
        &mut self,
        session: &mut LeasedSession<C>,
        tasks: &mut PipelinedTasks<T::Pipeline>,
        mut queued: Box<QueuedTask>,
    ) -> bool {
        let gauge = self.slot.transfer_begins(&queued, Instant::now());
        let shared = Arc::clone(&self.shared);
        // Checked before each file: one that was started by pipelining runs in any case.
        let may_pipeline = !session.must_yield() && queued.tries.is_first();
        let (cancelled, interrupted) = (shared.cancelled.child_token(), session.interrupted());
        let ended = {
            queued.is_bound = true;
            let QueuedTask { record, task, files, resume_state, .. } = &mut *queued;
            let (request, lease) = (TransferRequest { task, record, files }, &record.lease);
            let PipelinedTasks { pipeline, next, previous_ended, .. } = &mut *tasks;
            let slot = &mut self.slot;
            let mut next_task = NextInQueue { shared: &shared, slot, may_pipeline, next, previous_ended };
            let try_at = (request, &*gauge);
            // Pinned here, and passed by reference: a future is large, and each function that takes it by value copies
            // it, and needs twice its size.
            let running = pin!(shared.executor.execute(
                session,
                pipeline,
                try_at,
                resume_state,
                &mut next_task,
                &cancelled
            ));
            let caught = pin!(catch_panic(running));
            until_cancelled(&cancelled, (lease, &interrupted), files.watch(), caught).await
        };
        let is_over = shared.cancelled.is_cancelled() || !queued.record.lease.is_live();
        if interrupted.is_cancelled() && !is_over && !matches!(ended, TryEnd::Hung(_)) {
            return self.interrupted(tasks, queued, ended);
        }
        let is_route_failure = match &ended {
            TryEnd::Ended(Err(TransferError::Failed(error))) if !session.is_outdated() => {
                self.is_route_failure(error).await
            }
            _ => false,
        };
        self.finish_previous(tasks);
        let result = match ended {
            TryEnd::Ended(Ok(TransferProgress::Done(transferred))) => Ok(transferred),
            TryEnd::Ended(Ok(TransferProgress::RenamePending)) => {
                tasks.rename_pending = Some(queued);
                return true;
            }
            TryEnd::Ended(Err(TransferError::Failed(error))) => Err(error),
            TryEnd::Ended(Err(TransferError::LeaseEnded | TransferError::Cancelled)) | TryEnd::Cancelled => {
                self.finish(queued, TaskExit::Cancelled);
                return false;
            }
            TryEnd::Hung(longest) => {
                self.release_hung_session(queued, longest);
                return false;
            }
        };
        let error = result.as_ref().err();
        if !session.is_outdated() && !is_route_failure {
            self.slot.queue().tried(error, Instant::now(), rand::random());
            if error.is_some_and(|error| error.remedy == Remedy::LowerLimit) {
                self.shared.pool.lower_limit(&self.slot.queue().connection);
            }
        }
        let is_in_doubt = is_route_failure
            || error.is_some_and(|error| {
                error.remedy == Remedy::FreshSession || error.failure.code == Code::Internal
            });
        self.try_ended(queued, result);
        !is_in_doubt
    }

    /// The session must be closed, through no fault of its tasks: what has not ended is tried again without counting.
    fn interrupted(
        &mut self,
        tasks: &mut PipelinedTasks<T::Pipeline>,
        mut queued: Box<QueuedTask>,
        ended: TryEnd<Result<TransferProgress, TransferError>>,
    ) -> bool {
        if let Some(previous) = tasks.rename_pending.take() {
            match tasks.previous_ended.take() {
                Some(Ok(transferred)) => self.try_ended(previous, Ok(transferred)),
                _ => self.retry_uncounted(previous, &session_interrupted(), None),
            }
        }
        match ended {
            TryEnd::Ended(Ok(TransferProgress::Done(transferred))) => {
                self.try_ended(queued, Ok(transferred));
            }
            TryEnd::Ended(_) => self.retry_uncounted(queued, &session_interrupted(), None),
            TryEnd::Cancelled | TryEnd::Hung(_) => {
                queued.resume_state = ResumeState::default(); // it may have been interrupted in the middle of a change
                self.retry_uncounted(queued, &session_interrupted(), None);
            }
        }
        false
    }

    /// The task is tried again, without counting, when its file system answers.
    fn release_hung_session(&mut self, mut queued: Box<QueuedTask>, longest: Duration) {
        queued.resume_state = ResumeState::default(); // it may have been interrupted in the middle of a change
        let error = hung_tries::hung_try_error(&queued.task.local, longest);
        self.local_tried(&queued, Some(&error));
        self.retry_uncounted(queued, &error, None);
    }

    /// Ends the previous task, if its rename went out with the end of the one that has just run.
    fn finish_previous(&mut self, tasks: &mut PipelinedTasks<T::Pipeline>) {
        let Some(previous) = tasks.rename_pending.take() else { return };
        let is_over = self.shared.cancelled.is_cancelled() || !previous.record.lease.is_live();
        match tasks.previous_ended.take() {
            Some(Ok(transferred)) => self.try_ended(previous, Ok(transferred)),
            Some(Err(TransferError::Failed(error))) => self.try_ended(previous, Err(error)),
            _ if is_over => self.finish(previous, TaskExit::Cancelled),
            // The try was aborted, or panicked, before it could report; or the other task's lease ended.
            _ => self.try_ended(previous, Err(pipelined_tasks::interrupted())),
        }
    }

    /// A try is over: the task is finished, or waits for its next try.
    pub(super) fn try_ended(
        &mut self,
        mut queued: Box<QueuedTask>,
        result: Result<TransferredFile, TryError>,
    ) {
        let error = match result {
            Ok(transferred) => {
                self.local_tried(&queued, None);
                let TransferredFile { bytes, mut notes, mut details } = transferred;
                let duration = queued.elapsed();
                let (source, destination) = (queued.task.source(), queued.task.destination());
                details.file = Some(Box::new(MovedFile { source, destination }));
                notes.extend(queued.task.options.unknown.iter().map(UnknownOption::note));
                let completed = Completed { bytes_transferred: bytes, duration, notes, details };
                return self.finish(queued, TaskExit::Answered(Ok(completed)));
            }
            Err(error) => error,
        };
        let retry_count = queued.task.options.retry_count;
        let local_has_failed = self.local_tried(&queued, Some(&error));
        if error.remedy == Remedy::LocalOutage
            && retry_count > 0
            && (local_has_failed || queued.record.retry.is_some())
        {
            return self.retry_uncounted(queued, &error, Some(Instant::now() + LOCAL_RETRY));
        }
        if may_be_route_failure(&error)
            && self.slot.queue().is_route_lost()
            && queued.tries.route_loss_is_uncounted()
        {
            return self.retry_uncounted(queued, &error, None);
        }
        queued.notes.try_failed(error.failure.code.as_str());
        let wait = match queued.tries.failed(&error, retry_count, rand::random()) {
            RetryDecision::Answer => return self.finish(queued, TaskExit::Answered(Err(error.failure))),
            RetryDecision::AtOnce => None,
            RetryDecision::After(wait) => Some(wait),
        };
        let is_long = wait.is_some_and(|wait| wait > PATIENCE);
        if is_long && self.shared.deferral.decide(&queued, Timestamp::now()) == DeferralDecision::Possible {
            return self.finish(queued, TaskExit::Deferred(DeferReason::Backoff));
        }
        if let Some(failure) = queued.past_deadline_in(wait.unwrap_or_default(), &error.failure) {
            return self.finish(queued, TaskExit::Answered(Err(failure)));
        }
        report::retried(&self.shared.metrics, &queued, &error, wait);
        self.retry(queued, wait.map(|wait| Instant::now() + wait), Some(&error.failure));
    }

    fn local_tried(&self, queued: &QueuedTask, error: Option<&TryError>) -> bool {
        self.shared.local_breakers.tried(&queued.task.local, error, Instant::now(), rand::random())
    }

    /// The task waits for its next try; if its connection was removed, it is answered, with `last` as the failure of
    /// its last try.
    pub(super) fn retry(&mut self, queued: Box<QueuedTask>, due: Option<Instant>, last: Option<&Failure>) {
        if let Some(queued) = self.slot.retry(queued, due) {
            self.shared.finish_unknown(queued, last);
        }
    }

    pub(super) fn finish(&mut self, queued: Box<QueuedTask>, exit: TaskExit) {
        self.slot.remove(&queued);
        self.shared.finish(queued, exit);
    }
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> DispatcherInner<C, T> {
    /// The task leaves, and its destination passes to the next task that waits for it.
    pub(super) fn finish(self: &Arc<Self>, queued: Box<QueuedTask>, exit: TaskExit) {
        let (destination, holds_destination) = (queued.destination, queued.holds_destination);
        self.leave(queued, exit);
        if holds_destination {
            self.release(destination);
        }
    }

    /// The task's connection is not configured (any more).
    pub(super) fn finish_unknown(self: &Arc<Self>, queued: Box<QueuedTask>, last: Option<&Failure>) {
        let failure = queued.unknown_connection(last);
        self.finish(queued, TaskExit::Answered(Err(failure)));
    }

    /// The next task with this destination, in the topic's order, may be tried now.
    pub(super) fn release(self: &Arc<Self>, destination: DestinationKey) {
        while let Some(queued) = self.order.next(destination) {
            if !queued.record.lease.may_begin() {
                self.leave(queued, TaskExit::Withdrawn);
                continue;
            }
            let queues = self.queues();
            let refused = match queues.get(&*queued.task.remote) {
                Some(queue) => match queue.push_front(queued) {
                    None => return self.start_workers(queue),
                    refused => refused,
                },
                None => Some(queued),
            };
            if let Some(queued) = refused {
                let failure = queued.unknown_connection(None);
                self.leave(queued, TaskExit::Answered(Err(failure))); // its destination passes to the next one
            }
        }
    }

    /// The only exit. No answer is given under a lease that has ended.
    fn leave(&self, mut queued: Box<QueuedTask>, exit: TaskExit) {
        if !queued.record.lease.is_live() {
            return;
        }
        let verdict = match exit {
            TaskExit::Answered(result) => {
                self.batches.count_answer(&queued.record.headers, result.is_ok());
                report::answered(&self.metrics, &self.failures, &queued, &result);
                report::traced(&self.traces, &mut queued, report::end(&result));
                result.into()
            }
            TaskExit::Deferred(reason) => {
                let state = self.deferral.retry_state(&queued, Timestamp::now());
                report::deferred(&self.metrics, &self.recent_deferrals, &queued, &state, reason);
                report::traced(&self.traces, &mut queued, SpanEnd::Deferred(reason.as_str()));
                Verdict::Deferred(Box::new(state))
            }
            // Only under a live lease: reported later, it would be taken for a task of the next assignment.
            TaskExit::Withdrawn => return self.withdrawals().push(queued.record.origin),
            TaskExit::Cancelled => return,
        };
        let QueuedTask { record, task, admission, tries, .. } = *queued;
        let (task_id, at) = (Some(Arc::unwrap_or_clone(task).task_id), Timestamp::now());
        let outcome = Outcome { record, task_id, attempts: tries.attempts, at, verdict };
        let answer = AdmittedOutcome { outcome, admission };
        if let Err(TrySendError::Full(answer)) = self.answers.try_send(answer) {
            let answers = self.answers.clone();
            self.workers.spawn_on(async move { drop(answers.send(answer).await) }, &self.handle);
        }
    }
}

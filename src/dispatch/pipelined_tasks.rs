//! A worker's tasks on one session: the one whose rename is pending, the one that is running, and the next one.
//!
//! The whole mechanism, with a time line of its commands: `crate::transfer::upload_pipeline`.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Shared;
use super::line::Duty;
use super::queue::Entry;
use super::task_executor::TaskExecutor;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::pool::SessionConnector;
use crate::transfer::{NextTask, TransferError, TransferRequest, TransferredFile};

/// The pipeline of one session, and the tasks in it beside the one that is running.
pub(super) struct PipelinedTasks<P> {
    /// What is open on the session itself.
    pub pipeline: P,
    /// The task before: it is renamed with the end of the one that is running.
    pub rename_pending: Option<Box<Entry>>,
    /// How that ended.
    pub previous_ended: Option<Result<TransferredFile, TransferError>>,
    /// The next task, whose try has begun.
    pub next: Option<Box<Entry>>,
}

impl<P: Default> Default for PipelinedTasks<P> {
    fn default() -> Self {
        PipelinedTasks { pipeline: P::default(), rename_pending: None, previous_ended: None, next: None }
    }
}

/// The queue's next task, as a transfer takes it.
pub(super) struct NextInQueue<'a, C: SessionConnector, T> {
    pub shared: &'a Arc<Shared<C, T>>,
    pub duty: &'a mut Duty,
    /// The task is tried for the first time, and the session need not be given up after it.
    pub may_pipeline: bool,
    pub next: &'a mut Option<Box<Entry>>,
    pub previous_ended: &'a mut Option<Result<TransferredFile, TransferError>>,
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> NextTask for NextInQueue<'_, C, T> {
    fn may_pipeline(&self) -> bool {
        self.may_pipeline
    }

    fn next(&mut self) -> Option<TransferRequest<'_>> {
        if !self.may_pipeline || self.next.is_some() {
            return None;
        }
        *self.next = self.shared.take_for(self.duty);
        // One that is tried again runs alone.
        let entry = self.next.as_ref().filter(|entry| entry.tries.is_first())?;
        Some(entry.request())
    }

    fn previous_ended(&mut self, ended: Result<TransferredFile, TransferError>) {
        *self.previous_ended = Some(ended);
    }
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Shared<C, T> {
    /// The line's next task whose answer is wanted and whose deadline is not over; its try begins.
    pub(super) fn take_for(self: &Arc<Self>, duty: &mut Duty) -> Option<Box<Entry>> {
        loop {
            let mut entry = duty.take(Instant::now())?;
            if !entry.job.record.lease.may_begin() {
                duty.finish(&entry);
                self.withdrawn(entry);
                continue;
            }
            if let Some(failure) = entry.past_deadline(Timestamp::now()) {
                duty.finish(&entry);
                self.answer(entry, Err(failure));
                continue;
            }
            self.begin(&mut entry);
            return Some(entry);
        }
    }
}

/// The try that was to rename a task's file with its own end was interrupted.
pub(super) fn interrupted() -> TryError {
    let message = "it was to be renamed with the end of another task, whose try was interrupted".to_owned();
    TryError { failure: Failure::new(Code::ConnectFailed, message), remedy: Remedy::FreshSession }
}

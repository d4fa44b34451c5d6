//! A worker's tasks on one session: the one whose rename is pending, the one that is running, and the next one.
//!
//! The whole mechanism, with a time line of its commands: `crate::transfer::upload_pipeline`.

use std::sync::Arc;

use super::DispatcherInner;
use super::connection_queue::WorkerSlot;
use super::queued_task::QueuedTask;
use super::task_executor::TaskExecutor;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::pool::SessionConnector;
use crate::transfer::{NextTask, TransferError, TransferRequest, TransferredFile};

/// The pipeline of one session, and the tasks in it besides the one that is running.
pub(super) struct PipelinedTasks<P> {
    /// What is open on the session itself.
    pub pipeline: P,
    /// The previous task: it is renamed with the end of the one that is running.
    pub rename_pending: Option<Box<QueuedTask>>,
    /// How that ended.
    pub previous_ended: Option<Result<TransferredFile, TransferError>>,
    /// The next task, whose try has begun.
    pub next: Option<Box<QueuedTask>>,
}

impl<P: Default> Default for PipelinedTasks<P> {
    fn default() -> Self {
        PipelinedTasks { pipeline: P::default(), rename_pending: None, previous_ended: None, next: None }
    }
}

/// The queue's next task, as the transfer requests it.
pub(super) struct NextInQueue<'a, C: SessionConnector, T> {
    pub shared: &'a Arc<DispatcherInner<C, T>>,
    pub slot: &'a mut WorkerSlot,
    /// The task is tried for the first time, and the session need not be released after it.
    pub may_pipeline: bool,
    pub next: &'a mut Option<Box<QueuedTask>>,
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
        *self.next = self.shared.take(self.slot);
        // A task that is tried again runs alone.
        let queued = self.next.as_ref().filter(|queued| queued.tries.is_first())?;
        Some(queued.request())
    }

    fn previous_ended(&mut self, ended: Result<TransferredFile, TransferError>) {
        *self.previous_ended = Some(ended);
    }
}

/// The error of a task whose file was to be renamed at the end of a try that was interrupted.
pub(super) fn interrupted() -> TryError {
    let message = "it was to be renamed with the end of another task, whose try was interrupted".to_owned();
    TryError { failure: Failure::new(Code::ConnectFailed, message), remedy: Remedy::FreshSession }
}

//! A lane's tasks in a row on one session: the one that is due, the one that is carried, and the next one.

use std::sync::Arc;

use super::DispatcherInner;
use super::carry::Carry;
use super::connection_queue::WorkerSlot;
use super::queued_task::QueuedTask;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::pool::SessionConnector;
use crate::transfer::{Errand, Neighbours, Stopped, Transferred};

/// What stands open on a lane's session, beside the task that is carried.
pub(super) struct Row<R> {
    /// On the session itself.
    pub open: R,
    /// The task before: its last commands go out with those of the one that is carried.
    pub due: Option<Box<QueuedTask>>,
    /// What became of it.
    pub before: Option<Result<Transferred, Stopped>>,
    /// The task behind, whose try has begun.
    pub next: Option<Box<QueuedTask>>,
}

impl<R: Default> Default for Row<R> {
    fn default() -> Self {
        Row { open: R::default(), due: None, before: None, next: None }
    }
}

/// What the carrier sees of the row.
pub(super) struct Beside<'a, C: SessionConnector, T> {
    pub shared: &'a Arc<DispatcherInner<C, T>>,
    pub slot: &'a mut WorkerSlot,
    /// The task is tried for the first time, and the session need not be given up after it.
    pub may_go_on: bool,
    pub next: &'a mut Option<Box<QueuedTask>>,
    pub before: &'a mut Option<Result<Transferred, Stopped>>,
}

impl<C: SessionConnector, T: Carry<C::Session>> Neighbours for Beside<'_, C, T> {
    fn may_wait(&self) -> bool {
        self.may_go_on
    }

    fn next(&mut self) -> Option<Errand<'_>> {
        if !self.may_go_on || self.next.is_some() {
            return None;
        }
        *self.next = self.shared.take(self.slot);
        // One that is tried again is carried by itself.
        let queued = self.next.as_ref().filter(|queued| queued.tries.is_first())?;
        Some(queued.errand())
    }

    fn before_ended(&mut self, ended: Result<Transferred, Stopped>) {
        *self.before = Some(ended);
    }
}

/// The try that was to end a task with its own was torn off.
pub(super) fn left_off() -> TryError {
    let message = "its last commands were to go out with another task's, whose try was torn off".to_owned();
    TryError { failure: Failure::new(Code::ConnectFailed, message), remedy: Remedy::FreshSession }
}

//! A lane's tasks in a row on one session: the one that is due, the one that is carried, and the next one.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Shared;
use super::carry::Carry;
use super::line::Duty;
use super::queue::Entry;
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::pool::SessionConnector;
use crate::transfer::{Errand, Neighbours, Stopped, Transferred};

/// What stands open on a lane's session, beside the task that is carried.
pub(super) struct Row<R> {
    /// On the session itself.
    pub open: R,
    /// The task before: its last commands go out with those of the one that is carried.
    pub due: Option<Box<Entry>>,
    /// What became of it.
    pub before: Option<Result<Transferred, Stopped>>,
    /// The task behind, whose try has begun.
    pub next: Option<Box<Entry>>,
}

impl<R: Default> Default for Row<R> {
    fn default() -> Self {
        Row { open: R::default(), due: None, before: None, next: None }
    }
}

/// What the carrier sees of the row.
pub(super) struct Beside<'a, C: SessionConnector, T> {
    pub shared: &'a Arc<Shared<C, T>>,
    pub duty: &'a mut Duty,
    /// The task is tried for the first time, and the session need not be given up after it.
    pub may_go_on: bool,
    pub next: &'a mut Option<Box<Entry>>,
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
        *self.next = self.shared.take_for(self.duty);
        // One that is tried again is carried by itself.
        let entry = self.next.as_ref().filter(|entry| entry.tries.is_first())?;
        Some(entry.errand())
    }

    fn before_ended(&mut self, ended: Result<Transferred, Stopped>) {
        *self.before = Some(ended);
    }
}

impl<C: SessionConnector, T: Carry<C::Session>> Shared<C, T> {
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

/// The try that was to end a task with its own was torn off.
pub(super) fn left_off() -> TryError {
    let message = "its last commands were to go out with another task's, whose try was torn off".to_owned();
    TryError { failure: Failure::new(Code::ConnectFailed, message), remedy: Remedy::FreshSession }
}

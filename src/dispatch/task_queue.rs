//! The waiting tasks of one connection: those that may be taken now, in the topic's order, and those whose next try is
//! not due yet. Pure; time is an argument.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use super::queued_task::QueuedTask;
use crate::record::Origin;

/// When a waiting task will be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueuePosition {
    Ready { ahead: usize },
    Due(Instant),
}

/// Waiting tasks hold no session. Their number is bounded by the budget that admitted them.
#[derive(Debug, Default)]
pub(super) struct TaskQueue {
    ready: VecDeque<Box<QueuedTask>>,
    /// By due time, then in the order in which they were delayed.
    delayed: BTreeMap<(Instant, u64), Box<QueuedTask>>,
    delays: u64,
}

impl TaskQueue {
    /// Tasks that may be taken now.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    pub fn delayed(&self) -> usize {
        self.delayed.len()
    }

    pub fn push_back(&mut self, queued: Box<QueuedTask>) {
        self.ready.push_back(queued);
    }

    /// For a task that has already been at the front.
    pub fn push_front(&mut self, queued: Box<QueuedTask>) {
        self.ready.push_front(queued);
    }

    pub fn delay(&mut self, queued: Box<QueuedTask>, due: Instant) {
        self.delays += 1;
        self.delayed.insert((due, self.delays), queued);
    }

    pub fn pop(&mut self) -> Option<Box<QueuedTask>> {
        self.ready.pop_front()
    }

    /// Makes tasks that are due ready, ahead of the others: they have already been at the front.
    pub fn promote(&mut self, now: Instant) {
        let mut due = Vec::new();
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        for queued in due.into_iter().rev() {
            self.ready.push_front(queued);
        }
    }

    /// Makes all tasks ready.
    pub fn promote_all(&mut self) {
        if let Some(((last, _), _)) = self.delayed.last_key_value() {
            self.promote(*last);
        }
    }

    /// This record's task: how many are ahead of it if it is ready, when it is due if it is delayed.
    pub fn find(&self, origin: &Origin) -> Option<(&QueuedTask, QueuePosition)> {
        let is_it = |queued: &QueuedTask| queued.record.origin == *origin;
        let ready = self.ready.iter().enumerate().find(|(_, queued)| is_it(queued));
        let delayed = || self.delayed.iter().find(|(_, queued)| is_it(queued));
        match ready {
            Some((ahead, queued)) => Some((queued, QueuePosition::Ready { ahead })),
            None => delayed().map(|((due, _), queued)| (&**queued, QueuePosition::Due(*due))),
        }
    }

    /// All tasks, the ready ones first.
    pub fn waiting(&self) -> impl Iterator<Item = &QueuedTask> {
        self.ready.iter().chain(self.delayed.values()).map(|queued| &**queued)
    }

    /// The tasks that may be taken now.
    pub fn waiting_ready(&self) -> impl Iterator<Item = &QueuedTask> {
        self.ready.iter().map(|queued| &**queued)
    }

    /// Changes all tasks.
    pub fn for_each(&mut self, change: impl Fn(&mut QueuedTask)) {
        self.ready.iter_mut().chain(self.delayed.values_mut()).for_each(|queued| change(queued));
    }

    /// Takes out all ready tasks, in order.
    pub fn take_ready(&mut self) -> Vec<Box<QueuedTask>> {
        std::mem::take(&mut self.ready).into()
    }

    /// Takes out the tasks for which `leaves` holds, ready or delayed; the others keep their order.
    pub fn take_if(&mut self, leaves: impl Fn(&QueuedTask) -> bool) -> Vec<Box<QueuedTask>> {
        let mut taken = Vec::new();
        if self.ready.iter().any(|queued| leaves(queued)) {
            let (left, kept): (VecDeque<_>, _) = self.ready.drain(..).partition(|queued| leaves(queued));
            self.ready = kept;
            taken.extend(left);
        }
        let due: Vec<_> =
            self.delayed.iter().filter(|(_, queued)| leaves(queued)).map(|(due, _)| *due).collect();
        taken.extend(due.iter().filter_map(|due| self.delayed.remove(due)));
        taken
    }

    /// Takes out all tasks.
    pub fn clear(&mut self) -> Vec<Box<QueuedTask>> {
        self.take_if(|_| true)
    }
}

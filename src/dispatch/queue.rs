//! The waiting tasks of one connection: those that may be taken now, in the topic's order, and those
//! whose next try is not due yet. Pure; the time is an argument.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use tokio::time::Instant;

use super::Job;
use super::deferral::Held;
use super::order::Place;
use super::retry::Tries;
use super::whereabouts::{WaitsFor, Whereabouts};
use crate::record::Origin;
use crate::traces::TaskNotes;
use crate::transfer::{Errand, Files, Kept};

/// A job on its way through the dispatcher.
#[derive(Debug)]
pub(super) struct Entry {
    pub job: Job,
    pub tries: Tries,
    /// Its destination's.
    pub place: Place,
    /// Where its tries work: what they do agrees with its place, whatever becomes of the local connection.
    pub files: Files,
    /// A try may have done its work there: it stays with them.
    pub is_bound: bool,
    pub queued: Instant,
    /// When its first try began, in this pod or in another.
    pub begun: Option<Instant>,
    /// Its tries, where traces are asked for.
    pub notes: TaskNotes,
    /// Its part in its connection's count, once it is queued.
    pub held: Option<Held>,
    /// What its last try has left for the next one.
    pub kept: Kept,
}

impl Entry {
    /// Boxed, as it is everywhere: queues grow by copying what they hold, and then hold it twice.
    pub fn new(job: Job, (place, files): (Place, Files), now: Instant) -> Box<Self> {
        let tries = Tries::new(job.hop.as_ref().map_or(0, |hop| hop.attempts));
        let begun = job.hop.as_ref().and_then(|hop| hop.begun);
        let ago = begun.map(|begun| Timestamp::now().duration_since(begun));
        let begun = ago.map(|ago| now.checked_sub(ago.unsigned_abs()).unwrap_or(now));
        let (notes, kept) = (TaskNotes::default(), Kept::default());
        let (is_bound, held) = (false, None);
        Box::new(Entry { job, tries, place, files, is_bound, queued: now, begun, notes, held, kept })
    }
}

impl Entry {
    pub fn errand(&self) -> Errand<'_> {
        Errand { task: &self.job.task, record: &self.job.record, files: &self.files }
    }

    pub fn whereabouts(&self, waits_for: WaitsFor) -> Whereabouts {
        let (task, attempts) = (&self.job.task, self.tries.attempts);
        Whereabouts { task_id: task.task_id.clone(), connection: task.remote.clone(), attempts, waits_for }
    }
}

/// When a waiting task has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Ready { ahead: usize },
    Due(Instant),
}

/// Waiting tasks hold no session. How many there may be is bounded by the budget that admitted them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<Box<Entry>>,
    /// By the time they are due, then in the order in which they were delayed.
    delayed: BTreeMap<(Instant, u64), Box<Entry>>,
    delays: u64,
}

impl Queue {
    /// Tasks that may be taken now.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    pub fn delayed(&self) -> usize {
        self.delayed.len()
    }

    pub fn push_back(&mut self, entry: Box<Entry>) {
        self.ready.push_back(entry);
    }

    /// For a task that had its turn already.
    pub fn push_front(&mut self, entry: Box<Entry>) {
        self.ready.push_front(entry);
    }

    pub fn delay(&mut self, entry: Box<Entry>, due: Instant) {
        self.delays += 1;
        self.delayed.insert((due, self.delays), entry);
    }

    pub fn pop(&mut self) -> Option<Box<Entry>> {
        self.ready.pop_front()
    }

    /// Makes the due ones ready, ahead of the others: they have had their turn.
    pub fn promote(&mut self, now: Instant) {
        let mut due = Vec::new();
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        for entry in due.into_iter().rev() {
            self.ready.push_front(entry);
        }
    }

    /// Makes all ready.
    pub fn promote_all(&mut self) {
        if let Some(((last, _), _)) = self.delayed.last_key_value() {
            self.promote(*last);
        }
    }

    /// How many are ahead of the one at `origin`, if it is ready; when it is due, if it is delayed.
    pub fn find(&self, origin: &Origin) -> Option<(&Entry, Turn)> {
        let is_it = |entry: &Entry| entry.job.record.origin == *origin;
        let ready = self.ready.iter().enumerate().find(|(_, entry)| is_it(entry));
        let delayed = || self.delayed.iter().find(|(_, entry)| is_it(entry));
        match ready {
            Some((ahead, entry)) => Some((entry, Turn::Ready { ahead })),
            None => delayed().map(|((due, _), entry)| (&**entry, Turn::Due(*due))),
        }
    }

    /// All, those that are ready first.
    pub fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.ready.iter().chain(self.delayed.values()).map(|entry| &**entry)
    }

    /// Changes all.
    pub fn for_each(&mut self, change: impl Fn(&mut Entry)) {
        self.ready.iter_mut().chain(self.delayed.values_mut()).for_each(|entry| change(entry));
    }

    /// Takes out all that are ready, in their order.
    pub fn take_ready(&mut self) -> Vec<Box<Entry>> {
        std::mem::take(&mut self.ready).into()
    }

    /// Takes out those for which `leaves` holds, ready or delayed; the others keep their order.
    pub fn take_if(&mut self, leaves: impl Fn(&Entry) -> bool) -> Vec<Box<Entry>> {
        let mut taken = Vec::new();
        if self.ready.iter().any(|entry| leaves(entry)) {
            let (left, kept): (VecDeque<_>, _) = self.ready.drain(..).partition(|entry| leaves(entry));
            self.ready = kept;
            taken.extend(left);
        }
        let due: Vec<_> =
            self.delayed.iter().filter(|(_, entry)| leaves(entry)).map(|(due, _)| *due).collect();
        taken.extend(due.iter().filter_map(|due| self.delayed.remove(due)));
        taken
    }

    /// Takes out all.
    pub fn clear(&mut self) -> Vec<Box<Entry>> {
        self.take_if(|_| true)
    }
}

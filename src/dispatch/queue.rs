//! The waiting tasks of one connection: those that may be taken now, in the topic's order, and those
//! whose next try is not due yet. Pure; the time is an argument.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use tokio::time::Instant;

use super::Job;
use super::deferral::Held;
use super::order::Place;
use super::retry::Tries;

/// A job on its way through the dispatcher.
#[derive(Debug)]
pub(super) struct Entry {
    pub job: Job,
    pub tries: Tries,
    /// Its destination's.
    pub place: Place,
    pub queued: Instant,
    /// When its first try began, in this pod or in another.
    pub begun: Option<Instant>,
    /// Its part in its connection's count, once it is queued.
    pub held: Option<Held>,
}

impl Entry {
    pub fn new(job: Job, place: Place, now: Instant) -> Self {
        let tries = Tries::new(job.hop.as_ref().map_or(0, |hop| hop.attempts));
        let begun = job.hop.as_ref().and_then(|hop| hop.begun);
        let ago = begun.map(|begun| Timestamp::now().duration_since(begun));
        let begun = ago.map(|ago| now.checked_sub(ago.unsigned_abs()).unwrap_or(now));
        Entry { job, tries, place, queued: now, begun, held: None }
    }
}

/// Waiting tasks hold no session. How many there may be is bounded by the budget that admitted them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<Entry>,
    /// By the time they are due, then in the order in which they were delayed.
    delayed: BTreeMap<(Instant, u64), Entry>,
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

    pub fn push_back(&mut self, entry: Entry) {
        self.ready.push_back(entry);
    }

    /// For a task that had its turn already.
    pub fn push_front(&mut self, entry: Entry) {
        self.ready.push_front(entry);
    }

    pub fn delay(&mut self, entry: Entry, due: Instant) {
        self.delays += 1;
        self.delayed.insert((due, self.delays), entry);
    }

    pub fn pop(&mut self) -> Option<Entry> {
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

    /// All, those that are ready first.
    pub fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.ready.iter().chain(self.delayed.values())
    }

    /// Takes out all that are ready, in their order.
    pub fn take_ready(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.ready).into()
    }

    /// Takes out those for which `leaves` holds, ready or delayed; the others keep their order.
    pub fn take_if(&mut self, leaves: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut taken = Vec::new();
        if self.ready.iter().any(&leaves) {
            let (left, kept): (VecDeque<_>, _) = self.ready.drain(..).partition(&leaves);
            self.ready = kept;
            taken.extend(left);
        }
        let due: Vec<_> =
            self.delayed.iter().filter(|(_, entry)| leaves(entry)).map(|(due, _)| *due).collect();
        taken.extend(due.iter().filter_map(|due| self.delayed.remove(due)));
        taken
    }

    /// Takes out all.
    pub fn clear(&mut self) -> Vec<Entry> {
        self.take_if(|_| true)
    }
}

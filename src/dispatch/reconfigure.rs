//! Connections that come, change and go while tasks wait and are in flight.
//!
//! A change has the effect that a restart with the new configuration would have, but for what is in flight, which
//! finishes as it began. A task that waits meets the new settings at its next try; only its local directory stays the
//! same from its first try to its last, since what one has done is not to be found in another directory. One whose
//! connection is no more is answered `unknown_connection`, as it would be if it came now: each once, wherever it waits.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::line::Line;
use super::order::Root;
use super::queue::Entry;
use super::task_executor::TaskExecutor;
use super::{Dispatcher, Lines, Shared};
use crate::failure::{Code, Failure};
use crate::pool::SessionConnector;

/// What the dispatcher needs to know of a change. The pool and the carrier know of what is new already, and not yet of
/// what is removed.
#[derive(Clone, Debug, Default)]
pub struct Reconfiguration {
    /// FTP connections that are new.
    pub added: Vec<String>,
    /// Those with other settings.
    pub changed: Vec<String>,
    /// Those that are no more.
    pub removed: Vec<String>,
    /// Local connections that are no more, or are others now: most lie elsewhere.
    pub moved: BTreeSet<String>,
    /// Where all local connections lie now.
    pub roots: HashMap<String, PathBuf>,
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Dispatcher<C, T> {
    /// Takes the change over. Waits for nothing; no task comes in meanwhile.
    pub fn reconfigure(&self, change: &Reconfiguration) {
        let shared = &self.shared;
        let _alone = shared.changing.write().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Lines::clone(&shared.lines());
        for name in &change.added {
            let name: Arc<str> = Arc::from(&**name);
            shared.metrics.introduce(&name);
            lines.entry(Arc::clone(&name)).or_insert_with(|| Arc::new(Line::new(name))).renew();
        }
        shared.replace_lines(lines);
        let lines = shared.lines();
        for line in change.changed.iter().filter_map(|name| lines.get(&**name)) {
            line.renew();
        }
        for line in change.removed.iter().filter_map(|name| lines.get(&**name)) {
            for entry in line.remove() {
                shared.refuse(entry, None);
            }
        }
        shared.order.move_roots(roots(&shared.executor, change.roots.clone()));
        shared.move_tasks(&lines, &change.moved);
        for line in lines.values() {
            shared.staff(line);
        }
    }
}

impl<C: SessionConnector, T> Shared<C, T> {
    /// The connections' lines as they are now; those that are removed stay until nothing of them is left.
    pub(super) fn lines(&self) -> Arc<Lines> {
        Arc::clone(&self.lines.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace_lines(&self, lines: Lines) {
        *self.lines.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(lines);
    }
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Shared<C, T> {
    /// The task has its place now, or stands behind another. From here on every way out gives its place up.
    pub(super) fn enter(self: &Arc<Self>, line: &Arc<Line>, entry: Box<Entry>) {
        let Some(entry) = self.order.enter(entry) else { return };
        match line.enqueue(entry) {
            None => self.staff(line),
            Some(entry) => self.refuse(entry, None),
        }
    }

    /// The task's connection is no more: it is answered, and the next one with its destination begins.
    pub(super) fn refuse(self: &Arc<Self>, entry: Box<Entry>, last: Option<&Failure>) {
        let failure = unknown(&entry, last);
        self.answer(entry, Err(failure));
    }

    /// Lines of connections that are no more go with their last lane; so do their series with their last session.
    pub(super) fn forget_removed(&self) {
        if !self.lines().values().any(|line| self.is_forgotten(line)) {
            return;
        }
        let _alone = self.changing.write().unwrap_or_else(PoisonError::into_inner);
        let (over, left): (Lines, Lines) =
            Lines::clone(&self.lines()).into_iter().partition(|(_, line)| self.is_forgotten(line));
        self.replace_lines(left);
        for name in over.keys() {
            self.executor.forget(name);
            self.metrics.forget_connection(name);
        }
    }

    fn is_forgotten(&self, line: &Line) -> bool {
        line.is_over() && !self.pool.is_known(&line.connection)
    }

    /// Waiting tasks whose local connection has changed work in what it is now, but for those that were tried already.
    /// Where that gives one another destination it gets its new place, in the topic's order with those that have this
    /// place already. One whose local connection is no more is answered when it is tried.
    fn move_tasks(self: &Arc<Self>, lines: &Lines, changed: &BTreeSet<String>) {
        if changed.is_empty() {
            return;
        }
        let is_free = |entry: &Entry| changed.contains(&entry.job.task.local) && !entry.is_bound;
        // An upload's destination is the same wherever it comes from, and a download's may be.
        let is_moved = |entry: &Entry| is_free(entry) && self.order.place(&entry.job) != entry.place;
        let mut taken = self.take_out(lines, is_moved);
        for entry in &mut taken {
            entry.place = self.order.place(&entry.job);
        }
        let places: HashSet<_> = taken.iter().map(|entry| entry.place).collect();
        taken.extend(self.take_out(lines, |entry| places.contains(&entry.place)));
        let work_elsewhere = |entry: &mut Entry| {
            if is_free(entry) {
                entry.files = self.order.files(&entry.job.task);
            }
        };
        for entry in &mut taken {
            work_elsewhere(entry);
        }
        self.order.for_each(work_elsewhere);
        for line in lines.values() {
            line.for_each_waiting(work_elsewhere);
        }
        taken.sort_by(|a, b| {
            let [a, b] = [a, b].map(|entry| &entry.job.record.origin);
            (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset))
        });
        for entry in taken {
            if let Some(line) = lines.get(&*entry.job.task.remote) {
                self.enter(line, entry);
            } else {
                let failure = unknown(&entry, None);
                self.hand_over(entry, Err(failure));
            }
        }
    }

    /// Takes out the waiting tasks that `leave`, and gives up their places.
    fn take_out(self: &Arc<Self>, lines: &Lines, leave: impl Fn(&Entry) -> bool) -> Vec<Box<Entry>> {
        // Those behind others first: none of them takes over a place that is given up.
        let mut taken = self.order.take_if(&leave);
        let with_places: Vec<_> = lines.values().flat_map(|line| line.take_if(&leave)).collect();
        for entry in &with_places {
            self.give_up(entry.place);
        }
        taken.extend(with_places);
        taken
    }
}

/// What the carrier has at these `base_path`s: the dispatcher changes both in one step.
pub(super) fn roots<S, T: TaskExecutor<S>>(
    executor: &T,
    paths: HashMap<String, PathBuf>,
) -> HashMap<String, Root> {
    let root = |(name, path): (String, PathBuf)| {
        let files = executor.files(&name);
        (name, Root { path, files })
    };
    paths.into_iter().map(root).collect()
}

/// The answer of a task whose connection is not there; `last` is what its last try came to.
pub(super) fn unknown(entry: &Entry, last: Option<&Failure>) -> Failure {
    let mut message = format!("no FTP connection is named {:?}", entry.job.task.remote);
    if let Some(last) = last {
        message = format!("{message} any more; the last try: {last}");
    }
    Failure {
        ftp_code: last.and_then(|last| last.ftp_code),
        ..Failure::new(Code::UnknownConnection, message)
    }
}

//! Two tasks of one partition with the same destination run one after the other, in the topic's order.
//!
//! The first to come has the place; the others stand behind it, outside their connections' queues, until it
//! leaves the dispatcher. A place is a hash: two destinations that share one only wait for each other.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use super::Job;
use super::queue::Entry;
use super::whereabouts::{WaitsFor, Whereabouts};
use crate::record::Origin;
use crate::task::{Operation, Task};
use crate::transfer::LocalFiles;

/// What a task's local path means beneath its connection's `base_path`; `None` if nothing.
pub type Resolve = fn(&Path, &str) -> Option<PathBuf>;

/// A destination, as one assignment of one partition sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(u64);

/// Where a local connection lies.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// Its `base_path`.
    pub path: PathBuf,
    pub files: LocalFiles,
}

/// Who has which place. Its lock is never held across an await, nor together with a line's.
#[derive(Debug)]
pub(super) struct Order {
    /// The local connections, by name.
    roots: RwLock<HashMap<String, Root>>,
    resolve: Resolve,
    hash: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The tasks behind the one that has the place; mostly none. Bounded by the budget that admitted them.
    behind: HashMap<Place, VecDeque<Box<Entry>>>,
    stopped: bool,
}

impl Order {
    pub fn new(roots: HashMap<String, Root>, resolve: Resolve) -> Self {
        Order { roots: RwLock::new(roots), resolve, hash: RandomState::new(), state: Mutex::default() }
    }

    /// From now on the local connections lie there.
    pub fn move_roots(&self, roots: HashMap<String, Root>) {
        *self.roots.write().unwrap_or_else(PoisonError::into_inner) = roots;
    }

    /// The place of a task's destination. Purely lexical: symlinks, and what a server takes for the same
    /// name, are not looked through.
    pub fn place(&self, job: &Job) -> Place {
        let mut hasher = self.hash.build_hasher();
        let (origin, lease) = (&job.record.origin, &job.record.lease);
        (&origin.topic, origin.partition, lease.epoch()).hash(&mut hasher);
        self.hash_destination(&job.task, &mut hasher);
        Place(hasher.finish())
    }

    /// Where a task's tries are to work: place and files agree, as long as no roots are moved between.
    pub fn files(&self, task: &Task) -> LocalFiles {
        let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
        roots.get(&task.local).map(|root| root.files.clone()).unwrap_or_default()
    }

    /// The task back if it has its place now; `None` if it stands behind another, or is dropped because
    /// nothing is begun any more.
    pub fn enter(&self, entry: Box<Entry>) -> Option<Box<Entry>> {
        let mut state = self.state();
        if state.stopped {
            return None;
        }
        if let Some(behind) = state.behind.get_mut(&entry.place) {
            behind.push_back(entry);
            return None;
        }
        state.behind.insert(entry.place, VecDeque::new());
        Some(entry)
    }

    /// Whoever had the place has left; the next task in the order has it now.
    pub fn leave(&self, place: Place) -> Option<Box<Entry>> {
        let mut state = self.state();
        let next = state.behind.get_mut(&place).and_then(VecDeque::pop_front);
        if next.is_none() {
            state.behind.remove(&place);
        }
        next
    }

    /// Takes out those behind others whose lease lets nothing begin any more.
    pub fn withdraw(&self) -> Vec<Box<Entry>> {
        self.take_if(|entry| !entry.job.record.lease.may_begin())
    }

    /// Takes out those behind others that `leave`.
    pub fn take_if(&self, leave: impl Fn(&Entry) -> bool) -> Vec<Box<Entry>> {
        let mut taken = Vec::new();
        for behind in self.state().behind.values_mut() {
            if behind.iter().any(|entry| leave(entry)) {
                let (go, stay): (VecDeque<_>, VecDeque<_>) = behind.drain(..).partition(|entry| leave(entry));
                *behind = stay;
                taken.extend(go);
            }
        }
        taken
    }

    /// Changes those behind others, but not their places.
    pub fn for_each(&self, change: impl Fn(&mut Entry)) {
        self.state().behind.values_mut().flatten().for_each(|entry| change(entry));
    }

    /// From now on nothing is begun; drops those behind others and says how many.
    pub fn stop(&self) -> usize {
        let dropped = {
            let mut state = self.state();
            state.stopped = true;
            std::mem::take(&mut state.behind)
        };
        dropped.values().map(VecDeque::len).sum()
    }

    /// How many of a connection's tasks stand behind others.
    pub fn behind(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for entry in self.state().behind.values().flatten() {
            *counts.entry(entry.job.task.remote.clone()).or_default() += 1;
        }
        counts
    }

    /// The task of this record, if it stands behind another, and the place that it waits for.
    pub fn whereabouts(&self, origin: &Origin) -> Option<(Whereabouts, Place)> {
        let state = self.state();
        let mut behind = state.behind.values().flatten();
        let entry = behind.find(|entry| entry.job.record.origin == *origin)?;
        Some((entry.whereabouts(WaitsFor::Order { behind: None }), entry.place))
    }

    fn hash_destination(&self, task: &Task, hasher: &mut impl Hasher) {
        match task.operation {
            Operation::Download => {
                let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
                let root = roots.get(&task.local);
                match root.and_then(|root| (self.resolve)(&root.path, &task.local_path)) {
                    // Without the connection's name: two may have the same directory.
                    Some(path) => path.hash(hasher),
                    None => (&task.local, &task.local_path).hash(hasher),
                }
            }
            Operation::Upload => {
                let parts = task.remote_path.split('/').filter(|part| !part.is_empty() && *part != ".");
                (&task.remote, task.remote_path.starts_with('/')).hash(hasher);
                parts.for_each(|part| part.hash(hasher));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

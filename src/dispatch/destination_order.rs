//! Two tasks of one partition with the same destination run one after the other, in the topic's order.
//!
//! The first one holds the destination; the others are queued behind it, outside their connections' queues, until it
//! leaves the dispatcher. The key is a hash: if two destinations share one, their tasks wait for each other, which does
//! no harm.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use super::queued_task::QueuedTask;
use super::task_status::{TaskStatus, WaitReason};
use crate::record::{Origin, Record};
use crate::task::{Operation, Task};
use crate::transfer::LocalFiles;

/// Resolves a task's local path against its connection's `base_path`; `None` if the path is not allowed.
pub type ResolvePath = fn(&Path, &str) -> Option<PathBuf>;

/// A destination within one assignment of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DestinationKey(u64);

/// The directory of a local connection's files.
#[derive(Clone, Debug)]
pub(super) struct LocalRoot {
    /// Its `base_path`.
    pub path: PathBuf,
    pub files: LocalFiles,
}

/// Which destinations are held, and by which tasks. Its lock is never held across an await, nor together with a
/// queue's.
#[derive(Debug)]
pub(super) struct DestinationOrder {
    /// The local connections, by name.
    roots: RwLock<HashMap<String, LocalRoot>>,
    resolve: ResolvePath,
    hash: RandomState,
    state: Mutex<HeldDestinations>,
}

#[derive(Debug, Default)]
struct HeldDestinations {
    /// The tasks queued behind the one that holds the destination; usually none. Bounded by the task budget.
    behind: HashMap<DestinationKey, VecDeque<Box<QueuedTask>>>,
    stopped: bool,
}

impl DestinationOrder {
    pub fn new(roots: HashMap<String, LocalRoot>, resolve: ResolvePath) -> Self {
        DestinationOrder {
            roots: RwLock::new(roots),
            resolve,
            hash: RandomState::new(),
            state: Mutex::default(),
        }
    }

    /// The local connections' directories have changed.
    pub fn move_roots(&self, roots: HashMap<String, LocalRoot>) {
        *self.roots.write().unwrap_or_else(PoisonError::into_inner) = roots;
    }

    /// The key of a task's destination. Purely lexical: resolves neither symlinks nor different spellings of a server's
    /// path.
    pub fn key(&self, record: &Record, task: &Task) -> DestinationKey {
        let mut hasher = self.hash.build_hasher();
        let Record { origin, lease, .. } = record;
        (&origin.topic, origin.partition, lease.epoch()).hash(&mut hasher);
        self.hash_destination(task, &mut hasher);
        DestinationKey(hasher.finish())
    }

    /// The local storages that a task's tries use. They match its key, unless roots are moved in between.
    pub fn files(&self, task: &Task) -> LocalFiles {
        let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
        roots.get(&task.local).map(|root| root.files.for_task()).unwrap_or_default()
    }

    /// Returns the task if it holds its destination now; `None` if it is queued behind another, or dropped because no
    /// more tasks are started.
    pub fn enter(&self, mut queued: Box<QueuedTask>) -> Option<Box<QueuedTask>> {
        let mut state = self.state();
        if state.stopped {
            return None;
        }
        if let Some(behind) = state.behind.get_mut(&queued.destination) {
            behind.push_back(queued);
            return None;
        }
        state.behind.insert(queued.destination, VecDeque::new());
        queued.holds_destination = true;
        Some(queued)
    }

    /// The holder has left; returns the next task in order, which now holds the destination.
    pub fn next(&self, destination: DestinationKey) -> Option<Box<QueuedTask>> {
        let mut state = self.state();
        debug_assert!(
            state.stopped || state.behind.contains_key(&destination),
            "a destination is released that is not held"
        );
        let next = state.behind.get_mut(&destination).and_then(VecDeque::pop_front);
        let Some(mut next) = next else {
            state.behind.remove(&destination);
            return None;
        };
        next.holds_destination = true;
        Some(next)
    }

    /// Takes out the tasks behind others that must no longer be started under their lease.
    pub fn withdraw(&self) -> Vec<Box<QueuedTask>> {
        self.take_if(|queued| !queued.record.lease.may_begin())
    }

    /// Takes out the tasks behind others for which `leave` holds.
    pub fn take_if(&self, leave: impl Fn(&QueuedTask) -> bool) -> Vec<Box<QueuedTask>> {
        let mut taken = Vec::new();
        for behind in self.state().behind.values_mut() {
            if behind.iter().any(|queued| leave(queued)) {
                let (go, stay): (VecDeque<_>, VecDeque<_>) =
                    behind.drain(..).partition(|queued| leave(queued));
                *behind = stay;
                taken.extend(go);
            }
        }
        taken
    }

    /// Changes the tasks behind others, but not their order.
    pub fn for_each(&self, change: impl Fn(&mut QueuedTask)) {
        self.state().behind.values_mut().flatten().for_each(|queued| change(queued));
    }

    /// Starts no more tasks; drops those behind others and returns their number.
    pub fn stop(&self) -> usize {
        let dropped = {
            let mut state = self.state();
            state.stopped = true;
            std::mem::take(&mut state.behind)
        };
        dropped.values().map(VecDeque::len).sum()
    }

    /// How many tasks of each connection wait behind others.
    pub fn behind(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for queued in self.state().behind.values().flatten() {
            *counts.entry(queued.task.remote.clone()).or_default() += 1;
        }
        counts
    }

    /// The status of this record's task, if it is queued behind another, and the destination that it waits for.
    pub fn task_status(&self, origin: &Origin) -> Option<(TaskStatus, DestinationKey)> {
        let state = self.state();
        let mut behind = state.behind.values().flatten();
        let queued = behind.find(|queued| queued.record.origin == *origin)?;
        Some((queued.task_status(WaitReason::DestinationOrder { behind: None }), queued.destination))
    }

    fn hash_destination(&self, task: &Task, hasher: &mut impl Hasher) {
        match task.operation {
            Operation::Download => {
                let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
                let root = roots.get(&task.local);
                match root.and_then(|root| (self.resolve)(&root.path, &task.local_path)) {
                    // Without the connection's name: two connections may share a directory.
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

    fn state(&self) -> MutexGuard<'_, HeldDestinations> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

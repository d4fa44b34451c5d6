//! Connections that are added, changed and removed while tasks wait and run.
//!
//! A change has the effect that a restart with the new configuration would have, except for running tasks, which finish
//! with the settings they started with. A waiting task is tried with the new settings; only its local directory stays
//! the same from its first try to its last, because the results of one try cannot be found in another directory. A task
//! whose connection was removed is answered `unknown_connection`, as if it were submitted now: once, wherever it waits.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use tokio::time::Instant;

use super::connection_queue::ConnectionQueue;
use super::destination_order::LocalRoot;
use super::queued_task::QueuedTask;
use super::task_executor::TaskExecutor;
use super::{ConnectionQueues, Dispatcher, DispatcherInner};
use crate::failure::Failure;
use crate::pool::SessionConnector;

/// What the dispatcher needs to know about a change. The pool and the executor already have what is added, and still
/// have what is removed.
#[derive(Clone, Debug, Default)]
pub struct Reconfiguration {
    /// FTP connections that are new.
    pub added: Vec<String>,
    /// FTP connections with other settings.
    pub changed: Vec<String>,
    /// FTP connections that were removed.
    pub removed: Vec<String>,
    /// Local connections that were removed or changed, mostly their `base_path`.
    pub moved: BTreeSet<String>,
    /// The `base_path` of each local connection.
    pub roots: HashMap<String, PathBuf>,
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Dispatcher<C, T> {
    /// Applies the change. Waits for nothing; no task is submitted meanwhile.
    pub fn reconfigure(&self, change: &Reconfiguration) {
        let shared = &self.shared;
        let _alone = shared.changing.write().unwrap_or_else(PoisonError::into_inner);
        let mut queues = ConnectionQueues::clone(&shared.queues());
        for name in &change.added {
            let name: Arc<str> = Arc::from(&**name);
            shared.metrics.introduce(&name);
            queues.entry(Arc::clone(&name)).or_insert_with(|| Arc::new(ConnectionQueue::new(name))).reset();
        }
        shared.replace_queues(queues);
        let queues = shared.queues();
        for queue in change.changed.iter().filter_map(|name| queues.get(&**name)) {
            queue.reset();
        }
        for queue in change.removed.iter().filter_map(|name| queues.get(&**name)) {
            for queued in queue.remove() {
                shared.finish_unknown(queued, None);
            }
        }
        shared.local_breakers.reset(&change.moved);
        shared.order.move_roots(roots(&shared.executor, change.roots.clone()));
        shared.move_tasks(&queues, &change.moved);
        for queue in queues.values() {
            shared.start_workers(queue);
        }
    }
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Dispatcher<C, T> {
    /// The route to this connection's server is lost: nothing is tried, and no failure counts as an attempt.
    pub fn route_lost(&self, connection: &str, failure: &Failure) {
        if let Some(queue) = self.shared.queues().get(connection) {
            queue.route_lost(failure, Instant::now());
        }
    }

    /// The route is restored: the connection's tasks are tried at once. False if it was not lost.
    pub fn route_restored(&self, connection: &str) -> bool {
        let queues = self.shared.queues();
        let Some(queue) = queues.get(connection) else { return false };
        let was_lost = queue.route_restored(Timestamp::now(), self.shared.deferral.delay);
        if was_lost {
            self.shared.start_workers(queue);
        }
        was_lost
    }
}

impl<C: SessionConnector, T> DispatcherInner<C, T> {
    /// The connections' queues as they are now; those of removed connections stay until their last worker has left.
    pub(super) fn queues(&self) -> Arc<ConnectionQueues> {
        Arc::clone(&self.queues.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace_queues(&self, queues: ConnectionQueues) {
        *self.queues.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(queues);
    }
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> DispatcherInner<C, T> {
    /// Removes the queues of removed connections whose last worker and session are gone, and their metrics.
    pub(super) fn forget_removed(&self) {
        if !self.queues().values().any(|queue| self.is_forgotten(queue)) {
            return;
        }
        let _alone = self.changing.write().unwrap_or_else(PoisonError::into_inner);
        let queues = ConnectionQueues::clone(&self.queues()).into_iter();
        let (over, left): (ConnectionQueues, ConnectionQueues) =
            queues.partition(|(_, queue)| self.is_forgotten(queue));
        self.replace_queues(left);
        for name in over.keys() {
            self.executor.forget(name);
            self.recent_deferrals.forget(name);
            self.metrics.forget_connection(name);
        }
    }

    fn is_forgotten(&self, queue: &ConnectionQueue) -> bool {
        queue.is_finished() && !self.pool.is_known(&queue.connection)
    }

    /// Waiting tasks whose local connection has changed get its new storage, except those that were tried already. If
    /// that gives a task another destination, it is queued for that one, in the topic's order with the tasks that have
    /// the same one. A task whose local connection was removed is answered when it is tried.
    fn move_tasks(self: &Arc<Self>, queues: &ConnectionQueues, changed: &BTreeSet<String>) {
        if changed.is_empty() {
            return;
        }
        let is_free = |queued: &QueuedTask| changed.contains(&queued.task.local) && !queued.is_bound;
        let new_key = |queued: &QueuedTask| self.order.key(&queued.record, &queued.task);
        // An upload's destination does not depend on its source; a download's may change.
        let is_moved = |queued: &QueuedTask| is_free(queued) && new_key(queued) != queued.destination;
        let mut taken = self.take_out(queues, is_moved);
        for queued in &mut taken {
            queued.destination = new_key(queued);
        }
        let destinations: HashSet<_> = taken.iter().map(|queued| queued.destination).collect();
        taken.extend(self.take_out(queues, |queued| destinations.contains(&queued.destination)));
        let move_files = |queued: &mut QueuedTask| {
            if is_free(queued) {
                queued.files = self.order.files(&queued.task);
            }
        };
        for queued in &mut taken {
            move_files(queued);
        }
        self.order.for_each(move_files);
        for queue in queues.values() {
            queue.for_each_waiting(move_files);
        }
        taken.sort_by(|a, b| {
            let [a, b] = [a, b].map(|queued| &queued.record.origin);
            (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset))
        });
        for queued in taken {
            match queues.get(&*queued.task.remote) {
                Some(queue) => self.enqueue(queue, queued),
                None => self.finish_unknown(queued, None),
            }
        }
    }

    /// Takes out the waiting tasks for which `leave` holds, and releases their destinations.
    fn take_out(
        self: &Arc<Self>,
        queues: &ConnectionQueues,
        leave: impl Fn(&QueuedTask) -> bool,
    ) -> Vec<Box<QueuedTask>> {
        // The tasks behind others first: none of them must take over a destination that is released.
        let mut taken = self.order.take_if(&leave);
        let mut holders: Vec<_> = queues.values().flat_map(|queue| queue.take_if(&leave)).collect();
        for queued in &mut holders {
            queued.holds_destination = false;
            self.release(queued.destination);
        }
        taken.extend(holders);
        taken
    }
}

/// The executor's files for these `base_path`s: the dispatcher changes both in one step.
pub(super) fn roots<S, T: TaskExecutor<S>>(
    executor: &T,
    paths: HashMap<String, PathBuf>,
) -> HashMap<String, LocalRoot> {
    let root = |(name, path): (String, PathBuf)| {
        let files = executor.files(&name);
        (name, LocalRoot { path, files })
    };
    paths.into_iter().map(root).collect()
}

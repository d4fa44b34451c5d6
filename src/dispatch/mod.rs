//! Runs the connections' queues: waiting tasks hold no session, and no connection's queue blocks another's.
//!
//! A task passes through these states, by the functions of `lifecycle`:
//!
//! ```text
//!  submit ── cannot be tried ──────────────────────────────────────────▶ answered
//!    │    ── its connection has more than its share of the pod ────────▶ deferred
//!  enqueue
//!    ▼
//!  WAITING   behind another task with its destination, then
//!    ▲ │     ready, or delayed until its next try is due
//!    │ │
//!    │ ├──── too long, or blocking its partition ──────────────────────▶ answered │ deferred
//!    │ ├──── its partition is leaving this pod ────────────────────────▶ dropped
//!    │ take
//!    │ ▼
//!  retry RUNNING   a worker logs in, and runs the try on its session
//!    │ │
//!    └─┤
//!      └──── finish ──▶ answered: completed or failed, published to Kafka
//!                       deferred: to the retry topic, because its next try is not due for long
//!                       dropped:  no answer, since its lease or the drain's time has ended; the next owner takes it
//! ```
//!
//! A *delayed* task waits here for its next try, a *deferred* one in the retry topic.
//!
//! ```text
//! lifecycle          submit, enqueue, take, run, finish, and the exits
//! queued_task        a task, its tries, and the texts of its failures
//! destination_order  tasks with one destination run one after the other
//! connection_queue   a connection's tasks, workers and breaker
//!   lost_route         the route to the server (its tunnel) that is lost, and restored
//!   running_task     what is running; the status of each task
//!   worker_slot      a worker's slot: what it does next, which task it has
//! task_queue         the waiting tasks, ready or delayed: pure
//! worker             one session, from reservation and login to its end
//! pipelined_tasks    pipelined uploads: the tasks that a session has at once
//! task_executor      one try, as the dispatcher sees it: the seam to `transfer`
//! retry              whether and when a task is tried again: pure
//! hung_tries         tries that hang in a call into a local file system release their sessions
//! local_breakers     local connections whose file system is full, frozen or missing
//! outage_log         logs that a connection is down, and up again
//! deferral           whether a task may wait in the retry topic, and why; `consume::delayed_records` returns it when
//! due
//! recent_deferrals   how many tasks of a connection are in the retry topic, for the page: pure
//! reconfigure        connections that are added, changed and removed
//! orphan_cleanup     removing orphaned temp files from servers without tasks
//! task_status        what a task is doing and waits for
//! status             connections and running tasks, for the status API
//! report             log lines, metrics and traces of a task
//! ```

#![allow(clippy::vec_box, reason = "a growing queue copies its elements, and needs twice their size")]

mod connection_queue;
mod deferral;
mod destination_order;
mod hung_tries;
mod lifecycle;
mod local_breakers;
mod orphan_cleanup;
mod outage_log;
mod pipelined_tasks;
mod queued_task;
mod recent_deferrals;
mod reconfigure;
mod report;
mod retry;
mod status;
mod task_executor;
mod task_queue;
mod task_status;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use connection_queue::ConnectionQueue;
pub use deferral::DeferralPolicy;
use deferral::{DeferReason, DeferralDecision, OverflowLimiter};
use destination_order::DestinationOrder;
pub use destination_order::ResolvePath;
use lifecycle::TaskExit;
use local_breakers::LocalBreakers;
use queued_task::QueuedTask;
use recent_deferrals::RecentDeferrals;
pub use reconfigure::Reconfiguration;
pub use task_executor::TaskExecutor;
pub use task_status::{TaskStatus, WaitReason};
use worker::SessionWorker;

use crate::admission::{Admission, TaskBudget};
use crate::batch::BatchBoard;
use crate::config::FtpConnection;
use crate::insight::RecentFailures;
use crate::metrics::Metrics;
use crate::offsets::TopicPartition;
use crate::outcome::AdmittedOutcome;
use crate::pool::{FtpConnector, SessionConnector, SessionPool};
use crate::record::{Origin, Record};
use crate::task::Task;
use crate::traces::Traces;
use crate::transfer::TransferExecutor;

/// How often delayed tries that are due are made ready.
const TICK: Duration = Duration::from_millis(100);
/// How often waiting tasks are checked for those that have waited for too long.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// A task that leaves admits the next one with its destination: repeated at most this many times in one go.
const MAX_ROUNDS: usize = 100;
/// How long an aborted transfer may take to undo what it started, such as deleting a temp file on the server.
const UNDO_BOUND: Duration = Duration::from_secs(8);
/// The same for one whose session must be closed before another pod may open one.
const INTERRUPTED_BOUND: Duration = Duration::from_secs(4);
/// How long all of them may take to end.
const CUT_OFF_BOUND: Duration = Duration::from_secs(9);

/// A task and its record.
#[derive(Debug)]
pub struct SubmittedTask {
    pub record: Box<Record>,
    /// Shared with the status API.
    pub task: Arc<Task>,
    pub admission: Admission,
}

/// The dispatcher's components; `app` provides them.
#[derive(Debug)]
pub struct DispatcherParts<C: SessionConnector, T> {
    pub pool: SessionPool<C>,
    pub executor: T,
    pub connections: Vec<Arc<FtpConnection>>,
    /// The local connections' `base_path`s, by name: they show whether two tasks have the same destination.
    pub roots: HashMap<String, PathBuf>,
    pub resolve: ResolvePath,
    pub deferral: DeferralPolicy,
    /// Shown in the metrics; intake acquires from it.
    pub budget: TaskBudget,
    /// Tasks of cancelled batches are not started.
    pub batches: BatchBoard,
    /// With a capacity of at least `pool.max_waiting_tasks`, a send never waits.
    pub answers: mpsc::Sender<AdmittedOutcome>,
    pub metrics: Metrics,
    pub failures: RecentFailures,
    pub traces: Traces,
}

/// Tasks that a drain left unanswered. The next owner of their partition processes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainResult {
    /// Waiting tasks, dropped at the start of the drain.
    pub waiting: usize,
    /// Transfers that were aborted at its deadline.
    pub cancelled: usize,
}

/// Runs the connections' queues. Cheap to clone, callable from any thread.
pub struct Dispatcher<C: SessionConnector = FtpConnector, T = TransferExecutor> {
    shared: Arc<DispatcherInner<C, T>>,
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Dispatcher<C, T> {
    /// Must be called within the tokio runtime that the workers will run on.
    pub fn new(wiring: DispatcherParts<C, T>) -> Self {
        let DispatcherParts {
            pool, executor, connections, roots, resolve, deferral, budget, answers, ..
        } = wiring;
        let (metrics, failures, traces) = (wiring.metrics, wiring.failures, wiring.traces);
        let batches = wiring.batches;
        let queue = |connection: &Arc<FtpConnection>| {
            let name: Arc<str> = Arc::from(&*connection.name);
            (Arc::clone(&name), Arc::new(ConnectionQueue::new(name)))
        };
        let shared = Arc::new(DispatcherInner {
            pool,
            queues: RwLock::new(Arc::new(connections.iter().map(queue).collect())),
            changing: RwLock::default(),
            order: DestinationOrder::new(reconfigure::roots(&executor, roots), resolve),
            executor,
            recent_deferrals: RecentDeferrals::new(deferral.delay),
            deferral,
            overflow: OverflowLimiter::default(),
            local_breakers: LocalBreakers::default(),
            budget,
            batches,
            answers,
            metrics,
            failures,
            traces,
            workers: TaskTracker::new(),
            cancelled: CancellationToken::new(),
            withdrawals: Mutex::default(),
            handle: Handle::current(),
        });
        tokio::spawn(tick(Arc::downgrade(&shared)));
        Dispatcher { shared }
    }

    /// Drops all waiting tasks that must no longer be started under their leases. Returns the origins of those whose
    /// leases have not ended yet, including those that a worker dropped since the last call. Running tasks continue
    /// until their leases end.
    pub fn withdraw(&self) -> Vec<Origin> {
        let shared = &self.shared;
        let mut withdrawn = shared.order.withdraw();
        withdrawn.extend(shared.queues().values().flat_map(|queue| queue.withdraw()));
        for queued in withdrawn {
            shared.finish(queued, TaskExit::Withdrawn);
        }
        std::mem::take(&mut *shared.withdrawals())
    }

    /// Intake on these partitions is paused until the records at these offsets are answered. Those that wait here and
    /// may be deferred are deferred; if a server is down, all its tasks of the partition are.
    pub fn unblock(&self, blocking: &[(TopicPartition, i64)]) {
        let shared = &self.shared;
        let queues = shared.queues();
        if queues.len() < 2 {
            return; // there are no other connections' tasks to unblock
        }
        let wall = Timestamp::now();
        let may = |queued: &QueuedTask| shared.deferral.decide(queued, wall) == DeferralDecision::Possible;
        for queue in queues.values() {
            for _ in 0..MAX_ROUNDS {
                let taken = queue.take_blocking(blocking, may);
                if taken.is_empty() {
                    break;
                }
                for queued in taken {
                    shared.finish(queued, TaskExit::Deferred(DeferReason::Blocking));
                }
            }
        }
    }

    /// Starts no more tasks and drops the waiting ones; running ones may finish until the deadline, and are then
    /// aborted without an answer. Returns soon after the deadline at the latest.
    pub async fn drain(&self, deadline: Instant) -> DrainResult {
        let shared = &self.shared;
        let queues = shared.queues();
        let waiting = shared.order.stop() + queues.values().map(|queue| queue.stop()).sum::<usize>();
        shared.workers.close();
        for queue in queues.values() {
            shared.release_hung_sessions(queue, Instant::now());
        }
        let is_done = timeout_at(deadline, shared.workers.wait()).await.is_ok();
        let cancelled = queues.values().map(|queue| queue.counts().in_flight).sum();
        shared.cancelled.cancel();
        if !is_done && timeout(CUT_OFF_BOUND, shared.workers.wait()).await.is_err() {
            tracing::warn!(event = "drain_timed_out", "transfers did not end after they were cancelled");
        }
        DrainResult { waiting, cancelled }
    }
}

impl<C: SessionConnector, T> Clone for Dispatcher<C, T> {
    fn clone(&self) -> Self {
        Dispatcher { shared: Arc::clone(&self.shared) }
    }
}

impl<C: SessionConnector, T> fmt::Debug for Dispatcher<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("queues", &self.shared.queues()).finish_non_exhaustive()
    }
}

type ConnectionQueues = HashMap<Arc<str>, Arc<ConnectionQueue>>;

struct DispatcherInner<C: SessionConnector, T> {
    pool: SessionPool<C>,
    executor: T,
    /// Replaced as a whole when connections are added or removed: see `reconfigure`.
    queues: RwLock<Arc<ConnectionQueues>>,
    /// Held while they change, so that no task is submitted in between.
    changing: RwLock<()>,
    order: DestinationOrder,
    deferral: DeferralPolicy,
    recent_deferrals: RecentDeferrals,
    overflow: OverflowLimiter,
    local_breakers: LocalBreakers,
    budget: TaskBudget,
    batches: BatchBoard,
    answers: mpsc::Sender<AdmittedOutcome>,
    metrics: Metrics,
    failures: RecentFailures,
    traces: Traces,
    workers: TaskTracker,
    /// Aborts every try in progress.
    cancelled: CancellationToken,
    /// Tasks dropped with their partitions, to be reported to intake. Bounded by the budget.
    withdrawals: Mutex<Vec<Origin>>,
    handle: Handle,
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> DispatcherInner<C, T> {
    /// Spawns the workers that the queue needs now.
    fn start_workers(self: &Arc<Self>, queue: &Arc<ConnectionQueue>) {
        for slot in queue.start_workers(|| self.pool.limit(&queue.connection)) {
            self.workers.spawn_on(SessionWorker::new(Arc::clone(self), slot).work(), &self.handle);
        }
    }

    fn withdrawals(&self) -> MutexGuard<'_, Vec<Origin>> {
        self.withdrawals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn promote_delayed(self: &Arc<Self>) {
        let now = Instant::now();
        for queue in self.queues().values() {
            queue.promote(now);
            self.start_workers(queue);
        }
    }

    fn expire(self: &Arc<Self>, queue: &ConnectionQueue, now: Instant, wall: Timestamp) {
        for _ in 0..MAX_ROUNDS {
            let lacks_grant = self.pool.grant(&queue.connection) == Some(0);
            let expired = queue.expire((now, wall), lacks_grant, |queued| self.deferral.decide(queued, wall));
            if expired.is_empty() {
                return;
            }
            for (queued, exit) in expired {
                self.finish(queued, exit);
            }
        }
    }

    fn expire_and_report(self: &Arc<Self>) {
        let (now, wall) = (Instant::now(), Timestamp::now());
        let behind = self.order.behind();
        for queue in self.queues().values() {
            self.expire(queue, now, wall);
            let counts = queue.counts();
            let waiting = counts.waiting + behind.get(&*queue.connection).copied().unwrap_or_default();
            if let Some(event) = queue.outage_event(now) {
                event.log(&queue.connection, waiting + counts.delayed);
            }
            self.metrics.breaker(&queue.connection, queue.breaker(now));
            self.metrics.tasks(&queue.connection, waiting, counts.delayed, counts.in_flight);
            self.clean_up_if_idle(queue, counts.waiting + counts.in_flight, now);
            self.release_hung_sessions(queue, now);
        }
        self.metrics.local_breakers(&self.local_breakers.tripped(now));
        for (local, event) in self.local_breakers.outage_events(now) {
            let waiting = self.queues().values().map(|queue| queue.waiting_for_local(&local)).sum();
            event.log_local(&local, waiting);
        }
        self.metrics.held(self.budget.tasks(), self.budget.bytes());
    }
}

/// Runs the periodic work; ends with the dispatcher.
async fn tick<C: SessionConnector, T: TaskExecutor<C::Session>>(shared: Weak<DispatcherInner<C, T>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_expiry = Instant::now();
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        shared.overflow.refill(TICK);
        shared.promote_delayed();
        if last_expiry.elapsed() >= EXPIRY_INTERVAL {
            last_expiry = Instant::now();
            shared.expire_and_report();
            shared.forget_removed();
        }
    }
}

#[cfg(test)]
mod tests;

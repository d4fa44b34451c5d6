//! A queue for each connection, served by lanes: waiting tasks hold no session, and no connection's
//! queue blocks another's.
//!
//! A [`Job`] comes in by [`Dispatcher::submit`], which never blocks, and leaves as an [`Answered`], or
//! is dropped where it must not be answered: its lease has ended, or the pod stops first.

#![allow(clippy::vec_box, reason = "a queue that grows copies what it holds, and then holds it twice")]

mod admission;
mod breaker;
mod deferral;
mod insight;
mod lane;
mod line;
mod order;
mod pipelined_tasks;
mod queue;
mod reconfigure;
mod report;
mod retry;
mod task_executor;
mod tidying;
mod whereabouts;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use admission::{Admission, Budget};
pub use deferral::Deferral;
use deferral::{Held, Outlook, Surplus, Why};
use lane::Lane;
use line::{Line, Overdue};
pub use order::Resolve;
use order::{Order, Place};
use queue::Entry;
pub use reconfigure::Reconfiguration;
use reconfigure::unknown;
pub use task_executor::TaskExecutor;
pub use whereabouts::{WaitsFor, Whereabouts};

use crate::config::FtpConnection;
use crate::failure::Failure;
use crate::insight::Failures;
use crate::metrics::Metrics;
use crate::offsets::TopicPartition;
use crate::outcome::{Completed, Hop, Outcome, Verdict};
use crate::pool::{FtpConnector, SessionConnector, SessionPool};
use crate::record::{Origin, Record};
use crate::task::Task;
use crate::traces::{End, Traces};
use crate::transfer::TransferExecutor;

/// How often retries that have come due are looked for.
const TICK: Duration = Duration::from_millis(100);
/// How often the waiting tasks are looked through for those that may wait no longer.
const SWEEP: Duration = Duration::from_secs(1);
/// How often in one go.
const SWEEP_ROUNDS: usize = 100;
/// How long a transfer that is cut off may take to undo what it began: a temp file on the server is deleted.
const UNDO_BOUND: Duration = Duration::from_secs(8);
/// How long all of them may take to come to an end.
const CUT_OFF_BOUND: Duration = Duration::from_secs(9);

/// A task on its way in.
#[derive(Debug)]
pub struct Job {
    pub record: Box<Record>,
    /// Shared with whoever shows what is in flight.
    pub task: Arc<Task>,
    /// What its record says where it comes from the retry topic.
    pub hop: Option<Hop>,
    pub admission: Admission,
}

/// An answer, or a deferral, on its way out. The admission goes with it, so that what awaits its commit counts as held.
#[derive(Debug)]
pub struct Answered {
    pub outcome: Outcome,
    pub admission: Admission,
}

/// What the dispatcher works with; `app` wires it.
#[derive(Debug)]
pub struct Wiring<C: SessionConnector, T> {
    pub pool: SessionPool<C>,
    pub executor: T,
    pub connections: Vec<Arc<FtpConnection>>,
    /// The local connections' `base_path`s, by name: whether two tasks have the same destination.
    pub roots: HashMap<String, PathBuf>,
    pub resolve: Resolve,
    pub deferral: Deferral,
    /// Shown in the metrics; intake admits into it.
    pub budget: Budget,
    /// With a capacity of `pool.max_waiting_tasks` or more a send never waits.
    pub answers: mpsc::Sender<Answered>,
    pub metrics: Metrics,
    /// Those that are answered here.
    pub failures: Failures,
    pub traces: Traces,
}

/// What a drain left undone: tasks that are not answered, and will be done by the next owner of their partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Waiting tasks, dropped at its begin.
    pub waiting: usize,
    /// Transfers cut off at its deadline.
    pub cut_off: usize,
}

/// Serves the connections' queues. Cheap to clone, callable from any thread.
pub struct Dispatcher<C: SessionConnector = FtpConnector, T = TransferExecutor> {
    shared: Arc<Shared<C, T>>,
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Dispatcher<C, T> {
    /// Call it within the tokio runtime that the lanes are to run on.
    pub fn new(wiring: Wiring<C, T>) -> Self {
        let Wiring { pool, executor, connections, roots, resolve, deferral, budget, answers, .. } = wiring;
        let (metrics, failures, traces) = (wiring.metrics, wiring.failures, wiring.traces);
        let line = |connection: &Arc<FtpConnection>| {
            let name: Arc<str> = Arc::from(&*connection.name);
            (Arc::clone(&name), Arc::new(Line::new(name)))
        };
        let shared = Arc::new(Shared {
            pool,
            lines: RwLock::new(Arc::new(connections.iter().map(line).collect())),
            changing: RwLock::default(),
            order: Order::new(reconfigure::roots(&executor, roots), resolve),
            executor,
            deferral,
            surplus: Surplus::default(),
            budget,
            answers,
            metrics,
            failures,
            traces,
            lanes: TaskTracker::new(),
            cut_off: CancellationToken::new(),
            withdrawals: Mutex::default(),
            handle: Handle::current(),
        });
        tokio::spawn(keep(Arc::downgrade(&shared)));
        Dispatcher { shared }
    }

    /// Queues a task; never blocks. A task that cannot be tried at all is answered at once; while draining it
    /// is dropped, and done by the next owner of its partition.
    pub fn submit(&self, job: Job) {
        let shared = &self.shared;
        let _unchanged = shared.changing.read().unwrap_or_else(PoisonError::into_inner);
        let ends = (shared.order.place(&job), shared.order.files(&job.task));
        let mut entry = Entry::new(job, ends, Instant::now());
        let refusal = shared.executor.unsupported(&entry.job.task);
        entry.notes = shared.traces.notes();
        if let Some(failure) = refusal.or_else(|| entry.past_deadline(Timestamp::now())) {
            return shared.hand_over(entry, Err(failure));
        }
        let lines = shared.lines();
        let Some(line) = lines.get(&*entry.job.task.remote) else {
            let failure = unknown(&entry, None);
            return shared.hand_over(entry, Err(failure));
        };
        if shared.is_surplus(line, &entry) {
            return shared.pass_on(entry, Why::Surplus);
        }
        entry.held = Some(Held::in_count(&line.held));
        shared.enter(line, entry);
    }

    /// Drops all waiting tasks whose leases let nothing begin any more. Says where those stood whose leases
    /// have not ended yet, those included that a lane dropped since the last call. What is in flight goes
    /// on until its lease ends.
    pub fn withdraw(&self) -> Vec<Origin> {
        for entry in self.shared.order.withdraw() {
            self.shared.drop_withdrawn(entry);
        }
        for line in self.shared.lines().values() {
            for entry in line.withdraw() {
                self.shared.withdrawn(entry);
            }
        }
        std::mem::take(&mut *self.shared.withdrawals())
    }

    /// Intake on these partitions stands still until the records at these offsets are answered. Those that wait
    /// here and may wait in the retry topic are sent there; of a server that is away, all of the partition's are.
    pub fn relieve(&self, stuck: &[(TopicPartition, i64)]) {
        let shared = &self.shared;
        let lines = shared.lines();
        if lines.len() < 2 {
            return; // nobody else's tasks stand behind
        }
        let wall = Timestamp::now();
        let may = |entry: &Entry| shared.deferral.outlook(entry, wall) == Outlook::Possible;
        for line in lines.values() {
            // A task that leaves lets the next one with its destination in.
            for _ in 0..SWEEP_ROUNDS {
                let in_the_way = line.in_the_way(stuck, may);
                if in_the_way.is_empty() {
                    break;
                }
                for entry in in_the_way {
                    shared.defer(entry, Why::InTheWay);
                }
            }
        }
    }

    /// Begins nothing any more and drops what waits; what is in flight may finish until the deadline,
    /// and is cut off then, without an answer. Returns soon after the deadline at the latest.
    pub async fn drain(&self, deadline: Instant) -> Left {
        let shared = &self.shared;
        let lines = shared.lines();
        let waiting = shared.order.stop() + lines.values().map(|line| line.stop()).sum::<usize>();
        shared.lanes.close();
        let is_done = timeout_at(deadline, shared.lanes.wait()).await.is_ok();
        let cut_off = lines.values().map(|line| line.counts().in_flight).sum();
        shared.cut_off.cancel();
        if !is_done && timeout(CUT_OFF_BOUND, shared.lanes.wait()).await.is_err() {
            tracing::warn!("transfers did not end when they were cut off");
        }
        Left { waiting, cut_off }
    }
}

impl<C: SessionConnector, T> Clone for Dispatcher<C, T> {
    fn clone(&self) -> Self {
        Dispatcher { shared: Arc::clone(&self.shared) }
    }
}

impl<C: SessionConnector, T> fmt::Debug for Dispatcher<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("lines", &self.shared.lines()).finish_non_exhaustive()
    }
}

type Lines = HashMap<Arc<str>, Arc<Line>>;

struct Shared<C: SessionConnector, T> {
    pool: SessionPool<C>,
    executor: T,
    /// Replaced as a whole where connections come and go: see `reconfigure`.
    lines: RwLock<Arc<Lines>>,
    /// Held by whoever changes them, so that no task comes in between.
    changing: RwLock<()>,
    order: Order,
    deferral: Deferral,
    surplus: Surplus,
    budget: Budget,
    answers: mpsc::Sender<Answered>,
    metrics: Metrics,
    failures: Failures,
    traces: Traces,
    lanes: TaskTracker,
    /// Ends every try in flight.
    cut_off: CancellationToken,
    /// Tasks dropped with their partitions, to be told to intake. Bounded by the budget.
    withdrawals: Mutex<Vec<Origin>>,
    handle: Handle,
}

impl<C: SessionConnector, T: TaskExecutor<C::Session>> Shared<C, T> {
    /// Spawns the lanes that the line needs now.
    fn staff(self: &Arc<Self>, line: &Arc<Line>) {
        for duty in line.staff(|| self.pool.limit(&line.connection)) {
            self.lanes.spawn_on(Lane::new(Arc::clone(self), duty).run(), &self.handle);
        }
    }

    /// The task is dropped: its partition leaves this pod, the next owner does it.
    fn withdrawn(self: &Arc<Self>, entry: Box<Entry>) {
        let place = entry.place;
        self.drop_withdrawn(entry);
        self.give_up(place);
    }

    /// Once the partition has left, nobody waits to be told; and told later, it would be taken for a task of
    /// the next assignment.
    fn drop_withdrawn(&self, entry: Box<Entry>) {
        if entry.job.record.lease.is_live() {
            self.withdrawals().push(entry.job.record.origin);
        }
    }

    fn withdrawals(&self) -> MutexGuard<'_, Vec<Origin>> {
        self.withdrawals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A try at the task begins.
    fn begin(&self, entry: &mut Entry) {
        entry.tries.begin();
        entry.notes.try_begins();
        if entry.begun.is_none() {
            entry.begun = Some(Instant::now());
            report::waited(&self.metrics, entry);
        }
    }

    /// The task leaves with its answer, and the next one with its destination begins.
    fn answer(self: &Arc<Self>, entry: Box<Entry>, verdict: Result<Completed, Failure>) {
        let place = entry.place;
        self.hand_over(entry, verdict);
        self.give_up(place);
    }

    /// The task leaves for the retry topic, and gives up its place.
    fn defer(self: &Arc<Self>, entry: Box<Entry>, why: Why) {
        let place = entry.place;
        self.pass_on(entry, why);
        self.give_up(place);
    }

    /// A connection may hold as many tasks as there is room left: so one backlog takes half of the pod, two
    /// take a third each, and there is always room for the others'. What is above goes on to the retry topic:
    /// of a server that is away all of it, else little by little.
    fn is_surplus(&self, line: &Line, entry: &Entry) -> bool {
        let is_over = self.lines().len() > 1 && line.held.load(Ordering::Relaxed) >= self.budget.room();
        is_over
            && self.deferral.outlook(entry, Timestamp::now()) == Outlook::Possible
            && (line.breaker(Instant::now()) != breaker::State::Closed || self.surplus.take())
    }

    /// The place of a task that has left goes to the next one in the topic's order.
    fn give_up(self: &Arc<Self>, place: Place) {
        while let Some(entry) = self.order.leave(place) {
            if !entry.job.record.lease.may_begin() {
                self.drop_withdrawn(entry);
                continue;
            }
            let lines = self.lines();
            let refused = match lines.get(&*entry.job.task.remote) {
                Some(line) => match line.enqueue_first(entry) {
                    None => return self.staff(line),
                    refused => refused,
                },
                None => Some(entry),
            };
            if let Some(entry) = refused {
                let failure = unknown(&entry, None);
                self.hand_over(entry, Err(failure)); // its place goes to the next one
            }
        }
    }

    /// Hands the task's answer on.
    fn hand_over(&self, mut entry: Box<Entry>, verdict: Result<Completed, Failure>) {
        if entry.job.record.lease.is_live() {
            report::answered(&self.metrics, &self.failures, &entry, &verdict);
            report::traced(&self.traces, &mut entry, report::end(&verdict));
            self.send(entry, verdict.into());
        }
    }

    /// Hands the task on to the retry topic.
    fn pass_on(&self, mut entry: Box<Entry>, why: Why) {
        if entry.job.record.lease.is_live() {
            let hop = self.deferral.hop(&entry, Timestamp::now());
            report::deferred(&self.metrics, &entry, &hop, why);
            report::traced(&self.traces, &mut entry, End::Deferred(why.as_str()));
            self.send(entry, Verdict::Deferred(vec![hop.compact()]));
        }
    }

    /// The one way out: never under a lease that has ended.
    fn send(&self, entry: Box<Entry>, verdict: Verdict) {
        let attempts = entry.tries.attempts;
        let Job { record, task, admission, .. } = entry.job;
        let (task_id, at) = (Some(Arc::unwrap_or_clone(task).task_id), Timestamp::now());
        let answered = Answered { outcome: Outcome { record, task_id, attempts, at, verdict }, admission };
        if let Err(TrySendError::Full(answered)) = self.answers.try_send(answered) {
            let answers = self.answers.clone();
            self.lanes.spawn_on(async move { drop(answers.send(answered).await) }, &self.handle);
        }
    }

    fn promote_and_staff(self: &Arc<Self>) {
        let now = Instant::now();
        for line in self.lines().values() {
            line.promote(now);
            self.staff(line);
        }
    }

    /// A task that leaves lets the next one with its destination in, which may be overdue as well.
    fn sweep(self: &Arc<Self>, line: &Line, now: Instant, wall: Timestamp) {
        for _ in 0..SWEEP_ROUNDS {
            let overdue = line.sweep(now, wall, |entry| self.deferral.outlook(entry, wall));
            if overdue.is_empty() {
                return;
            }
            for (entry, overdue) in overdue {
                match overdue {
                    Overdue::Answer(failure) => self.answer(entry, Err(failure)),
                    Overdue::Defer => self.defer(entry, Why::Unreachable),
                }
            }
        }
    }

    fn sweep_and_report(self: &Arc<Self>) {
        let (now, wall) = (Instant::now(), Timestamp::now());
        let behind = self.order.behind();
        for line in self.lines().values() {
            self.sweep(line, now, wall);
            let counts = line.counts();
            let waiting = counts.waiting + behind.get(&*line.connection).copied().unwrap_or_default();
            self.metrics.breaker(&line.connection, line.breaker(now));
            self.metrics.tasks(&line.connection, waiting, counts.delayed, counts.in_flight);
            self.tidy(line, counts.waiting + counts.in_flight, now);
        }
        self.metrics.held(self.budget.tasks(), self.budget.bytes());
    }
}

/// Wakes what has come due; ends with the dispatcher.
async fn keep<C: SessionConnector, T: TaskExecutor<C::Session>>(shared: Weak<Shared<C, T>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_sweep = Instant::now();
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        shared.surplus.refill(TICK);
        shared.promote_and_staff();
        if last_sweep.elapsed() >= SWEEP {
            last_sweep = Instant::now();
            shared.sweep_and_report();
            shared.forget_removed();
        }
    }
}

#[cfg(test)]
mod tests;

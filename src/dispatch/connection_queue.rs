//! One connection's queue: its waiting and running tasks, its workers, and its breaker.
//!
//! A worker is counted here from before it is spawned until it leaves, and it leaves in the same step in which it finds
//! nothing to do: so no task arrives unnoticed in between.

mod lost_route;
mod running_task;
mod worker_slot;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) use running_task::RunningTask;
pub(super) use worker_slot::WorkerSlot;

use super::deferral::{DeferReason, DeferralDecision, GRANT_PATIENCE, PATIENCE};
use super::hung_tries::{HungByLocal, HungTries, REMEMBER_RELEASE_FOR};
use super::lifecycle::TaskExit;
use super::outage_log::{OutageEvent, OutageLog};
use super::queued_task::QueuedTask;
use super::task_queue::TaskQueue;
use crate::breaker::{BreakerDecision, BreakerState, CircuitBreaker, ConcurrencyLimit};
use crate::failure::{Failure, Remedy, TryError};
use crate::insight::LastError;
use crate::offsets::TopicPartition;

/// One FTP connection's tasks and workers. Its lock is never held across an await.
#[derive(Debug)]
pub(super) struct ConnectionQueue {
    pub connection: Arc<str>,
    state: Mutex<QueueState>,
    /// How many tasks of the connection the dispatcher has, including those queued behind another one with their
    /// destination.
    pub task_count: Arc<AtomicUsize>,
    /// Notified when a worker without a session may not be needed any more.
    pub changed: Notify,
    /// Orphaned temp files are being removed from its server, on a separate session.
    pub is_cleaned: AtomicBool,
    /// Tries of some local connection hang: see [`super::hung_tries`].
    pub has_hung: AtomicBool,
}

#[derive(Debug, Default)]
struct QueueState {
    queue: TaskQueue,
    /// Deferred tasks that are due until then are tried when they are read: the route was restored.
    woken_until: Option<Timestamp>,
    breaker: CircuitBreaker,
    outage_log: OutageLog,
    /// The last error that would have affected every task, even if the server has recovered.
    last_error: Option<LastError>,
    /// When a worker last had a session.
    served_at: Option<Instant>,
    workers: usize,
    /// Workers that have a session, so are neither waiting for one nor connecting.
    with_session: usize,
    /// Running tasks by the number of their worker: one, or two for a while if uploads are pipelined.
    running: HashMap<u64, Vec<RunningTask>>,
    last_worker: u64,
    /// By local connection, how many tries hung at the last check, and for how long.
    hung: HashMap<String, (usize, Duration)>,
    /// Local connections of which a hung try released its session, and when.
    released_at: HashMap<String, Instant>,
    /// No more tasks are started.
    stopped: bool,
    /// The connection was removed; running tasks may finish.
    removed: bool,
}

/// Tasks of the connection by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueCounts {
    pub waiting: usize,
    pub delayed: usize,
    pub in_flight: usize,
}

/// What a worker without a session should do.
#[derive(Debug)]
pub(super) enum WorkerAction {
    /// Get a session.
    Go,
    /// The last login failed: not before this.
    Wait(Instant),
    /// The server refuses user or password: answer the tasks that are ready with this.
    Refuse(Failure),
    /// The worker is not needed, and no longer counted.
    Leave,
}

impl ConnectionQueue {
    pub fn new(connection: Arc<str>) -> Self {
        ConnectionQueue {
            connection,
            state: Mutex::default(),
            task_count: Arc::default(),
            changed: Notify::new(),
            is_cleaned: AtomicBool::new(false),
            has_hung: AtomicBool::new(false),
        }
    }

    /// Adds a task; drops it if the queue is stopped. Returns it if the connection was removed.
    pub fn push_back(&self, queued: Box<QueuedTask>) -> Option<Box<QueuedTask>> {
        self.push(queued, TaskQueue::push_back)
    }

    /// Adds a task ahead of the others: it has already waited behind a task with its destination.
    pub fn push_front(&self, queued: Box<QueuedTask>) -> Option<Box<QueuedTask>> {
        self.push(queued, TaskQueue::push_front)
    }

    fn push(
        &self,
        queued: Box<QueuedTask>,
        push: fn(&mut TaskQueue, Box<QueuedTask>),
    ) -> Option<Box<QueuedTask>> {
        let mut state = self.state();
        if state.removed {
            return Some(queued);
        }
        if state.stopped {
            return None;
        }
        match state.due_later(&queued, Timestamp::now(), Instant::now()) {
            Some(due) => state.queue.delay(queued, due),
            None => push(&mut state.queue, queued),
        }
        None
    }

    /// The connection was reconfigured or added again: its breaker is reset, and delayed tries are due now.
    pub fn reset(&self) {
        {
            let mut state = self.state();
            state.breaker = CircuitBreaker::default();
            state.outage_log = OutageLog::default();
            state.last_error = None;
            state.queue.promote_all();
            state.removed = false;
        }
        self.changed.notify_waiters();
    }

    /// The connection was removed. Takes out the waiting tasks, to be answered; running ones may finish.
    pub fn remove(&self) -> Vec<Box<QueuedTask>> {
        let waiting = {
            let mut state = self.state();
            state.removed = true;
            state.queue.clear()
        };
        self.changed.notify_waiters();
        waiting
    }

    /// Whether the connection was removed and its last worker has left.
    pub fn is_finished(&self) -> bool {
        let state = self.state();
        state.removed && state.workers == 0
    }

    /// What should be logged about the connection's state now.
    pub fn outage_event(&self, now: Instant) -> Option<OutageEvent> {
        let state = &mut *self.state();
        state.outage_log.observe(&state.breaker, now)
    }

    /// Takes out all waiting tasks for which `leave` holds.
    pub fn take_if(&self, leave: impl Fn(&QueuedTask) -> bool) -> Vec<Box<QueuedTask>> {
        self.state().queue.take_if(leave)
    }

    /// Changes all waiting tasks, but not their order.
    pub fn for_each_waiting(&self, change: impl Fn(&mut QueuedTask)) {
        self.state().queue.for_each(change);
    }

    /// The slots of workers to be spawned now: as many as there are tasks without one, up to the connection's
    /// limit; only one without a session, as long as the server is unproven.
    pub fn start_workers(self: &Arc<Self>, limit: impl FnOnce() -> usize) -> Vec<WorkerSlot> {
        let mut state = self.state();
        if state.stopped || state.removed || state.queue.ready() <= state.idle_workers() {
            return Vec::new();
        }
        let limit = limit();
        let mut slots = Vec::new();
        while state.queue.ready() > state.idle_workers() && state.workers < limit && state.may_seek_besides(0)
        {
            state.workers += 1;
            state.last_worker += 1;
            slots.push(WorkerSlot::new(Arc::clone(self), state.last_worker));
        }
        slots
    }

    /// Takes out all tasks that are ready, to be answered without a try.
    pub fn take_ready(&self) -> Vec<Box<QueuedTask>> {
        self.state().queue.take_ready()
    }

    /// Makes tasks ready whose next try is due.
    pub fn promote(&self, now: Instant) {
        self.state().queue.promote(now);
    }

    /// Takes out the tasks that have waited for too long, each with its exit. `decide` says whether a task may be
    /// deferred; `lacks_grant`, that the pod may have no session now, since other pods have them all.
    pub fn expire(
        &self,
        (now, wall): (Instant, Timestamp),
        lacks_grant: bool,
        decide: impl Fn(&QueuedTask) -> DeferralDecision,
    ) -> Vec<(Box<QueuedTask>, TaskExit)> {
        let mut state = self.state();
        let QueueState { queue, breaker, with_session, served_at, .. } = &mut *state;
        let is_unserved = *with_session == 0;
        let unserved_since = *served_at.get_or_insert(now);
        if !is_unserved {
            *served_at = Some(now);
        }
        let exit = |queued: &QueuedTask| {
            if let Some(failure) = queued.past_deadline(wall) {
                return Some(TaskExit::Answered(Err(failure)));
            }
            let Some(last) = breaker.failing_for(PATIENCE, queued.queued_at, now).filter(|_| is_unserved)
            else {
                let waits = now.saturating_duration_since(queued.queued_at.max(unserved_since));
                let waits_for_grant = lacks_grant && is_unserved && waits >= GRANT_PATIENCE;
                return waits_for_grant.then(|| queued.exit_without_grant(waits, decide(queued)))?;
            };
            match decide(queued) {
                DeferralDecision::Possible => Some(TaskExit::Deferred(DeferReason::Unreachable)),
                DeferralDecision::Exhausted => Some(TaskExit::Answered(Err(queued.deferral_exhausted(last)))),
                DeferralDecision::Never => {
                    let retry_count = queued.task.options.retry_count;
                    let answer = breaker.expired_answer(queued.queued_at, retry_count, now);
                    answer.map(|failure| TaskExit::Answered(Err(failure)))
                }
            }
        };
        let taken = queue.take_if(|queued| exit(queued).is_some());
        taken.into_iter().filter_map(|queued| exit(&queued).map(|exit| (queued, exit))).collect()
    }

    /// Takes out the waiting tasks at these offsets, and if the server is down all tasks of their partitions, as far as
    /// they `may` leave. `None` if it is not a waiting task that blocks its partition.
    pub fn take_blocking(
        &self,
        stuck: &[(TopicPartition, i64)],
        may: impl Fn(&QueuedTask) -> bool,
    ) -> Vec<Box<QueuedTask>> {
        let mut state = self.state();
        let is_at = |queued: &QueuedTask, at: &TopicPartition| {
            let origin = &queued.record.origin;
            origin.partition == at.partition && origin.topic == at.topic
        };
        let holds_up = |(at, low): &&(TopicPartition, i64)| {
            let mut waiting = state.queue.waiting();
            waiting.any(|queued| queued.record.origin.offset == *low && is_at(queued, at) && may(queued))
        };
        let held_up: Vec<_> = stuck.iter().filter(holds_up).collect();
        if held_up.is_empty() {
            return Vec::new();
        }
        let is_away = state.with_session == 0 && state.breaker.is_in_trouble();
        state.queue.take_if(|queued| {
            let is_low = |low: i64| queued.record.origin.offset == low;
            held_up.iter().any(|(at, low)| (is_away || is_low(*low)) && is_at(queued, at)) && may(queued)
        })
    }

    /// Takes out the waiting tasks that must no longer be started under their lease.
    pub fn withdraw(&self) -> Vec<Box<QueuedTask>> {
        let withdrawn = self.state().queue.take_if(|queued| !queued.record.lease.may_begin());
        self.changed.notify_waiters();
        withdrawn
    }

    /// Starts no more tasks; drops the waiting ones and returns their number.
    pub fn stop(&self) -> usize {
        let dropped = {
            let mut state = self.state();
            state.stopped = true;
            state.queue.clear()
        };
        self.changed.notify_waiters();
        dropped.len()
    }

    /// The running tries that have waited for their file system for longer than `after`, by local connection.
    pub fn find_hung(&self, after: Duration, now: Instant) -> HungByLocal {
        let mut hung = HungByLocal::default();
        let mut state = self.state();
        for running in state.running.values().flatten() {
            let longest = running.watch.hanging_for(now);
            if longest > after {
                let tries = hung.entry(running.task.local.clone()).or_default();
                tries.watches.push(Arc::clone(&running.watch));
                tries.longest = tries.longest.max(longest);
            }
        }
        let counted =
            |(local, tries): (&String, &HungTries)| (local.clone(), (tries.watches.len(), tries.longest));
        state.hung = hung.iter().map(counted).collect();
        state.released_at.retain(|_, at| now.saturating_duration_since(*at) < REMEMBER_RELEASE_FOR);
        self.has_hung.store(!hung.is_empty() || !state.released_at.is_empty(), Ordering::Relaxed);
        hung
    }

    /// A hung try of this local connection releases its session.
    pub fn session_released(&self, local: &str, now: Instant) {
        self.state().released_at.insert(local.to_owned(), now);
        self.has_hung.store(true, Ordering::Relaxed);
    }

    /// When a hung try of this local connection last released its session, if that is recent.
    pub fn session_released_at(&self, local: &str) -> Option<Instant> {
        self.state().released_at.get(local).copied()
    }

    /// How many of this local connection's tries hung at the last check, and for how long.
    pub fn hung_of(&self, local: &str) -> Option<(usize, Duration)> {
        self.state().hung.get(local).copied()
    }

    /// Whether a task with a local connection other than these waits for a session.
    pub fn has_ready_besides(&self, hung: &HungByLocal) -> bool {
        self.state().queue.waiting_ready().any(|queued| !hung.contains_key(&queued.task.local))
    }

    pub fn login_succeeded(&self) {
        self.state().breaker.login_succeeded();
    }

    pub fn login_failed(&self, error: &TryError, now: Instant, jitter: f64) {
        let failure = error.failure.clone();
        let last_error = LastError::new(Timestamp::now(), &failure);
        {
            let mut state = self.state();
            state.last_error = Some(last_error);
            match error.remedy {
                Remedy::LowerLimit => state.breaker.server_full(failure, now, jitter),
                _ => state.breaker.login_failed(failure, now, jitter),
            }
        }
        self.changed.notify_waiters();
    }

    /// A try on a session has ended, with `error` if it failed.
    pub fn tried(&self, error: Option<&TryError>, now: Instant, jitter: f64) {
        let of_server = |error: &&TryError| matches!(error.remedy, Remedy::OpenBreaker | Remedy::LowerLimit);
        let last_error =
            error.filter(of_server).map(|error| LastError::new(Timestamp::now(), &error.failure));
        let mut state = self.state();
        state.last_error = last_error.or(state.last_error.take());
        match error {
            Some(error) if error.remedy == Remedy::OpenBreaker => {
                state.breaker.transfer_failed(error.failure.clone(), now, jitter);
            }
            _ => state.breaker.transfer_worked(),
        }
    }

    /// The breaker's state, until when it prevents tries, and the last error of the server.
    pub fn breaker_status(&self, now: Instant) -> (BreakerState, Option<Instant>, Option<LastError>) {
        let state = self.state();
        let until = match state.breaker.decide(now) {
            BreakerDecision::Try => None,
            BreakerDecision::Wait { until } | BreakerDecision::Refused { until, .. } => Some(until),
        };
        (state.breaker.state(now), until, state.last_error.clone())
    }

    pub fn breaker(&self, now: Instant) -> BreakerState {
        self.state().breaker.state(now)
    }

    /// How many waiting tasks read from or write to this local connection.
    pub fn waiting_for_local(&self, local: &str) -> usize {
        self.state().queue.waiting().filter(|queued| queued.task.local == local).count()
    }

    pub fn counts(&self) -> QueueCounts {
        let state = self.state();
        QueueCounts {
            waiting: state.queue.ready(),
            delayed: state.queue.delayed(),
            in_flight: state.running.values().map(Vec::len).sum(),
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    /// Workers that have no task yet.
    fn idle_workers(&self) -> usize {
        debug_assert!(self.with_session <= self.workers && self.running.len() <= self.workers);
        self.workers - self.running.len()
    }

    /// Whether one more worker may try to get a session, or one of the `counted` that already do.
    fn may_seek_besides(&self, counted: usize) -> bool {
        match self.breaker.concurrency() {
            ConcurrencyLimit::Any => true,
            ConcurrencyLimit::OneSeeker => self.workers - self.with_session == counted,
            ConcurrencyLimit::OneWorker => self.workers == counted,
        }
    }

    /// Whether a worker must not start anything on the session that it has: only the breaker's probe may run.
    fn must_wait_for_breaker(&self, now: Instant) -> bool {
        let is_open = || self.breaker.decide(now) != BreakerDecision::Try;
        self.breaker.is_route_lost()
            || self.breaker.concurrency() == ConcurrencyLimit::OneWorker
                && (!self.running.is_empty() || is_open())
    }

    fn next_action(&mut self, now: Instant, limit: usize) -> WorkerAction {
        let is_needed =
            self.idle_workers() <= self.queue.ready() && self.workers <= limit && self.may_seek_besides(1);
        if self.stopped || !is_needed {
            return WorkerAction::Leave;
        }
        match self.breaker.decide(now) {
            BreakerDecision::Try => WorkerAction::Go,
            BreakerDecision::Refused { failure, .. } if self.with_session == 0 => {
                WorkerAction::Refuse(failure)
            }
            BreakerDecision::Refused { until, .. } | BreakerDecision::Wait { until } => {
                WorkerAction::Wait(until)
            }
        }
    }
}

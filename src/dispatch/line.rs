//! One connection's line: its waiting tasks, its lanes, and what its logins have told of the server.
//!
//! A lane is counted here from before it is spawned until it leaves, and it leaves in the same step in
//! which it finds nothing to do: so no task arrives unseen in between.

mod carried;
mod duty;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) use carried::Carried;
pub(super) use duty::Duty;

use super::breaker::{self, Breaker, Crowd, Gate};
use super::deferral::{Outlook, PATIENCE};
use super::queue::{Entry, Queue};
use crate::failure::{Code, Failure, Remedy, TryError};
use crate::insight::LastError;
use crate::offsets::TopicPartition;

/// One FTP connection's tasks and lanes. Its lock is never held across an await.
#[derive(Debug)]
pub(super) struct Line {
    pub connection: Arc<str>,
    state: Mutex<State>,
    /// Tasks of the connection, wherever they stand in the dispatcher.
    pub held: Arc<AtomicUsize>,
    /// Told when a lane without a session may have become superfluous.
    pub changed: Notify,
    /// Somebody tidies up on the server, with a session of his own.
    pub is_tidied: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    breaker: Breaker,
    /// What every task would have met, whether or not the server is well since.
    last_error: Option<LastError>,
    /// Lanes there are.
    lanes: usize,
    /// Lanes that have a session, and so are neither waiting for one nor connecting.
    with_session: usize,
    /// What the lanes that have a task do, by the lane's number: one, and in a row its neighbour for a while.
    carried: HashMap<u64, Vec<Carried>>,
    /// The last lane's number.
    numbers: u64,
    /// Nothing is begun any more.
    stopped: bool,
    /// The connection is no more: what is in flight may finish.
    removed: bool,
}

/// How many tasks of the connection are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub waiting: usize,
    pub delayed: usize,
    pub in_flight: usize,
}

/// What becomes of a task that may wait here no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Answer(Failure),
    Defer,
}

/// What a lane without a session is to do.
#[derive(Debug)]
pub(super) enum Seek {
    /// Get a session.
    Go,
    /// The last login failed: not before this.
    Wait(Instant),
    /// The server refuses us: answer the tasks that are ready with that.
    Refuse(Failure),
    /// The lane is not needed, and not counted any more.
    Leave,
}

impl Line {
    pub fn new(connection: Arc<str>) -> Self {
        Line {
            connection,
            state: Mutex::default(),
            held: Arc::default(),
            changed: Notify::new(),
            is_tidied: AtomicBool::new(false),
        }
    }

    /// Adds a new task; drops it if nothing is begun any more. The task back where the connection is no more.
    pub fn enqueue(&self, entry: Box<Entry>) -> Option<Box<Entry>> {
        self.put(entry, Queue::push_back)
    }

    /// The same with a task that has waited for its turn elsewhere.
    pub fn enqueue_first(&self, entry: Box<Entry>) -> Option<Box<Entry>> {
        self.put(entry, Queue::push_front)
    }

    fn put(&self, entry: Box<Entry>, push: fn(&mut Queue, Box<Entry>)) -> Option<Box<Entry>> {
        let mut state = self.state();
        if state.removed {
            return Some(entry);
        }
        if !state.stopped {
            push(&mut state.queue, entry);
        }
        None
    }

    /// The connection has other settings, or is there again: nothing is held against its server, and the next tries
    /// are due now.
    pub fn renew(&self) {
        {
            let mut state = self.state();
            state.breaker = Breaker::default();
            state.last_error = None;
            state.queue.promote_all();
            state.removed = false;
        }
        self.changed.notify_waiters();
    }

    /// The connection is no more. Takes out all tasks that wait, to be answered; what is in flight may finish.
    pub fn remove(&self) -> Vec<Box<Entry>> {
        let waiting = {
            let mut state = self.state();
            state.removed = true;
            state.queue.clear()
        };
        self.changed.notify_waiters();
        waiting
    }

    /// Whether the connection is no more, and nothing of it is left here.
    pub fn is_over(&self) -> bool {
        let state = self.state();
        state.removed && state.lanes == 0
    }

    /// Takes out all waiting tasks that `leave`.
    pub fn take_if(&self, leave: impl Fn(&Entry) -> bool) -> Vec<Box<Entry>> {
        self.state().queue.take_if(leave)
    }

    /// Changes all waiting tasks, but not their places.
    pub fn for_each_waiting(&self, change: impl Fn(&mut Entry)) {
        self.state().queue.for_each(change);
    }

    /// Lanes to be spawned now, one [`Duty`] each: as many as there are tasks without one, up to the
    /// connection's limit; only one that has no session yet, as long as the server is unproven.
    pub fn staff(self: &Arc<Self>, limit: impl FnOnce() -> usize) -> Vec<Duty> {
        let mut state = self.state();
        if state.stopped || state.removed || state.queue.ready() <= state.free() {
            return Vec::new();
        }
        let limit = limit();
        let mut duties = Vec::new();
        while state.queue.ready() > state.free() && state.lanes < limit && state.may_seek_besides(0) {
            state.lanes += 1;
            state.numbers += 1;
            let number = state.numbers;
            duties.push(Duty::new(Arc::clone(self), number));
        }
        duties
    }

    /// Takes out all tasks that are ready, to be answered without a try.
    pub fn take_ready(&self) -> Vec<Box<Entry>> {
        self.state().queue.take_ready()
    }

    /// Makes those tasks ready whose next try is due.
    pub fn promote(&self, now: Instant) {
        self.state().queue.promote(now);
    }

    /// Takes out the tasks that may wait here no longer, each with what becomes of it. `outlook` says whether
    /// a task may be deferred.
    pub fn sweep(
        &self,
        now: Instant,
        wall: Timestamp,
        outlook: impl Fn(&Entry) -> Outlook,
    ) -> Vec<(Box<Entry>, Overdue)> {
        let mut state = self.state();
        let State { queue, breaker, with_session, .. } = &mut *state;
        let is_unserved = *with_session == 0;
        let verdict = |entry: &Entry| {
            if let Some(failure) = entry.past_deadline(wall) {
                return Some(Overdue::Answer(failure));
            }
            let last = breaker.outlasts(PATIENCE, entry.queued, now).filter(|_| is_unserved)?;
            match outlook(entry) {
                Outlook::Possible => Some(Overdue::Defer),
                Outlook::Exhausted => Some(Overdue::Answer(entry.unavailable(last))),
                Outlook::Never => {
                    let retry_count = entry.job.task.options.retry_count;
                    breaker.overdue(entry.queued, retry_count, now).map(Overdue::Answer)
                }
            }
        };
        let taken = queue.take_if(|entry| verdict(entry).is_some());
        taken.into_iter().filter_map(|entry| verdict(&entry).map(|overdue| (entry, overdue))).collect()
    }

    /// Takes out the waiting tasks at these offsets, and where the server is away all of their partitions', as far
    /// as they `may` leave. None where it is not a waiting task that holds up its partition.
    pub fn in_the_way(
        &self,
        stuck: &[(TopicPartition, i64)],
        may: impl Fn(&Entry) -> bool,
    ) -> Vec<Box<Entry>> {
        let mut state = self.state();
        let is_at = |entry: &Entry, at: &TopicPartition| {
            let origin = &entry.job.record.origin;
            origin.partition == at.partition && origin.topic == at.topic
        };
        let holds_up = |(at, low): &&(TopicPartition, i64)| {
            let mut waiting = state.queue.waiting();
            waiting.any(|entry| entry.job.record.origin.offset == *low && is_at(entry, at) && may(entry))
        };
        let held_up: Vec<_> = stuck.iter().filter(holds_up).collect();
        if held_up.is_empty() {
            return Vec::new();
        }
        let is_away = state.with_session == 0 && state.breaker.is_in_trouble();
        state.queue.take_if(|entry| {
            let is_low = |low: i64| entry.job.record.origin.offset == low;
            held_up.iter().any(|(at, low)| (is_away || is_low(*low)) && is_at(entry, at)) && may(entry)
        })
    }

    /// Takes out the waiting tasks whose lease lets nothing begin any more.
    pub fn withdraw(&self) -> Vec<Box<Entry>> {
        let withdrawn = self.state().queue.take_if(|entry| !entry.job.record.lease.may_begin());
        self.changed.notify_waiters();
        withdrawn
    }

    /// From now on nothing is begun; drops the waiting tasks and says how many.
    pub fn stop(&self) -> usize {
        let dropped = {
            let mut state = self.state();
            state.stopped = true;
            state.queue.clear()
        };
        self.changed.notify_waiters();
        dropped.len()
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

    /// A session's try ended: with `error`, where it failed.
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

    /// The breaker, until when nobody tries the server, and the last error of it.
    pub fn standing(&self, now: Instant) -> (breaker::State, Option<Instant>, Option<LastError>) {
        let state = self.state();
        let until = match state.breaker.gate(now) {
            Gate::Open => None,
            Gate::Shut { until } | Gate::Refused { until, .. } => Some(until),
        };
        (state.breaker.state(now), until, state.last_error.clone())
    }

    pub fn breaker(&self, now: Instant) -> breaker::State {
        self.state().breaker.state(now)
    }

    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts {
            waiting: state.queue.ready(),
            delayed: state.queue.delayed(),
            in_flight: state.carried.values().map(Vec::len).sum(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lanes that have no task yet.
    fn free(&self) -> usize {
        self.lanes - self.carried.len()
    }

    /// Whether one more lane may look for a session, or one of the `counted` that do already.
    fn may_seek_besides(&self, counted: usize) -> bool {
        match self.breaker.crowd() {
            Crowd::Any => true,
            Crowd::OneSeeker => self.lanes - self.with_session == counted,
            Crowd::OneLane => self.lanes == counted,
        }
    }

    /// Whether a lane that has a session must begin nothing with it: no more than the breaker's one probe.
    fn is_held(&self, now: Instant) -> bool {
        let is_shut = || self.breaker.gate(now) != Gate::Open;
        self.breaker.crowd() == Crowd::OneLane && (!self.carried.is_empty() || is_shut())
    }

    fn seek(&mut self, now: Instant, limit: usize) -> Seek {
        let is_needed = self.free() <= self.queue.ready() && self.lanes <= limit && self.may_seek_besides(1);
        if self.stopped || !is_needed {
            return Seek::Leave;
        }
        match self.breaker.gate(now) {
            Gate::Open => Seek::Go,
            Gate::Refused { failure, .. } if self.with_session == 0 => Seek::Refuse(failure),
            Gate::Refused { until, .. } | Gate::Shut { until } => Seek::Wait(until),
        }
    }
}

impl Entry {
    /// Whether a login that failed costs the task nothing. A probe of the open breaker tells of the server,
    /// not of the task; and one that was deferred has outlived a breaker already, maybe another pod's.
    /// Without retries it was the task's one try; a refused password is everybody's answer.
    pub fn bears(&self, error: &TryError, was_closed: bool) -> bool {
        error.remedy == Remedy::OpenBreaker
            && error.failure.code != Code::AuthFailed
            && self.job.task.options.retry_count > 0
            && (!was_closed || self.job.hop.is_some())
    }

    /// The answer of a task that has been deferred for as long as it may be.
    pub fn unavailable(&self, last: &Failure) -> Failure {
        let since = self.job.hop.as_ref().map(|hop| format!(" since {:.0}", hop.since)).unwrap_or_default();
        let message =
            format!("put off{since}, which is as long as retry.max_deferral allows; the last try: {last}");
        Failure { ftp_code: last.ftp_code, ..Failure::new(Code::ConnectionUnavailable, message) }
    }

    /// The answer of a task whose deadline is over before its next try has begun.
    pub fn past_deadline(&self, wall: Timestamp) -> Option<Failure> {
        let deadline = self.job.task.options.deadline.filter(|deadline| wall > *deadline)?;
        let message = match self.tries.attempts {
            0 => format!("not begun by options.deadline, {deadline}"),
            n => format!("not done after {n} tries by options.deadline, {deadline}"),
        };
        Some(Failure::new(Code::DeadlineExceeded, message))
    }
}

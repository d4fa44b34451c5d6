//! The connections of one worker to one port of a pod, as a pure state machine: which request gets an idle one, which
//! opens another, and which waits. `C` is a connection, `W` a waiting request; time is an argument.
//!
//! Below the limit a connection is lent or opened at once. Above it a request waits, since a busy worker gains nothing
//! from more sockets: at 1,000 clients the CPU time per request falls by a third. The limit starts at the soft limit,
//! and rises up to the hard one if more connections increase throughput:
//!
//! - No connection has become free for [`SILENCE`]: all wait for something other than a CPU, or for a CPU that is
//!   shared with many. One more is granted, then two, then four; if that brings no more responses, it is reverted.
//! - Responses take longer than [`SLOW_ANSWER`] on average: twice as many connections are tried for one [`WINDOW`], and
//!   kept if the number of responses rises accordingly. A pod that sleeps gives twice as many, one that lacks CPU does
//!   not. In the same way half as many are tried now and then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often the limit is adjusted while requests wait.
pub const GROWTH_INTERVAL: Duration = Duration::from_millis(2);
/// After this long without a response a pod counts as silent; longer than processes of a busy machine usually wait for
/// CPU time.
pub const SILENCE: Duration = Duration::from_millis(10);
/// After this long it gets more connections in any case: earlier findings may be outdated.
const LONG_SILENCE: Duration = Duration::from_millis(500);
/// The averaging time of the response rate, and the minimum wait for the effect of more connections.
const RATE_OVER: Duration = Duration::from_millis(250);
/// The maximum wait for the effect, however long responses take.
const LONGEST_TRIAL: Duration = Duration::from_secs(5);
/// A pod whose responses take longer may get more connections than the soft limit.
pub const SLOW_ANSWER: Duration = Duration::from_millis(5);
/// How long responses are counted to compare two limits.
pub const WINDOW: Duration = Duration::from_millis(100);
/// The delay after an unsuccessful trial; it doubles each time, up to the maximum.
const FIRST_REST: Duration = Duration::from_millis(100);
const LAST_REST: Duration = Duration::from_secs(5);
/// How many requests may wait for one port of a pod on one worker: further ones are answered 503.
pub const MAX_WAITING: usize = 4096;

/// The limits of one pod's connections on one worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolBounds {
    pub soft: usize,
    pub hard: usize,
    /// An idle connection that is older is not used: servers close theirs silently after some seconds.
    pub idle: Duration,
}

/// What a request does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Acquired<C> {
    Reuse(C),
    /// A slot was taken: connect.
    Open,
    Wait,
}

/// The result of releasing a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Handover<C, W> {
    Connection(W, C),
    Kept,
    /// The connection has no slot: it exceeds the current limits.
    Surplus(C),
}

/// A waiting request that is granted an idle connection, or a slot to open one.
pub type Granted<C, W> = (W, Option<C>);

/// A trial of another limit.
#[derive(Debug, Clone, Copy)]
struct Trial {
    /// The limit to which it falls back.
    from: usize,
    /// The response rate per second with that limit.
    rate: f64,
    /// Started by a silence, and evaluated at this time.
    until: Option<Instant>,
}

/// Responses per second: an exponentially weighted average.
#[derive(Debug, Clone, Copy)]
struct AnswerRate {
    per_second: f64,
    at: Option<Instant>,
    uncounted: u32,
    /// The weight of the time before the first measurement, which counts as nothing.
    empty: f64,
}

impl AnswerRate {
    const NEW: AnswerRate = AnswerRate { per_second: 0.0, at: None, uncounted: 0, empty: 1.0 };

    fn look(&mut self, now: Instant) -> f64 {
        let passed = self.at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let kept = (-passed.as_secs_f64() / RATE_OVER.as_secs_f64()).exp();
        let new = f64::from(std::mem::take(&mut self.uncounted)) / RATE_OVER.as_secs_f64();
        self.per_second = self.per_second * kept + new;
        self.empty *= kept;
        self.per_second / (1.0 - self.empty).max(0.01)
    }
}

/// The responses since limits were last compared.
#[derive(Debug, Clone, Copy)]
struct AnswerWindow {
    since: Instant,
    answers: u32,
}

#[derive(Debug)]
pub struct PodConnections<C, W> {
    /// Youngest last; taken from the end, so that old ones expire.
    idle: Vec<(C, Instant)>,
    /// Idle, lent or being opened.
    open: usize,
    /// Connections that have become `WebSockets`: they count only towards the hard limit.
    streams: usize,
    waiting: VecDeque<(W, Instant)>,
    last_release: Option<Instant>,
    /// Moving average of how long a connection is lent, in microseconds.
    lent_micros: u64,
    /// How many may be lent at once; the soft limit is the minimum.
    limit: usize,
    /// How many more are granted next time if the pod is still silent.
    step: usize,
    window: Option<AnswerWindow>,
    rate: AnswerRate,
    trial: Option<Trial>,
    rest: Duration,
    rest_until: Option<Instant>,
    /// Since when connects have been refused.
    refused_since: Option<Instant>,
}

impl<C, W> Default for PodConnections<C, W> {
    fn default() -> Self {
        PodConnections {
            idle: Vec::new(),
            open: 0,
            streams: 0,
            waiting: VecDeque::new(),
            last_release: None,
            lent_micros: 0,
            limit: 0,
            step: 1,
            window: None,
            rate: AnswerRate::NEW,
            trial: None,
            rest: FIRST_REST,
            rest_until: None,
            refused_since: None,
        }
    }
}

impl<C, W> PodConnections<C, W> {
    /// An idle connection, a slot to open one, or neither.
    pub fn acquire(&mut self, now: Instant, bounds: &PoolBounds) -> Acquired<C> {
        // Earlier requests take precedence.
        if !self.waiting.is_empty() || self.lent() >= self.limit(bounds) {
            return Acquired::Wait;
        }
        if let Some(connection) = self.take_idle(now, bounds) {
            return Acquired::Reuse(connection);
        }
        self.open += 1;
        Acquired::Open
    }

    /// The youngest idle connection, if it is young enough.
    fn take_idle(&mut self, now: Instant, bounds: &PoolBounds) -> Option<C> {
        let (connection, since) = self.idle.pop()?;
        if now.saturating_duration_since(since) < bounds.idle {
            return Some(connection);
        }
        // The ones below it are older; those that are popped are dropped, and thus closed.
        self.open = self.open.saturating_sub(1 + self.idle.len());
        self.idle.clear();
        None
    }

    /// Takes a slot at once, for a request that must not meet another dead connection. Returns the idle connection that
    /// is closed for it, if there is one; otherwise the hard limit is exceeded by this one until it is released.
    pub fn take_slot(&mut self) -> Option<C> {
        if self.idle.is_empty() {
            self.open += 1;
            return None;
        }
        Some(self.idle.remove(0).0)
    }

    /// Takes a slot for a connection that becomes a WebSocket, which uses it for long: the hard limit applies.
    pub fn take_slot_within(&mut self, bounds: &PoolBounds) -> Option<Option<C>> {
        let fits = !self.idle.is_empty() || self.open + self.streams < bounds.hard;
        fits.then(|| self.take_slot())
    }

    /// Joins the queue; false if that is full.
    pub fn wait(&mut self, waiter: W, now: Instant) -> bool {
        let fits = self.waiting.len() < MAX_WAITING;
        if fits {
            self.waiting.push_back((waiter, now));
        }
        fits
    }

    /// A connection that was lent for `lent` is free again.
    pub fn release(
        &mut self,
        connection: C,
        now: Instant,
        lent: Duration,
        bounds: &PoolBounds,
    ) -> Handover<C, W> {
        self.last_release = Some(now);
        self.rate.uncounted += 1;
        if let Some(window) = &mut self.window {
            window.answers += 1;
        }
        let micros = u64::try_from(lent.as_micros()).unwrap_or(u64::MAX);
        self.lent_micros = match self.lent_micros {
            0 => micros,
            average => (average.saturating_mul(7).saturating_add(micros)) / 8,
        };
        if self.lent() <= self.limit(bounds)
            && let Some((waiter, _)) = self.waiting.pop_front()
        {
            return Handover::Connection(waiter, connection);
        }
        if self.open + self.streams > bounds.hard {
            self.open -= 1;
            return Handover::Surplus(connection);
        }
        self.idle.push((connection, now));
        Handover::Kept
    }

    /// A lent connection is closed, or could not be opened: returns the waiter that gets its slot, if any.
    pub fn close(&mut self, now: Instant, bounds: &PoolBounds) -> Option<Granted<C, W>> {
        self.open = self.open.saturating_sub(1);
        self.next_waiter(now, bounds)
    }

    /// A lent connection has become a WebSocket.
    pub fn detach(&mut self, now: Instant, bounds: &PoolBounds) -> Option<Granted<C, W>> {
        self.open = self.open.saturating_sub(1);
        self.streams += 1;
        self.next_waiter(now, bounds)
    }

    /// A WebSocket has ended.
    pub fn close_stream(&mut self, now: Instant, bounds: &PoolBounds) -> Option<Granted<C, W>> {
        self.streams = self.streams.saturating_sub(1);
        self.next_waiter(now, bounds)
    }

    fn lent(&self) -> usize {
        self.open.saturating_sub(self.idle.len())
    }

    /// How many may be lent now.
    fn limit(&self, bounds: &PoolBounds) -> usize {
        self.limit.max(bounds.soft).min(bounds.hard.saturating_sub(self.streams))
    }

    fn next_waiter(&mut self, now: Instant, bounds: &PoolBounds) -> Option<Granted<C, W>> {
        if self.lent() >= self.limit(bounds) {
            return None;
        }
        let (waiter, _) = self.waiting.pop_front()?;
        let connection = self.take_idle(now, bounds);
        if connection.is_none() {
            self.open += 1;
        }
        Some((waiter, connection))
    }

    /// The waiters that get a connection or a slot after adjusting the limit; called every [`GROWTH_INTERVAL`] while
    /// requests wait.
    pub fn grow(&mut self, now: Instant, bounds: &PoolBounds) -> Vec<Granted<C, W>> {
        let rate = self.rate.look(now);
        if !self.grow_from_silence(now, rate, bounds) && !self.judge_silence(now, rate) {
            self.compare(now, bounds);
        }
        std::iter::from_fn(|| self.next_waiter(now, bounds)).collect()
    }

    /// Whether the pod is silent; then the limit rises.
    fn grow_from_silence(&mut self, now: Instant, rate: f64, bounds: &PoolBounds) -> bool {
        let waits_since = self.waiting.front().map(|(_, since)| *since);
        let since = waits_since.map(|since| self.last_release.map_or(since, |release| release.max(since)));
        let silent_for = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let rests = self.rest_until.is_some_and(|until| now < until);
        let limit = self.limit(bounds).max(self.lent());
        if silent_for < SILENCE || (rests && silent_for < LONG_SILENCE) || limit >= bounds.hard {
            self.step = 1;
            return false;
        }
        if self.trial.is_none_or(|trial| trial.until.is_none()) {
            let from = self.trial.map_or(self.limit(bounds), |trial| trial.from);
            let answer = Duration::from_micros(self.lent_micros);
            let until = now + (answer * 2).clamp(RATE_OVER, LONGEST_TRIAL);
            self.trial = Some(Trial { from, rate, until: Some(until) });
        }
        self.limit = (limit + self.step).min(bounds.hard);
        self.step = self.step.saturating_mul(2).min(bounds.hard);
        self.window = None;
        true
    }

    /// Whether a silence's trial continues; at its end the limit falls back if there were no more responses.
    #[allow(clippy::cast_precision_loss, reason = "a few hundred connections")]
    fn judge_silence(&mut self, now: Instant, rate: f64) -> bool {
        let Some(Trial { from, rate: before, until: Some(until) }) = self.trial else { return false };
        if now >= until {
            self.trial = None;
            let change = self.lent() as f64 / from as f64 - 1.0;
            self.settle(rate >= before * (1.0 + 0.25 * change), from, now);
        }
        true
    }

    /// Keeps a limit that was tried, or falls back and pauses trials.
    fn settle(&mut self, kept: bool, from: usize, now: Instant) {
        if kept {
            self.rest = FIRST_REST;
        } else {
            self.limit = from;
            self.rest_until = Some(now + self.rest);
            self.rest = (self.rest * 2).min(LAST_REST);
        }
    }

    /// At a window's end: keeps or ends a trial, or starts another one.
    #[allow(clippy::cast_precision_loss, reason = "a few hundred connections")]
    fn compare(&mut self, now: Instant, bounds: &PoolBounds) {
        let window = *self.window.get_or_insert(AnswerWindow { since: now, answers: 0 });
        let passed = now.saturating_duration_since(window.since);
        if passed < WINDOW {
            return;
        }
        self.window = Some(AnswerWindow { since: now, answers: 0 });
        // Requests so rare that there was a pause say nothing about the limit.
        if passed >= WINDOW * 4 {
            self.trial = None;
            return;
        }
        let rate = f64::from(window.answers) / passed.as_secs_f64();
        let limit = self.limit(bounds);
        if let Some(trial) = self.trial.take() {
            // Half of the gain of a pod that only sleeps, and a little less than its loss.
            let change = limit as f64 / trial.from as f64 - 1.0;
            if change > 0.0 {
                self.settle(rate >= trial.rate * (1.0 + change * 0.5), trial.from, now);
            } else if rate < trial.rate * (1.0 + change * 0.4) {
                self.settle(false, trial.from, now);
            }
            return;
        }
        if self.rest_until.is_some_and(|until| now < until) {
            return;
        }
        // Fewer are tried first if there are more than usual: noise may have kept them.
        let slow = u128::from(self.lent_micros) > SLOW_ANSWER.as_micros();
        let (more, rested) = ((limit * 2).min(bounds.hard), self.rest_until.take().is_some());
        let other = if slow && !rested && more > limit { more } else { (limit / 2).max(bounds.soft) };
        if other != limit {
            (self.trial, self.limit) = (Some(Trial { from: limit, rate, until: None }), other);
        }
    }

    /// Idle connections that are too old, to be closed by the caller.
    pub fn expire(&mut self, now: Instant, bounds: &PoolBounds) -> Vec<C> {
        let fresh = |since: &Instant| now.saturating_duration_since(*since) < bounds.idle;
        let old = self.idle.iter().take_while(|(_, since)| !fresh(since)).count();
        self.open = self.open.saturating_sub(old);
        self.idle.drain(..old).map(|(connection, _)| connection).collect()
    }

    /// All idle connections, to be closed by the caller: the pod restarted.
    pub fn discard_idle(&mut self) -> Vec<C> {
        self.open = self.open.saturating_sub(self.idle.len());
        self.idle.drain(..).map(|(connection, _)| connection).collect()
    }

    /// Records a connect; returns for how long connects have been refused.
    pub fn note_connect(&mut self, refused: bool, now: Instant) -> Duration {
        if !refused {
            self.refused_since = None;
            return Duration::ZERO;
        }
        now.saturating_duration_since(*self.refused_since.get_or_insert(now))
    }

    pub fn open(&self) -> usize {
        self.open
    }

    pub fn streams(&self) -> usize {
        self.streams
    }

    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether dropping it changes nothing.
    pub fn is_unused(&self) -> bool {
        self.open == 0 && self.streams == 0 && self.waiting.is_empty()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

//! The connections of one worker to one port of a pod, as a pure state machine: who gets an idle one, who opens another,
//! who waits. `C` is a connection, `W` a waiting request; time comes in.
//!
//! Below the soft bound a connection is opened at once. Above it a request waits, since a worker that is busy gains
//! nothing by more sockets: at 1,000 clients the CPU a request falls by a third. Others are opened up to the hard bound
//! once it is the pod that is slow: no connection came free for [`GROWTH_INTERVAL`], or answers take longer than
//! [`SLOW_ANSWER`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A request waits so long before another connection may be opened for it.
pub const GROWTH_INTERVAL: Duration = Duration::from_millis(2);
/// A pod whose answers take longer gets more connections than the soft bound.
pub const SLOW_ANSWER: Duration = Duration::from_millis(5);
/// More requests do not wait for one port of a pod on one worker: they are answered 503.
pub const MAX_WAITING: usize = 4096;

/// The bounds of one pod's connections on one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// A slot is taken: connect.
    Open,
    Wait,
}

/// What came free, and who gets it.
#[derive(Debug, PartialEq, Eq)]
pub enum Handover<C, W> {
    Connection(W, C),
    Kept,
    /// The connection has no place: it is above the bounds that hold now.
    Surplus(C),
}

#[derive(Debug)]
pub struct PodConnections<C, W> {
    /// Youngest last; taken from the end, so that old ones expire.
    idle: Vec<(C, Instant)>,
    /// Idle, lent or being opened.
    open: usize,
    /// Connections that have become `WebSockets`: they count for the hard bound alone.
    streams: usize,
    waiting: VecDeque<(W, Instant)>,
    last_release: Option<Instant>,
    /// Moving average of how long a connection is lent, in microseconds.
    lent_micros: u64,
    /// Connects have been refused since.
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
            refused_since: None,
        }
    }
}

impl<C, W> PodConnections<C, W> {
    /// An idle connection, a slot to open one, or neither.
    pub fn acquire(&mut self, now: Instant, bounds: &PoolBounds) -> Acquired<C> {
        while let Some((connection, since)) = self.idle.pop() {
            if now.saturating_duration_since(since) < bounds.idle {
                return Acquired::Reuse(connection);
            }
            // Older ones lie beneath it; what is popped is dropped, and closed by that.
            self.open = self.open.saturating_sub(1 + self.idle.len());
            self.idle.clear();
        }
        // Whoever came earlier has the next slot.
        if self.open < self.soft_limit(bounds) && self.waiting.is_empty() {
            self.open += 1;
            return Acquired::Open;
        }
        Acquired::Wait
    }

    /// Takes a slot at once, for a request that must not meet another dead connection. The idle connection that makes way
    /// for it, if there is one; else the hard bound is exceeded by this one until it is released.
    pub fn take_slot(&mut self) -> Option<C> {
        if self.idle.is_empty() {
            self.open += 1;
            return None;
        }
        Some(self.idle.remove(0).0)
    }

    /// The same for a connection that becomes a WebSocket, which keeps it for long: the hard bound holds.
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
        let micros = u64::try_from(lent.as_micros()).unwrap_or(u64::MAX);
        self.lent_micros = (self.lent_micros.saturating_mul(7).saturating_add(micros)) / 8;
        if let Some((waiter, _)) = self.waiting.pop_front() {
            return Handover::Connection(waiter, connection);
        }
        if self.open + self.streams > bounds.hard {
            self.open -= 1;
            return Handover::Surplus(connection);
        }
        self.idle.push((connection, now));
        Handover::Kept
    }

    /// A lent connection is closed, or could not be opened: its slot goes to the waiter that is returned, if any.
    pub fn close(&mut self, bounds: &PoolBounds) -> Option<W> {
        self.open = self.open.saturating_sub(1);
        self.next_waiter(bounds)
    }

    /// A lent connection has become a WebSocket.
    pub fn detach(&mut self, bounds: &PoolBounds) -> Option<W> {
        self.open = self.open.saturating_sub(1);
        self.streams += 1;
        self.next_waiter(bounds)
    }

    /// A WebSocket has ended.
    pub fn close_stream(&mut self, bounds: &PoolBounds) -> Option<W> {
        self.streams = self.streams.saturating_sub(1);
        self.next_waiter(bounds)
    }

    fn soft_limit(&self, bounds: &PoolBounds) -> usize {
        bounds.soft.min(bounds.hard.saturating_sub(self.streams))
    }

    fn next_waiter(&mut self, bounds: &PoolBounds) -> Option<W> {
        if self.open >= self.soft_limit(bounds) {
            return None;
        }
        let (waiter, _) = self.waiting.pop_front()?;
        self.open += 1;
        Some(waiter)
    }

    /// Those who get a slot above the soft bound now; called every [`GROWTH_INTERVAL`] while requests wait.
    pub fn grow(&mut self, now: Instant, bounds: &PoolBounds) -> Vec<W> {
        let stalled = self.last_release.is_none_or(|at| now.saturating_duration_since(at) >= GROWTH_INTERVAL);
        let slow = u128::from(self.lent_micros) > SLOW_ANSWER.as_micros();
        let mut granted = Vec::new();
        let soft = self.soft_limit(bounds);
        let limit = if stalled || slow { bounds.hard.saturating_sub(self.streams) } else { soft };
        while self.open < limit {
            let due = self
                .waiting
                .front()
                .is_some_and(|(_, since)| now.saturating_duration_since(*since) >= GROWTH_INTERVAL);
            if !due && self.open >= soft {
                break;
            }
            let Some((waiter, _)) = self.waiting.pop_front() else { break };
            self.open += 1;
            granted.push(waiter);
        }
        granted
    }

    /// Idle connections that are too old, to be closed.
    pub fn expire(&mut self, now: Instant, bounds: &PoolBounds) -> Vec<C> {
        let fresh = |since: &Instant| now.saturating_duration_since(*since) < bounds.idle;
        let old = self.idle.iter().take_while(|(_, since)| !fresh(since)).count();
        self.open = self.open.saturating_sub(old);
        self.idle.drain(..old).map(|(connection, _)| connection).collect()
    }

    /// All idle connections, to be closed: the pod restarted.
    pub fn discard_idle(&mut self) -> Vec<C> {
        self.open = self.open.saturating_sub(self.idle.len());
        self.idle.drain(..).map(|(connection, _)| connection).collect()
    }

    /// Notes a connect; how long connects have been refused by now.
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

    /// Whether forgetting it changes nothing.
    pub fn is_unused(&self) -> bool {
        self.open == 0 && self.streams == 0 && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: PoolBounds = PoolBounds { soft: 2, hard: 4, idle: Duration::from_secs(4) };
    type Pool = PodConnections<u32, u32>;

    #[test]
    fn below_the_soft_bound_one_is_opened_above_one_waits() {
        let (mut pool, now) = (Pool::default(), Instant::now());
        assert_eq!(pool.acquire(now, &BOUNDS), Acquired::Open);
        assert_eq!(pool.acquire(now, &BOUNDS), Acquired::Open);
        assert_eq!(pool.acquire(now, &BOUNDS), Acquired::Wait);
        assert!(pool.wait(7, now));
        assert_eq!(pool.release(1, now, Duration::ZERO, &BOUNDS), Handover::Connection(7, 1));
        assert_eq!(pool.release(1, now, Duration::ZERO, &BOUNDS), Handover::Kept);
        assert_eq!(pool.acquire(now, &BOUNDS), Acquired::Reuse(1));
    }

    #[test]
    fn a_stalled_or_slow_pod_gets_more_connections_up_to_the_hard_bound() {
        let (mut pool, now) = (Pool::default(), Instant::now());
        for _ in 0..2 {
            pool.acquire(now, &BOUNDS);
        }
        for waiter in 0..5 {
            pool.wait(waiter, now);
        }
        assert_eq!(pool.grow(now, &BOUNDS), Vec::<u32>::new(), "nobody has waited long enough");
        assert_eq!(pool.grow(now + GROWTH_INTERVAL, &BOUNDS), [0, 1]);
        assert_eq!(pool.open(), BOUNDS.hard);
        assert_eq!(pool.grow(now + GROWTH_INTERVAL * 9, &BOUNDS), Vec::<u32>::new());
    }

    #[test]
    fn a_fast_pod_gets_no_more_connections() {
        let (mut pool, now) = (Pool::default(), Instant::now());
        for _ in 0..2 {
            pool.acquire(now, &BOUNDS);
        }
        for waiter in 0..3 {
            pool.wait(waiter, now);
        }
        let later = now + Duration::from_millis(10);
        pool.release(1, later, Duration::from_micros(600), &BOUNDS);
        assert_eq!(pool.grow(later + Duration::from_millis(1), &BOUNDS), Vec::<u32>::new());
        for _ in 0..20 {
            pool.release(1, later, Duration::from_millis(20), &BOUNDS);
            pool.wait(9, now);
            pool.acquire(later, &BOUNDS);
        }
        assert!(!pool.grow(later + Duration::from_millis(1), &BOUNDS).is_empty(), "answers take 20 ms");
    }

    #[test]
    fn old_connections_are_not_used() {
        let (mut pool, now) = (Pool::default(), Instant::now());
        for connection in 0..2 {
            pool.acquire(now, &BOUNDS);
            pool.release(connection, now, Duration::ZERO, &BOUNDS);
        }
        pool.acquire(now, &BOUNDS);
        pool.acquire(now, &BOUNDS);
        pool.release(1, now + Duration::from_secs(1), Duration::ZERO, &BOUNDS);
        assert_eq!(pool.expire(now + Duration::from_secs(3), &BOUNDS), Vec::<u32>::new());
        assert_eq!(pool.acquire(now + Duration::from_secs(6), &BOUNDS), Acquired::Open);
        assert_eq!((pool.idle(), pool.open()), (0, 2));
    }

    #[test]
    fn how_long_connects_are_refused_is_told() {
        let (mut pool, now) = (Pool::default(), Instant::now());
        assert_eq!(pool.note_connect(true, now), Duration::ZERO);
        assert_eq!(pool.note_connect(true, now + Duration::from_secs(2)), Duration::from_secs(2));
        pool.note_connect(false, now);
        assert_eq!(pool.note_connect(true, now + Duration::from_secs(3)), Duration::ZERO);
    }

    #[test]
    fn a_websocket_gets_no_place_above_the_hard_bound() {
        let mut pool = Pool::default();
        for _ in 0..BOUNDS.hard {
            assert_eq!(pool.take_slot_within(&BOUNDS), Some(None));
            pool.detach(&BOUNDS);
        }
        assert_eq!(pool.take_slot_within(&BOUNDS), None);
        assert_eq!(pool.acquire(Instant::now(), &BOUNDS), Acquired::Wait);
        pool.close_stream(&BOUNDS);
        assert_eq!(pool.take_slot_within(&BOUNDS), Some(None));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Acquire,
        Release,
        Close,
        Detach,
        CloseStream,
        Grow,
        Expire,
        Discard,
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Acquire),
            3 => Just(Step::Release),
            1 => Just(Step::Close),
            1 => Just(Step::Detach),
            1 => Just(Step::CloseStream),
            1 => Just(Step::Grow),
            1 => Just(Step::Expire),
            1 => Just(Step::Discard),
            2 => (0u64..3000).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Against a model that only counts: lent connections, and the queue in order.
        #[test]
        fn bounds_hold_nobody_is_forgotten_and_the_queue_is_fair(steps in prop::collection::vec(step(), 1..200)) {
            let (mut pool, mut now) = (Pool::default(), Instant::now());
            let (mut lent, mut streams, mut next, mut queue) = (0usize, 0usize, 0u32, VecDeque::new());
            for step in steps {
                match step {
                    Step::Acquire => match pool.acquire(now, &BOUNDS) {
                        Acquired::Reuse(_) | Acquired::Open => lent += 1,
                        Acquired::Wait => { pool.wait(next, now); queue.push_back(next); next += 1; }
                    },
                    Step::Release if lent > 0 => match pool.release(0, now, Duration::ZERO, &BOUNDS) {
                        Handover::Connection(waiter, _) => prop_assert_eq!(Some(waiter), queue.pop_front()),
                        Handover::Kept => lent -= 1,
                        Handover::Surplus(_) => prop_assert!(false, "the bounds did not change"),
                    },
                    Step::Close if lent > 0 => match pool.close(&BOUNDS) {
                        Some(waiter) => prop_assert_eq!(Some(waiter), queue.pop_front()),
                        None => lent -= 1,
                    },
                    Step::Detach if lent > 0 => {
                        streams += 1;
                        match pool.detach(&BOUNDS) {
                            Some(waiter) => prop_assert_eq!(Some(waiter), queue.pop_front()),
                            None => lent -= 1,
                        }
                    }
                    Step::CloseStream if streams > 0 => {
                        streams -= 1;
                        if let Some(waiter) = pool.close_stream(&BOUNDS) {
                            prop_assert_eq!(Some(waiter), queue.pop_front());
                            lent += 1;
                        }
                    }
                    Step::Grow => for waiter in pool.grow(now, &BOUNDS) {
                        prop_assert_eq!(Some(waiter), queue.pop_front());
                        lent += 1;
                    },
                    Step::Expire => { pool.expire(now, &BOUNDS); }
                    Step::Discard => { pool.discard_idle(); }
                    Step::Pass(ms) => now += Duration::from_millis(ms),
                    Step::Release | Step::Close | Step::Detach | Step::CloseStream => {}
                }
                prop_assert_eq!(pool.open(), lent + pool.idle());
                prop_assert!(pool.open() + pool.streams() <= BOUNDS.hard);
                prop_assert_eq!(pool.waiting(), queue.len());
                prop_assert!(queue.is_empty() || pool.idle() == 0, "someone waits beside an idle connection");
                prop_assert!(queue.is_empty() || lent + streams > 0, "someone waits for nothing");
            }
        }
    }
}

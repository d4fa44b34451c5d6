//! The state of a client's connection between its requests. It contains no rights that a later request would not be
//! checked for again: browsers send requests for several names over one connection (RFC 9113, section 9.1.1).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use parking_lot::Mutex;

use super::Worker;
use super::route::Route;
use crate::clock::LazyTimer;

/// A client's connection.
#[derive(Debug)]
pub struct ClientLink {
    pub worker: Arc<Worker>,
    /// According to the connection or the PROXY header.
    pub peer: IpAddr,
    pub peer_value: HeaderValue,
    /// The peer is a trusted proxy.
    pub trusted: bool,
    pub https: bool,
    pub clock: ConnectionClock,
    memory: Mutex<LinkMemory>,
}

#[derive(Debug, Default)]
struct LinkMemory {
    /// The route of the last name.
    route: Option<Arc<Route>>,
    session: Option<Arc<KnownSession>>,
    timer: LazyTimer,
}

/// A session that was verified on this connection: its cookie need not be hashed again while it is the same.
#[derive(Debug)]
pub struct KnownSession {
    /// The whole `Cookie` line.
    pub cookie: HeaderValue,
    /// The part that the pod receives.
    pub cleaned: Option<HeaderValue>,
    /// The route that it was verified for.
    pub route: Arc<Route>,
    pub user: Arc<str>,
    pub until: Instant,
}

impl KnownSession {
    pub fn holds(&self, route: &Arc<Route>) -> bool {
        Arc::ptr_eq(&self.route, route) && Instant::now() < self.until
    }
}

impl ClientLink {
    pub fn new(
        worker: Arc<Worker>,
        peer: IpAddr,
        trusted: bool,
        https: bool,
        clock: ConnectionClock,
    ) -> ClientLink {
        let peer_value =
            HeaderValue::from_str(&peer.to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        ClientLink { worker, peer, peer_value, trusted, https, clock, memory: Mutex::default() }
    }

    pub fn route(&self) -> Option<Arc<Route>> {
        self.memory.lock().route.clone()
    }

    pub fn set_route(&self, route: &Arc<Route>) {
        self.memory.lock().route = Some(Arc::clone(route));
    }

    pub fn session(&self) -> Option<Arc<KnownSession>> {
        self.memory.lock().session.clone()
    }

    pub fn set_session(&self, session: Arc<KnownSession>) {
        self.memory.lock().session = Some(session);
    }

    pub fn take_timer(&self) -> LazyTimer {
        std::mem::take(&mut self.memory.lock().timer)
    }

    pub fn put_timer(&self, timer: LazyTimer) {
        self.memory.lock().timer = timer;
    }
}

/// The deadline of a client connection's current phase: a request head, the pause between two requests, or a blocked
/// write. Checked by the connection's task whenever it is otherwise idle.
#[derive(Debug)]
pub struct ConnectionClock {
    state: Mutex<ClockState>,
    pub limits: ClockLimits,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct ClockLimits {
    pub head: Duration,
    pub idle: Duration,
    pub send: Duration,
}

#[derive(Debug)]
struct ClockState {
    /// Requests whose response is not complete.
    active: u32,
    /// When the first byte of a head arrived; none while there is none.
    head_since: Option<Instant>,
    idle_since: Instant,
    /// Since when the client has accepted no data.
    blocked_since: Option<Instant>,
    multiplexed: bool,
    requests: u64,
}

impl ConnectionClock {
    pub fn new(limits: ClockLimits, now: Instant) -> ConnectionClock {
        ConnectionClock {
            state: Mutex::new(ClockState {
                active: 0,
                // The time limit of a head also covers a new connection's first byte.
                head_since: Some(now),
                idle_since: now,
                blocked_since: None,
                multiplexed: false,
                requests: 0,
            }),
            limits,
        }
    }

    /// Bytes came in.
    pub fn received(&self) {
        let mut state = self.state.lock();
        if state.active == 0 && state.head_since.is_none() && !state.multiplexed {
            state.head_since = Some(Instant::now());
        }
    }

    /// A head is complete; returns when its first byte arrived.
    pub fn begin_request(&self, multiplexed: bool) -> Instant {
        let mut state = self.state.lock();
        state.active += 1;
        state.requests += 1;
        let first = state.requests == 1;
        state.multiplexed |= multiplexed;
        let since = state.head_since.take();
        // The first head may have been awaited for a while.
        since.filter(|_| !first).unwrap_or_else(Instant::now)
    }

    pub fn end_request(&self, now: Instant) {
        let mut state = self.state.lock();
        state.active = state.active.saturating_sub(1);
        state.idle_since = now;
    }

    /// The client has accepted what was written, or not.
    pub fn wrote(&self, blocked: bool) {
        let mut state = self.state.lock();
        if !blocked {
            state.blocked_since = None;
        } else if state.blocked_since.is_none() {
            state.blocked_since = Some(Instant::now());
        }
    }

    /// When to close the connection in the current state.
    pub fn deadline(&self) -> Option<Instant> {
        let state = self.state.lock();
        let blocked = state.blocked_since.map(|since| since + self.limits.send);
        if state.active > 0 {
            return blocked;
        }
        let phase = match state.head_since {
            Some(since) => since + self.limits.head,
            None => state.idle_since + self.limits.idle,
        };
        Some(blocked.map_or(phase, |blocked| blocked.min(phase)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_deadline() {
        let second = Duration::from_secs(1);
        let limits = ClockLimits { head: 10 * second, idle: 75 * second, send: 60 * second };
        let start = Instant::now();
        let clock = ConnectionClock::new(limits, start);
        assert_eq!(clock.deadline(), Some(start + limits.head));
        clock.received();
        assert_eq!(clock.deadline(), Some(start + limits.head), "more bytes of a head gain no time");
        clock.begin_request(false);
        assert_eq!(clock.deadline(), None);
        clock.wrote(true);
        assert!(clock.deadline().is_some());
        clock.wrote(false);
        assert_eq!(clock.deadline(), None);
        clock.end_request(start + second);
        assert_eq!(clock.deadline(), Some(start + second + limits.idle));
        clock.received();
        assert!(clock.deadline().is_some_and(|at| at < start + second + limits.idle));
    }

    #[test]
    fn a_ping_of_http2_is_not_the_beginning_of_a_head() {
        let second = Duration::from_secs(1);
        let limits = ClockLimits { head: second, idle: 75 * second, send: second };
        let start = Instant::now();
        let clock = ConnectionClock::new(limits, start);
        clock.begin_request(true);
        clock.end_request(start);
        clock.received();
        assert_eq!(clock.deadline(), Some(start + limits.idle));
    }
}

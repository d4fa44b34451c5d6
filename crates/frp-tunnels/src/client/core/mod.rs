//! The decisions of a client, pure: what frpc said, what the probes found and what time it is go in; what is to
//! be done comes out.
//!
//! ```text
//! inputs  what each event means for the tunnels
//! ```

mod inputs;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::backoff::Backoff;
use crate::events::{TunnelEvent, TunnelEventKind};
use crate::failure::{Failure, FailureClass};
use crate::spec::{Probe, TunnelSpec};
use crate::state::{TunnelState, TunnelStatus};

/// Both clocks at one moment: one for waits, one for people.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub instant: Instant,
    pub timestamp: Timestamp,
}

/// The waits of a client.
#[derive(Debug, Clone)]
pub struct Timing {
    /// A tunnel that is not connected after this long has failed; it is tried further.
    pub connect_deadline: Duration,
    /// frpc's own waits grow to 20 s; a process without a session for longer than this is restarted.
    pub session_loss_limit: Duration,
    /// Between probes of a tunnel that is connected.
    pub probe_interval: Duration,
    /// Between polls of frpc's own status.
    pub status_interval: Duration,
    pub restart_first: Duration,
    pub restart_longest: Duration,
    /// A process that ran for this long has not failed at its start.
    pub stable_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect_deadline: Duration::from_secs(20),
            session_loss_limit: Duration::from_secs(10),
            probe_interval: Duration::from_secs(30),
            status_interval: Duration::from_secs(5),
            restart_first: Duration::from_millis(250),
            restart_longest: Duration::from_secs(30),
            stable_after: Duration::from_secs(60),
        }
    }
}

/// First and longest wait between two attempts at one tunnel.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Probes that must fail in a row before a connected tunnel is called disconnected.
const MAX_FAILED_PROBES: u32 = 3;
/// The longest wait between two probes of a tunnel whose first connection is still waited for.
const AWAITED_INTERVAL: Duration = Duration::from_secs(2);
/// Between the probes of a connected tunnel after one has failed.
const DOUBT_INTERVAL: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start frpc towards this server, an index into the settings' list.
    Start {
        server: usize,
    },
    /// End frpc; its end is then reported as any other.
    Stop,
    Reload,
    Probe {
        tunnel: String,
        generation: u64,
    },
    /// Ask frpc for its status.
    AskStatus,
}

#[derive(Debug)]
enum Process {
    Stopped,
    /// Not again before; `None`: not before the configuration changes.
    Waiting(Option<Instant>),
    Starting,
    Running {
        since: Instant,
        session: Session,
    },
    Stopping,
}

#[derive(Debug)]
enum Session {
    Connecting { since: Instant },
    Established { since: Instant },
}

/// One tunnel and what is known of it.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "five independent facts, each set and read by itself")]
pub struct Tracked {
    pub spec: TunnelSpec,
    pub status: TunnelStatus,
    /// Counted up so that frpc starts it again.
    pub attempt: u32,
    pub rewriting: Option<SocketAddr>,
    /// Where frps offers it, in frps' words.
    pub remote_address: Option<String>,
    /// frps took it, or the visitor listens.
    is_accepted: bool,
    /// frpc has taken a configuration with it.
    is_loaded: bool,
    /// A visitor whose address could not be had since the session began.
    is_bind_refused: bool,
    /// frpc refused it: it is left out.
    is_refused: bool,
    generation: u64,
    is_probing: bool,
    failed_probes: u32,
    probe_at: Option<Instant>,
    retry_at: Option<Instant>,
    retry: Backoff,
    deadline: Option<Instant>,
    /// The latest reason, and whether it says surely what is wrong.
    last_failure: Option<Failure>,
}

/// All tunnels of one frpc, and that frpc.
#[derive(Debug)]
pub struct ClientCore {
    timing: Timing,
    tunnels: BTreeMap<String, Tracked>,
    process: Process,
    restart: Backoff,
    server: usize,
    server_count: usize,
    is_changed: bool,
    is_reloading: bool,
    status_at: Option<Instant>,
    session_failure: Option<Failure>,
    next_generation: u64,
    /// The visitor that frpc is trying again.
    tried_visitor: Option<String>,
    actions: Vec<Action>,
    events: Vec<TunnelEvent>,
}

impl ClientCore {
    pub fn new(timing: Timing, server_count: usize) -> Self {
        let restart = Backoff::new(timing.restart_first, timing.restart_longest);
        Self {
            timing,
            tunnels: BTreeMap::new(),
            process: Process::Stopped,
            restart,
            server: 0,
            server_count: server_count.max(1),
            is_changed: false,
            is_reloading: false,
            status_at: None,
            session_failure: None,
            next_generation: 0,
            tried_visitor: None,
            actions: Vec::new(),
            events: Vec::new(),
        }
    }

    pub fn tunnels(&self) -> &BTreeMap<String, Tracked> {
        &self.tunnels
    }

    /// Those that frpc is to be configured with.
    pub fn wanted(&self) -> impl Iterator<Item = (&String, &Tracked)> {
        self.tunnels.iter().filter(|(_, tracked)| !tracked.is_refused)
    }

    pub fn is_session_established(&self) -> bool {
        matches!(self.process, Process::Running { session: Session::Established { .. }, .. })
    }

    /// What is to be done now, in this order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub fn take_events(&mut self) -> Vec<TunnelEvent> {
        std::mem::take(&mut self.events)
    }

    /// One more tunnel, under a name that is free.
    pub fn add(&mut self, name: String, spec: TunnelSpec, rewriting: Option<SocketAddr>, now: Moment) {
        self.emit(now, TunnelEventKind::Created { tunnel: name.clone(), kind: spec.kind.label() });
        let tracked = Tracked {
            spec,
            status: TunnelStatus::new(now.timestamp),
            attempt: 0,
            rewriting,
            remote_address: None,
            is_accepted: false,
            is_loaded: false,
            is_bind_refused: false,
            is_refused: false,
            generation: 0,
            is_probing: false,
            failed_probes: 0,
            probe_at: None,
            retry_at: None,
            retry: Backoff::new(RETRY_WAITS.0, RETRY_WAITS.1),
            deadline: Some(now.instant + self.timing.connect_deadline),
            last_failure: None,
        };
        self.tunnels.insert(name, tracked);
        self.configuration_changed();
    }

    /// Removes a tunnel and returns its last status. Live connections through it continue.
    pub fn remove(&mut self, name: &str, now: Moment) -> Option<TunnelStatus> {
        self.set_state(name, TunnelState::Closed, now);
        let removed = self.tunnels.remove(name)?;
        self.emit(now, TunnelEventKind::Removed { tunnel: name.to_owned() });
        self.configuration_changed();
        Some(removed.status)
    }

    /// Secrets may have changed: frpc is restarted and reads them again.
    pub fn restart(&mut self) {
        if matches!(self.process, Process::Running { .. }) {
            self.stop_process();
        }
    }

    fn configuration_changed(&mut self) {
        self.is_changed = true;
        if matches!(self.process, Process::Waiting(None)) {
            self.process = Process::Stopped;
            self.restart.reset();
        }
    }

    /// Whatever is due.
    pub fn tick(&mut self, now: Moment) {
        match &self.process {
            Process::Stopped if !self.tunnels.is_empty() => self.start_process(),
            Process::Waiting(Some(until)) if *until <= now.instant => self.start_process(),
            Process::Running { session, .. } => {
                let lost_since = match session {
                    Session::Connecting { since } => Some(*since),
                    Session::Established { .. } => None,
                };
                if lost_since.is_some_and(|since| now.instant >= since + self.timing.session_loss_limit) {
                    self.next_server();
                    self.stop_process();
                } else if self.is_changed && !self.is_reloading {
                    self.is_changed = false;
                    self.is_reloading = true;
                    self.actions.push(Action::Reload);
                }
            }
            _ => {}
        }
        self.tick_tunnels(now);
        if self.is_session_established() && self.status_at.is_none_or(|at| at <= now.instant) {
            self.status_at = Some(now.instant + self.timing.status_interval);
            self.actions.push(Action::AskStatus);
        }
    }

    fn tick_tunnels(&mut self, now: Moment) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        let mut failed = Vec::new();
        let mut is_retried = false;
        for (name, tracked) in &mut self.tunnels {
            if is_due(tracked.retry_at) {
                tracked.retry_at = None;
                tracked.attempt = tracked.attempt.saturating_add(1);
                is_retried = true;
            }
            if is_due(tracked.probe_at) && tracked.is_accepted && !tracked.is_probing {
                tracked.probe_at = None;
                tracked.is_probing = true;
                let generation = tracked.generation;
                self.actions.push(Action::Probe { tunnel: name.clone(), generation });
            }
            if is_due(tracked.deadline) {
                tracked.deadline = None;
                failed.push(name.clone());
            }
        }
        self.is_changed |= is_retried;
        for name in failed {
            let reason = self.tunnels.get(&name).and_then(|tracked| tracked.last_failure.clone());
            let reason = reason.or_else(|| self.session_failure.clone());
            let timed_out = || {
                let seconds = self.timing.connect_deadline.as_secs();
                Failure::new(FailureClass::TimedOut, format!("not connected within {seconds} s"))
            };
            let failure = reason.unwrap_or_else(timed_out);
            self.fail(&name, failure, now);
        }
    }

    /// When [`Self::tick`] has something to do next; `None`: only after another input.
    pub fn next_wake(&self) -> Option<Instant> {
        let of_process = match &self.process {
            Process::Waiting(until) => *until,
            Process::Running { session: Session::Connecting { since }, .. } => {
                Some(*since + self.timing.session_loss_limit)
            }
            Process::Running { .. } => self.status_at,
            _ => None,
        };
        let of_tunnels = self.tunnels.values().flat_map(|tracked| {
            let probe = tracked.probe_at.filter(|_| tracked.is_accepted && !tracked.is_probing);
            [probe, tracked.retry_at, tracked.deadline]
        });
        of_tunnels.flatten().chain(of_process).min()
    }

    fn start_process(&mut self) {
        self.process = Process::Starting;
        self.is_changed = false;
        self.is_reloading = false;
        self.actions.push(Action::Start { server: self.server });
    }

    fn stop_process(&mut self) {
        self.process = Process::Stopping;
        self.actions.push(Action::Stop);
    }

    fn next_server(&mut self) {
        self.server = (self.server + 1) % self.server_count;
    }

    fn emit(&mut self, now: Moment, kind: TunnelEventKind) {
        self.events.push(TunnelEvent { at: now.timestamp, kind });
    }

    /// Goes to the state if it may follow; a step that may not is left out.
    fn set_state(&mut self, name: &str, next: TunnelState, now: Moment) {
        let Some(tracked) = self.tunnels.get_mut(name) else { return };
        match tracked.status.become_state(next.clone(), now.timestamp) {
            Ok(Some(from)) => {
                let kind = TunnelEventKind::StateChanged { tunnel: name.to_owned(), from, to: next };
                self.emit(now, kind);
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(event = "tunnel_state_kept", tunnel = name, %error, "state kept"),
        }
    }

    fn fail(&mut self, name: &str, failure: Failure, now: Moment) {
        let Some(tracked) = self.tunnels.get_mut(name) else { return };
        tracked.last_failure = Some(failure.clone());
        if tracked.status.state == TunnelState::Connected {
            self.set_state(name, TunnelState::Disconnected(failure), now);
        } else {
            tracked.deadline = None;
            self.set_state(name, TunnelState::Failed(failure), now);
        }
    }

    fn names(&self) -> Vec<String> {
        self.tunnels.keys().cloned().collect()
    }
}

impl Tracked {
    fn needs_probe(&self) -> bool {
        self.spec.effective_probe() != Probe::Accepted
    }
}

//! One tunnel: opened at a free address, its state, and whether something comes through it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frp_tunnels::backoff::Backoff;
use frp_tunnels::client::{Tunnel, TunnelClient};
use frp_tunnels::events::TunnelEvent;
use frp_tunnels::failure::{Failure as FrpFailure, FailureClass};
use frp_tunnels::probe::{ProbeTarget, run_probe};
use frp_tunnels::spec::Probe;
use frp_tunnels::state::TunnelState;
use jiff::Timestamp;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::pod_tunnels::TunnelParts;
use super::translate::{PlannedTunnel, client_settings, task_failure};
use crate::config::FrpTunnel;
use crate::failure::Failure;
use crate::insight::{TunnelErrorReport, TunnelReport};
use crate::tunnel::{EntranceKind, TunnelEntrance};

/// Between two attempts at opening it at all.
const OPENING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Between two probes of a tunnel through which nothing came.
const SUSPECTED: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How often a tunnel without a session is probed.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// One with sessions is probed less often: working sessions prove the tunnel, and each probe costs the server one more
/// session. Idle ones prove nothing.
const CHECKS_PER_PROBE: u32 = 4;
/// Events of a tunnel's many parts come together.
const TOGETHER: Duration = Duration::from_millis(10);

/// A tunnel of connections.ini, and its current state.
#[derive(Debug)]
pub(super) struct ManagedTunnel {
    pub config: Arc<FrpTunnel>,
    /// Whether the servers behind it speak first.
    pub greets: bool,
    /// The connections that use it.
    users: Mutex<Vec<String>>,
    status: Mutex<TunnelStatus>,
    opened: Mutex<Option<OpenedTunnel>>,
    /// When the last probe began.
    probing: tokio::sync::Mutex<Option<Instant>>,
    /// A connection through it has failed.
    suspected: Notify,
}

/// Its reported state.
#[derive(Clone, Debug)]
struct TunnelStatus {
    state: &'static str,
    failure: Option<FrpFailure>,
    since: Timestamp,
    connects: u64,
    suspicion: Option<FrpFailure>,
}

/// The tunnel as opened by frpc.
#[derive(Debug)]
struct OpenedTunnel {
    entrance: TunnelEntrance,
    parts: Arc<OpenVisitors>,
    probe: Probe,
}

/// The control connection's visitor first. They are closed with the last session through them.
#[derive(Debug)]
struct OpenVisitors {
    visitors: Vec<Tunnel>,
    _client: Arc<TunnelClient>,
}

/// References to the parts that `OpenedTunnel` itself holds.
const OWN_HOLDERS: usize = 2;

/// Why watching ended.
enum WatchEnd {
    Stopped,
    /// Its address is not free, or its frpc is gone.
    Reopen,
}

impl ManagedTunnel {
    pub fn new(config: Arc<FrpTunnel>, greets: bool, users: Vec<String>) -> Self {
        let (state, since) = (TunnelState::Pending.label(), Timestamp::now());
        let status = TunnelStatus { state, failure: None, since, connects: 0, suspicion: None };
        ManagedTunnel {
            config,
            greets,
            users: Mutex::new(users),
            status: Mutex::new(status),
            opened: Mutex::default(),
            probing: tokio::sync::Mutex::default(),
            suspected: Notify::new(),
        }
    }

    pub fn set_users(&self, users: Vec<String>) {
        *lock(&self.users) = users;
    }

    /// Keeps it open until `stop`.
    pub async fn run(self: Arc<Self>, parts: Arc<TunnelParts>, stop: CancellationToken) {
        let mut wait = Backoff::new(OPENING.0, OPENING.1);
        let mut attempt = 0;
        loop {
            let opened = tokio::select! {
                () = stop.cancelled() => return,
                opened = self.open(&parts, attempt) => opened,
            };
            match opened {
                Ok(events) => {
                    if let WatchEnd::Stopped = self.watch(&parts, events, &stop).await {
                        return;
                    }
                    attempt += 1;
                }
                Err(failure) => self.set_state(&TunnelState::Failed(failure), &parts),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait.next_wait()) => {}
            }
        }
    }

    async fn open(
        &self,
        parts: &TunnelParts,
        attempt: u32,
    ) -> Result<broadcast::Receiver<TunnelEvent>, FrpFailure> {
        let settings = client_settings(&self.config, &parts.identity)?;
        let client = parts.clients.client(&self.config, settings).await?;
        let planned = PlannedTunnel::new(&self.config, &parts.identity, attempt, self.greets)?;
        let events = client.events();
        let mut adding = JoinSet::new();
        for (at, visitor) in planned.visitors.into_iter().enumerate() {
            let client = Arc::clone(&client);
            adding.spawn(async move { (at, client.add(visitor).await) });
        }
        let mut added = adding.join_all().await;
        added.sort_by_key(|(at, _)| *at);
        let refused = |error| FrpFailure::new(FailureClass::ConfigurationInvalid, format!("{error}"));
        let visitors =
            added.into_iter().map(|(_, added)| added.map_err(refused)).collect::<Result<_, _>>()?;
        let open_visitors = Arc::new(OpenVisitors { visitors, _client: client });
        let entrance = TunnelEntrance::new(planned.entrance, Arc::<OpenVisitors>::clone(&open_visitors));
        *lock(&self.opened) = Some(OpenedTunnel { entrance, parts: open_visitors, probe: planned.probe });
        Ok(events)
    }

    async fn watch(
        &self,
        parts: &TunnelParts,
        mut events: broadcast::Receiver<TunnelEvent>,
        stop: &CancellationToken,
    ) -> WatchEnd {
        let mut suspected = Backoff::new(SUSPECTED.0, SUSPECTED.1);
        let mut next_probe = Instant::now() + PROBE_EVERY;
        let mut skipped_checks = 0;
        loop {
            if self.refresh(parts) {
                return WatchEnd::Reopen;
            }
            tokio::select! {
                () = stop.cancelled() => return WatchEnd::Stopped,
                event = events.recv() => {
                    if matches!(event, Err(broadcast::error::RecvError::Closed)) {
                        return WatchEnd::Reopen;
                    }
                    sleep(TOGETHER).await;
                    events = events.resubscribe();
                }
                () = self.suspected.notified() => next_probe = Instant::now() + suspected.next_wait(),
                () = sleep_until(next_probe) => {
                    let wait = match self.probe_if_due(&mut skipped_checks).await {
                        None => {
                            suspected.reset();
                            PROBE_EVERY
                        }
                        Some(_) => suspected.next_wait(),
                    };
                    next_probe = Instant::now() + wait;
                }
            }
        }
    }

    /// Probes it unless its sessions show that it works; returns what is wrong with it.
    async fn probe_if_due(&self, skipped_checks: &mut u32) -> Option<FrpFailure> {
        let is_suspected = self.status().suspicion.is_some();
        let (is_up, is_used) = {
            let opened = lock(&self.opened);
            let opened = opened.as_ref()?;
            (opened.state().0 == TunnelState::Connected, opened.entrance.holders() > OWN_HOLDERS)
        };
        *skipped_checks += 1;
        let is_due = !is_used || is_suspected || *skipped_checks >= CHECKS_PER_PROBE;
        if !is_up || !is_due {
            return None;
        }
        *skipped_checks = 0;
        let mut last = self.probing.lock().await;
        self.probe(&mut last).await
    }

    async fn probe(&self, last: &mut Option<Instant>) -> Option<FrpFailure> {
        let (probe, address) = {
            let opened = lock(&self.opened);
            let opened = opened.as_ref()?;
            (opened.probe.clone(), address(opened.entrance.kind))
        };
        *last = Some(Instant::now());
        let target = ProbeTarget { through: Some(address), ..ProbeTarget::default() };
        let found = run_probe(&probe, &target).await.err();
        self.status().suspicion.clone_from(&found);
        found
    }

    /// A connection through it has failed: returns what is wrong with the tunnel, if anything.
    pub async fn diagnose(&self, parts: &TunnelParts) -> Option<Failure> {
        let asked = Instant::now();
        let mut last = self.probing.lock().await;
        self.refresh(parts);
        if let Some(outage) = self.outage() {
            return Some(outage);
        }
        // another connection has failed as well, and the tunnel was found to work since
        if last.is_some_and(|started| started >= asked) {
            return None;
        }
        let found = self.probe(&mut last).await;
        self.refresh(parts);
        if found.is_some() {
            self.suspected.notify_one();
        }
        found.map(|failure| task_failure(&self.config.name, &failure))
    }

    /// Checks its parts, and reports what has changed. True if it must be reopened.
    fn refresh(&self, parts: &TunnelParts) -> bool {
        let (state, connects) = match lock(&self.opened).as_ref() {
            Some(opened) => opened.state(),
            None => return false,
        };
        let is_address_taken =
            state.failure().is_some_and(|failure| failure.class == FailureClass::BindAddressTaken);
        let state = {
            let mut status = self.status();
            if connects > status.connects {
                // its own probe has succeeded since
                status.connects = connects;
                status.suspicion = None;
            }
            match (&status.suspicion, state) {
                (Some(suspicion), TunnelState::Connected) => TunnelState::Disconnected(suspicion.clone()),
                (_, state) => state,
            }
        };
        self.set_state(&state, parts);
        is_address_taken
    }

    /// Records a state, and reports it if it has changed.
    fn set_state(&self, state: &TunnelState, parts: &TunnelParts) {
        let (label, failure) = (state.label(), state.failure().cloned());
        let is_same = {
            let mut status = self.status();
            let is_same = status.state == label && status.failure == failure;
            if status.state != label {
                status.since = Timestamp::now();
            }
            status.state = label;
            status.failure.clone_from(&failure);
            is_same
        };
        if is_same {
            return;
        }
        let name = self.config.name.as_str();
        if let Some(failure) = &failure {
            let (class, error, advice) = (failure.class.label(), &failure.message, failure.class.advice());
            tracing::warn!(
                event = "tunnel_down",
                tunnel = name,
                state = label,
                class,
                error,
                advice,
                "tunnel is down; the tasks of its connections wait"
            );
            parts.metrics.tunnel_failed(name, class);
        } else {
            tracing::info!(event = "tunnel_state", tunnel = name, state = label, "tunnel is {label}");
        }
        parts.metrics.tunnel(name, label);
        self.announce(parts);
    }

    /// Reports its state to the users of connections through it.
    pub fn announce(&self, parts: &TunnelParts) {
        let outage = self.outage();
        let users = lock(&self.users).clone();
        parts.notify(&users, outage.as_ref());
    }

    /// Why it cannot be used; `None`: it can.
    pub fn outage(&self) -> Option<Failure> {
        let status = self.status().clone();
        if status.state == TunnelState::Connected.label() {
            return None;
        }
        let unknown = || FrpFailure::new(FailureClass::TimedOut, format!("is still {}", status.state));
        let failure = status.failure.clone().unwrap_or_else(unknown);
        Some(task_failure(&self.config.name, &failure))
    }

    /// Whether it is known that it does not work, rather than not known yet.
    pub fn has_failed(&self) -> bool {
        self.status().failure.is_some()
    }

    pub fn entrance(&self) -> Result<TunnelEntrance, Failure> {
        if let Some(outage) = self.outage() {
            return Err(outage);
        }
        let opened = lock(&self.opened);
        let entrance = opened.as_ref().map(|opened| opened.entrance.clone());
        entrance.ok_or_else(|| {
            let failure = FrpFailure::new(FailureClass::TimedOut, "is not open yet");
            task_failure(&self.config.name, &failure)
        })
    }

    pub fn report(&self) -> TunnelReport {
        let status = self.status().clone();
        let entrance = lock(&self.opened).as_ref().map(|opened| opened.entrance.kind);
        TunnelReport {
            name: self.config.name.clone(),
            servers: self.config.servers.clone(),
            state: status.state,
            since: status.since,
            address: entrance.map(address),
            leads_to: if self.config.passive_ports.is_some() { "ports" } else { "proxy" },
            connects: status.connects,
            connections: lock(&self.users).clone(),
            error: status.failure.map(|failure| TunnelErrorReport {
                class: failure.class.label(),
                advice: failure.class.advice(),
                message: failure.message,
            }),
        }
    }

    fn status(&self) -> MutexGuard<'_, TunnelStatus> {
        lock(&self.status)
    }
}

impl OpenedTunnel {
    /// The state of all its parts together, and how often the first one has become connected.
    fn state(&self) -> (TunnelState, u64) {
        let mut parts = self.parts.visitors.iter().map(Tunnel::status);
        let Some(control) = parts.next() else { return (TunnelState::Pending, 0) };
        let connects = u64::from(control.connections);
        if control.state != TunnelState::Connected {
            return (control.state, connects);
        }
        let mut others = parts.map(|part| part.state).filter(|state| *state != TunnelState::Connected);
        let first = others.next();
        // a part that has failed says more than one that is still connecting
        let says_why = |state: &TunnelState| state.failure().is_some();
        let failed = first.iter().find(|first| says_why(first)).cloned().or_else(|| others.find(says_why));
        let state = failed.or(first).unwrap_or(TunnelState::Connected);
        (state, connects)
    }
}

fn address(kind: EntranceKind) -> String {
    match kind {
        EntranceKind::Ports(address) | EntranceKind::Proxy(address) => address.to_string(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

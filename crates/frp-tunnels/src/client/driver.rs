//! Carries out what the core decides, and reports events to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::core::{Action, ClientCore, Moment, Tracked};
use super::running::{ReloadError, RunningFrpc};
use super::tunnel::{TunnelSnapshot, TunnelView};
use super::{ClientSettings, DroppedTunnels, OpenError};
use crate::admin::{AdminError, ProxyReport};
use crate::binary::FrpBinary;
use crate::events::{TunnelEvent, TunnelEventKind};
use crate::failure::{Failure, FailureClass};
use crate::lines::{LineLevel, LineMeaning, LogLine, parse_line};
use crate::places::{address_of, probe_target, target_of};
use crate::probe::run_probe;
use crate::process::{ExitReason, LastLines};
use crate::render::RenderedTunnel;
use crate::rewriting::RewritingProxy;
use crate::spec::{ConflictKind, Mistake, TunnelKind, TunnelSpec, choose_identifier, conflicts_with};

/// What guards and client ask for.
#[derive(Debug)]
pub(super) enum ClientCommand {
    Add { spec: Box<TunnelSpec>, permit: OwnedSemaphorePermit, answer: oneshot::Sender<AddAnswer> },
    Close { tunnel: String, answer: oneshot::Sender<()> },
    Snapshot { answer: oneshot::Sender<Vec<TunnelSnapshot>> },
    Restart,
    Shutdown,
}

type AddAnswer = Result<(String, watch::Receiver<TunnelView>), OpenError>;

/// What belongs to a tunnel besides its state.
#[derive(Debug)]
struct Slot {
    view: watch::Sender<TunnelView>,
    _permit: OwnedSemaphorePermit,
    _rewriting: Option<RewritingProxy>,
}

#[derive(Debug)]
pub(super) struct Driver {
    settings: ClientSettings,
    binary: FrpBinary,
    core: ClientCore,
    frpc: Option<RunningFrpc>,
    server: usize,
    last_lines: LastLines,
    slots: BTreeMap<String, Slot>,
    probes: JoinSet<(String, u64, Result<(), Failure>)>,
    statuses: JoinSet<Result<Vec<ProxyReport>, AdminError>>,
    /// Callers that wait until frpc has removed a tunnel.
    closing: Vec<oneshot::Sender<()>>,
    dropped: Arc<DroppedTunnels>,
    commands: mpsc::Receiver<ClientCommand>,
    events: broadcast::Sender<TunnelEvent>,
    is_shutting_down: bool,
}

fn now() -> Moment {
    Moment { instant: Instant::now(), timestamp: jiff::Timestamp::now() }
}

impl Driver {
    pub(super) fn new(
        settings: ClientSettings,
        binary: FrpBinary,
        dropped: Arc<DroppedTunnels>,
        commands: mpsc::Receiver<ClientCommand>,
        events: broadcast::Sender<TunnelEvent>,
    ) -> Self {
        let core = ClientCore::new(settings.timing.clone(), settings.server.servers.len());
        Self {
            settings,
            binary,
            core,
            frpc: None,
            server: 0,
            last_lines: LastLines::default(),
            slots: BTreeMap::new(),
            probes: JoinSet::new(),
            statuses: JoinSet::new(),
            closing: Vec::new(),
            dropped,
            commands,
            events,
            is_shutting_down: false,
        }
    }

    /// Until the client and all its guards are dropped, or until it is asked to end.
    pub(super) async fn run(mut self) {
        while !self.is_shutting_down {
            self.core.tick(now());
            self.act().await;
            self.publish();
            for waiting in self.closing.drain(..) {
                let _ = waiting.send(());
            }
            self.wait().await;
        }
        for name in self.slots.keys().cloned().collect::<Vec<_>>() {
            self.core.remove(&name, now());
        }
        self.publish();
        if let Some(frpc) = self.frpc.take() {
            let reason = frpc.stop().await;
            tracing::info!(event = "frpc_stopped", ?reason, "frpc stopped");
        }
    }

    /// Waits for the next event, and handles it.
    async fn wait(&mut self) {
        let wake = self.core.next_wake();
        let wake = wake.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
        let dropped = self.dropped.clone();
        tokio::select! {
            command = self.commands.recv() => {
                self.command(command).await;
                // tunnels that are opened together reach frpc in one reload
                while let Ok(command) = self.commands.try_recv() {
                    self.command(Some(command)).await;
                }
            }
            () = dropped.is_there.notified() => self.close_dropped(),
            line = next_line(self.frpc.as_mut()) => match line {
                Some(line) => self.line(line),
                None => self.ended().await,
            },
            Some(Ok((name, generation, result))) = self.probes.join_next() => {
                self.core.probed(&name, generation, result, now());
            }
            Some(Ok(status)) = self.statuses.join_next() => match status {
                Ok(reports) => self.core.status_reported(&reports, now()),
                Err(error) => {
                    tracing::warn!(event = "frpc_restarting", %error, "frpc does not answer: restarting it");
                    self.core.status_failed();
                }
            },
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }

    async fn command(&mut self, command: Option<ClientCommand>) {
        match command {
            Some(ClientCommand::Add { spec, permit, answer }) => {
                let added = self.add(*spec, permit).await;
                if let Err(Ok((name, _))) = answer.send(added) {
                    // the caller has given up
                    self.close(&name);
                }
            }
            Some(ClientCommand::Close { tunnel, answer }) => {
                self.close(&tunnel);
                self.closing.push(answer);
            }
            Some(ClientCommand::Snapshot { answer }) => {
                let _ = answer.send(self.snapshots());
            }
            Some(ClientCommand::Restart) => self.core.restart(),
            Some(ClientCommand::Shutdown) | None => self.is_shutting_down = true,
        }
    }

    async fn add(&mut self, mut spec: TunnelSpec, permit: OwnedSemaphorePermit) -> AddAnswer {
        let taken: BTreeSet<String> = self.slots.keys().cloned().collect();
        let name = choose_identifier(&self.settings.id_strategy, &spec, &taken, crate::random::bytes());
        spec.name = Some(name.clone());
        self.refuse_conflicts(&name, &spec)?;
        let rewriting = match &spec.kind {
            TunnelKind::Http(http) if http.needs_rewriting() => {
                Some(RewritingProxy::start(http).await.map_err(OpenError::Rewriting)?)
            }
            _ => None,
        };
        let address = rewriting.as_ref().map(RewritingProxy::address);
        self.core.add(name.clone(), spec, address, now());
        let status = crate::state::TunnelStatus::new(jiff::Timestamp::now());
        let (view, receiver) = watch::channel(TunnelView { status, address: None });
        self.slots.insert(name.clone(), Slot { view, _permit: permit, _rewriting: rewriting });
        Ok((name, receiver))
    }

    fn refuse_conflicts(&self, name: &str, spec: &TunnelSpec) -> Result<(), OpenError> {
        let others: Vec<&TunnelSpec> = self.core.tunnels().values().map(|tracked| &tracked.spec).collect();
        let mut refused = Vec::new();
        for conflict in conflicts_with(&others, spec) {
            let other =
                others.get(conflict.tunnels.0).and_then(|other| other.name.clone()).unwrap_or_default();
            let message = format!("{} by {other}", conflict.message);
            if conflict.kind == ConflictKind::Overlap {
                tracing::warn!(event = "tunnel_conflict", tunnel = name, other, "{}", conflict.message);
            } else {
                refused.push(Mistake { tunnel: name.to_owned(), key: "conflict", message });
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(OpenError::Invalid(refused)) }
    }

    fn close(&mut self, name: &str) {
        if let Some(status) = self.core.remove(name, now())
            && let Some(slot) = self.slots.remove(name)
        {
            slot.view.send_replace(TunnelView { status, address: None });
        }
    }

    fn close_dropped(&mut self) {
        for name in self.dropped.take() {
            self.close(&name);
        }
    }

    fn line(&mut self, text: String) {
        let line = parse_line(&text);
        if line.meaning == LineMeaning::AdminRequest {
            return;
        }
        log(&line);
        self.last_lines.push(text);
        self.core.line(line.meaning, now());
    }

    /// frpc has closed its output.
    async fn ended(&mut self) {
        let Some(mut frpc) = self.frpc.take() else { return };
        let reason = frpc.ended().await;
        let lines = self.last_lines.to_vec();
        let class = FailureClass::of_exit(&lines);
        let words = lines.iter().rev().find(|line| !line.trim().is_empty());
        let words =
            words.map_or_else(|| "frpc ended and said nothing".to_owned(), |line| parse_line(line).message);
        self.core.process_ended(describe(reason), Some(Failure::new(class, words)), now());
    }

    async fn act(&mut self) {
        loop {
            let actions = self.core.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.perform(action).await;
            }
            self.core.tick(now());
        }
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Start { server } => self.start(server).await,
            Action::Stop => {
                if let Some(frpc) = self.frpc.take() {
                    let reason = frpc.stop().await;
                    self.core.process_ended(describe(reason), None, now());
                }
            }
            Action::Reload => self.reload().await,
            Action::Probe { tunnel, generation } => self.probe(tunnel, generation),
            Action::AskStatus => {
                if let Some(frpc) = self.frpc.as_ref().filter(|_| self.statuses.is_empty()) {
                    let admin = frpc.admin();
                    self.statuses.spawn(async move { admin.status().await });
                }
            }
        }
    }

    async fn start(&mut self, server: usize) {
        let Some(address) = self.settings.server.servers.get(server).cloned() else { return };
        self.server = server;
        self.last_lines = LastLines::default();
        let tunnels: Vec<_> = self.core.wanted().map(rendered).collect();
        match RunningFrpc::start(&self.binary, &self.settings.server, &address, &tunnels).await {
            Ok(frpc) => {
                self.core.process_started(frpc.pid(), address.to_string(), now());
                self.frpc = Some(frpc);
            }
            Err(failure) => self.core.process_ended("not started".to_owned(), Some(failure), now()),
        }
    }

    async fn reload(&mut self) {
        let Some(frpc) = &mut self.frpc else { return };
        let tunnels: Vec<_> = self.core.wanted().map(rendered).collect();
        match frpc.reload(&tunnels).await {
            Ok(()) => self.core.reloaded(Ok(()), now()),
            Err(ReloadError::Refused(message)) => self.core.reloaded(Err(message), now()),
            Err(ReloadError::Unanswered(error)) => {
                tracing::warn!(
                    event = "frpc_restarting",
                    error,
                    "frpc did not accept a change: restarting it"
                );
                self.core.reload_failed();
            }
        }
    }

    fn probe(&mut self, tunnel: String, generation: u64) {
        let Some(tracked) = self.core.tunnels().get(&tunnel) else { return };
        let probe = tracked.spec.effective_probe();
        let target = probe_target(tracked, &self.server_host());
        self.probes.spawn(async move { (tunnel, generation, run_probe(&probe, &target).await) });
    }

    fn server_host(&self) -> String {
        let server = self.settings.server.servers.get(self.server);
        let host = self.settings.public_host.clone();
        host.or_else(|| server.map(|server| server.host.clone())).unwrap_or_default()
    }

    fn address(&self, tracked: &Tracked) -> Option<String> {
        address_of(tracked, &self.server_host())
    }

    fn snapshots(&self) -> Vec<TunnelSnapshot> {
        let snapshot = |(name, tracked): (&String, &Tracked)| TunnelSnapshot {
            name: name.clone(),
            kind: tracked.spec.kind.label(),
            target: target_of(&tracked.spec),
            address: self.address(tracked),
            status: tracked.status.clone(),
            metadata: tracked.spec.metadata.clone(),
        };
        self.core.tunnels().iter().map(snapshot).collect()
    }

    /// Notifies guards and readers of changes.
    fn publish(&mut self) {
        for (name, slot) in &self.slots {
            let Some(tracked) = self.core.tunnels().get(name) else { continue };
            let view = TunnelView { status: tracked.status.clone(), address: self.address(tracked) };
            slot.view.send_if_modified(|old| {
                let is_new = *old != view;
                *old = view;
                is_new
            });
        }
        // the guards have the change before its event is seen
        for event in self.core.take_events() {
            if self.settings.logs_tunnels || !is_of_one_tunnel(&event.kind) {
                log_event(&event);
            }
            // there may be no receiver
            let _ = self.events.send(event);
        }
    }
}

fn rendered<'a>((name, tracked): (&'a String, &'a Tracked)) -> RenderedTunnel<'a> {
    RenderedTunnel { name, spec: &tracked.spec, attempt: tracked.attempt, rewriting: tracked.rewriting }
}

/// Without a process there is no line.
async fn next_line(frpc: Option<&mut RunningFrpc>) -> Option<String> {
    match frpc {
        Some(frpc) => frpc.next_line().await,
        None => std::future::pending().await,
    }
}

fn describe(reason: ExitReason) -> String {
    match reason {
        ExitReason::Code(code) => format!("exit code {code}"),
        ExitReason::Signal(signal) => format!("signal {signal}"),
        ExitReason::Unknown => "end not observed".to_owned(),
    }
}

/// frpc's lines in this program's log.
fn log(line: &LogLine) {
    let LogLine { message, tunnel, .. } = line;
    match line.level {
        LineLevel::Error => tracing::error!(target: "frpc", event = "frpc_line", tunnel, "{message}"),
        LineLevel::Warn | LineLevel::Bare => {
            tracing::warn!(target: "frpc", event = "frpc_line", tunnel, "{message}");
        }
        LineLevel::Info => tracing::debug!(target: "frpc", event = "frpc_line", tunnel, "{message}"),
        LineLevel::Debug | LineLevel::Trace => {
            tracing::trace!(target: "frpc", event = "frpc_line", tunnel, "{message}");
        }
    }
}

fn is_of_one_tunnel(event: &TunnelEventKind) -> bool {
    use TunnelEventKind::{Created, Removed, StateChanged};
    matches!(event, Created { .. } | Removed { .. } | StateChanged { .. })
}

fn log_event(event: &TunnelEvent) {
    match &event.kind {
        TunnelEventKind::StateChanged { tunnel, from, to } => {
            let (from, state) = (from.label(), to.label());
            if let Some(failure) = to.failure() {
                tracing::warn!(event = "tunnel_state", tunnel, from, state, class = %failure.class, "{failure}");
            } else {
                tracing::info!(event = "tunnel_state", tunnel, from, state, "tunnel changed state");
            }
        }
        TunnelEventKind::ProcessStarted { pid, server } => {
            tracing::info!(event = "frpc_started", pid, server, "frpc started");
        }
        TunnelEventKind::ProcessStopped { reason, failure } => {
            let failure = failure.as_ref().map(ToString::to_string);
            tracing::warn!(event = "frpc_exited", reason, failure, "frpc exited");
        }
        TunnelEventKind::SessionEstablished => {
            tracing::info!(event = "frps_session_established", "session with frps established");
        }
        TunnelEventKind::SessionLost => tracing::warn!(event = "frps_session_lost", "session with frps lost"),
        TunnelEventKind::ConfigurationRefused { message } => {
            tracing::error!(event = "frpc_config_rejected", message, "configuration rejected");
        }
        TunnelEventKind::Created { tunnel, kind } => {
            tracing::info!(event = "tunnel_created", tunnel, kind, "tunnel created");
        }
        TunnelEventKind::Removed { tunnel } => {
            tracing::info!(event = "tunnel_removed", tunnel, "tunnel removed");
        }
        TunnelEventKind::Reloaded => tracing::debug!(event = "frpc_reloaded", "frpc reloaded"),
    }
}

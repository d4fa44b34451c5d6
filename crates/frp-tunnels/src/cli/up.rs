//! `up`: all tunnels of a file, kept as the file says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use service_kit::health::{Health, Heartbeat};
use service_kit::http;
use service_kit::signals::{SignalRequest, Signals};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::args::UpArgs;
use super::output::Output;
use super::run::{client, open_error, signals};
use super::{CommandError, CommandExit, api};
use crate::client::{Tunnel, TunnelClient};
use crate::events::{TunnelEvent, TunnelEventKind};
use crate::exposition::{Exposition, event_json};
use crate::render::fingerprint;
use crate::state::TunnelState;
use crate::tunnel_file::{TunnelFile, read_tunnel_file};

/// How often the file is checked for changes.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// How often the tunnels' figures are copied to `/metrics`, in addition to each event.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How long the figures may be older than an event: many tunnels change together.
const STALE_AFTER_EVENT: Duration = Duration::from_millis(50);
/// The loop that watches the client beats at least so often.
const LOOP_LIMIT: Duration = Duration::from_secs(60);

fn read(path: &Path) -> Result<TunnelFile, CommandError> {
    read_tunnel_file(path).map_err(|error| CommandError::new(CommandExit::Configuration, error))
}

pub(super) async fn up(args: UpArgs, output: Output) -> Result<(), CommandError> {
    let file = read(&args.file)?;
    for warning in &file.warnings {
        tracing::warn!(event = "tunnel_file_warning", "{}: {warning}", args.file.display());
    }
    if args.check {
        let count = file.tunnels.len();
        let value =
            json!({ "file": args.file.display().to_string(), "tunnels": count, "warnings": file.warnings });
        output.result(&format!("{}: {count} tunnels, valid", args.file.display()), &value);
        return Ok(());
    }
    let mut signals = signals()?;
    let client = client(file.client.clone()).await?;
    let monitor = Monitor::start(&client, Some(args.listen)).await?;
    let mut wanted =
        FileTunnels { path: args.file.clone(), changed_at: modified(&args.file), tunnels: BTreeMap::new() };
    wanted.apply(&client, &file).await.map_err(|error| open_error(&error))?;
    let result = monitor.run(&client, &mut signals, output, Some(&mut wanted)).await;
    client.shutdown().await;
    result
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

/// The tunnels of a file, each by its key, with what it was made of.
#[derive(Debug)]
pub(super) struct FileTunnels {
    path: PathBuf,
    changed_at: Option<SystemTime>,
    tunnels: BTreeMap<String, ([u8; 32], Tunnel)>,
}

impl FileTunnels {
    /// Closes what is gone or changed, and opens what is new; all else stays untouched.
    async fn apply(
        &mut self,
        client: &TunnelClient,
        file: &TunnelFile,
    ) -> Result<(), crate::client::OpenError> {
        let mut wanted = BTreeMap::new();
        for (at, spec) in file.tunnels.iter().enumerate() {
            // one without a name is known by its content
            let print = fingerprint(spec);
            let key = spec.name.clone().unwrap_or_else(|| format!("{at} {print:x?}"));
            wanted.insert(key, (print, spec));
        }
        let gone: Vec<String> = self
            .tunnels
            .iter()
            .filter(|(key, (print, _))| wanted.get(*key).is_none_or(|(new, _)| new != print))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some((_, tunnel)) = self.tunnels.remove(&key) {
                tunnel.close().await;
            }
        }
        for (key, (print, spec)) in wanted {
            if let std::collections::btree_map::Entry::Vacant(place) = self.tunnels.entry(key) {
                place.insert((print, client.add(spec.clone()).await?));
            }
        }
        Ok(())
    }

    /// Reads the file again; a mistake in it changes nothing.
    async fn reload(&mut self, client: &TunnelClient) {
        self.changed_at = modified(&self.path);
        match read_tunnel_file(&self.path) {
            Ok(file) => match self.apply(client, &file).await {
                Ok(()) => tracing::info!(
                    event = "tunnel_file_applied",
                    tunnels = self.tunnels.len(),
                    "tunnel file applied"
                ),
                Err(error) => {
                    tracing::error!(event = "tunnel_file_partly_applied", %error, "tunnel file applied in part");
                }
            },
            Err(error) => {
                tracing::error!(event = "tunnel_file_rejected", %error, "tunnel file rejected: the previous tunnels stay");
            }
        }
    }

    fn has_changed(&self) -> bool {
        let now = modified(&self.path);
        now.is_some() && now != self.changed_at
    }
}

/// Follows a client: prints changes, answers HTTP.
#[derive(Debug)]
pub(super) struct Monitor {
    exposition: Arc<Exposition>,
    health: Arc<Health>,
    heartbeat: Arc<Heartbeat>,
    events: Receiver<TunnelEvent>,
    server: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Monitor {
    pub(super) async fn start(
        client: &TunnelClient,
        listen: Option<SocketAddr>,
    ) -> Result<Self, CommandError> {
        let software = |error: prometheus::Error| CommandError::new(CommandExit::Software, error);
        let exposition = Exposition::new().map_err(software)?;
        let health = Arc::new(Health::default());
        let heartbeat = health.register_loop("client", LOOP_LIMIT);
        let stop = CancellationToken::new();
        let mut server = None;
        if let Some(address) = listen {
            let listener = http::bind("--listen", &address.ip().to_string(), address.port()).await;
            let listener = listener.map_err(|error| CommandError::new(CommandExit::Configuration, error))?;
            let routes = api::routes(health.clone(), exposition.clone());
            server = Some(tokio::spawn(http::serve(listener, routes, stop.clone())));
        }
        Ok(Self { exposition, health, heartbeat, events: client.events(), server, stop })
    }

    /// Until a signal ends it.
    pub(super) async fn run(
        mut self,
        client: &TunnelClient,
        signals: &mut Signals,
        output: Output,
        mut file: Option<&mut FileTunnels>,
    ) -> Result<(), CommandError> {
        let mut refresh = tokio::time::interval(REFRESH_INTERVAL);
        let mut look = tokio::time::interval(FILE_INTERVAL);
        let mut is_stale = false;
        loop {
            tokio::select! {
                request = signals.next() => match (request, file.as_deref_mut()) {
                    (SignalRequest::Stop, _) => break,
                    (SignalRequest::Reload, Some(file)) => file.reload(client).await,
                    (SignalRequest::Reload, None) => {}
                },
                event = self.events.recv() => match event {
                    Ok(event) => {
                        self.event(&event, output);
                        if !std::mem::replace(&mut is_stale, true) {
                            refresh.reset_after(STALE_AFTER_EVENT);
                        }
                    }
                    Err(RecvError::Lagged(missed)) => tracing::warn!(event = "events_missed", missed, "events were missed"),
                    Err(RecvError::Closed) => {
                        return Err(CommandError::new(CommandExit::Software, "the client ended by itself"));
                    }
                },
                _ = refresh.tick() => {
                    is_stale = false;
                    self.refresh(client).await;
                }
                _ = look.tick() => {
                    if let Some(file) = file.as_deref_mut().filter(|file| file.has_changed()) {
                        file.reload(client).await;
                    }
                }
            }
        }
        self.health.set_draining();
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            let _ = server.await;
        }
        Ok(())
    }

    fn event(&self, event: &TunnelEvent, output: Output) {
        self.exposition.event(event);
        if output.is_json() {
            output.result("", &event_json(event));
        } else if let TunnelEventKind::StateChanged { tunnel, to, .. } = &event.kind {
            output.result(&format!("{tunnel}: {to}"), &json!(null));
        }
    }

    async fn refresh(&self, client: &TunnelClient) {
        let tunnels = client.tunnels().await;
        let not_connected = tunnels.iter().filter(|tunnel| tunnel.status.state != TunnelState::Connected);
        let names: Vec<&str> = not_connected.map(|tunnel| tunnel.name.as_str()).take(10).collect();
        if names.is_empty() {
            self.health.clear_not_ready("tunnels");
        } else {
            self.health.set_not_ready("tunnels", format!("not connected: {}", names.join(", ")));
        }
        self.exposition.tunnels(tunnels);
        self.heartbeat.beat();
    }
}

//! What a running client shows: JSON of its tunnels and events, and Prometheus metrics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use serde_json::{Value, json};
use service_kit::metrics::{EncodeMetrics, ProcessMetrics, encode};

use crate::client::TunnelSnapshot;
use crate::events::{TunnelEvent, TunnelEventKind};
use crate::state::TunnelState;

/// Events kept for later readers.
pub const MAX_KEPT_EVENTS: usize = 1000;

/// A tunnel for people's programs.
pub fn tunnel_json(tunnel: &TunnelSnapshot) -> Value {
    let failure = tunnel.status.state.failure();
    json!({
        "name": tunnel.name,
        "type": tunnel.kind,
        "target": tunnel.target,
        "address": tunnel.address,
        "state": tunnel.status.state.label(),
        "since": tunnel.status.since.to_string(),
        "created_at": tunnel.status.created_at.to_string(),
        "last_connected_at": tunnel.status.last_connected_at.map(|at| at.to_string()),
        "connections": tunnel.status.connections,
        "connect_seconds": tunnel.status.connect_duration.map(|duration| duration.as_secs_f64()),
        "error": failure.map(|failure| json!({
            "class": failure.class.label(),
            "message": failure.message,
            "advice": failure.class.advice(),
        })),
        "metadata": tunnel.metadata,
    })
}

/// An event for people's programs.
pub fn event_json(event: &TunnelEvent) -> Value {
    let mut value = json!({ "at": event.at.to_string(), "event": event.kind.label() });
    let detail = match &event.kind {
        TunnelEventKind::Created { tunnel, kind } => json!({ "tunnel": tunnel, "type": kind }),
        TunnelEventKind::StateChanged { tunnel, from, to } => json!({
            "tunnel": tunnel,
            "from": from.label(),
            "to": to.label(),
            "class": to.failure().map(|failure| failure.class.label()),
            "message": to.failure().map(|failure| failure.message.clone()),
        }),
        TunnelEventKind::Removed { tunnel } => json!({ "tunnel": tunnel }),
        TunnelEventKind::ProcessStarted { pid, server } => json!({ "pid": pid, "server": server }),
        TunnelEventKind::ProcessStopped { reason, failure } => json!({
            "reason": reason,
            "class": failure.as_ref().map(|failure| failure.class.label()),
            "message": failure.as_ref().map(|failure| failure.message.clone()),
        }),
        TunnelEventKind::ConfigurationRefused { message } => json!({ "message": message }),
        TunnelEventKind::SessionEstablished | TunnelEventKind::SessionLost | TunnelEventKind::Reloaded => {
            json!({})
        }
    };
    if let (Some(value), Value::Object(detail)) = (value.as_object_mut(), detail) {
        value.extend(detail);
    }
    value
}

/// The latest state of a client, kept for HTTP requests.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
    process: ProcessMetrics,
    tunnels: Mutex<Vec<TunnelSnapshot>>,
    events: Mutex<VecDeque<TunnelEvent>>,
    up: IntGaugeVec,
    state: IntGaugeVec,
    count: IntGaugeVec,
    connect_seconds: GaugeVec,
    connections: IntGaugeVec,
    session: IntGauge,
    restarts: IntCounter,
    sessions_lost: IntCounter,
    reloads: IntCounter,
    errors: IntCounterVec,
}

impl Exposition {
    pub fn new() -> prometheus::Result<Arc<Self>> {
        let registry = Registry::new();
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let connect_seconds = GaugeVec::new(
            Opts::new(
                "frp_tunnel_connect_seconds",
                "From the first attempt to the probe's success, the last time.",
            ),
            &["tunnel"],
        )?;
        registry.register(Box::new(connect_seconds.clone()))?;
        let errors = IntCounterVec::new(
            Opts::new(
                "frp_tunnel_errors_total",
                "Times that a tunnel got into an error or was disconnected, by class.",
            ),
            &["class"],
        )?;
        registry.register(Box::new(errors.clone()))?;
        let session = IntGauge::new("frp_tunnel_session_up", "1 while frpc is logged in to frps.")?;
        registry.register(Box::new(session.clone()))?;
        Ok(Arc::new(Self {
            process: ProcessMetrics::register(&registry)?,
            tunnels: Mutex::default(),
            events: Mutex::default(),
            up: gauges("frp_tunnel_up", "1 while the tunnel's probe succeeds.", &["tunnel", "type"])?,
            state: gauges(
                "frp_tunnel_state",
                "1 for the state that the tunnel is in.",
                &["tunnel", "state"],
            )?,
            count: gauges("frp_tunnel_count", "Tunnels by type and state.", &["type", "state"])?,
            connections: gauges(
                "frp_tunnel_connections",
                "How often the tunnel has become connected.",
                &["tunnel"],
            )?,
            connect_seconds,
            session,
            restarts: counter("frp_tunnel_process_starts_total", "Starts of frpc.")?,
            sessions_lost: counter("frp_tunnel_sessions_lost_total", "Sessions with frps that were lost.")?,
            reloads: counter("frp_tunnel_reloads_total", "Changes that frpc took while it ran.")?,
            errors,
            registry,
        }))
    }

    /// The names of all metrics of tunnels, also of those that have no series yet.
    pub fn names(&self) -> Vec<String> {
        let all: [&dyn Collector; 10] = [
            &self.up,
            &self.state,
            &self.count,
            &self.connections,
            &self.connect_seconds,
            &self.session,
            &self.restarts,
            &self.sessions_lost,
            &self.reloads,
            &self.errors,
        ];
        all.iter().flat_map(|metric| metric.desc()).map(|description| description.fq_name.clone()).collect()
    }

    /// Counts one event.
    pub fn event(&self, event: &TunnelEvent) {
        match &event.kind {
            TunnelEventKind::ProcessStarted { .. } => self.restarts.inc(),
            TunnelEventKind::SessionEstablished => self.session.set(1),
            TunnelEventKind::SessionLost => {
                self.session.set(0);
                self.sessions_lost.inc();
            }
            TunnelEventKind::ProcessStopped { .. } => self.session.set(0),
            TunnelEventKind::Reloaded => self.reloads.inc(),
            TunnelEventKind::StateChanged { to, .. } => {
                if let Some(failure) = to.failure() {
                    self.errors.with_label_values(&[failure.class.label()]).inc();
                }
            }
            _ => {}
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == MAX_KEPT_EVENTS {
            events.pop_front();
        }
        events.push_back(event.clone());
    }

    /// Replaces the snapshot of all tunnels.
    pub fn tunnels(&self, tunnels: Vec<TunnelSnapshot>) {
        self.up.reset();
        self.state.reset();
        self.count.reset();
        self.connections.reset();
        self.connect_seconds.reset();
        let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for tunnel in &tunnels {
            let (name, label) = (tunnel.name.as_str(), tunnel.status.state.label());
            let is_up = i64::from(tunnel.status.state == TunnelState::Connected);
            self.up.with_label_values(&[name, tunnel.kind]).set(is_up);
            for state in TunnelState::LABELS {
                self.state.with_label_values(&[name, state]).set(i64::from(state == label));
            }
            self.connections.with_label_values(&[name]).set(i64::from(tunnel.status.connections));
            if let Some(duration) = tunnel.status.connect_duration {
                self.connect_seconds.with_label_values(&[name]).set(duration.as_secs_f64());
            }
            *counts.entry((tunnel.kind, label)).or_default() += 1;
        }
        for ((kind, state), count) in counts {
            self.count.with_label_values(&[kind, state]).set(count);
        }
        *self.tunnels.lock().unwrap_or_else(PoisonError::into_inner) = tunnels;
    }

    /// `{"tunnels": […]}`
    pub fn tunnels_json(&self) -> Value {
        let tunnels = self.tunnels.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "tunnels": tunnels.iter().map(tunnel_json).collect::<Vec<_>>() })
    }

    /// `{"events": […]}`, the oldest first.
    pub fn events_json(&self) -> Value {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "events": events.iter().map(event_json).collect::<Vec<_>>() })
    }
}

impl EncodeMetrics for Exposition {
    fn encode(&self) -> String {
        self.process.refresh();
        encode(&self.registry)
    }
}

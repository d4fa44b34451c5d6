//! All tunnels of a pod: started, changed at a reload, and reported to the dispatcher.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use frp_tunnels::binary::{FrpProgram, find_binary};
use frp_tunnels::client::{ClientError, ClientSettings, TunnelClient};
use frp_tunnels::failure::{Failure as FrpFailure, FailureClass};
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::AppError;
use super::open_tunnel::ManagedTunnel;
use super::translate::PodIdentity;
use crate::config::{Config, ConfiguredConnections, FrpTunnel, TlsMode};
use crate::failure::{Code, Failure};
use crate::insight::TunnelReport;
use crate::metrics::Metrics;
use crate::tunnel::{TunnelDiagnosis, TunnelEntrance, Tunnels};

/// Notified of each change: the connection, and why its route is lost; `None`: it is up.
type RouteListener = Box<dyn Fn(&str, Option<&Failure>) + Send + Sync>;

/// What all tunnels share.
pub(super) struct TunnelParts {
    pub identity: PodIdentity,
    pub clients: SharedClients,
    pub metrics: Metrics,
    listener: RwLock<Option<RouteListener>>,
}

impl TunnelParts {
    pub fn notify(&self, connections: &[String], outage: Option<&Failure>) {
        let listener = self.listener.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = listener.as_ref() {
            for connection in connections {
                listener(connection, outage);
            }
        }
    }
}

impl fmt::Debug for TunnelParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelParts").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// One frpc for all tunnels that share a session with frps. It ends with the last of them.
#[derive(Debug, Default)]
pub(super) struct SharedClients(Mutex<Vec<(Arc<FrpTunnel>, Weak<TunnelClient>)>>);

impl SharedClients {
    pub async fn client(
        &self,
        tunnel: &Arc<FrpTunnel>,
        settings: ClientSettings,
    ) -> Result<Arc<TunnelClient>, FrpFailure> {
        let mut clients = self.0.lock().await;
        clients.retain(|(_, client)| client.strong_count() > 0);
        let shared = clients.iter().find(|(other, _)| other.shares_session_with(tunnel));
        if let Some(client) = shared.and_then(|(_, client)| client.upgrade()) {
            return Ok(client);
        }
        let client = TunnelClient::start(settings).await.map_err(|error| {
            let class = match &error {
                ClientError::Binary(_) => FailureClass::BinaryUnusable,
                ClientError::Settings(_) => FailureClass::ConfigurationInvalid,
            };
            FrpFailure::new(class, error.to_string())
        })?;
        let client = Arc::new(client);
        clients.push((Arc::clone(tunnel), Arc::downgrade(&client)));
        Ok(client)
    }
}

/// A tunnel's task ends when this is dropped. What its sessions hold stays until they are closed.
#[derive(Debug)]
struct RunningTunnel {
    tunnel: Arc<ManagedTunnel>,
    _stop: DropGuard,
}

/// The pod's tunnels.
#[derive(Debug)]
pub struct PodTunnels {
    parts: Arc<TunnelParts>,
    tunnels: RwLock<BTreeMap<String, RunningTunnel>>,
}

impl PodTunnels {
    /// Starts to open those in the configuration. Only a missing frpc is detected at once. Must be called within the
    /// runtime.
    ///
    /// # Errors
    /// If there are tunnels, but no usable frpc.
    pub async fn start(config: &Config, metrics: &Metrics) -> Result<Arc<PodTunnels>, AppError> {
        let identity = PodIdentity::of(config);
        if !config.connections.tunnels.is_empty() {
            let found = find_binary(FrpProgram::Client, identity.frpc.as_deref()).await;
            let found = found.map_err(|error| AppError::Tunnels(error.to_string()))?;
            let (frpc, version) = (found.path.display().to_string(), found.version.to_string());
            tracing::info!(event = "frpc_found", frpc, version, "frpc {version} carries the tunnels");
        }
        let (clients, listener) = (SharedClients::default(), RwLock::default());
        let parts = Arc::new(TunnelParts { identity, clients, metrics: metrics.clone(), listener });
        let tunnels = Arc::new(PodTunnels { parts, tunnels: RwLock::default() });
        tunnels.reconfigure(&config.connections);
        Ok(tunnels)
    }

    /// Reports every change from now on, and the present state.
    pub fn attach(&self, listener: impl Fn(&str, Option<&Failure>) + Send + Sync + 'static) {
        *self.parts.listener.write().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(listener));
        self.announce();
    }

    /// Opens what is new, and lets go of what is gone or has changed. Existing sessions through the latter keep theirs
    /// open until they are closed.
    pub fn reconfigure(&self, connections: &ConfiguredConnections) {
        let mut tunnels = self.tunnels.write().unwrap_or_else(PoisonError::into_inner);
        tunnels.retain(|name, _| {
            let is_wanted = connections.tunnels.contains_key(name);
            if !is_wanted {
                self.parts.metrics.forget_tunnel(name);
            }
            is_wanted
        });
        for (name, config) in &connections.tunnels {
            let users: Vec<_> =
                connections.ftp.values().filter(|ftp| ftp.network.via.as_ref() == Some(name)).collect();
            let greets = users.iter().all(|ftp| ftp.tls.mode != TlsMode::Implicit);
            let users = users.into_iter().map(|ftp| ftp.name.clone()).collect();
            if let Some(running) = tunnels.get(name)
                && running.tunnel.config == *config
                && running.tunnel.greets == greets
            {
                running.tunnel.set_users(users);
                continue;
            }
            let tunnel = Arc::new(ManagedTunnel::new(Arc::clone(config), greets, users));
            let stop = CancellationToken::new();
            tokio::spawn(Arc::clone(&tunnel).run(Arc::clone(&self.parts), stop.clone()));
            self.parts.metrics.tunnel(name, tunnel.report().state);
            tunnels.insert(name.clone(), RunningTunnel { tunnel, _stop: stop.drop_guard() });
        }
    }

    /// Reports the state of each to the listener.
    pub fn announce(&self) {
        for tunnel in self.all() {
            tunnel.announce(&self.parts);
        }
    }

    /// What the page and the API show.
    pub fn reports(&self) -> Vec<TunnelReport> {
        self.all().iter().map(|tunnel| tunnel.report()).collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<ManagedTunnel>> {
        let tunnels = self.tunnels.read().unwrap_or_else(PoisonError::into_inner);
        tunnels.values().map(|running| Arc::clone(&running.tunnel)).collect()
    }

    fn get(&self, tunnel: &str) -> Option<Arc<ManagedTunnel>> {
        let tunnels = self.tunnels.read().unwrap_or_else(PoisonError::into_inner);
        tunnels.get(tunnel).map(|running| Arc::clone(&running.tunnel))
    }

    /// Lets go of all.
    pub fn stop(&self) {
        self.tunnels.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Tunnels for PodTunnels {
    fn entrance(&self, tunnel: &str) -> Result<TunnelEntrance, Failure> {
        match self.get(tunnel) {
            Some(tunnel) => tunnel.entrance(),
            None => Err(Failure::new(Code::ConnectFailed, format!("there is no tunnel [{tunnel}] any more"))),
        }
    }

    fn diagnose<'a>(&'a self, tunnel: &'a str) -> TunnelDiagnosis<'a> {
        let found = self.get(tunnel);
        Box::pin(async move { found?.diagnose(&self.parts).await })
    }
}

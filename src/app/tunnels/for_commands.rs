//! Tunnels for `check` and `submit`, which have no pod: opened, awaited, and closed at the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::open_tunnel::ManagedTunnel;
use super::pod_tunnels::PodTunnels;
use crate::config::{Config, FtpConnection};
use crate::metrics::Metrics;
use crate::tunnel::Tunnels;

/// The interval for polling a tunnel that is not up yet.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// After `up_within`, for the reason why it is not up: the tunnel's own deadline began a moment later.
const REASON_GRACE: Duration = Duration::from_secs(2);

/// Tunnels that some connections need.
#[derive(Debug)]
pub struct CommandTunnels {
    /// The error if no frpc can be used.
    tunnels: Result<Arc<PodTunnels>, String>,
}

/// What came of one of them.
#[derive(Clone, Debug)]
pub struct TunnelFinding {
    pub tunnel: String,
    pub found: Result<String, String>,
}

impl CommandTunnels {
    /// Opens those through which these connections lead, or all.
    pub async fn open(config: &Config, only: Option<&[&str]>) -> CommandTunnels {
        let mut config = config.clone();
        let connections = &config.connections.ftp;
        let is_needed = |name: &str| {
            only.is_none_or(|only| {
                let mut connections = only.iter().filter_map(|connection| connections.get(*connection));
                connections.any(|connection| connection.network.via.as_deref() == Some(name))
            })
        };
        let needed = config.connections.tunnels.iter().filter(|(name, _)| is_needed(name));
        config.connections.tunnels =
            needed.map(|(name, tunnel)| (name.clone(), Arc::clone(tunnel))).collect();
        let tunnels = PodTunnels::start(&config, &Metrics::default()).await;
        CommandTunnels { tunnels: tunnels.map_err(|error| error.to_string()) }
    }

    /// Waits for each, `up_within` at most.
    pub async fn findings(&self) -> Vec<TunnelFinding> {
        let Ok(tunnels) = &self.tunnels else { return Vec::new() };
        let mut findings = Vec::new();
        for tunnel in tunnels.all() {
            let begun = Instant::now();
            let found = match settled(&tunnel).await {
                Ok(()) => {
                    let server = tunnel.config.servers.join(", ");
                    Ok(format!("{server}: something comes through, {} ms", begun.elapsed().as_millis()))
                }
                Err(error) => Err(error),
            };
            findings.push(TunnelFinding { tunnel: tunnel.config.name.clone(), found });
        }
        findings
    }

    /// The connection as it is to be opened: at its tunnel's entrance, once that is up.
    ///
    /// # Errors
    /// Why the tunnel is not up.
    pub async fn entering(&self, connection: &Arc<FtpConnection>) -> Result<Arc<FtpConnection>, String> {
        let Some(via) = &connection.network.via else { return Ok(Arc::clone(connection)) };
        let tunnels = self.tunnels.as_ref().map_err(Clone::clone)?;
        if let Some(tunnel) = tunnels.all().iter().find(|tunnel| tunnel.config.name == *via) {
            settled(tunnel).await?;
        }
        let entrance = tunnels.entrance(via).map_err(|failure| failure.message)?;
        Ok(Arc::new(connection.entering(entrance)))
    }
}

async fn settled(tunnel: &ManagedTunnel) -> Result<(), String> {
    let end = Instant::now() + tunnel.config.up_within + REASON_GRACE;
    loop {
        match tunnel.outage() {
            None => return Ok(()),
            // with several servers the next one is tried
            Some(outage)
                if Instant::now() >= end || (tunnel.has_failed() && tunnel.config.servers.len() == 1) =>
            {
                return Err(outage.message);
            }
            Some(_) => sleep(POLL_INTERVAL).await,
        }
    }
}

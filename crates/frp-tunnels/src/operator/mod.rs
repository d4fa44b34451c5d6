//! Tunnels as Kubernetes resources: a `TunnelServer` says where frps is, a `Tunnel` what is exposed through it or reached
//! behind it. The operator runs frpc itself, by this library: secrets go from the API server into frpc's memory file, a
//! change is a reload, and a status is what the probe found.
//!
//! Pure, from objects to what is to run, and back:
//!
//! - `resources`: the two resources; `manifests` renders their definitions.
//! - `secret_values`, `visitor_ports`, `translate`: a Tunnel in the words of [`crate::spec`].
//! - `plan`: one frpc for each TunnelServer and user; who takes whose place.
//! - `children`: the objects that the operator makes.
//! - `conditions`: what a status says.
//! - `lease_election`: which of several operators works.
//!
//! Effects: `cluster` (the API server), `leadership` (the Lease), `clients` (the running frpcs), `control` (the loop).

mod children;
mod clients;
mod cluster;
mod conditions;
mod control;
mod leadership;
mod lease_election;
mod manifests;
mod plan;
mod resources;
mod secret_values;
mod translate;
mod visitor_ports;

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use service_kit::health::Health;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use cluster::{ClusterError, FINALIZER};
pub use manifests::resource_definitions;
pub use plan::OperatorPlace;
pub use resources::{
    ExposeKind, ExposeSection, FtpServerSection, NamedPort, ResourceCondition, SecretKeyReference,
    ServerProtocol, ServerRunRequest, ServerTlsSection, ServiceTypeName, TunnelPartStatus, TunnelResource,
    TunnelResourceSpec, TunnelResourceStatus, TunnelServerResource, TunnelServerResourceSpec,
    TunnelServerResourceStatus, VisitKind, VisitSection,
};

use self::clients::RunningClients;
use self::cluster::Cluster;
use self::control::{Controller, ControllerMemory};
use self::leadership::LeaseHolder;
use self::visitor_ports::VisitorPorts;
use crate::exposition::Exposition;

/// The leader's loop beats at least so often, also where every request waits for its deadline.
const LOOP_LIMIT: Duration = Duration::from_secs(300);
/// For connecting to the API server, and for answers to the first lists.
const START_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct OperatorSettings {
    pub place: OperatorPlace,
    /// The Lease, and this operator's name in it.
    pub lease: String,
    pub identity: String,
    /// `None`: searched for.
    pub frpc: Option<PathBuf>,
    pub visitor_ports: RangeInclusive<u16>,
    /// Of a frps that is to be run.
    pub image: String,
}

#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("no way to the API server: {0}")]
    Configuration(String),
}

/// Works whenever it is the leader, until `stop`.
pub async fn run(
    settings: OperatorSettings,
    exposition: Arc<Exposition>,
    health: Arc<Health>,
    stop: CancellationToken,
) -> Result<(), OperatorError> {
    let wrong = |error: &dyn std::fmt::Display| OperatorError::Configuration(error.to_string());
    let config = Config::infer().await.map_err(|error| wrong(&error))?;
    let client = Client::try_from(config).map_err(|error| wrong(&error))?;
    let (holder, mut is_leader) =
        LeaseHolder::new(client.clone(), &settings.place.namespace, &settings.lease, &settings.identity);
    // given up last: the next leader may begin when everything of ours has ended
    let release = CancellationToken::new();
    let holding = tokio::spawn(holder.run(release.clone()));
    let cluster = Cluster::new(client, &settings.place.namespace, &settings.identity);
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            led = is_leader.wait_for(|is_leader| *is_leader) => if led.is_err() { break },
        }
        lead(&settings, &cluster, &exposition, &health, &mut is_leader, &stop).await;
    }
    release.cancel();
    let _ = holding.await;
    Ok(())
}

/// Until the lead is lost or `stop`.
async fn lead(
    settings: &OperatorSettings,
    cluster: &Cluster,
    exposition: &Arc<Exposition>,
    health: &Arc<Health>,
    is_leader: &mut watch::Receiver<bool>,
    stop: &CancellationToken,
) {
    let changed = Arc::new(Notify::new());
    let watches = cluster.watch(&changed);
    health.set_not_ready("watches", "the API server has not listed the resources yet");
    let lost = |is_leader: &bool| !*is_leader;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = is_leader.wait_for(lost) => return,
            ready = timeout(START_DEADLINE, watches.ready()) => match ready {
                Ok(()) => break,
                Err(_) => tracing::error!(
                    event = "resources_not_listed",
                    "the resources cannot be listed: are their definitions installed, and may this account list them?"
                ),
            }
        }
    }
    health.clear_not_ready("watches");
    let heartbeat = health.register_loop("operator", LOOP_LIMIT);
    let clients = RunningClients::new(settings.frpc.clone(), changed.clone(), exposition.clone());
    let mut controller = Controller {
        cluster: cluster.clone(),
        watches,
        changed,
        place: settings.place.clone(),
        image: settings.image.clone(),
        exposition: exposition.clone(),
        heartbeat: heartbeat.clone(),
        clients,
        ports: VisitorPorts::new(settings.visitor_ports.clone()),
        memory: ControllerMemory::default(),
    };
    let is_still_leader = tokio::select! {
        () = stop.cancelled() => true,
        _ = is_leader.wait_for(lost) => false,
        () = controller.work() => true,
    };
    controller.leave(is_still_leader).await;
    heartbeat.finish();
    exposition.tunnels(Vec::new());
}

//! The leader's work: looks at everything again whenever something has changed, brings it to what is declared, and says
//! what it found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;
use service_kit::health::Heartbeat;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::children::{ChildObject, children};
use super::clients::{Applied, Problems, RunningClients};
use super::cluster::{Cluster, ClusterError, FINALIZER, Watches, is_not_found};
use super::conditions::{StatusMoment, TunnelObservation, server_status, tunnel_status};
use super::plan::{AcceptedTunnel, ClientKey, ClusterObjects, OperatorPlace, Plan, plan};
use super::resources::{
    ResourceCondition, TunnelResource, TunnelResourceStatus, TunnelServerResource, TunnelServerResourceStatus,
};
use super::secret_values::{SecretValues, needed_secrets};
use super::visitor_ports::VisitorPorts;
use crate::client::TunnelSnapshot;
use crate::exposition::Exposition;
use crate::state::TunnelState;

/// Everything is looked at so often, whatever happens: Secrets are not watched, which would take the right to read all.
const RESYNC_INTERVAL: Duration = Duration::from_secs(10);
/// Changes that come together are one pass.
const TOGETHER: Duration = Duration::from_millis(100);
/// A Secret that was not there is looked for again after this.
const MISSING_SECRET_AGE: Duration = Duration::from_secs(2);
/// Our objects are compared with the API server's so often, in case somebody has changed them.
const CHILDREN_INTERVAL: Duration = Duration::from_secs(300);
/// For taking off all finalizers when the operator ends.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);

/// The tunnels that each frpc has, by name: an FTP server has up to a thousand, and each Tunnel looks for its own.
type PartIndex<'a> = BTreeMap<&'a ClientKey, BTreeMap<&'a str, &'a TunnelSnapshot>>;

#[derive(Debug)]
pub(super) struct Controller {
    pub(super) cluster: Cluster,
    pub(super) watches: Watches,
    pub(super) changed: Arc<Notify>,
    pub(super) place: OperatorPlace,
    pub(super) image: String,
    pub(super) exposition: Arc<Exposition>,
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) clients: RunningClients,
    pub(super) ports: VisitorPorts,
    pub(super) memory: ControllerMemory,
}

/// What it has read and written.
#[derive(Debug, Default)]
pub(super) struct ControllerMemory {
    secrets: SecretValues,
    secrets_read: BTreeMap<String, (bool, Instant)>,
    /// The statuses as they were written: the watch may lag behind.
    tunnels: BTreeMap<String, TunnelResourceStatus>,
    servers: BTreeMap<String, TunnelServerResourceStatus>,
    children: Vec<ChildObject>,
    children_looked: Option<Instant>,
}

impl Controller {
    /// Works until it is dropped. Cancel-safe between passes only: see [`Self::leave`].
    pub(super) async fn work(&mut self) {
        loop {
            self.pass().await;
            self.heartbeat.beat();
            tokio::select! {
                () = self.changed.notified() => sleep(TOGETHER).await,
                () = sleep(RESYNC_INTERVAL) => {}
            }
        }
    }

    async fn pass(&mut self) {
        let objects = self.objects().await;
        let plan = plan(&objects, &self.place, &mut self.ports);
        // before anything is open that would have to be closed
        self.add_finalizers(&objects, &plan).await;
        let mut applied = self.clients.apply(&plan).await;
        self.sync_children(&objects, &plan, &mut applied.problems).await;
        let snapshots = self.clients.snapshots().await;
        self.expose(&snapshots);
        let snapshots: PartIndex<'_> =
            snapshots.iter().map(|(client, parts)| (client, by_name(parts))).collect();
        self.finish_deleted(&objects, &applied).await;
        self.report_tunnels(&objects, &plan, &snapshots, &applied.problems).await;
        self.report_servers(&objects, &plan, &snapshots).await;
    }

    async fn objects(&mut self) -> ClusterObjects {
        let servers: Vec<TunnelServerResource> =
            self.watches.servers.state().iter().map(|server| (**server).clone()).collect();
        let tunnels: Vec<TunnelResource> =
            self.watches.tunnels.state().iter().map(|tunnel| (**tunnel).clone()).collect();
        let needed = needed_secrets(&servers, &tunnels);
        self.memory.secrets_read.retain(|name, _| needed.contains(name));
        for name in needed {
            let is_fresh = self.memory.secrets_read.get(&name).is_some_and(|(is_there, read)| {
                read.elapsed() < if *is_there { RESYNC_INTERVAL } else { MISSING_SECRET_AGE }
            });
            if is_fresh {
                continue;
            }
            match self.cluster.secret(&name).await {
                Ok(values) => {
                    self.memory.secrets_read.insert(name.clone(), (values.is_some(), Instant::now()));
                    self.memory.secrets.insert(&name, values);
                }
                // what was read before stays: a tunnel does not end since the API server is away
                Err(error) => {
                    tracing::warn!(event = "secret_unreadable", secret = name, %error, "cannot read a Secret");
                }
            }
        }
        let (stateful_sets, secrets) = (self.watches.stateful_pods(), self.memory.secrets.clone());
        ClusterObjects { servers, tunnels, stateful_sets, secrets }
    }

    async fn add_finalizers(&self, objects: &ClusterObjects, plan: &Plan) {
        let missing = objects.tunnels.iter().filter(|tunnel| {
            let is_accepted = matches!(plan.tunnels.get(name_of(tunnel)), Some(Ok(_)));
            is_accepted && tunnel.metadata.deletion_timestamp.is_none() && !has_finalizer(tunnel)
        });
        let added = missing.map(|tunnel| async move {
            let added = self.cluster.set_finalizer(tunnel, true).await;
            log_failure(added, name_of(tunnel), "add the finalizer");
        });
        join_all(added).await;
    }

    /// Takes the finalizer off what is deleted: it is closed, or this has been tried for long enough.
    async fn finish_deleted(&mut self, objects: &ClusterObjects, applied: &Applied) {
        for tunnel in &objects.tunnels {
            let name = name_of(tunnel);
            if tunnel.metadata.deletion_timestamp.is_none() || !has_finalizer(tunnel) {
                continue;
            }
            let is_down = self
                .memory
                .tunnels
                .get(name)
                .is_some_and(|status| status.parts > 0 && status.connected_parts == 0);
            if applied.unconfirmed.contains(name) {
                let note =
                    "frpc did not confirm in time that the tunnel is closed; it is started anew without it";
                self.cluster.tell(tunnel, true, "CloseNotConfirmed", note).await;
            } else if is_down {
                let note = "deleted while it was not connected; frps ends what it has of it with the session";
                self.cluster.tell(tunnel, true, "ClosedWhileDown", note).await;
            }
            let removed = self.cluster.set_finalizer(tunnel, false).await;
            if log_failure(removed, name, "remove the finalizer") {
                tracing::info!(
                    event = "tunnel_resource_finished",
                    tunnel = name,
                    "tunnel closed: its resource may go"
                );
            }
        }
        self.memory.tunnels.retain(|name, _| objects.tunnels.iter().any(|tunnel| name_of(tunnel) == name));
    }

    async fn sync_children(&mut self, objects: &ClusterObjects, plan: &Plan, problems: &mut Problems) {
        let wanted = children(objects, plan, &self.place, &self.image);
        let is_old = self.memory.children_looked.is_none_or(|looked| looked.elapsed() > CHILDREN_INTERVAL);
        if !is_old && wanted == self.memory.children {
            return;
        }
        let mut is_done = true;
        for child in &wanted {
            if !is_old && self.memory.children.contains(child) {
                continue;
            }
            if let Err(error) = self.cluster.apply_child(child).await {
                is_done = false;
                let (kind, name) = (child.kind.api().2, child.name.as_str());
                tracing::warn!(event = "child_not_applied", kind, name, %error, "cannot make an object");
                let reason = match error {
                    ClusterError::NotOurs { .. } => "NameTaken",
                    _ => "ObjectNotMade",
                };
                problems.insert(child.owner.1.clone(), (reason, error.to_string()));
            }
        }
        match self.cluster.sweep_children(&wanted).await {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => {
                tracing::info!(event = "children_deleted", objects = gone.join(", "), "objects deleted");
            }
            Err(error) => {
                is_done = false;
                tracing::warn!(event = "children_not_swept", %error, "cannot delete objects that are not wanted any more");
            }
        }
        if is_done {
            self.memory.children = wanted;
            self.memory.children_looked = Some(Instant::now());
        } else {
            self.memory.children.clear();
        }
    }

    fn expose(&self, snapshots: &BTreeMap<ClientKey, Vec<TunnelSnapshot>>) {
        let mut all = Vec::new();
        for ((_, user), tunnels) in snapshots {
            // as frps calls them
            all.extend(tunnels.iter().cloned().map(|mut tunnel| {
                tunnel.name = format!("{user}.{}", tunnel.name);
                tunnel
            }));
        }
        self.exposition.tunnels(all);
    }

    async fn report_tunnels(
        &mut self,
        objects: &ClusterObjects,
        plan: &Plan,
        snapshots: &PartIndex<'_>,
        problems: &Problems,
    ) {
        for tunnel in &objects.tunnels {
            let name = name_of(tunnel);
            let Some(outcome) = plan.tunnels.get(name) else { continue };
            let mut seen =
                TunnelObservation { problem: problems.get(name).cloned(), ..TunnelObservation::default() };
            if let Ok(accepted) = outcome {
                let parts = parts_of(accepted, snapshots);
                seen.parts = parts.flatten().map(|part| (part.name.as_str(), part)).collect();
            }
            let written = self.memory.tunnels.get(name).or(tunnel.status.as_ref());
            let now = Timestamp::now().to_string();
            let moment = StatusMoment { generation: tunnel.metadata.generation.unwrap_or(0), now: &now };
            let status = tunnel_status(outcome, &seen, written, moment);
            if written == Some(&status) && tunnel.status.as_ref() == Some(&status) {
                continue;
            }
            let before = condition(written.map(|status| status.conditions.as_slice()), "Ready").cloned();
            self.tell_of_change(tunnel, before.as_ref(), condition(Some(&status.conditions), "Ready")).await;
            let value = serde_json::to_value(&status).unwrap_or_default();
            if log_failure(self.cluster.write_tunnel_status(name, value).await, name, "write the status") {
                self.memory.tunnels.insert(name.to_owned(), status);
            }
        }
    }

    async fn tell_of_change(
        &self,
        tunnel: &TunnelResource,
        before: Option<&ResourceCondition>,
        after: Option<&ResourceCondition>,
    ) {
        let Some(after) = after else { return };
        let is_same =
            before.is_some_and(|before| before.status == after.status && before.reason == after.reason);
        // on its way it says nothing worth keeping
        if is_same || after.reason == "Connecting" {
            return;
        }
        let is_warning = after.status != "True";
        let reason = if is_warning { after.reason.as_str() } else { "Connected" };
        self.cluster.tell(tunnel, is_warning, reason, &after.message).await;
    }

    async fn report_servers(&mut self, objects: &ClusterObjects, plan: &Plan, snapshots: &PartIndex<'_>) {
        self.memory.servers.retain(|name, _| plan.servers.contains_key(name));
        for server in &objects.servers {
            let name = server.metadata.name.as_deref().unwrap_or_default();
            let Some(outcome) = plan.servers.get(name) else { continue };
            let of_server = snapshots.iter().filter(|((server, _), _)| server == name);
            let parts: Vec<&TunnelSnapshot> =
                of_server.flat_map(|(_, tunnels)| tunnels.values().copied()).collect();
            let tunnels = plan
                .tunnels
                .iter()
                .filter(|(_, outcome)| outcome.as_ref().is_ok_and(|accepted| accepted.client.0 == name));
            let (mut all, mut connected) = (0, 0);
            for (_, outcome) in tunnels {
                all += 1;
                let Ok(accepted) = outcome else { continue };
                let is_up = |part: Option<&TunnelSnapshot>| {
                    part.is_some_and(|part| part.status.state == TunnelState::Connected)
                };
                connected += usize::from(parts_of(accepted, snapshots).all(is_up));
            }
            let written = self.memory.servers.get(name).or(server.status.as_ref());
            let now = Timestamp::now().to_string();
            let moment = StatusMoment { generation: server.metadata.generation.unwrap_or(0), now: &now };
            let status = server_status(outcome, (all, connected), &parts, written, moment);
            if written == Some(&status) && server.status.as_ref() == Some(&status) {
                continue;
            }
            let value = serde_json::to_value(&status).unwrap_or_default();
            if log_failure(self.cluster.write_server_status(name, value).await, name, "write the status") {
                self.memory.servers.insert(name.to_owned(), status);
            }
        }
    }

    /// Ends all tunnels. A finalizer is on a Tunnel only while somebody could close it: with the operator's end they go,
    /// so that nothing sticks where it is not started again.
    pub(super) async fn leave(self, is_leader: bool) {
        let tunnels = self.watches.tunnels.state();
        self.clients.shutdown().await;
        if !is_leader {
            return;
        }
        let cluster = &self.cluster;
        let removed = tunnels.iter().filter(|tunnel| has_finalizer(tunnel)).map(|tunnel| async move {
            let name = name_of(tunnel);
            // its status was written since the watch saw it, perhaps
            if let Ok(Some(current)) = cluster.tunnel(name).await {
                let removed = cluster.set_finalizer(&current, false).await;
                log_failure(removed, name, "remove the finalizer");
            }
        });
        if timeout(LEAVE_DEADLINE, join_all(removed)).await.is_err() {
            tracing::warn!(event = "finalizers_left", "not every finalizer could be taken off in time");
        }
    }
}

fn by_name(parts: &[TunnelSnapshot]) -> BTreeMap<&str, &TunnelSnapshot> {
    parts.iter().map(|part| (part.name.as_str(), part)).collect()
}

/// The parts of a Tunnel, in its order; `None` for one that its frpc does not have.
fn parts_of<'a>(
    accepted: &'a AcceptedTunnel,
    snapshots: &'a PartIndex<'_>,
) -> impl Iterator<Item = Option<&'a TunnelSnapshot>> {
    let own = snapshots.get(&accepted.client);
    accepted.parts.iter().map(move |part| own.and_then(|own| own.get(part.as_str())).copied())
}

fn name_of(tunnel: &TunnelResource) -> &str {
    tunnel.metadata.name.as_deref().unwrap_or_default()
}

fn has_finalizer(tunnel: &TunnelResource) -> bool {
    tunnel.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

fn condition<'a>(conditions: Option<&'a [ResourceCondition]>, kind: &str) -> Option<&'a ResourceCondition> {
    conditions?.iter().find(|condition| condition.kind == kind)
}

/// True where it was done. What has changed meanwhile, or is gone, is seen in the next pass.
fn log_failure(result: Result<(), ClusterError>, resource: &str, what: &str) -> bool {
    match result {
        Ok(()) => true,
        Err(ClusterError::Refused(error))
            if is_not_found(&error) || matches!(&*error, kube::Error::Api(status) if status.code == 409) =>
        {
            false
        }
        Err(error) => {
            tracing::warn!(event = "resource_not_changed", resource, %error, "cannot {what}; trying again");
            false
        }
    }
}

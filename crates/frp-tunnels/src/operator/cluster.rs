//! The API server: what is watched, read and written there. Each request has a deadline.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::{self, Lookup, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::children::{ChildKind, ChildObject, MANAGED_BY};
use super::resources::{API_GROUP, API_VERSION, TunnelResource, TunnelServerResource};
use super::translate::StatefulPods;

/// For one request; the API server's own limit is a minute.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Field manager, and the reporter of events.
pub(super) const MANAGER: &str = "frp-tunnels-operator";
/// On a Tunnel while the operator has it open.
pub const FINALIZER: &str = "tunnels.ftp-pooler.io/close";

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("the API server: {0}")]
    Refused(#[from] Box<kube::Error>),
    #[error("the API server did not answer within {} s", REQUEST_DEADLINE.as_secs())]
    TimedOut,
    #[error("{kind} {name:?} is there already and belongs to somebody else")]
    NotOurs { kind: &'static str, name: String },
}

pub(super) async fn within<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClusterError> {
    match timeout(REQUEST_DEADLINE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ClusterError::Refused(Box::new(error))),
        Err(_) => Err(ClusterError::TimedOut),
    }
}

/// One namespace of a cluster.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
    recorder: Recorder,
}

impl Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Copies of what is in the namespace, kept by watches.
#[derive(Debug)]
pub(super) struct Watches {
    pub(super) servers: Store<TunnelServerResource>,
    pub(super) tunnels: Store<TunnelResource>,
    pub(super) stateful_sets: Store<StatefulSet>,
    /// Ends with this.
    _tasks: JoinSet<()>,
}

impl Cluster {
    pub(super) fn new(client: Client, namespace: &str, identity: &str) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, namespace: namespace.to_owned(), recorder }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Watches until the watches are dropped, and notifies `changed` of each change.
    pub(super) fn watch(&self, changed: &Arc<Notify>) -> Watches {
        let mut tasks = JoinSet::new();
        Watches {
            servers: watch_kind(self.api(), changed.clone(), "TunnelServer", &mut tasks),
            tunnels: watch_kind(self.api(), changed.clone(), "Tunnel", &mut tasks),
            stateful_sets: watch_kind(self.api(), changed.clone(), "StatefulSet", &mut tasks),
            _tasks: tasks,
        }
    }

    /// `None`: there is none of this name.
    pub(super) async fn secret(
        &self,
        name: &str,
    ) -> Result<Option<BTreeMap<String, SecretString>>, ClusterError> {
        let found = within(self.api::<Secret>().get_opt(name)).await?;
        let value = |bytes: Vec<u8>| SecretString::from(String::from_utf8_lossy(&bytes).into_owned());
        Ok(found.map(|secret| {
            secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, value(bytes.0))).collect()
        }))
    }

    pub(super) async fn write_tunnel_status(&self, name: &str, status: Value) -> Result<(), ClusterError> {
        self.write_status(&self.api::<TunnelResource>(), "Tunnel", name, status).await
    }

    pub(super) async fn write_server_status(&self, name: &str, status: Value) -> Result<(), ClusterError> {
        self.write_status(&self.api::<TunnelServerResource>(), "TunnelServer", name, status).await
    }

    /// Applied, so that what the status does not say any more goes away.
    async fn write_status<K>(
        &self,
        api: &Api<K>,
        kind: &str,
        name: &str,
        status: Value,
    ) -> Result<(), ClusterError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let api_version = format!("{API_GROUP}/{API_VERSION}");
        let body = json!({ "apiVersion": api_version, "kind": kind, "status": status });
        let parameters = PatchParams::apply(MANAGER).force();
        within(api.patch_status(name, &parameters, &Patch::Apply(body))).await.map(drop)
    }

    /// Puts our finalizer on a Tunnel or takes it off, only over this version of it: others have finalizers, too.
    pub(super) async fn set_finalizer(
        &self,
        tunnel: &TunnelResource,
        is_there: bool,
    ) -> Result<(), ClusterError> {
        let name = tunnel.metadata.name.clone().unwrap_or_default();
        let mut finalizers = tunnel.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if is_there {
            finalizers.push(FINALIZER.to_owned());
        }
        let version = &tunnel.metadata.resource_version;
        let body = json!({ "metadata": { "resourceVersion": version, "finalizers": finalizers } });
        let api = self.api::<TunnelResource>();
        within(api.patch(&name, &PatchParams::default(), &Patch::Merge(body))).await.map(drop)
    }

    /// The Tunnel as it is now; `None`: gone.
    pub(super) async fn tunnel(&self, name: &str) -> Result<Option<TunnelResource>, ClusterError> {
        within(self.api::<TunnelResource>().get_opt(name)).await
    }

    fn children(&self, kind: ChildKind) -> Api<DynamicObject> {
        let (group, version, word, plural) = kind.api();
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: word.to_owned(),
            plural: plural.to_owned(),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Makes or changes one of our objects; one of the same name that is not ours is left alone.
    pub(super) async fn apply_child(&self, child: &ChildObject) -> Result<(), ClusterError> {
        let api = self.children(child.kind);
        if let Some(found) = within(api.get_opt(&child.name)).await? {
            let owners = found.metadata.owner_references.unwrap_or_default();
            if !owners.iter().any(|owner| owner.uid == child.owner.2) {
                return Err(ClusterError::NotOurs { kind: child.kind.api().2, name: child.name.clone() });
            }
        }
        let parameters = PatchParams::apply(MANAGER).force();
        within(api.patch(&child.name, &parameters, &Patch::Apply(&child.manifest))).await.map(drop)
    }

    /// Deletes objects of ours that are not wanted any more; gives their names.
    pub(super) async fn sweep_children(&self, wanted: &[ChildObject]) -> Result<Vec<String>, ClusterError> {
        let mut gone = Vec::new();
        let ours = ListParams::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
        for kind in ChildKind::ALL {
            let api = self.children(kind);
            for found in within(api.list(&ours)).await?.items {
                let name = found.metadata.name.unwrap_or_default();
                if !wanted.iter().any(|child| child.kind == kind && child.name == name) {
                    match within(api.delete(&name, &DeleteParams::background())).await {
                        Ok(_) => gone.push(format!("{} {name}", kind.api().2)),
                        Err(ClusterError::Refused(error)) if is_not_found(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(gone)
    }

    /// Told in the namespace's events; the log has it in any case.
    pub(super) async fn tell<K>(&self, about: &K, is_warning: bool, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let event = Event {
            type_: if is_warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            // the API takes 1 kB
            note: Some(note.chars().take(900).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let reference = about.object_ref(&());
        if let Err(error) = within(self.recorder.publish(&event, &reference)).await {
            tracing::warn!(event = "event_not_published", reason, %error, "an event could not be published");
        }
    }
}

pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn watch_kind<K>(api: Api<K>, changed: Arc<Notify>, kind: &'static str, tasks: &mut JoinSet<()>) -> Store<K>
where
    K: Resource<DynamicType = ()>
        + Lookup<DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (reader, writer) = reflector::store();
    let stream = watcher(api, watcher::Config::default()).default_backoff();
    let stream = reflector::reflector(writer, stream);
    tasks.spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(_) => changed.notify_one(),
                Err(error) => {
                    tracing::warn!(event = "watch_failed", kind, %error, "cannot watch {kind}s; trying again");
                }
            }
        }
    });
    reader
}

impl Watches {
    /// Resolves when all have been listed once.
    pub(super) async fn ready(&self) {
        let _ = self.servers.wait_until_ready().await;
        let _ = self.tunnels.wait_until_ready().await;
        let _ = self.stateful_sets.wait_until_ready().await;
    }

    pub(super) fn stateful_pods(&self) -> BTreeMap<String, StatefulPods> {
        let pods = |set: &Arc<StatefulSet>| {
            let spec = set.spec.as_ref()?;
            let number = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok());
            let first_ordinal =
                spec.ordinals.as_ref().and_then(|ordinals| number(ordinals.start)).unwrap_or(0);
            let pods = StatefulPods {
                replicas: number(spec.replicas).unwrap_or(1),
                first_ordinal,
                service: spec.service_name.clone().unwrap_or_default(),
            };
            Some((set.metadata.name.clone()?, pods))
        };
        self.stateful_sets.state().iter().filter_map(pods).collect()
    }
}

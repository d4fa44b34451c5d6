//! `kubernetes`: pods of one namespace by a selector, from a list and a watch that are kept up to date in the
//! background. A request reads only memory.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde::Deserialize;

use super::kubernetes_watch;
use super::{LookupError, PodRecord, SharedResolver};

/// Where a pod finds its own credentials.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long the API server's last answer is used while it is unavailable; then the router is not ready.
const STALE_FOR: Duration = Duration::from_secs(600);

/// The API server, and the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesApi {
    /// `https://10.0.0.1:443`.
    pub url: String,
    pub token_file: PathBuf,
    pub ca_file: Option<PathBuf>,
    pub namespace: String,
    pub selector: String,
    /// The label whose value is the id; none: the pod's name is the id.
    pub id_label: Option<String>,
}

/// Why the API server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    #[error("this is not a pod of Kubernetes: {0} is not set")]
    NoCluster(&'static str),
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
}

impl KubernetesApi {
    /// From the mounted service account.
    pub fn from_service_account(
        namespace: Option<String>,
        selector: String,
        id_label: Option<String>,
    ) -> Result<KubernetesApi, KubernetesError> {
        let variable = |name| std::env::var(name).map_err(|_| KubernetesError::NoCluster(name));
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let directory =
            std::env::var("PATTERN_ROUTER_SERVICE_ACCOUNT").unwrap_or_else(|_| SERVICE_ACCOUNT.to_owned());
        let directory = PathBuf::from(directory);
        let own = || {
            let path = directory.join("namespace");
            let text = std::fs::read_to_string(&path);
            text.map(|text| text.trim().to_owned())
                .map_err(|error| KubernetesError::File { path, reason: error.to_string() })
        };
        let ca_file = directory.join("ca.crt");
        let scheme = std::env::var("PATTERN_ROUTER_KUBERNETES_SCHEME").unwrap_or_else(|_| "https".to_owned());
        Ok(KubernetesApi {
            url: format!("{scheme}://{host}:{port}"),
            token_file: directory.join("token"),
            ca_file: ca_file.exists().then_some(ca_file),
            namespace: namespace.map_or_else(own, Ok)?,
            selector,
            id_label,
        })
    }
}

/// What is known about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedPod {
    pub id: String,
    pub address: IpAddr,
    pub ready: bool,
    pub terminating: bool,
    pub created: String,
}

#[derive(Debug, Default)]
struct Known {
    /// By the pod's name.
    pods: HashMap<String, WatchedPod>,
    by_id: HashMap<String, BTreeSet<String>>,
    /// When the API server was last heard from.
    heard: Option<Instant>,
    synced: bool,
    trouble: Option<String>,
}

/// Pods by id, kept up to date by a separate task.
#[derive(Debug)]
pub struct KubernetesResolver {
    known: RwLock<Known>,
    task: parking_lot::Mutex<Option<tokio::task::AbortHandle>>,
}

impl KubernetesResolver {
    /// Starts to list and watch on the current runtime.
    pub fn start(api: KubernetesApi) -> Result<SharedResolver, KubernetesError> {
        let resolver = KubernetesResolver { known: RwLock::default(), task: parking_lot::Mutex::default() };
        let shared = std::sync::Arc::new(super::Resolver::Kubernetes(resolver));
        let task = kubernetes_watch::spawn(api, std::sync::Arc::downgrade(&shared))?;
        if let super::Resolver::Kubernetes(resolver) = &*shared {
            *resolver.task.lock() = Some(task);
        }
        Ok(shared)
    }

    pub fn look_up(&self, id: &str) -> Result<PodRecord, LookupError> {
        let known = self.known.read();
        if !known.synced {
            let reason =
                known.trouble.clone().unwrap_or_else(|| "the pods have not been listed yet".to_owned());
            return Err(LookupError::Unavailable(reason));
        }
        let names = known.by_id.get(id).into_iter().flatten();
        let pods = names.filter_map(|name| known.pods.get(name));
        // During a rollout two pods have the same id: the new one is used once it is ready.
        let best = pods.max_by_key(|pod| (!pod.terminating, pod.ready, pod.created.clone()));
        best.map(|pod| PodRecord::at(pod.address)).ok_or(LookupError::NotFound)
    }

    /// Why it does not answer, or answers with outdated data.
    pub fn not_ready(&self) -> Option<String> {
        let known = self.known.read();
        if known.synced && known.heard.is_some_and(|at| at.elapsed() < STALE_FOR) {
            return None;
        }
        Some(known.trouble.clone().unwrap_or_else(|| "the pods have not been listed yet".to_owned()))
    }

    pub(super) fn replace(&self, pods: Vec<(String, WatchedPod)>) {
        let mut known = self.known.write();
        known.pods.clear();
        known.by_id.clear();
        for (name, pod) in pods {
            known.insert(name, pod);
        }
        (known.synced, known.heard, known.trouble) = (true, Some(Instant::now()), None);
    }

    pub(super) fn apply(&self, name: String, pod: Option<WatchedPod>) {
        let mut known = self.known.write();
        known.remove(&name);
        if let Some(pod) = pod {
            known.insert(name, pod);
        }
        known.heard = Some(Instant::now());
    }

    pub(super) fn heard(&self) {
        self.known.write().heard = Some(Instant::now());
    }

    pub(super) fn trouble(&self, reason: String) {
        self.known.write().trouble = Some(reason);
    }
}

impl Drop for KubernetesResolver {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

impl Known {
    fn insert(&mut self, name: String, pod: WatchedPod) {
        self.by_id.entry(pod.id.clone()).or_default().insert(name.clone());
        self.pods.insert(name, pod);
    }

    fn remove(&mut self, name: &str) {
        let Some(pod) = self.pods.remove(name) else { return };
        if let Some(names) = self.by_id.get_mut(&pod.id) {
            names.remove(name);
            if names.is_empty() {
                self.by_id.remove(&pod.id);
            }
        }
    }
}

/// The part of a pod's object that is read.
#[derive(Debug, Deserialize)]
pub struct PodObject {
    pub metadata: PodMetadata,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub resource_version: String,
    #[serde(default)]
    labels: HashMap<String, String>,
    deletion_timestamp: Option<String>,
    creation_timestamp: Option<String>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    host_network: bool,
}

#[derive(Debug, Deserialize, Default)]
struct PodStatus {
    #[serde(default)]
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<IpAddr>,
    #[serde(default)]
    conditions: Vec<PodCondition>,
}

#[derive(Debug, Deserialize)]
struct PodCondition {
    r#type: String,
    status: String,
}

impl PodObject {
    /// None for a pod that cannot be reached, or must not be: one on its node's own network.
    pub fn watched(&self, id_label: Option<&str>) -> Option<WatchedPod> {
        if self.spec.host_network || matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return None;
        }
        let id = match id_label {
            Some(label) => self.metadata.labels.get(label)?,
            None => &self.metadata.name,
        };
        let id = id.to_ascii_lowercase();
        let ready = self.status.conditions.iter().any(|one| one.r#type == "Ready" && one.status == "True");
        crate::name::is_pod_id(&id).then_some(WatchedPod {
            id,
            address: self.status.pod_ip?,
            ready,
            terminating: self.metadata.deletion_timestamp.is_some(),
            created: self.metadata.creation_timestamp.clone().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: &str) -> Option<WatchedPod> {
        serde_json::from_str::<PodObject>(json).unwrap().watched(Some("ws"))
    }

    #[test]
    fn host_network_ended_and_unlabelled_pods_are_left_out() {
        let object = |spec: &str, phase: &str, labels: &str| {
            format!(
                r#"{{"metadata":{{"name":"p","labels":{{{labels}}}}},"spec":{{{spec}}},"status":{{"phase":"{phase}","podIP":"10.0.0.9"}}}}"#
            )
        };
        assert_eq!(pod(&object("", "Running", r#""ws":"ws1""#)).unwrap().id, "ws1");
        assert_eq!(pod(&object(r#""hostNetwork":true"#, "Running", r#""ws":"ws1""#)), None);
        assert_eq!(pod(&object("", "Succeeded", r#""ws":"ws1""#)), None);
        assert_eq!(pod(&object("", "Running", "")), None);
        assert_eq!(pod(&object("", "Running", r#""ws":"a.b""#)), None);
    }

    #[test]
    fn of_two_pods_with_one_id_the_new_ready_one_is_taken() {
        let resolver = KubernetesResolver { known: RwLock::default(), task: parking_lot::Mutex::default() };
        assert!(matches!(resolver.look_up("ws1"), Err(LookupError::Unavailable(_))));
        let old = WatchedPod {
            id: "ws1".into(),
            address: "10.0.0.1".parse().unwrap(),
            ready: true,
            terminating: false,
            created: "2026-01-01".into(),
        };
        let new = WatchedPod {
            address: "10.0.0.2".parse().unwrap(),
            ready: false,
            created: "2026-01-02".into(),
            ..old.clone()
        };
        resolver.replace(vec![("a".into(), old.clone()), ("b".into(), new.clone())]);
        assert_eq!(resolver.look_up("ws1").unwrap().addresses, [old.address]);
        resolver.apply("b".into(), Some(WatchedPod { ready: true, ..new.clone() }));
        assert_eq!(resolver.look_up("ws1").unwrap().addresses, [new.address]);
        resolver.apply("b".into(), Some(WatchedPod { ready: true, terminating: true, ..new }));
        assert_eq!(resolver.look_up("ws1").unwrap().addresses, [old.address]);
        resolver.apply("a".into(), None);
        resolver.apply("b".into(), None);
        assert_eq!(resolver.look_up("ws1"), Err(LookupError::NotFound));
        assert!(resolver.known.read().by_id.is_empty() && resolver.not_ready().is_none());
    }
}

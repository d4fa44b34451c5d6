//! A real kube-apiserver on a real etcd, as processes: `scripts/install-deps.sh operator` has them. No nodes, no
//! controllers: what is deleted by an owner's end stays.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper::http;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;
use yaml_rust2::{Yaml, YamlLoader};

use super::{free_port, until};

const ADMIN: &str = "admin-token-of-the-test";
const OPERATOR: &str = "operator-token-of-the-test";
pub const NAMESPACE: &str = "frp";

/// Ends with the test, also with one that panics.
pub struct ApiServer {
    pub directory: TempDir,
    pub client: Client,
    processes: Vec<Child>,
}

fn program(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let deps = std::env::var_os("FTP_POOLER_DEPS").map_or_else(|| root.join(".deps"), PathBuf::from);
    let path = match name {
        "etcd" => deps.join("etcd/usr/bin/etcd"),
        other => deps.join("kube").join(other),
    };
    assert!(path.exists(), "{} is missing: make operator-test", path.display());
    path
}

impl ApiServer {
    /// With the resources' definitions, the operator's role, and its namespace.
    pub async fn start() -> Self {
        for _ in 0..3 {
            if let Some(server) = Self::try_start().await {
                server.prepare().await;
                return server;
            }
        }
        panic!("kube-apiserver does not start");
    }

    async fn try_start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let (api, etcd, peer) = (free_port(), free_port(), free_port());
        keys(directory.path());
        let mut processes = vec![etcd_process(directory.path(), etcd, peer)];
        processes.push(api_process(directory.path(), api, etcd));
        for (name, token) in [("admin", ADMIN), ("operator", OPERATOR)] {
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "x",
                "clusters": [{ "name": "c", "cluster": {
                    "server": format!("https://127.0.0.1:{api}"), "certificate-authority": directory.path().join("api.crt"),
                } }],
                "users": [{ "name": "u", "user": { "token": token } }],
                "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u", "namespace": NAMESPACE } }],
            });
            std::fs::write(directory.path().join(name), config.to_string()).unwrap();
        }
        let config = Kubeconfig::read_from(directory.path().join("admin")).unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let mut server = Self { directory, client, processes };
        let begun = std::time::Instant::now();
        loop {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            if server.client.request_text(request).await.is_ok_and(|answer| answer == "ok") {
                return Some(server);
            }
            // another process had one of the ports
            if server.processes.iter_mut().any(|process| process.try_wait().unwrap().is_some()) {
                return None;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "not ready: {}", server.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn prepare(&self) {
        self.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } }))
            .await;
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../k8s/tunnels/operator");
        for file in ["definitions.yaml", "rbac.yaml"] {
            for mut object in documents(&std::fs::read_to_string(manifests.join(file)).unwrap()) {
                // as kustomize does it
                let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
                for subject in subjects.into_iter().flatten() {
                    subject["namespace"] = json!(NAMESPACE);
                }
                self.apply(&object).await;
            }
        }
        until("the definitions are served", async || {
            let request =
                http::Request::get("/apis/tunnels.ftp-pooler.io/v1alpha1").body(Vec::new()).unwrap();
            let known = self.client.request_text(request).await.unwrap_or_default();
            known.contains("tunnelservers") && known.contains("tunnels/status")
        })
        .await;
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.directory.path().join("apiserver.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().rev().take(20).rev().copied().collect::<Vec<_>>().join("\n")
    }

    /// Of the operator's own account, which may do what its role says.
    pub fn operator_config(&self) -> PathBuf {
        self.directory.path().join("operator")
    }

    pub fn api(&self, object: &Value) -> Api<DynamicObject> {
        let text = |key: &str| object[key].as_str().unwrap().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let plural = match kind.as_str() {
            "NetworkPolicy" => "networkpolicies".to_owned(),
            other => format!("{}s", other.to_ascii_lowercase()),
        };
        let (group, version) = (group.to_owned(), version.to_owned());
        let resource =
            ApiResource { group, version, api_version: api_version.clone(), kind: kind.clone(), plural };
        if ["Namespace", "CustomResourceDefinition"].contains(&kind.as_str()) {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
        }
    }

    pub async fn try_apply(&self, object: &Value) -> Result<DynamicObject, kube::Error> {
        let name = object["metadata"]["name"].as_str().unwrap();
        let mut parameters = PatchParams::apply("test").force();
        parameters.field_validation = Some(kube::api::ValidationDirective::Strict);
        self.api(object).patch(name, &parameters, &Patch::Apply(object)).await
    }

    pub async fn apply(&self, object: &Value) -> DynamicObject {
        self.try_apply(object).await.unwrap_or_else(|error| panic!("{object:#}: {error}"))
    }

    /// As it is now; `None`: gone.
    pub async fn get(&self, api_version: &str, kind: &str, name: &str) -> Option<Value> {
        let api = self.api(&json!({ "apiVersion": api_version, "kind": kind }));
        api.get_opt(name).await.unwrap().map(|object| serde_json::to_value(object).unwrap())
    }

    pub async fn delete(&self, api_version: &str, kind: &str, name: &str) {
        let api = self.api(&json!({ "apiVersion": api_version, "kind": kind }));
        api.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    }

    /// Everything of this kind, as one text.
    pub async fn all(&self, api_version: &str, kind: &str) -> String {
        let api = self.api(&json!({ "apiVersion": api_version, "kind": kind }));
        let found = api.list(&kube::api::ListParams::default()).await.unwrap();
        serde_json::to_string(&found.items).unwrap()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Certificate of the server, key of the tokens, and who the tokens are.
fn keys(directory: &Path) {
    let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    std::fs::write(directory.join("api.crt"), pair.cert.pem()).unwrap();
    std::fs::write(directory.join("api.key"), pair.signing_key.serialize_pem()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(directory.join("sa.key"), key.serialize_pem()).unwrap();
    std::fs::write(directory.join("sa.pub"), key.public_key_pem()).unwrap();
    let account = format!("system:serviceaccount:{NAMESPACE}:frp-tunnels-operator");
    let tokens =
        format!("{ADMIN},admin,1,\"system:masters\"\n{OPERATOR},{account},2,\"system:authenticated\"\n");
    std::fs::write(directory.join("tokens.csv"), tokens).unwrap();
}

fn start(directory: &Path, name: &str, command: &mut Command) -> Child {
    let log = std::fs::File::create(directory.join(format!("{name}.log"))).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn etcd_process(directory: &Path, port: u16, peer: u16) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
    let mut command = Command::new(program("etcd"));
    command
        .arg(format!("--data-dir={}", directory.join("etcd").display()))
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=default={peer}"))
        .arg("--unsafe-no-fsync");
    start(directory, "etcd", &mut command)
}

fn api_process(directory: &Path, port: u16, etcd: u16) -> Child {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut command = Command::new(program("kube-apiserver"));
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
        .arg(format!("--secure-port={port}"))
        .args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
        ])
        .arg(format!("--tls-cert-file={}", file("api.crt")))
        .arg(format!("--tls-private-key-file={}", file("api.key")))
        .arg(format!("--cert-dir={}", directory.display()))
        .arg(format!("--token-auth-file={}", file("tokens.csv")))
        .args(["--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc"])
        .arg(format!("--service-account-key-file={}", file("sa.pub")))
        .arg(format!("--service-account-signing-key-file={}", file("sa.key")))
        // no controller makes service accounts here
        .args(["--service-cluster-ip-range=10.96.0.0/16", "--disable-admission-plugins=ServiceAccount"]);
    start(directory, "apiserver", &mut command)
}

/// The documents of a YAML file.
pub fn documents(text: &str) -> Vec<Value> {
    YamlLoader::load_from_str(text)
        .unwrap()
        .iter()
        .filter(|document| !document.is_null())
        .map(as_json)
        .collect()
}

fn as_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Hash(entries) => {
            entries.iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), as_json(value))).collect()
        }
        Yaml::Array(items) => items.iter().map(as_json).collect(),
        Yaml::String(text) => json!(text),
        Yaml::Integer(number) => json!(number),
        Yaml::Real(_) => json!(yaml.as_f64()),
        Yaml::Boolean(is_true) => json!(is_true),
        _ => Value::Null,
    }
}

//! The objects that the operator makes: a Service and its EndpointSlice for each visit, and a frps where one is asked for.
//! None holds a secret: they name Secrets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::plan::{ClusterObjects, OperatorPlace, Plan, RUN_PORT, run_name};
use super::resources::{
    API_GROUP, API_VERSION, ServerRunRequest, ServiceTypeName, TunnelServerResource, TunnelServerResourceSpec,
};
use super::translate::VisitService;
use crate::frps::{FrpsTemplate, PortRange, render_template};

/// Label of everything that the operator makes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "frp-tunnels-operator");

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildKind {
    Service,
    EndpointSlice,
    ConfigMap,
    Deployment,
}

impl ChildKind {
    pub const ALL: [Self; 4] = [Self::Service, Self::EndpointSlice, Self::ConfigMap, Self::Deployment];

    /// Group, version, kind and plural, as the API has them.
    pub fn api(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Service => ("", "v1", "Service", "services"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
        }
    }
}

/// One object as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildObject {
    pub kind: ChildKind,
    pub name: String,
    /// The resource that it is made for: kind, name, uid.
    pub owner: (&'static str, String, String),
    pub manifest: Value,
}

/// All that is to be there.
pub fn children(
    objects: &ClusterObjects,
    plan: &Plan,
    place: &OperatorPlace,
    image: &str,
) -> Vec<ChildObject> {
    let mut made = Vec::new();
    for tunnel in &objects.tunnels {
        let name = tunnel.metadata.name.clone().unwrap_or_default();
        let Some(Ok(accepted)) = plan.tunnels.get(&name) else { continue };
        let Some(service) = &accepted.service else { continue };
        let owner = ("Tunnel", name, tunnel.metadata.uid.clone().unwrap_or_default());
        made.push(visit_service(service, &owner));
        made.push(visit_endpoints(service, place.own_address, &owner));
    }
    for server in &objects.servers {
        let name = server.metadata.name.clone().unwrap_or_default();
        if let (Some(Ok(_)), Some(run)) = (plan.servers.get(&name), &server.spec.run) {
            made.extend(run_server(&name, server, run, image));
        }
    }
    made
}

fn object(
    kind: ChildKind,
    name: &str,
    owner: &(&'static str, String, String),
    labels: &Value,
    body: Value,
) -> ChildObject {
    let (group, version, word, _) = kind.api();
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut all_labels = json!({ MANAGED_BY.0: MANAGED_BY.1 });
    let mut manifest = body;
    if let (Some(all), Some(labels)) = (all_labels.as_object_mut(), labels.as_object()) {
        all.extend(labels.clone());
    }
    if let Some(manifest) = manifest.as_object_mut() {
        manifest.insert("apiVersion".into(), json!(api_version));
        manifest.insert("kind".into(), json!(word));
        let reference = json!({
            "apiVersion": format!("{API_GROUP}/{API_VERSION}"), "kind": owner.0, "name": owner.1, "uid": owner.2,
            "controller": true, "blockOwnerDeletion": false,
        });
        let metadata = json!({ "name": name, "labels": all_labels, "ownerReferences": [reference] });
        manifest.insert("metadata".into(), metadata);
    }
    ChildObject { kind, name: name.to_owned(), owner: owner.clone(), manifest }
}

/// Without a selector: the leader's pod, and no other, is its endpoint.
fn visit_service(service: &VisitService, owner: &(&'static str, String, String)) -> ChildObject {
    let port = |port: &super::translate::VisitServicePort| {
        let protocol = if port.is_udp { "UDP" } else { "TCP" };
        json!({ "name": format!("p{}", port.port), "port": port.port, "targetPort": port.target, "protocol": protocol })
    };
    let ports: Vec<Value> = service.ports.iter().map(port).collect();
    let spec = json!({ "spec": { "type": "ClusterIP", "ports": ports } });
    object(ChildKind::Service, &service.name, owner, &json!({}), spec)
}

fn visit_endpoints(
    service: &VisitService,
    own_address: IpAddr,
    owner: &(&'static str, String, String),
) -> ChildObject {
    let port = |port: &super::translate::VisitServicePort| {
        let protocol = if port.is_udp { "UDP" } else { "TCP" };
        json!({ "name": format!("p{}", port.port), "port": port.target, "protocol": protocol })
    };
    let ports: Vec<Value> = service.ports.iter().map(port).collect();
    let body = json!({
        "addressType": if own_address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [own_address.to_string()], "conditions": { "ready": true } }],
        "ports": ports,
    });
    let labels = json!({ "kubernetes.io/service-name": service.name });
    object(ChildKind::EndpointSlice, &format!("{}-tunnel", service.name), owner, &labels, body)
}

const TOKEN_DIRECTORY: &str = "/run/secrets/frp";
const TLS_DIRECTORY: &str = "/run/secrets/tls";

fn run_server(
    name: &str,
    server: &TunnelServerResource,
    run: &ServerRunRequest,
    image: &str,
) -> [ChildObject; 3] {
    let owner = ("TunnelServer", name.to_owned(), server.metadata.uid.clone().unwrap_or_default());
    let (own_name, labels) = (run_name(name), json!({ "app.kubernetes.io/name": run_name(name) }));
    let ranges: Vec<PortRange> = run.allow_ports.iter().filter_map(|range| range.parse().ok()).collect();
    let config = json!({ "data": { "frps.toml": configuration(run, ranges.clone()) } });
    let spec = deployment(&own_name, &server.spec, run, image, &labels);
    let service_type = match run.service_type {
        ServiceTypeName::ClusterIP => "ClusterIP",
        ServiceTypeName::NodePort => "NodePort",
        ServiceTypeName::LoadBalancer => "LoadBalancer",
    };
    let allowed = ranges.iter().flat_map(PortRange::range);
    let ports: BTreeSet<u16> =
        std::iter::once(RUN_PORT).chain(run.http_port).chain(run.https_port).chain(allowed).collect();
    let ports: Vec<Value> = ports
        .iter()
        .map(
            |port| json!({ "name": format!("p{port}"), "port": port, "targetPort": port, "protocol": "TCP" }),
        )
        .collect();
    let service = json!({ "spec": { "type": service_type, "selector": labels, "ports": ports } });
    [
        object(ChildKind::ConfigMap, &own_name, &owner, &labels, config),
        object(ChildKind::Deployment, &own_name, &owner, &labels, spec),
        object(ChildKind::Service, &own_name, &owner, &labels, service),
    ]
}

/// frps.toml without a secret: the token is in a file.
fn configuration(run: &ServerRunRequest, ranges: Vec<PortRange>) -> String {
    let in_tls = |file: &str| PathBuf::from(TLS_DIRECTORY).join(file);
    let template = FrpsTemplate {
        port: RUN_PORT,
        token_file: PathBuf::from(TOKEN_DIRECTORY).join("token"),
        allow_ports: Some(ranges),
        http_port: run.http_port,
        https_port: run.https_port,
        subdomain_host: run.subdomain_host.clone(),
        certificate: run.certificate_secret_name.as_ref().map(|_| (in_tls("tls.crt"), in_tls("tls.key"))),
        client_ca: None,
        // its password would lie in the ConfigMap
        api: None,
        log: None,
        max_ports_per_client: None,
        plugin: None,
    };
    render_template(&template).expose_secret().to_owned()
}

fn deployment(
    name: &str,
    spec: &TunnelServerResourceSpec,
    run: &ServerRunRequest,
    image: &str,
    labels: &Value,
) -> Value {
    let token = spec.token_secret_ref.as_ref();
    let key = token.and_then(|reference| reference.key.as_deref()).unwrap_or("token");
    let mut volumes = vec![
        json!({ "name": "config", "configMap": { "name": name } }),
        json!({ "name": "token", "secret": {
            "secretName": token.map(|reference| &reference.name), "defaultMode": 0o440,
            "items": [{ "key": key, "path": "token" }],
        } }),
    ];
    let mut mounts = vec![
        json!({ "name": "config", "mountPath": "/etc/frp", "readOnly": true }),
        json!({ "name": "token", "mountPath": TOKEN_DIRECTORY, "readOnly": true }),
    ];
    if let Some(secret) = &run.certificate_secret_name {
        volumes.push(json!({ "name": "tls", "secret": { "secretName": secret, "defaultMode": 0o440 } }));
        mounts.push(json!({ "name": "tls", "mountPath": TLS_DIRECTORY, "readOnly": true }));
    }
    let container = json!({
        "name": "frps",
        "image": run.image.as_deref().unwrap_or(image),
        "args": ["server", "run", "--config", "/etc/frp/frps.toml", "--log-format", "json"],
        "ports": [{ "name": "frp", "containerPort": RUN_PORT, "protocol": "TCP" }],
        "readinessProbe": { "tcpSocket": { "port": "frp" }, "periodSeconds": 5 },
        "livenessProbe": { "tcpSocket": { "port": "frp" }, "periodSeconds": 20, "failureThreshold": 6 },
        "resources": {
            "requests": { "cpu": "50m", "memory": "64Mi", "ephemeral-storage": "16Mi" },
            "limits": { "cpu": "1", "memory": "256Mi", "ephemeral-storage": "64Mi" },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": mounts,
    });
    json!({ "spec": {
        // frps keeps its state in memory: two would each have half of the tunnels
        "replicas": 1,
        "strategy": { "type": "Recreate" },
        "selector": { "matchLabels": labels },
        "template": { "metadata": { "labels": labels }, "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [container],
            "volumes": volumes,
        } },
    } })
}

//! The two resources, as the API server stores them. Secrets are named, never held.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `apiVersion` begins with.
pub const API_GROUP: &str = "tunnels.ftp-pooler.io";
pub const API_VERSION: &str = "v1alpha1";

/// Where frps is and how it is reached, or that one is to be run in the cluster.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tunnels.ftp-pooler.io",
    version = "v1alpha1",
    kind = "TunnelServer",
    root = "TunnelServerResource",
    status = "TunnelServerResourceStatus",
    namespaced,
    derive = "PartialEq",
    doc = "A frps: where it is and how it is reached, or that the operator is to run one.",
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address"),
    printcolumn(name = "Tunnels", type_ = "integer", json_path = ".status.tunnels"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.run) != (has(self.addresses) && size(self.addresses) > 0)",
    "message": "either addresses or run, not both",
}]))]
pub struct TunnelServerResourceSpec {
    /// HOST:PORT of frps; with several, the next one is tried where the session is lost or cannot be made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub addresses: Vec<String>,
    /// Run one frps in this namespace: a Deployment, a Service and a ConfigMap, all named NAME-frps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<ServerRunRequest>,
    /// Prefix of every tunnel's name at frps, which keeps clients apart; the namespace's name by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// frps' token (key "token" by default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyReference>,
    #[serde(default)]
    pub protocol: ServerProtocol,
    #[serde(default)]
    pub tls: ServerTlsSection,
    /// The name under which others reach frps' ports, for addresses in status; the server's host by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_host: Option<String>,
}

/// A frps that the operator runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerRunRequest {
    /// An image with frp-tunnels and frps; the operator's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default)]
    pub service_type: ServiceTypeName,
    /// PORT or FIRST-LAST that clients may take; none: no port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub allow_ports: Vec<String>,
    /// Port for domains of http tunnels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub http_port: Option<u16>,
    /// Port for domains of https tunnels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub https_port: Option<u16>,
    /// The domain whose labels are given out as subdomains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomain_host: Option<String>,
    /// A kubernetes.io/tls Secret with frps' certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_secret_name: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceTypeName {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerProtocol {
    #[default]
    Tcp,
    Kcp,
    Quic,
    Websocket,
    Wss,
}

/// TLS between here and frps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerTlsSection {
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The CA of frps' certificate (key "ca.crt" by default); without it nothing is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyReference>,
    /// The name in frps' certificate; the server's host by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// A kubernetes.io/tls Secret with the client's certificate, where frps asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_secret_name: Option<String>,
}

fn yes() -> bool {
    true
}

impl Default for ServerTlsSection {
    fn default() -> Self {
        Self { enabled: true, ca_secret_ref: None, server_name: None, certificate_secret_name: None }
    }
}

/// One value of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Something in the cluster that is exposed through a frps, or something behind a frps that is reached in the cluster.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tunnels.ftp-pooler.io",
    version = "v1alpha1",
    kind = "Tunnel",
    root = "TunnelResource",
    status = "TunnelResourceStatus",
    namespaced,
    derive = "PartialEq",
    doc = "A Service, StatefulSet or host that is exposed through a TunnelServer, or a far tunnel that is reached as a Service here.",
    printcolumn(name = "Server", type_ = "string", json_path = ".spec.serverName"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.expose) != has(self.visit)",
    "message": "either expose or visit, not both",
}]))]
pub struct TunnelResourceSpec {
    /// The TunnelServer, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub server_name: String,
    /// Prefix of its names at frps; the TunnelServer's by default. For FTP, what `target_user` of the pool's tunnel names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<ExposeSection>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visit: Option<VisitSection>,
}

/// What is exposed, and how. Exactly one of service, statefulSet, host and ftp.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExposeSection {
    /// A Service of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<NamedPort>,
    /// Each pod of a StatefulSet by itself: tunnels TUNNEL_0, TUNNEL_1 …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stateful_set: Option<NamedPort>,
    /// A host that the operator's pod reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<NamedPort>,
    /// An FTP server, control connection and passive ports, as secret tunnels that a pool or a visitor reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ftp: Option<FtpServerSection>,
    /// frp's type; stcp by default.
    #[serde(default, rename = "type")]
    pub kind: ExposeKind,
    /// tcp, udp: the port of frps, of the first pod of a StatefulSet; frps chooses by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub remote_port: Option<u16>,
    /// http, https, tcpmux: full names, or *.example.com.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// http, https, tcpmux: a label under frps' subdomain host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
    /// http: the paths that are taken, by segments, * for one whole segment; all by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// http: take the matched path off before the service sees it.
    #[serde(default)]
    pub strip_path: bool,
    /// stcp, sudp, xtcp, ftp: the key that visitors need (key "key" by default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<SecretKeyReference>,
    /// stcp, sudp, xtcp, ftp: users whose visitors are let in, * for all; only the own user's by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_users: Vec<String>,
    #[serde(default)]
    pub compression: bool,
    /// KiB per second, both directions together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub bandwidth_kib: Option<u32>,
    /// What proves that it works: accepted, local, open, greeting[:TEXT], http:PATH[=STATUS].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExposeKind {
    Tcp,
    Udp,
    Http,
    Https,
    Tcpmux,
    #[default]
    Stcp,
    Sudp,
    Xtcp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedPort {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FtpServerSection {
    /// As the operator's pod reaches it.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    #[serde(default = "ftp_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// FIRST-LAST, as the server is configured; at most 1000 ports.
    pub passive_ports: String,
}

fn ftp_port() -> u16 {
    21
}

/// A far tunnel that is reached here, at a Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VisitSection {
    /// The far tunnel's name; not with ftp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// The far client's user; the own one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, rename = "type")]
    pub kind: VisitKind,
    /// The key of the far tunnel (key "key" by default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<SecretKeyReference>,
    /// Of the Service; 21 with ftp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// The far side is an FTP server: FIRST-LAST of its passive ports, each a port of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ftp_passive_ports: Option<String>,
    /// Of the Service that is made; the Tunnel's name by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// What proves that it works: accepted, open, greeting[:TEXT], http:PATH[=STATUS].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VisitKind {
    #[default]
    Stcp,
    Sudp,
    Xtcp,
}

/// As meta/v1 has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceCondition {
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// The class of the failure, in CamelCase, where there is one.
    pub reason: String,
    pub message: String,
    pub last_transition_time: String,
    #[serde(default)]
    pub observed_generation: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelResourceStatus {
    #[serde(default)]
    pub observed_generation: i64,
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<ResourceCondition>,
    /// Where it is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The prefix of its names at frps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How many tunnels of frp it is made of, and how many of them are connected.
    #[serde(default)]
    pub parts: i64,
    #[serde(default)]
    pub connected_parts: i64,
    /// Its parts, the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tunnels: Vec<TunnelPartStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelPartStatus {
    pub name: String,
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelServerResourceStatus {
    #[serde(default)]
    pub observed_generation: i64,
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<ResourceCondition>,
    /// Where frps is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Tunnels that name it, and those that are connected.
    #[serde(default)]
    pub tunnels: i64,
    #[serde(default)]
    pub connected_tunnels: i64,
}

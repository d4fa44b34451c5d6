//! The operator on a real kube-apiserver, with real frps and frpc: `make operator-test`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "in a test a panic is the answer"
)]

#[path = "support/kube.rs"]
mod kube_server;
mod support;

use std::net::{IpAddr, UdpSocket};

use kube_server::{ApiServer, NAMESPACE};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::command::{Running, command};
use support::{Echo, Frps, Service, TOKEN, free_port, until};
use tokio::io::AsyncReadExt as _;

const GROUP: &str = "tunnels.ftp-pooler.io/v1alpha1";
const KEY: &str = "a-key-that-is-hidden";

/// An address of this machine that others could reach: the API takes no loopback address for an endpoint.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // nothing is sent: the kernel only chooses the address
    socket.connect("192.0.2.1:9").expect("a route, so that this machine has an address that is not loopback");
    socket.local_addr().unwrap().ip()
}

/// An operator as a process, with the rights of its role.
fn operator(server: &ApiServer, identity: &str) -> Running {
    let mut operator = command(&["operator", "--listen", "127.0.0.1:0", "--namespace", NAMESPACE]);
    operator.args([
        "--identity",
        identity,
        "--address",
        &own_address().to_string(),
        "--log",
        "info,kube=warn",
    ]);
    // far from the ports that the system gives out
    let first = 20_000 + free_port() % 8000;
    operator.args(["--visitor-ports", &format!("{first}-{}", first + 99)]);
    operator.env("KUBECONFIG", server.operator_config());
    Running::start_command(operator)
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": GROUP, "kind": kind, "metadata": { "name": name }, "spec": spec })
}

fn secret(values: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "frp" }, "stringData": values })
}

fn at(frps: &Frps) -> Value {
    object(
        "TunnelServer",
        "main",
        json!({ "addresses": [frps.address().to_string()], "user": "shop", "tokenSecretRef": { "name": "frp" } }),
    )
}

fn exposed(name: &str, service: u16, probe: &str) -> Value {
    let host = json!({ "name": "127.0.0.1", "port": service });
    object(
        "Tunnel",
        name,
        json!({ "serverName": "main", "expose": { "host": host, "type": "tcp", "probe": probe } }),
    )
}

/// Waits until the condition has this status and reason; gives the object.
async fn until_condition(server: &ApiServer, kind: &str, name: &str, condition: (&str, &str, &str)) -> Value {
    let mut found = Value::Null;
    let begun = std::time::Instant::now();
    loop {
        let object = server.get(GROUP, kind, name).await.unwrap_or_default();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        for one in &conditions {
            if one["type"] == condition.0 && one["status"] == condition.1 && one["reason"] == condition.2 {
                assert_eq!(one["observedGeneration"], object["metadata"]["generation"]);
                return object;
            }
        }
        if !conditions.is_empty() {
            found = object;
        }
        assert!(begun.elapsed() < support::PATIENCE, "{kind} {name}: not {condition:?}: {found:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn until_gone(server: &ApiServer, kind: &str, name: &str) {
    until("it is gone", async || server.get(GROUP, kind, name).await.is_none()).await;
}

/// Reads what the service says first.
async fn greeted(session: &mut Echo, greeting: &str) {
    let mut got = vec![0; greeting.len()];
    tokio::time::timeout(support::PATIENCE, session.0.read_exact(&mut got))
        .await
        .expect("a greeting in time")
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&got), greeting);
}

fn address(object: &Value) -> String {
    object["status"]["address"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd: make operator-test"]
async fn a_tunnel_is_ready_when_its_greeting_came_through() {
    let (server, mut frps) = (ApiServer::start().await, Frps::start().await);
    let service = Service::start("220 hello\r\n").await;
    let operator = operator(&server, "one");
    server.apply(&at(&frps)).await;
    server.apply(&exposed("db", service.port, "greeting:220")).await;
    until_condition(&server, "Tunnel", "db", ("Accepted", "False", "ServerNotAccepted")).await;
    until_condition(&server, "TunnelServer", "main", ("Ready", "False", "SecretNotFound")).await;
    // what is wrong is a class of its own
    server.apply(&secret(&json!({ "token": "wrong" }))).await;
    until_condition(&server, "Tunnel", "db", ("Ready", "False", "AuthenticationFailed")).await;
    until_condition(&server, "TunnelServer", "main", ("Connected", "False", "AuthenticationFailed")).await;
    server.apply(&secret(&json!({ "token": TOKEN, "key": KEY }))).await;
    let db = until_condition(&server, "Tunnel", "db", ("Ready", "True", "Ready")).await;
    until_condition(&server, "TunnelServer", "main", ("Ready", "True", "Ready")).await;
    let mut live = Echo::connect(&address(&db)).await;
    greeted(&mut live, "220 hello\r\n").await;
    live.round_trip("before").await;

    // others come, change and go; this connection lives
    server.apply(&exposed("silent", service.port, "greeting:SSH-")).await;
    let silent = until_condition(&server, "Tunnel", "silent", ("Connected", "False", "ProbeFailed")).await;
    assert!(silent.to_string().contains("220 hello"), "{silent:#}");
    live.round_trip("while another is refused").await;
    server.apply(&exposed("silent", service.port, "greeting:220")).await;
    until_condition(&server, "Tunnel", "silent", ("Ready", "True", "Ready")).await;
    live.round_trip("while another has changed").await;
    server.delete(GROUP, "Tunnel", "silent").await;
    until_gone(&server, "Tunnel", "silent").await;
    live.round_trip("while another is gone").await;

    // frps goes: known, and no reason to keep what is deleted
    frps.kill().await;
    let events = async || server.all("events.k8s.io/v1", "Event").await;
    let lost = async || {
        let object = server.get(GROUP, "Tunnel", "db").await.unwrap();
        let ready = object["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["type"] == "Ready")
            .cloned();
        ready.is_some_and(|ready| ready["status"] == "False")
    };
    until("the loss is told", lost).await;
    server.delete(GROUP, "Tunnel", "db").await;
    until_gone(&server, "Tunnel", "db").await;
    until("its end is told", async || events().await.contains("ClosedWhileDown")).await;

    let mut seen = operator.said();
    for (group, kind) in
        [(GROUP, "Tunnel"), (GROUP, "TunnelServer"), ("v1", "ConfigMap"), ("events.k8s.io/v1", "Event")]
    {
        seen.push_str(&server.all(group, kind).await);
    }
    assert!(!seen.contains(TOKEN) && !seen.contains(KEY), "a secret is told: {seen}");
    assert!(!operator.said().contains("panic"), "{}", operator.said());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd: make operator-test"]
async fn mistakes_are_refused_by_the_api_or_told_in_the_status() {
    let (server, frps) = (ApiServer::start().await, Frps::start().await);
    let refused = |spec: Value| {
        let (server, object) = (&server, object("Tunnel", "x", spec));
        async move { server.try_apply(&object).await.unwrap_err().to_string() }
    };
    let host = json!({ "name": "127.0.0.1", "port": 1 });
    let both = refused(json!({ "serverName": "main", "expose": { "host": host }, "visit": {} })).await;
    assert!(both.contains("either expose or visit"), "{both}");
    let port =
        refused(json!({ "serverName": "main", "expose": { "host": { "name": "a", "port": 70_000 } } })).await;
    assert!(port.contains("65535"), "{port}");
    let unknown = refused(json!({ "serverName": "main", "expose": { "hots": host } })).await;
    assert!(unknown.contains("hots"), "{unknown}");
    let server_both = object("TunnelServer", "x", json!({ "run": {}, "addresses": ["a:1"] }));
    let error = server.try_apply(&server_both).await.unwrap_err().to_string();
    assert!(error.contains("either addresses or run"), "{error}");

    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../k8s/tunnels/operator/examples.yaml");
    for example in kube_server::documents(&std::fs::read_to_string(examples).unwrap()) {
        server.apply(&example).await;
    }
    let operator = operator(&server, "one");
    until_condition(&server, "Tunnel", "warehouse", ("Accepted", "False", "ServerNotAccepted")).await;
    server.apply(&secret(&json!({ "token": TOKEN, "key": KEY }))).await;
    server.apply(&at(&frps)).await;
    let clash = |name: &str| {
        object(
            "Tunnel",
            name,
            json!({ "serverName": "main", "expose": {
            "host": { "name": "127.0.0.1", "port": 1 }, "type": "tcp", "remotePort": 6000, "paths": ["/a"],
        } }),
        )
    };
    server.apply(&clash("first")).await;
    let first = until_condition(&server, "Tunnel", "first", ("Accepted", "False", "Invalid")).await;
    assert!(first.to_string().contains("expose.paths: Tcp has no such key"), "{first:#}");
    // what was never open has no finalizer
    assert_eq!(first["metadata"]["finalizers"], Value::Null);
    assert!(!operator.said().contains("panic"), "{}", operator.said());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd: make operator-test"]
async fn another_operator_takes_over_and_the_last_leaves_nothing() {
    let (server, frps) = (ApiServer::start().await, Frps::start().await);
    let service = Service::start("").await;
    server.apply(&secret(&json!({ "token": TOKEN, "key": KEY }))).await;
    server.apply(&at(&frps)).await;
    server.apply(&exposed("db", service.port, "open")).await;
    let first = operator(&server, "first");
    let ready = until_condition(&server, "Tunnel", "db", ("Ready", "True", "Ready")).await;
    Echo::connect(&address(&ready)).await.round_trip("first").await;
    let holder = async || {
        let lease = server.get("coordination.k8s.io/v1", "Lease", "frp-tunnels-operator").await.unwrap();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(holder().await, "first");
    let second = operator(&server, "second");
    // killed: nobody gives the Lease up
    first.signal(Signal::KILL);
    second.says("this operator is the leader").await;
    assert_eq!(holder().await, "second");
    let reached = async || {
        let object = server.get(GROUP, "Tunnel", "db").await.unwrap();
        let Some(address) = object["status"]["address"].as_str() else { return false };
        tokio::net::TcpStream::connect(address).await.is_ok()
    };
    until("the tunnel is there again", reached).await;
    until_condition(&server, "Tunnel", "db", ("Ready", "True", "Ready")).await;
    // its end leaves no finalizer behind that nobody would take off
    second.signal(Signal::TERM);
    let mut second = second;
    assert!(second.ended().await.success(), "{}", second.said());
    assert_eq!(holder().await, "");
    assert_eq!(server.get(GROUP, "Tunnel", "db").await.unwrap()["metadata"]["finalizers"], Value::Null);
    server.delete(GROUP, "Tunnel", "db").await;
    until_gone(&server, "Tunnel", "db").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd: make operator-test"]
async fn what_is_visited_is_a_service_here() {
    let (server, frps) = (ApiServer::start().await, Frps::start().await);
    let service = Service::start("220 far\r\n").await;
    server.apply(&secret(&json!({ "token": TOKEN, "key": KEY }))).await;
    server.apply(&at(&frps)).await;
    // both sides here: exposed as the far side of an FTP server is, and visited
    let far = json!({ "serverName": "main", "user": "plant", "expose": {
        "ftp": { "host": "127.0.0.1", "port": service.port, "passivePorts": "50000-50002" },
        "keySecretRef": { "name": "frp" }, "allowUsers": ["shop"],
    } });
    let near = json!({ "serverName": "main", "visit": {
        "user": "plant", "ftpPassivePorts": "50000-50002", "keySecretRef": { "name": "frp" },
    } });
    let taken = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "taken" },
        "spec": { "ports": [{ "port": 1 }] } });
    server.apply(&taken).await;
    let operator = operator(&server, "one");
    server.apply(&object("Tunnel", "far", far)).await;
    server.apply(&object("Tunnel", "near", near.clone())).await;
    until_condition(&server, "Tunnel", "far", ("Ready", "True", "Ready")).await;
    let tunnel = until_condition(&server, "Tunnel", "near", ("Ready", "True", "Ready")).await;
    assert_eq!((address(&tunnel).as_str(), &tunnel["status"]["parts"]), ("near:21", &json!(4)));
    let made = server.get("v1", "Service", "near").await.unwrap();
    let ports: Vec<u64> =
        made["spec"]["ports"].as_array().unwrap().iter().map(|port| port["port"].as_u64().unwrap()).collect();
    assert_eq!(ports, [21, 50_000, 50_001, 50_002]);
    // kube-proxy would lead there
    let slice = server.get("discovery.k8s.io/v1", "EndpointSlice", "near-tunnel").await.unwrap();
    let host = slice["endpoints"][0]["addresses"][0].as_str().unwrap().to_owned();
    let control = slice["ports"].as_array().unwrap().iter().find(|port| port["name"] == "p21").unwrap();
    let mut session = Echo::connect(&format!("{host}:{}", control["port"])).await;
    greeted(&mut session, "220 far\r\n").await;
    session.round_trip("through both").await;

    // a Service of somebody else is left alone
    let mut other = near.clone();
    other["visit"]["serviceName"] = json!("taken");
    server.apply(&object("Tunnel", "other", other)).await;
    until_condition(&server, "Tunnel", "other", ("Ready", "False", "NameTaken")).await;
    assert_eq!(server.get("v1", "Service", "taken").await.unwrap()["spec"]["ports"][0]["port"], 1);

    // pods of a StatefulSet: their names lead nowhere here, and each is told by itself
    let set = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "cache" }, "spec": {
        "serviceName": "cache", "replicas": 2, "selector": { "matchLabels": { "a": "b" } },
        "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } },
    } });
    server.apply(&set).await;
    let pods = json!({ "serverName": "main", "expose": {
        "statefulSet": { "name": "cache", "port": 6379 }, "keySecretRef": { "name": "frp" } } });
    server.apply(&object("Tunnel", "pods", pods)).await;
    let told = until_condition(&server, "Tunnel", "pods", ("Ready", "False", "LocalServiceDown")).await;
    assert_eq!(told["status"]["parts"], 2);
    let mut wider = set.clone();
    wider["spec"]["replicas"] = json!(3);
    server.apply(&wider).await;
    let parts = async || server.get(GROUP, "Tunnel", "pods").await.unwrap()["status"]["parts"] == json!(3);
    until("a pod more is a tunnel more", parts).await;

    // what is not wanted any more goes
    server.delete(GROUP, "Tunnel", "near").await;
    until("its Service is gone", async || server.get("v1", "Service", "near").await.is_none()).await;
    until("its endpoints are gone", async || {
        server.get("discovery.k8s.io/v1", "EndpointSlice", "near-tunnel").await.is_none()
    })
    .await;
    assert!(server.get("v1", "Service", "taken").await.is_some());
    assert!(!operator.said().contains("panic"), "{}", operator.said());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd: make operator-test"]
async fn a_frps_is_made_where_one_is_asked_for() {
    let server = ApiServer::start().await;
    server.apply(&secret(&json!({ "token": TOKEN }))).await;
    let operator = operator(&server, "one");
    let spec = json!({ "run": { "serviceType": "NodePort", "allowPorts": ["6000-6001"], "certificateSecretName": "tls" },
        "tokenSecretRef": { "name": "frp" } });
    server.apply(&object("TunnelServer", "inner", spec.clone())).await;
    let made = until_condition(&server, "TunnelServer", "inner", ("Connected", "Unknown", "NoTunnels")).await;
    assert_eq!(address(&made), "inner-frps.frp.svc:7000");
    until("all of it is there", async || {
        server.get("apps/v1", "Deployment", "inner-frps").await.is_some()
            && server.get("v1", "Service", "inner-frps").await.is_some()
            && server.get("v1", "ConfigMap", "inner-frps").await.is_some()
    })
    .await;
    let config = server.get("v1", "ConfigMap", "inner-frps").await.unwrap();
    let text = config["data"]["frps.toml"].as_str().unwrap();
    assert!(text.contains("allowPorts = [{ start = 6000, end = 6001 }]") && !text.contains(TOKEN), "{text}");
    // what somebody else adds stays; what it was asked for changes
    let mut wider = spec;
    wider["run"]["httpPort"] = json!(8080);
    server.apply(&object("TunnelServer", "inner", wider)).await;
    until("the new port is there", async || {
        server.get("v1", "Service", "inner-frps").await.unwrap().to_string().contains("8080")
    })
    .await;
    server.delete(GROUP, "TunnelServer", "inner").await;
    until("all of it is gone", async || {
        server.get("apps/v1", "Deployment", "inner-frps").await.is_none()
            && server.get("v1", "Service", "inner-frps").await.is_none()
            && server.get("v1", "ConfigMap", "inner-frps").await.is_none()
    })
    .await;
    assert!(!operator.said().contains("panic"), "{}", operator.said());
}

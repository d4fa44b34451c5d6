use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::children::{ChildKind, children};
use super::conditions::{StatusMoment, TunnelObservation, reason_of, server_status, tunnel_status};
use super::plan::{ClusterObjects, OperatorPlace, Plan, plan};
use super::resources::{ResourceCondition, TunnelResource, TunnelServerResource};
use super::translate::StatefulPods;
use super::visitor_ports::VisitorPorts;
use super::{manifests, resource_definitions};
use crate::client::TunnelSnapshot;
use crate::failure::{Failure, FailureClass};
use crate::state::{TunnelState, TunnelStatus};

const SECRET: &str = "hidden-f3a1";

fn place() -> OperatorPlace {
    OperatorPlace {
        namespace: "shop".into(),
        service_domain: "svc".into(),
        own_address: Ipv4Addr::new(10, 1, 2, 3).into(),
    }
}

fn server(name: &str, spec: Value) -> TunnelServerResource {
    let metadata =
        json!({ "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 1 });
    serde_json::from_value(json!({
        "apiVersion": "tunnels.ftp-pooler.io/v1alpha1", "kind": "TunnelServer", "metadata": metadata, "spec": spec,
    }))
    .unwrap()
}

/// Made at this second.
fn tunnel(name: &str, second: u32, spec: Value) -> TunnelResource {
    let metadata = json!({
        "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 3,
        "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
    });
    serde_json::from_value(json!({
        "apiVersion": "tunnels.ftp-pooler.io/v1alpha1", "kind": "Tunnel", "metadata": metadata, "spec": spec,
    }))
    .unwrap()
}

fn objects(tunnels: Vec<TunnelResource>) -> ClusterObjects {
    let server =
        server("main", json!({ "addresses": ["frps.test:7000"], "tokenSecretRef": { "name": "frp" } }));
    let mut objects = ClusterObjects { servers: vec![server], tunnels, ..ClusterObjects::default() };
    let values = ["token", "key"].map(|key| (key.to_owned(), SecretString::from(SECRET)));
    objects.secrets.insert("frp", Some(values.into_iter().collect()));
    objects
}

fn planned(objects: &ClusterObjects) -> Plan {
    plan(objects, &place(), &mut VisitorPorts::new(20_000..=20_999))
}

fn refusal(plan: &Plan, tunnel: &str) -> (&'static str, String) {
    let refusal = plan.tunnels[tunnel].clone().unwrap_err();
    (refusal.reason, refusal.message)
}

fn parts(plan: &Plan, user: &str) -> Vec<String> {
    let client = &plan.clients[&("main".to_owned(), user.to_owned())];
    client.parts.values().map(|part| crate::places::target_of(&part.spec)).collect()
}

fn db(port: u16) -> Value {
    json!({ "serverName": "main", "expose": {
        "service": { "name": "db", "port": 5432 }, "type": "tcp", "remotePort": port,
    } })
}

#[test]
fn a_service_is_exposed_by_its_name_in_the_cluster() {
    let plan = planned(&objects(vec![tunnel("db", 0, db(6000))]));
    assert_eq!(parts(&plan, "shop"), ["db.shop.svc:5432"]);
    let accepted = plan.tunnels["db"].clone().unwrap();
    assert_eq!((accepted.parts, accepted.service), (vec!["db".to_owned()], None));
}

#[test]
fn each_pod_of_a_stateful_set_has_a_tunnel_of_its_own() {
    let spec = json!({ "serverName": "main", "expose": {
        "statefulSet": { "name": "cache", "port": 6379 }, "type": "tcp", "remotePort": 6100,
    } });
    let mut objects = objects(vec![tunnel("cache", 0, spec)]);
    assert_eq!(refusal(&planned(&objects), "cache").0, "TargetNotFound");
    let pods = |replicas| StatefulPods { replicas, first_ordinal: 5, service: "nodes".into() };
    objects.stateful_sets.insert("cache".into(), pods(2));
    let plan = planned(&objects);
    assert_eq!(parts(&plan, "shop"), ["cache-5.nodes.shop.svc:6379", "cache-6.nodes.shop.svc:6379"]);
    assert_eq!(plan.tunnels["cache"].clone().unwrap().parts, ["cache_5", "cache_6"]);
    objects.stateful_sets.insert("cache".into(), pods(3));
    let wider = planned(&objects);
    let prints = |plan: &Plan| -> Vec<[u8; 32]> {
        plan.clients.values().flat_map(|client| client.parts.values().map(|part| part.print)).collect()
    };
    assert_eq!(prints(&plan), prints(&wider)[..2], "a pod more changes nothing about the others");
}

#[test]
fn an_ftp_server_is_control_connection_and_passive_ports() {
    let spec = json!({ "serverName": "main", "user": "plant", "expose": {
        "ftp": { "host": "ftp.plant", "passivePorts": "50000-50001" },
        "keySecretRef": { "name": "frp" }, "allowUsers": ["pool"],
    } });
    let plan = planned(&objects(vec![tunnel("plant", 0, spec)]));
    assert_eq!(parts(&plan, "plant"), ["ftp.plant:50000", "ftp.plant:50001", "ftp.plant:21"]);
    // the names that the pool's `via` and `visit-ftp` ask for
    assert_eq!(plan.tunnels["plant"].clone().unwrap().parts, ["ftp", "d50000", "d50001"]);
}

fn visit(passive: &str) -> Value {
    json!({ "serverName": "main", "visit": {
        "user": "plant", "ftpPassivePorts": passive, "keySecretRef": { "name": "frp" },
    } })
}

#[test]
fn two_ftp_servers_with_the_same_passive_ports_can_be_visited() {
    let objects = objects(vec![tunnel("a", 0, visit("50000-50001")), tunnel("b", 1, visit("50000-50001"))]);
    let mut ports = VisitorPorts::new(20_000..=20_005);
    let plan = plan(&objects, &place(), &mut ports);
    let made = children(&objects, &plan, &place(), "image");
    let services: Vec<_> = made.iter().filter(|child| child.kind == ChildKind::Service).collect();
    let targets = |at: usize| -> Vec<(u64, u64)> {
        let ports = services[at].manifest["spec"]["ports"].as_array().unwrap().clone();
        ports
            .iter()
            .map(|port| (port["port"].as_u64().unwrap(), port["targetPort"].as_u64().unwrap()))
            .collect()
    };
    assert_eq!(targets(0), [(21, 20_000), (50_000, 20_001), (50_001, 20_002)]);
    assert_eq!(targets(1), [(21, 20_003), (50_000, 20_004), (50_001, 20_005)]);
    assert_eq!(made[1].manifest["endpoints"][0]["addresses"][0], "10.1.2.3");
    // a third one finds no port, and the others keep theirs
    let mut more = objects.clone();
    more.tunnels.push(tunnel("c", 2, visit("50000-50001")));
    let plan = super::plan::plan(&more, &place(), &mut ports);
    assert_eq!(refusal(&plan, "c").0, "PortsExhausted");
    assert_eq!(children(&more, &plan, &place(), "image"), made);
}

#[test]
fn all_mistakes_of_a_tunnel_are_told_at_once() {
    let spec = json!({ "serverName": "main", "expose": {
        "service": { "name": "db", "port": 5432 }, "host": { "name": "x", "port": 1 },
        "type": "tcp", "paths": ["/a"], "allowUsers": ["x"], "subdomain": "y",
    } });
    let (reason, message) = refusal(&planned(&objects(vec![tunnel("db", 0, spec)])), "db");
    assert_eq!(reason, "Invalid");
    for part in ["expose.paths", "expose.allowUsers", "expose.subdomain", "exactly one of service"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let keyless = json!({ "serverName": "main", "expose": { "host": { "name": "db", "port": 1 } } });
    let (_, message) = refusal(&planned(&objects(vec![tunnel("db", 0, keyless)])), "db");
    assert!(message.contains("expose.keySecretRef: is needed"), "{message}");
    let secret = json!({ "serverName": "main", "expose": {
        "host": { "name": "db", "port": 1 }, "keySecretRef": { "name": "frp", "key": "other" },
    } });
    let found = refusal(&planned(&objects(vec![tunnel("db", 0, secret)])), "db");
    assert_eq!(found, ("SecretNotFound", "expose.keySecretRef: Secret \"frp\" has no key \"other\"".into()));
    let away = json!({ "serverName": "other", "expose": { "host": { "name": "db", "port": 1 } } });
    assert_eq!(refusal(&planned(&objects(vec![tunnel("db", 0, away)])), "db").0, "ServerNotFound");
}

#[test]
fn the_older_tunnel_keeps_its_place() {
    let plan = planned(&objects(vec![tunnel("later", 2, db(6000)), tunnel("first", 1, db(6000))]));
    assert!(plan.tunnels["first"].is_ok());
    let (reason, message) = refusal(&plan, "later");
    assert_eq!(reason, "Conflict");
    assert_eq!(message, "the remote port 6000/tcp is taken already by Tunnel \"first\"");
    assert_eq!(plan.clients[&("main".into(), "shop".into())].parts.len(), 1);
}

#[test]
fn a_server_that_is_run_holds_no_secret() {
    let spec = json!({ "run": {
        "allowPorts": ["6000-6001"], "httpPort": 8080, "certificateSecretName": "frps-tls",
    }, "tokenSecretRef": { "name": "frp" } });
    let mut objects = objects(Vec::new());
    objects.servers = vec![server("edge", spec)];
    let plan = planned(&objects);
    assert_eq!(plan.servers["edge"].clone().unwrap().address(), "edge-frps.shop.svc:7000");
    let made = children(&objects, &plan, &place(), "frp-tunnels:1");
    let text = serde_json::to_string(&made.iter().map(|child| &child.manifest).collect::<Vec<_>>()).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    assert!(text.contains("auth.tokenSource = { type = \\\"file\\\""), "{text}");
    let service = made.iter().find(|child| child.kind == ChildKind::Service).unwrap();
    let ports = service.manifest["spec"]["ports"].as_array().unwrap();
    let ports: Vec<u64> = ports.iter().map(|port| port["port"].as_u64().unwrap()).collect();
    assert_eq!(ports, [6000, 6001, 7000, 8080]);
    objects.servers = vec![server("edge", json!({ "run": { "allowPorts": ["1-60000", "x"] } }))];
    let refused = planned(&objects).servers["edge"].clone().unwrap_err().message;
    for part in ["tokenSecretRef: is needed", "\"x\" is neither PORT", "60000 ports are more than 200"] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn a_changed_token_is_another_server_and_nothing_else_is() {
    let with = |token: &str| {
        let mut objects = objects(Vec::new());
        objects
            .secrets
            .insert("frp", Some(BTreeMap::from([("token".to_owned(), SecretString::from(token))])));
        planned(&objects).servers["main"].clone().unwrap().print()
    };
    assert_eq!(with("a"), with("a\n"));
    assert_ne!(with("a"), with("b"));
}

fn snapshot(name: &str, state: TunnelState) -> TunnelSnapshot {
    let mut status = TunnelStatus::new(jiff::Timestamp::UNIX_EPOCH);
    status.state = state;
    let (target, address) = ("db:1".to_owned(), Some("frps.test:6000".to_owned()));
    TunnelSnapshot { name: name.into(), kind: "tcp", target, address, status, metadata: BTreeMap::new() }
}

fn condition<'a>(conditions: &'a [ResourceCondition], kind: &str) -> (&'a str, &'a str, &'a str) {
    let found = conditions.iter().find(|condition| condition.kind == kind).unwrap();
    (&found.status, &found.reason, &found.last_transition_time)
}

#[test]
fn ready_follows_the_probe_and_keeps_the_time_of_its_last_change() {
    let plan = planned(&objects(vec![tunnel("db", 0, db(6000))]));
    let outcome = &plan.tunnels["db"];
    let status = |state: Option<TunnelState>, before, now| {
        let part = state.map(|state| snapshot("db", state));
        let parts = part.iter().map(|part| ("db", part)).collect();
        let seen = TunnelObservation { parts, problem: None };
        tunnel_status(outcome, &seen, before, StatusMoment { generation: 3, now })
    };
    let pending = status(None, None, "t1");
    assert_eq!(condition(&pending.conditions, "Accepted"), ("True", "Valid", "t1"));
    assert_eq!(condition(&pending.conditions, "Ready"), ("False", "Connecting", "t1"));
    let failure = Failure::new(FailureClass::AuthenticationFailed, "token in login doesn't match");
    let failed = status(Some(TunnelState::Failed(failure)), Some(&pending), "t2");
    assert_eq!(condition(&failed.conditions, "Ready"), ("False", "AuthenticationFailed", "t1"));
    let up = status(Some(TunnelState::Connected), Some(&failed), "t3");
    assert_eq!(condition(&up.conditions, "Connected"), ("True", "ProbeSucceeded", "t3"));
    assert_eq!(condition(&up.conditions, "Ready"), ("True", "Ready", "t3"));
    assert_eq!((up.address.as_deref(), up.parts, up.connected_parts), (Some("frps.test:6000"), 1, 1));
    let later = status(Some(TunnelState::Connected), Some(&up), "t4");
    assert_eq!(later, up, "what has not changed is not written again");
}

#[test]
fn the_session_is_told_from_its_tunnels() {
    let plan = planned(&objects(Vec::new()));
    let ready = |parts: &[TunnelSnapshot]| {
        let parts: Vec<_> = parts.iter().collect();
        let moment = StatusMoment { generation: 1, now: "t" };
        let status = server_status(&plan.servers["main"], (0, 0), &parts, None, moment);
        let (status, reason, _) = condition(&status.conditions, "Connected");
        (status.to_owned(), reason.to_owned())
    };
    let failed = |class| snapshot("a", TunnelState::Failed(Failure::new(class, "x")));
    let said = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    assert_eq!(ready(&[]), said("Unknown", "NoTunnels"));
    assert_eq!(ready(&[failed(FailureClass::ServerUnreachable)]), said("False", "ServerUnreachable"));
    // frps itself has said so
    assert_eq!(ready(&[failed(FailureClass::PortTaken)]), said("True", "SessionEstablished"));
    let up = snapshot("b", TunnelState::Connected);
    assert_eq!(ready(&[failed(FailureClass::PortTaken), up]), said("True", "SessionEstablished"));
    assert_eq!(reason_of(FailureClass::TlsRefused), "TlsRefused");
}

#[test]
fn the_definitions_in_k8s_are_those_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../k8s/tunnels/operator/definitions.yaml");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(path, resource_definitions()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == resource_definitions(), "UPDATE_GENERATED=1 cargo test … writes {path}");
    let read = yaml_rust2::YamlLoader::load_from_str(&written).unwrap();
    assert_eq!(read.len(), 2, "a definition for each resource");
    assert!(manifests::resource_definitions().contains("x-kubernetes-list-map-keys"));
}

proptest! {
    /// Whatever is declared: no two tunnels of one frpc have one name, port or address; each Tunnel has its outcome; and no
    /// secret is in what is written.
    #[test]
    fn a_plan_is_consistent(chosen in prop::collection::vec((0_usize..6, 6000_u16..6003, 0_u8..3), 0..12)) {
        let tunnels: Vec<TunnelResource> = chosen
            .iter()
            .enumerate()
            .map(|(at, (kind, port, user))| {
                let mut spec = match kind {
                    0 => db(*port),
                    1 => visit("50000-50003"),
                    2 => json!({ "serverName": "main", "expose": { "ftp": { "host": "f", "passivePorts": "1-3" },
                        "keySecretRef": { "name": "frp" } } }),
                    3 => json!({ "serverName": "main", "expose": { "host": { "name": "w", "port": 80 }, "type": "http",
                        "domains": [format!("{port}.test")] } }),
                    4 => json!({ "serverName": "other", "visit": {} }),
                    _ => json!({ "serverName": "main", "expose": { "statefulSet": { "name": "s", "port": 1 },
                        "type": "udp", "remotePort": port } }),
                };
                spec["user"] = json!(format!("u{user}"));
                tunnel(&format!("t{at}"), u32::try_from(at).unwrap(), spec)
            })
            .collect();
        let mut objects = objects(tunnels);
        let pods = StatefulPods { replicas: 2, first_ordinal: 0, service: "s".into() };
        objects.stateful_sets.insert("s".into(), pods);
        let plan = planned(&objects);
        prop_assert_eq!(plan.tunnels.len(), chosen.len());
        for client in plan.clients.values() {
            let specs: Vec<_> = client.parts.values().map(|part| part.spec.clone()).collect();
            prop_assert!(crate::spec::mistakes_of_all(&specs).is_empty());
        }
        for (name, outcome) in &plan.tunnels {
            let Ok(accepted) = outcome else { continue };
            let owned = plan.clients[&accepted.client].parts.values().filter(|part| part.owner == *name).count();
            prop_assert_eq!(owned, accepted.parts.len());
        }
        let made = children(&objects, &plan, &place(), "image");
        prop_assert!(made.iter().all(|child| !child.manifest.to_string().contains(SECRET)));
    }
}

//! The restricted Pod Security Standard (kubernetes.io/docs/concepts/security/pod-security-standards, v1.34):
//! each of its rules, on every pod that is made of these manifests.

use serde_json::{Value, json};

use crate::files::{KUSTOMIZATIONS, documents, name_of, parse, rendered, yaml_files};

const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const SECCOMP: [&str; 2] = ["RuntimeDefault", "Localhost"];
const SYSCTLS: [&str; 9] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
];

/// The pod that an object makes, if it makes any.
fn pod_spec(object: &Value) -> Option<&Value> {
    let spec = match object["kind"].as_str()? {
        "Pod" => &object["spec"],
        "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        "DaemonSet" | "Deployment" | "Job" | "ReplicaSet" | "StatefulSet" => {
            &object["spec"]["template"]["spec"]
        }
        _ => return None,
    };
    Some(spec)
}

/// What the standard forbids in this pod; empty where it meets it.
fn violations(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[shared] == true {
            found.push(format!("{shared} is true"));
        }
    }
    let context = &pod["securityContext"];
    for sysctl in context["sysctls"].as_array().into_iter().flatten() {
        if !SYSCTLS.iter().any(|safe| sysctl["name"] == *safe) {
            found.push(format!("sysctl {} is unsafe", sysctl["name"]));
        }
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds = volume.as_object().unwrap().keys().filter(|key| *key != "name");
        found.extend(
            kinds.filter(|kind| !VOLUMES.contains(&kind.as_str())).map(|kind| format!("a volume is {kind}")),
        );
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in pod[list].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or("?");
            found.extend(container_violations(container, context).map(|what| format!("{name}: {what}")));
        }
    }
    found
}

/// A container's own context overrides the pod's.
fn container_violations(container: &Value, pod: &Value) -> impl Iterator<Item = String> {
    let own = &container["securityContext"];
    let holds = |key: &str| if own[key].is_null() { pod[key].clone() } else { own[key].clone() };
    let mut found = Vec::new();
    let mut forbid = |is_forbidden: bool, what: &str| {
        if is_forbidden {
            found.push(what.to_owned());
        }
    };
    forbid(own["privileged"] == true, "privileged");
    forbid(own["allowPrivilegeEscalation"] != false, "allowPrivilegeEscalation is not false");
    forbid(holds("runAsNonRoot") != true, "runAsNonRoot is not true");
    forbid(holds("runAsUser") == 0, "runAsUser is 0");
    let seccomp = holds("seccompProfile");
    forbid(!SECCOMP.iter().any(|kind| seccomp["type"] == *kind), "no seccompProfile");
    forbid(own["procMount"].as_str().is_some_and(|mount| mount != "Default"), "procMount");
    let drops = own["capabilities"]["drop"].as_array().is_some_and(|all| all.contains(&json!("ALL")));
    forbid(!drops, "does not drop ALL capabilities");
    let added = own["capabilities"]["add"].as_array().cloned().unwrap_or_default();
    forbid(added.iter().any(|capability| *capability != "NET_BIND_SERVICE"), "adds a capability");
    let ports = container["ports"].as_array().into_iter().flatten();
    forbid(ports.into_iter().any(|port| port["hostPort"].as_u64().is_some_and(|n| n != 0)), "hostPort");
    found.into_iter()
}

pub fn assert_restricted(what: &str, objects: &[Value]) -> usize {
    let pods: Vec<_> = objects.iter().filter_map(|object| Some((object, pod_spec(object)?))).collect();
    for (object, pod) in &pods {
        let found = violations(pod);
        assert!(found.is_empty(), "{what}: {}: {found:#?}", name_of(object));
    }
    pods.len()
}

#[test]
fn every_pod_meets_the_restricted_standard() {
    let pods: usize = yaml_files("k8s").iter().map(|path| assert_restricted(path, &documents(path))).sum();
    assert_eq!(
        pods, 10,
        "the pool, Kafka, its topics, the FTP server, the e2e job, tunnels, their operator and the router"
    );
}

#[test]
#[ignore = "needs kustomize: make test"]
fn every_pod_meets_it_after_the_overlays_patches_too() {
    for kustomization in KUSTOMIZATIONS {
        let objects = parse(&rendered(kustomization)).unwrap();
        assert!(assert_restricted(kustomization, &objects) > 0, "{kustomization} has a pod");
    }
}

#[test]
fn the_namespace_has_kubernetes_enforce_it() {
    let namespace = &documents("k8s/setup/namespace.yaml")[0];
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn a_pod_that_breaks_a_rule_is_found() {
    let good = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    });
    assert_eq!(violations(&good), [""; 0]);
    let breaks: [(&str, Value, &str); 14] = [
        ("/hostNetwork", json!(true), "hostNetwork is true"),
        ("/hostPID", json!(true), "hostPID is true"),
        ("/securityContext/runAsNonRoot", json!(false), "c: runAsNonRoot is not true"),
        ("/securityContext/runAsUser", json!(0), "c: runAsUser is 0"),
        ("/securityContext/seccompProfile/type", json!("Unconfined"), "c: no seccompProfile"),
        (
            "/securityContext/sysctls",
            json!([{"name": "kernel.msgmax"}]),
            "sysctl \"kernel.msgmax\" is unsafe",
        ),
        ("/containers/0/securityContext/privileged", json!(true), "c: privileged"),
        ("/containers/0/securityContext/runAsNonRoot", json!(false), "c: runAsNonRoot is not true"),
        (
            "/containers/0/securityContext/allowPrivilegeEscalation",
            json!(true),
            "c: allowPrivilegeEscalation is not false",
        ),
        ("/containers/0/securityContext/capabilities/drop", json!([]), "c: does not drop ALL capabilities"),
        ("/containers/0/securityContext/capabilities/add", json!(["SYS_ADMIN"]), "c: adds a capability"),
        ("/containers/0/securityContext/procMount", json!("Unmasked"), "c: procMount"),
        ("/containers/0/ports", json!([{"hostPort": 21}]), "c: hostPort"),
        ("/volumes/0/hostPath", json!({"path": "/"}), "a volume is hostPath"),
    ];
    for (place, value, expected) in breaks {
        let mut bad = good.clone();
        let (parent, key) = place.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[key] = value;
        assert_eq!(violations(&bad), [expected], "{place}");
    }
}

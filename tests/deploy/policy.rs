//! What kube-score finds: habits of a cluster's good citizens.

use crate::files::{KUSTOMIZATIONS, deps, rendered, run};

/// Not ours: images are named by version, and so need not be fetched again; a cluster that loads its images
/// (kind) could not fetch them at all.
const NOT_ASKED: &str = "container-image-pull-policy";

/// Warnings that are meant so.
const MEANT: [&str; 6] = [
    // OpenShift gives the ids itself.
    "k8s/overlays/openshift: [CRITICAL] ftp-pooler/ftp-pooler apps/v1/StatefulSet: (ftp-pooler) The container is running with a low user ID",
    "k8s/overlays/openshift: [CRITICAL] ftp-pooler/ftp-pooler apps/v1/StatefulSet: (ftp-pooler) The container running with a low group ID",
    "ftp-server/ftp-pooler-test apps/v1/Deployment: Deployment few replicas",
    "ftp-server/ftp-pooler-test apps/v1/Deployment: Deployment update strategy",
    // frps keeps its tunnels in memory: two would each have half of them.
    "frp-server/frp apps/v1/Deployment: Deployment few replicas",
    "frp-server/frp apps/v1/Deployment: Deployment update strategy",
];

#[test]
#[ignore = "needs kustomize and kube-score: make test"]
fn the_policy_check_finds_nothing() {
    let mut found = Vec::new();
    for kustomization in KUSTOMIZATIONS {
        let manifests = rendered(kustomization);
        // A CPU limit would throttle transfers under way: the base has none, on purpose.
        let arguments = [
            "score",
            "-",
            "--output-format",
            "ci",
            "--ignore-test",
            NOT_ASKED,
            "--ignore-container-cpu-limit",
        ];
        let said = run(&deps("go/bin/kube-score"), &arguments, &manifests).stdout;
        let said = String::from_utf8(said).unwrap();
        let looked = ["ftp-pooler/", "pattern-router", "frp-server/", "frp-tunnels-operator/"]
            .iter()
            .any(|name| said.contains(&format!("[OK] {name}")));
        assert!(looked, "{kustomization}: it looked at the pool, the router or the tunnels: {said}");
        let complaints =
            said.lines().filter(|line| !line.starts_with("[OK]") && !line.starts_with("[SKIPPED]"));
        let is_meant = |line: &String| MEANT.iter().any(|meant| line.ends_with(meant));
        let complaints = complaints.map(|line| format!("{kustomization}: {line}"));
        found.extend(complaints.filter(|line| !is_meant(line)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

//! What kube-score finds: habits of a cluster's good citizens.

use crate::files::{KUSTOMIZATIONS, deps, rendered, run};

/// Not ours: images are named by version, and so need not be fetched again; a cluster that loads its images
/// (kind) could not fetch them at all.
const NOT_ASKED: &str = "container-image-pull-policy";

/// Warnings that are meant so.
const MEANT: [&str; 2] = [
    "ftp-server/ftp-pooler-test apps/v1/Deployment: Deployment few replicas",
    "ftp-server/ftp-pooler-test apps/v1/Deployment: Deployment update strategy",
];

#[test]
#[ignore = "needs kustomize and kube-score: make test"]
fn the_policy_check_finds_nothing() {
    let mut found = Vec::new();
    for kustomization in KUSTOMIZATIONS {
        let manifests = rendered(kustomization);
        let arguments = ["score", "-", "--output-format", "ci", "--ignore-test", NOT_ASKED];
        let said = run(&deps("go/bin/kube-score"), &arguments, &manifests).stdout;
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("[OK] ftp-pooler/"), "{kustomization}: it looked at the pool: {said}");
        let complaints =
            said.lines().filter(|line| !line.starts_with("[OK]") && !line.starts_with("[SKIPPED]"));
        let meant = |line: &&str| MEANT.iter().any(|meant| line.ends_with(meant));
        found.extend(complaints.filter(|line| !meant(line)).map(|line| format!("{kustomization}: {line}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

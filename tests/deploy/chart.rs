//! The Helm chart: its defaults make what k8s/base makes, what it makes otherwise is what Kubernetes takes.

use std::process::Output;

use serde_json::{Value, json};

use crate::files::{deps, name_of, parse, read, rendered, root, run, text};
use crate::restricted::assert_restricted;
use crate::schemas::Kubernetes;

/// Values that turn on what the defaults leave out, each with the kinds that come with it.
const VARIANTS: [(&[&str], &[&str]); 6] = [
    (&["autoscaling.kind=keda"], &["ScaledObject"]),
    (
        &["autoscaling.kind=hpa", "serviceMonitor.enabled=true"],
        &["HorizontalPodAutoscaler", "ServiceMonitor"],
    ),
    (&["storage.kind=perPod", "storage.storageClassName=fast"], &["StatefulSet"]),
    (&["storage.create=true", "topics.create=true"], &["PersistentVolumeClaim", "Job"]),
    (&["openshift=true", "networkPolicy.enabled=false"], &["ServiceAccount"]),
    (&["podNamePrefix=eu-", "priorityClassName=high", "nodeSelector.disk=ssd"], &["StatefulSet"]),
];

fn helm(arguments: &[&str]) -> Output {
    run(&deps("go/bin/helm"), arguments, "")
}

fn template(release: &str, values: &[&str]) -> Result<Vec<Value>, String> {
    let mut arguments = vec!["template", release, "charts/ftp-pooler", "--kube-version", "1.33.0"];
    for value in values {
        arguments.extend(["--set", *value]);
    }
    let output = helm(&arguments);
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    parse(&String::from_utf8(output.stdout).unwrap())
}

/// An object without what tells only which tool has made it: namespace, Helm's labels, the hash in a `ConfigMap`'s name.
/// Configuration is compared by what it says, not by its comments.
fn comparable(object: &Value) -> Value {
    let text = object.to_string();
    let text = match text.split_once("ftp-pooler-config-") {
        Some((_, rest)) => text.replace(&format!("config-{}", &rest[..10]), "config-HASH"),
        None => text,
    };
    let mut object: Value = serde_json::from_str(&text).unwrap();
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
        labels.retain(|label, _| label != "helm.sh/chart" && label != "app.kubernetes.io/managed-by");
    }
    if let Some(yaml) = object["data"]["config.yaml"].as_str() {
        object["data"]["config.yaml"] = parse(yaml).unwrap().into();
    } else if let Some(ini) = object["data"]["connections.ini"].as_str() {
        let is_said = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with([';', '#']);
        object["data"]["connections.ini"] = json!(ini.lines().filter(is_said).collect::<Vec<_>>());
    }
    object
}

fn by_name(objects: &[Value]) -> Vec<(String, Value)> {
    let mut named: Vec<_> = objects.iter().map(comparable).map(|object| (name_of(&object), object)).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

#[test]
#[ignore = "needs helm and kustomize: make test"]
fn its_defaults_make_what_the_base_makes() {
    let chart = by_name(&template("ftp-pooler", &[]).unwrap());
    let base = by_name(&parse(&rendered("k8s/base")).unwrap());
    let names =
        |objects: &[(String, Value)]| objects.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&chart), names(&base));
    for ((name, of_chart), (_, of_base)) in chart.iter().zip(&base) {
        assert_eq!(of_chart, of_base, "{name}: the chart's, then the base's");
    }
}

#[test]
#[ignore = "needs helm and Kubernetes' schemas: make test"]
fn what_it_makes_is_what_kubernetes_takes_and_restricted() {
    let kubernetes = Kubernetes::load();
    for (values, kinds) in VARIANTS {
        let objects = template("other", values).unwrap_or_else(|error| panic!("{values:?}: {error}"));
        for object in &objects {
            assert_eq!(kubernetes.flaws(object), [""; 0], "{values:?}: {}", name_of(object));
        }
        for kind in kinds {
            assert!(objects.iter().any(|object| object["kind"] == *kind), "{values:?}: no {kind}");
        }
        assert!(assert_restricted(&format!("{values:?}"), &objects) > 0, "{values:?} has a pod");
    }
}

#[test]
#[ignore = "needs helm: make test"]
fn values_that_it_does_not_know_are_refused_by_name() {
    for (value, named) in [
        ("storage.kind=nfs", "storage.kind"),
        ("replica=4", "replica"),
        ("networkPolicy.kafkaPorts.to=70000", "networkPolicy.kafkaPorts.to"),
        ("image.pullPolicy=Sometimes", "image.pullPolicy"),
    ] {
        let error = template("x", &[value]).unwrap_err();
        assert!(error.contains(named), "{value}: {error}");
    }
}

#[test]
#[ignore = "needs helm: make test"]
fn a_change_of_config_yaml_is_a_rollout_and_one_of_connections_ini_is_not() {
    let pod = |values: &[&str]| {
        let objects = template("x", values).unwrap();
        let set = objects.iter().find(|object| object["kind"] == "StatefulSet").unwrap();
        set["spec"]["template"].clone()
    };
    let before = pod(&[]);
    assert_ne!(pod(&["config.shutdown.drain_seconds=20"]), before);
    assert_eq!(pod(&["connections=[other]"]), before);
}

#[test]
fn its_version_is_that_of_the_program() {
    let chart = &parse(&read("charts/ftp-pooler/Chart.yaml")).unwrap()[0];
    assert_eq!(text(&chart["appVersion"]), env!("CARGO_PKG_VERSION"));
    let label = format!("org.opencontainers.image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(read("Dockerfile").contains(&label));
    let tag = format!("newTag: {}", env!("CARGO_PKG_VERSION"));
    assert!(read("k8s/base/kustomization.yaml").contains(&tag));
    assert!(root().join("charts/ftp-pooler/values.schema.json").exists());
}

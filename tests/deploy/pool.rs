//! The pool's own manifests: what they say about it must be so.

use std::fs;
use std::time::Duration;

use clap::Parser as _;
use ftp_pooler::app::AFTER_DRAIN;
use ftp_pooler::config::{Config, ConfigSources, FilesInUse};
use serde_json::Value;
use tempfile::TempDir;

use crate::files::{documents, find, read, text, yaml_files};

/// The pods' environment: their secret's keys, and their name.
fn environment(secret: &str, pod: &str) -> Vec<(String, String)> {
    let secret = documents(secret).remove(0);
    let keys = secret["stringData"].as_object().unwrap();
    let mut environment: Vec<_> =
        keys.iter().map(|(key, value)| (key.clone(), text(value).to_owned())).collect();
    environment.push(("FTP_POOLER__POD__NAME".into(), pod.into()));
    environment
}

/// The files of both `ConfigMap`s.
const CONFIG_FILES: [&str; 2] = ["config.yaml", "connections.ini"];

/// What a pod called `pod` makes of a kustomization's files and a Secret, as it would in the cluster.
fn loaded(kustomization: &str, secret: &str, pod: &str) -> Config {
    let dir = TempDir::new().unwrap();
    for name in CONFIG_FILES {
        // The volume is not mounted here.
        let content = read(&format!("{kustomization}/{name}"));
        let content = content.replace("/data/storage", &dir.path().display().to_string());
        fs::write(dir.path().join(name), content).unwrap();
    }
    let environment = environment(secret, pod).into_iter().map(|(key, value)| (key.into(), value.into()));
    let sources = ConfigSources {
        config: dir.path().join("config.yaml"),
        connections: None,
        environment: environment.collect(),
        property: |_, _| None,
        files: FilesInUse::All,
        also_searched: None,
    };
    Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn base(pod: &str) -> Config {
    loaded("k8s/base", "k8s/base/secret.example.yaml", pod)
}

fn test_site() -> Config {
    loaded("k8s/test", "k8s/test/secret-test.yaml", "ftp-pooler-0")
}

fn stateful_set() -> Value {
    documents("k8s/base/statefulset.yaml").remove(0)
}

#[test]
fn the_pods_understand_their_configuration() {
    let config = base("ftp-pooler-0");
    assert_eq!(config.kafka.input_topic, "ftp-tasks");
    assert!(config.connections.ftp.contains_key("remote-ftp"), "its password comes from the secret");
    let config = test_site();
    let server = &config.connections.ftp["remote-ftp"];
    let service = documents("k8s/test/ftp-server/ftp-server.yaml").remove(0);
    assert_eq!(server.host.as_str(), text(&service["metadata"]["name"]));
    assert_eq!(u64::from(server.port), service["spec"]["ports"][0]["port"].as_u64().unwrap());
    assert_eq!(config.kafka.bootstrap_servers, ["kafka:9092"]);
}

#[test]
fn each_pod_has_a_name_of_its_own_that_it_keeps() {
    let pod = &stateful_set()["spec"]["template"]["spec"]["containers"][0];
    let name =
        pod["env"].as_array().unwrap().iter().find(|variable| variable["name"] == "FTP_POOLER__POD__NAME");
    assert_eq!(name.unwrap()["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name", "its ordinal");
    assert_eq!(base("ftp-pooler-2").pod.name, "ftp-pooler-2");
    for kustomization in ["k8s/base", "k8s/test"] {
        let text = read(&format!("{kustomization}/config.yaml"));
        assert!(
            !text.lines().any(|line| line.trim_start().starts_with("pod:")),
            "{kustomization}: one name for all"
        );
    }
}

/// The consumer's `session.timeout.ms`, unless kafka.properties says another.
fn session_timeout() -> Duration {
    let source = read("src/kafka/properties.rs");
    let (_, rest) = source.split_once("(\"session.timeout.ms\", \"").unwrap();
    Duration::from_millis(rest.split('"').next().unwrap().parse().unwrap())
}

/// The longest that a pod takes from SIGTERM to its exit.
fn stop_takes(config: &Config) -> Duration {
    config.shutdown.drain + AFTER_DRAIN
}

#[test]
fn kubernetes_waits_for_the_drain_the_last_transaction_and_the_sessions_timeout() {
    let grace = |value: &Value| Duration::from_secs(value.as_u64().unwrap());
    let base_grace = grace(&stateful_set()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]);
    let needed = stop_takes(&base("ftp-pooler-0")) + session_timeout();
    assert!(base_grace > needed, "terminationGracePeriodSeconds is {base_grace:?}, needed {needed:?}");

    let overlay = read("k8s/test/kustomization.yaml");
    let (_, rest) = overlay.split_once("terminationGracePeriodSeconds, value: ").unwrap();
    let test_grace = Duration::from_secs(rest.split('}').next().unwrap().parse().unwrap());
    let needed = stop_takes(&test_site()) + session_timeout();
    assert!(test_grace > needed, "terminationGracePeriodSeconds is {test_grace:?}, needed {needed:?}");

    let compose = documents("docker-compose.yml").remove(0);
    let period = text(&compose["services"]["pooler-0"]["stop_grace_period"]).trim_end_matches('s').to_owned();
    let compose_grace = Duration::from_secs(period.parse().unwrap());
    assert!(compose_grace > needed, "stop_grace_period is {compose_grace:?}, needed {needed:?}");
}

#[test]
fn probes_and_ports_are_those_of_the_configuration() {
    let config = base("ftp-pooler-0");
    let pod = &stateful_set()["spec"]["template"]["spec"]["containers"][0];
    let port = |name: &str| {
        let ports = pod["ports"].as_array().unwrap();
        ports.iter().find(|port| port["name"] == name).unwrap()["containerPort"].as_u64().unwrap()
    };
    assert_eq!(port("api"), u64::from(config.api.port));
    assert_eq!(port("metrics"), u64::from(config.metrics.port));
    for (probe, path) in
        [("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")]
    {
        assert_eq!(pod[probe]["httpGet"]["path"], path);
        assert_eq!(pod[probe]["httpGet"]["port"], "api");
        let routes = read("crates/service-kit/src/http/probes.rs");
        assert!(routes.contains(&format!("\"{path}\"")), "{path} is served");
    }
}

#[test]
fn one_pod_at_a_time_is_taken_away() {
    let budget = &documents("k8s/base/poddisruptionbudget.yaml")[0];
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
}

#[test]
fn selectors_meet_the_pods_they_mean() {
    let set = stateful_set();
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    let selects =
        |selector: &Value| selector.as_object().unwrap().iter().all(|(label, value)| labels[label] == *value);
    assert!(selects(&set["spec"]["selector"]["matchLabels"]));
    let service = &documents("k8s/base/service.yaml")[0];
    assert!(selects(&service["spec"]["selector"]));
    assert_eq!(service["spec"]["clusterIP"], "None", "headless");
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    assert!(selects(&documents("k8s/base/poddisruptionbudget.yaml")[0]["spec"]["selector"]["matchLabels"]));
    assert!(selects(&documents("k8s/base/networkpolicy.yaml")[0]["spec"]["podSelector"]["matchLabels"]));
}

#[test]
fn no_scaler_makes_more_pods_than_there_are_partitions() {
    let topics = &documents("k8s/test/kafka/topics.yaml")[0];
    let args = topics["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    let at = args.iter().position(|arg| arg == "--partitions").unwrap();
    let partitions: u64 = text(&args[at + 1]).parse().unwrap();
    let most = [
        &documents("k8s/overlays/keda/scaledobject.yaml")[0]["spec"]["maxReplicaCount"],
        &documents("k8s/overlays/hpa/horizontalpodautoscaler.yaml")[0]["spec"]["maxReplicas"],
    ];
    for most in most {
        assert!(most.as_u64().unwrap() <= partitions, "{most} pods on {partitions} partitions");
    }
}

#[test]
fn the_scalers_read_a_series_that_is_recorded() {
    let record = "ftp_pooler:pending_tasks";
    assert!(read("k8s/monitoring/alerts.yaml").contains(&format!("record: {record}\n")));
    let scaled = &documents("k8s/overlays/keda/scaledobject.yaml")[0];
    assert!(text(&scaled["spec"]["triggers"][0]["metadata"]["query"]).contains(record));
    let adapter = &documents("k8s/overlays/hpa/prometheus-adapter.example.yaml")[0];
    let rule = &adapter["rules"]["custom"][0];
    assert!(text(&rule["seriesQuery"]).contains(record));
    let scaler = &documents("k8s/overlays/hpa/horizontalpodautoscaler.yaml")[0];
    assert_eq!(rule["name"]["as"], scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]);
}

#[test]
fn every_manifest_is_part_of_a_kustomization() {
    let kustomizations: Vec<_> =
        yaml_files("k8s").into_iter().filter(|path| path.ends_with("kustomization.yaml")).collect();
    let all: String = kustomizations.iter().map(|path| read(path)).collect();
    // The router's last two need custom resources (cert-manager, Gateway API) that a cluster need not have.
    let apart = [
        ".example.yaml",
        "alerts.yaml",
        "alerts.test.yaml",
        "kustomization.yaml",
        "k8s/router/certificate.yaml",
        "k8s/router/gateway.yaml",
    ];
    let unused: Vec<_> = yaml_files("k8s")
        .into_iter()
        .filter(|path| !apart.iter().any(|end| path.ends_with(end)))
        .filter(|path| !all.contains(path.rsplit('/').next().unwrap()))
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn the_test_sites_tasks_are_tasks() {
    let e2e = documents("k8s/test/e2e.yaml");
    let tasks = text(&find(&e2e, "ConfigMap/e2e")["data"]["tasks.jsonl"]);
    let schema: Value = serde_json::from_str(&read("docs/schemas/task.schema.json")).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    for line in tasks.lines().chain(read("compose/tasks.jsonl").lines()) {
        let task: Value = serde_json::from_str(line).unwrap();
        assert!(schema.is_valid(&task), "{line}");
    }
}

#[test]
fn whatever_the_image_is_told_to_do_it_understands() {
    let manifests = ["k8s/base/statefulset.yaml", "k8s/test/e2e.yaml", "k8s/test/kafka/topics.yaml"];
    let templates = manifests.iter().flat_map(|path| documents(path)).collect::<Vec<_>>();
    let containers = templates.iter().map(|one| &one["spec"]["template"]["spec"]["containers"][0]["args"]);
    let services = documents("docker-compose.yml").remove(0)["services"].take();
    let of_the_image =
        |service: &&Value| service["image"].as_str().is_some_and(|i| i.starts_with("ftp-pooler:"));
    let commands = services.as_object().unwrap().values().filter(of_the_image);
    let mut count = 0;
    for words in containers.chain(commands.map(|service| &service["command"])) {
        let Some(words) = words.as_array() else { continue };
        let words = std::iter::once("ftp-pooler").chain(words.iter().map(text));
        ftp_pooler::cli::CommandLine::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        count += 1;
    }
    assert!(count >= 6, "{count} commands were looked at");
}

//! What the guide, the manifests, the dashboard and the alerts say must be so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pattern_router::metrics::Metrics;
use pattern_router::settings::ResolverSettings;
use service_kit::metrics::ProcessMetrics;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_configurations_of_manifests_and_compose_are_right() {
    for path in ["k8s/router/config.yaml", "compose/router.yaml"] {
        let settings = pattern_router::config::load(&root().join(path), std::iter::empty());
        let settings = settings.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(settings.ports.contains(8080), "{path}: the pool's pages");
        assert!(
            settings.sockets.admin.is_some_and(|admin| admin.ip().is_unspecified()),
            "{path}: probes reach it"
        );
    }
    let compose =
        pattern_router::config::load(&root().join("compose/router.yaml"), std::iter::empty()).unwrap();
    assert!(matches!(compose.resolver, ResolverSettings::Dns { .. }));
    let name = compose.domain.parse_host(b"8080-pooler-0.localhost:8000").unwrap();
    assert_eq!((name.port, name.id.as_str()), (8080, "pooler-0"));
    let file = read("docker-compose.yml");
    assert!(file.contains("./compose/router.yaml:/etc/pattern-router/router.yaml:ro"), "it is mounted");
    for service in ["  pooler-0:\n", "  pooler-1:\n", "  router:\n"] {
        assert!(file.contains(service), "{service}");
    }
}

/// The YAML examples of the guide that are whole configurations.
#[test]
fn the_guides_configurations_are_right_but_for_their_files() {
    let guide = read("docs/router/README.md");
    let mut tried = 0;
    for block in guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        if !block.contains("domain:") {
            continue;
        }
        tried += 1;
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
        let path = directory.path().join("router.yaml");
        fs::write(&path, block.replace("/run/secrets/router", secret.to_str().unwrap())).unwrap();
        let loaded = pattern_router::config::load(&path, std::iter::empty());
        assert!(loaded.is_ok(), "{block}{}", loaded.unwrap_err());
    }
    assert!(tried >= 2, "{tried} examples");
    let compose = read("docs/router/examples/oauth2-proxy.yaml");
    let (_, config) = compose.split_once("content: |\n").unwrap();
    let lines = config.lines().take_while(|line| line.starts_with("      ")).map(str::trim);
    let config = lines.collect::<Vec<_>>().join("\n");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("router.yaml");
    fs::write(&path, &config).unwrap();
    let loaded = pattern_router::config::load(&path, std::iter::empty());
    assert!(loaded.is_ok(), "{config}{}", loaded.unwrap_err());
}

/// Names of series, as Prometheus sees them.
fn known() -> BTreeSet<String> {
    let metrics = Metrics::new().unwrap();
    // A metric with labels has no series before its first use.
    for (counters, label) in [
        (&metrics.connects, "connected"),
        (&metrics.retries, "connect"),
        (&metrics.lookups, "found"),
        (&metrics.auth, "session"),
        (&metrics.connections_refused, "tls"),
        (&metrics.reloads, "applied"),
    ] {
        counters.with_label_values(&[label]).inc();
    }
    metrics.pod_connections.with_label_values(&["idle"]).set(1);
    let mut names: BTreeSet<String> = ProcessMetrics::NAMES.iter().map(|name| (*name).to_owned()).collect();
    for family in metrics.registry.gather() {
        let name = family.name().to_owned();
        names.extend(["", "_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
    }
    names
}

/// The words of a text that are names of series.
fn series(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("pattern_router_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn dashboard_and_alerts_name_series_that_there_are_and_show_every_metric() {
    let known = known();
    let (dashboard, alerts) = (read("k8s/router/dashboard.json"), read("k8s/router/alerts.yaml"));
    let named: BTreeSet<_> = series(&dashboard).union(&series(&alerts)).cloned().collect();
    let unknown: Vec<_> = named.iter().filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let metrics = Metrics::new().unwrap();
    for family in metrics.registry.gather() {
        let is_shown = named.iter().any(|name| name.starts_with(family.name()));
        assert!(is_shown, "nobody looks at {}", family.name());
    }
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(
            panel["type"] == "row" || panel["description"].is_string(),
            "{} says what it shows",
            panel["title"]
        );
    }
}

#[test]
fn each_alert_has_its_section_in_the_runbook_and_its_test() {
    let (alerts, tests) = (read("k8s/router/alerts.yaml"), read("k8s/router/alerts.test.yaml"));
    let runbook = read("docs/router/OPERATIONS.md");
    let names: BTreeSet<_> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let sections: BTreeSet<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|name| name.starts_with("PatternRouter"))
        .collect();
    assert_eq!(names, sections);
    for name in names {
        assert!(alerts.contains(&format!("docs/router/OPERATIONS.md#{}", name.to_lowercase())), "{name}");
        assert!(
            tests.matches(&format!("alertname: {name}")).count() >= 2,
            "{name} is silent, and then speaks"
        );
    }
}

#[test]
fn links_lead_somewhere() {
    for name in ["docs/router/README.md", "docs/router/OPERATIONS.md", "docs/router/CONFIGURATION.md"] {
        let text = read(name);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path =
                if file.is_empty() { root().join(name) } else { root().join(name).with_file_name(file) };
            let found = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {target}: {error}"));
            let kept = |heading: &str| {
                heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>()
            };
            let mut anchors = found
                .lines()
                .filter(|line| line.starts_with('#'))
                .map(|line| kept(&line.trim_start_matches('#').trim().to_lowercase()).replace(' ', "-"));
            assert!(anchor.is_empty() || anchors.any(|known| known == anchor), "{name}: {target}");
        }
    }
}

#[test]
#[ignore = "needs promtool: make test"]
fn the_alerts_do_what_they_say_and_the_dashboard_is_promql() {
    let deps = std::env::var_os("FTP_POOLER_DEPS").map_or_else(|| root().join(".deps"), PathBuf::from);
    let unpacked = deps.join("promtool");
    let program = if unpacked.exists() { unpacked } else { PathBuf::from("promtool") };
    let run = |arguments: &[&str]| {
        let directory = root().join("k8s/router");
        let output = Command::new(&program).args(arguments).current_dir(directory).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
    };
    run(&["test", "rules", "alerts.test.yaml"]);
    let dashboard: serde_json::Value = serde_json::from_str(&read("k8s/router/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let rules: Vec<_> = targets
        .enumerate()
        .map(|(n, target)| {
            let expression =
                target["expr"].as_str().unwrap().replace("$__rate_interval", "1m").replace("$job", ".*");
            serde_json::json!({"record": format!("panel_{n}"), "expr": expression})
        })
        .collect();
    assert!(rules.len() > 20, "{} expressions", rules.len());
    // JSON is YAML.
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        file.path(),
        serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string(),
    )
    .unwrap();
    run(&["check", "rules", file.path().to_str().unwrap()]);
}

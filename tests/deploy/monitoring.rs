//! Dashboard and alerts: they name series that there are, each alert has its section in docs/OPERATIONS.md,
//! and the rules do what their tests say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::files::{deps, documents, read, root, run, text};
use crate::metrics::{declared, named};

/// What Prometheus adds to every series: who it is scraped from.
const OF_THE_TARGET: [&str; 5] = ["namespace", "pod", "instance", "job", "service"];

const ALERTS: &str = "k8s/monitoring/alerts.yaml";
const RULE: &str = "k8s/monitoring/prometheusrule.yaml";

fn rules() -> Vec<Value> {
    let groups = documents(ALERTS).remove(0);
    let rules =
        groups["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.cloned().collect()
}

fn alerts() -> Vec<Value> {
    rules().into_iter().filter(|rule| rule["alert"].is_string()).collect()
}

fn recorded() -> BTreeSet<String> {
    rules().iter().filter_map(|rule| rule["record"].as_str()).map(str::to_owned).collect()
}

/// What is wrong with the series that an expression names.
fn unknown_series(expression: &str, metrics: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, labels) in named(expression) {
        if recorded().contains(&name) {
            continue;
        }
        let Some(known) = metrics.get(&name) else {
            wrong.push(format!("{name}: no such metric"));
            continue;
        };
        let is_known = |label: &String| known.contains(label) || OF_THE_TARGET.contains(&label.as_str());
        wrong.extend(
            labels
                .iter()
                .filter(|label| !is_known(label))
                .map(|label| format!("{name} has no label {label}")),
        );
    }
    wrong
}

/// Every expression of the dashboard, with its panel's title.
fn dashboard_expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let nested = |panel: &Value| panel["panels"].as_array().cloned().unwrap_or_default();
    for panel in panels.flat_map(|panel| std::iter::once(panel.clone()).chain(nested(panel))) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((text(&panel["title"]).to_owned(), text(&target["expr"]).to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            found.push((format!("variable {}", text(&variable["name"])), query.to_owned()));
        }
    }
    found
}

fn dashboard() -> Value {
    serde_json::from_str(&read("k8s/monitoring/dashboard.json")).unwrap()
}

#[test]
fn the_dashboard_names_only_series_that_there_are() {
    let metrics = declared();
    let expressions = dashboard_expressions(&dashboard());
    assert!(expressions.len() > 20, "{} expressions", expressions.len());
    let wrong: Vec<_> = expressions
        .iter()
        .flat_map(|(panel, expression)| {
            unknown_series(expression, &metrics).into_iter().map(move |wrong| format!("{panel}: {wrong}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// With two hundred connections, a panel of all of them is a legend that nobody reads.
#[test]
fn what_there_may_be_hundreds_of_is_shown_as_the_greatest_ten() {
    let is_many = |expression: &str| {
        ["by (connection", "by (topic, partition", "by (tunnel", "ftp_pooler_tunnel_up"]
            .iter()
            .any(|of| expression.contains(of))
    };
    let dashboard = dashboard();
    let (mut seen, mut wrong) = (0, Vec::new());
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] == "timeseries")
    {
        for target in panel["targets"].as_array().unwrap() {
            let expression = text(&target["expr"]);
            seen += usize::from(is_many(expression));
            if is_many(expression) && !expression.split(" or ").all(|part| part.starts_with("topk(10, ")) {
                wrong.push(format!("{}: {expression}", text(&panel["title"])));
            }
        }
    }
    assert!(seen > 12 && wrong.is_empty(), "{seen} expressions; {wrong:#?}");
}

/// A metric that nobody looks at is one that nobody needs; these are looked at elsewhere, or by hand.
const NOT_SHOWN: [&str; 2] = ["process_virtual_memory_bytes", "process_threads"];

#[test]
fn the_dashboard_or_an_alert_shows_every_metric() {
    let mut shown: BTreeSet<String> = BTreeSet::new();
    let of_alerts = rules().into_iter().map(|rule| text(&rule["expr"]).to_owned());
    for expression in dashboard_expressions(&dashboard()).into_iter().map(|(_, e)| e).chain(of_alerts) {
        shown.extend(named(&expression).into_iter().map(|(name, _)| name));
    }
    let is_series = |name: &str, metric: &str| {
        name == metric || ["_bucket", "_sum", "_count"].iter().any(|end| name == format!("{metric}{end}"))
    };
    let suffixed = |name: &str| ["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
    let unseen: Vec<_> = declared()
        .into_keys()
        .filter(|metric| !suffixed(metric) && !NOT_SHOWN.contains(&metric.as_str()))
        .filter(|metric| !shown.iter().any(|name| is_series(name, metric)))
        .collect();
    assert!(unseen.is_empty(), "neither on the dashboard nor in an alert: {unseen:?}");
}

#[test]
fn the_dashboards_panels_lie_beside_each_other_and_have_a_description() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            assert!(x < 24, "{}", panel["title"]);
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} covers another panel", panel["title"]);
            }
        }
        if panel["type"] != "row" {
            assert!(panel["description"].is_string(), "{} says what it shows", panel["title"]);
        }
    }
}

#[test]
fn the_alerts_name_only_series_that_there_are() {
    let metrics = declared();
    let name = |rule: &Value| rule["alert"].as_str().or(rule["record"].as_str()).unwrap().to_owned();
    let wrong: Vec<_> = rules()
        .iter()
        .flat_map(|rule| {
            let wrong = unknown_series(text(&rule["expr"]), &metrics).into_iter();
            wrong.map(|wrong| format!("{}: {wrong}", name(rule))).collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_alert_has_its_section_in_the_runbook_and_each_section_its_alert() {
    let operations = read("docs/OPERATIONS.md");
    let sections: BTreeSet<_> =
        operations.lines().filter_map(|line| line.strip_prefix("### FtpPooler")).map(str::trim).collect();
    let mut named = BTreeSet::new();
    for alert in alerts() {
        let name = text(&alert["alert"]).to_owned();
        let wanted = format!("docs/OPERATIONS.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook"], *wanted, "{name}");
        let url = &alert["annotations"]["runbook_url"];
        assert!(url.is_null(), "{name}: {url} is to be a link, and nobody knows where these documents are");
        assert!(["critical", "warning"].contains(&text(&alert["labels"]["severity"])), "{name}");
        for annotation in ["summary", "description"] {
            assert!(alert["annotations"][annotation].is_string(), "{name} has a {annotation}");
        }
        named.insert(name.strip_prefix("FtpPooler").unwrap().to_owned());
    }
    let named: BTreeSet<_> = named.iter().map(String::as_str).collect();
    assert_eq!(named, sections);
}

#[test]
fn the_operators_rules_are_the_same() {
    let mut wanted = String::from(
        "# Made of alerts.yaml: UPDATE_GENERATED=1 cargo test --test deploy\n\
         apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: ftp-pooler\nspec:\n",
    );
    for line in read(ALERTS).lines().filter(|line| !line.starts_with('#')) {
        let indent = if line.is_empty() { "" } else { "  " };
        writeln!(wanted, "{indent}{line}").unwrap();
    }
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(root().join(RULE), &wanted).unwrap();
    }
    assert!(read(RULE) == wanted, "{RULE} is old: UPDATE_GENERATED=1 cargo test --test deploy");
}

#[test]
fn each_alert_has_a_test() {
    let tests = read("k8s/monitoring/alerts.test.yaml");
    let untested: Vec<_> = alerts()
        .iter()
        .map(|alert| text(&alert["alert"]).to_owned())
        .filter(|name| !tests.contains(&format!("alertname: {name}\n")))
        .collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
#[ignore = "needs promtool: make test"]
fn the_rules_are_right_and_do_what_their_tests_say() {
    for arguments in [["check", "rules", ALERTS], ["test", "rules", "k8s/monitoring/alerts.test.yaml"]] {
        let output = run(&promtool(), &arguments, "");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}

#[test]
#[ignore = "needs promtool: make test"]
fn prometheus_takes_the_compose_files_configuration() {
    let output = run(&promtool(), &["check", "config", "--syntax-only", "compose/prometheus.yml"], "");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

/// That of `make deps`, else the machine's.
fn promtool() -> std::path::PathBuf {
    let installed = std::path::PathBuf::from("/usr/bin/promtool");
    if installed.exists() { installed } else { deps("promtool") }
}

#[test]
#[ignore = "needs promtool: make test"]
fn what_a_pod_tells_prometheus_is_as_prometheus_wants_it() {
    let metrics = ftp_pooler::metrics::Metrics::new(["far", "near"]);
    metrics.answered("download", "far", Some("timeout"), std::time::Duration::from_secs(1));
    let output = run(&promtool(), &["check", "metrics"], &metrics.encode());
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
#[ignore = "needs promtool: make test"]
fn the_dashboards_expressions_are_promql() {
    let filled = |expression: &str| {
        let expression = expression.replace("$__rate_interval", "1m").replace("$namespace", ".*");
        expression.replace("$pod", ".*").replace("$connection", ".*")
    };
    let expressions = dashboard_expressions(&dashboard()).into_iter();
    let queries = expressions.filter(|(_, expression)| !expression.starts_with("label_values("));
    let rule = |(n, (panel, expression)): (usize, (String, String))| serde_json::json!({"record": format!("panel_{n}"), "expr": filled(&expression), "labels": {"panel": panel}});
    let rules: Vec<Value> = queries.enumerate().map(rule).collect();
    assert!(rules.len() > 20, "{} expressions", rules.len());
    // JSON is YAML.
    let file = tempfile::NamedTempFile::new().unwrap();
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    fs::write(file.path(), groups.to_string()).unwrap();
    let output = run(&promtool(), &["check", "rules", file.path().to_str().unwrap()], "");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

//! The metrics that there are, read from where they are declared; and the names in a `PromQL` expression.

use std::collections::BTreeMap;

use service_kit::metrics::ProcessMetrics;

use crate::files::read;

/// What a histogram's series are called beside its name.
const OF_A_HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Labels by metric.
pub fn declared() -> BTreeMap<String, Vec<String>> {
    let source = read("src/metrics.rs");
    let (_, block) = source.split_once("declare_metrics! {").unwrap();
    let (block, _) = block.split_once("\n}").unwrap();
    // A declaration may take several lines: it ends with its semicolon.
    let code: String = block.lines().filter(|line| !line.trim_start().starts_with("///")).collect();
    let mut metrics = BTreeMap::new();
    for declaration in code.split(';').filter(|declaration| declaration.contains('=')) {
        let mut quoted = declaration.split('"').skip(1).step_by(2).map(str::to_owned);
        let name = quoted.next().unwrap();
        let mut labels: Vec<_> = quoted.collect();
        if declaration.contains("Histogram") {
            labels.push("le".into());
            metrics.extend(OF_A_HISTOGRAM.map(|suffix| (format!("{name}{suffix}"), labels.clone())));
        }
        metrics.insert(name, labels);
    }
    metrics.extend(ProcessMetrics::NAMES.iter().map(|name| ((*name).to_owned(), Vec::new())));
    assert!(metrics.len() > 20, "the declarations are read: {metrics:?}");
    metrics
}

/// The names of series in an expression, each with the labels that its braces speak of.
pub fn named(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find("ftp_pooler").into_iter().chain(rest.find("process_")).min() {
        let begins_a_word = !rest[..start].ends_with(is_name);
        let after = &rest[start..];
        let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
        let braces = after[end..].strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let labels = braces.map_or("", |(inside, _)| inside).split(',');
        let labels =
            labels.filter_map(|label| label.split(['=', '!']).next()).map(|label| label.trim().to_owned());
        if begins_a_word {
            found.push((after[..end].to_owned(), labels.filter(|label| !label.is_empty()).collect()));
        }
        rest = &after[end..];
    }
    found
}

#[test]
fn names_and_labels_are_found_in_an_expression() {
    let expression = "sum(rate(ftp_pooler_x_total{a=\"1\", b!~\"2\"}[5m])) > my_process_x or process_y";
    assert_eq!(
        named(expression),
        [
            ("ftp_pooler_x_total".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
            ("process_y".to_owned(), Vec::new())
        ]
    );
}

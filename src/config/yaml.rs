//! config.yaml as flat keys with their lines: `service_kit::yaml`, with values and errors of the configuration's tree.

use std::collections::BTreeMap;

use ::config::{Value, ValueKind};
use service_kit::yaml::{YamlEntry, YamlShape, YamlValue};

use super::errors::{ErrorCollector, SourceLocation};
use super::feeds::FEEDS;
use super::tree::ValueOrigin;

/// The deepest valid section has depth 3.
const SHAPE: YamlShape =
    YamlShape { max_depth: 8, expected: "sections such as `kafka:`", section_lists: &[FEEDS] };

/// Parses config.yaml's text; `path` names it in errors.
pub(super) fn read(text: &str, path: &str, errors: &mut ErrorCollector) -> BTreeMap<String, Value> {
    let (entries, problems) = service_kit::yaml::read(text, SHAPE);
    for problem in problems {
        let location = SourceLocation::File { path: path.to_owned(), line: Some(problem.line) };
        errors.add(location, &problem.key, problem.problem);
    }
    entries.into_iter().map(|(key, entry)| (key, value(entry))).collect()
}

fn value(YamlEntry { value, line }: YamlEntry) -> Value {
    let kind = match value {
        YamlValue::Null => ValueKind::Nil,
        YamlValue::Scalar(text) => text.into(),
        YamlValue::List(items) => items.into(),
    };
    ValueOrigin::Line(line).value(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_lines_and_errors_name_the_file() {
        let mut errors = ErrorCollector::default();
        let entries = read("a:\n  b: 007\n  c: [x]\n  b: 2\nd:\n", "config.yaml", &mut errors);
        let kind = |key: &str| entries.get(key).map(|value| value.kind.clone());
        assert_eq!(kind("a.b"), Some(ValueKind::from("007")));
        assert_eq!(kind("a.c"), Some(ValueKind::from(vec!["x".to_owned()])));
        assert_eq!(kind("d"), Some(ValueKind::Nil));
        assert_eq!(entries.get("a.c").map(ValueOrigin::of), Some(ValueOrigin::Line(3)));
        assert_eq!(errors.or(()).unwrap_err().to_string(), "config.yaml:4: a.b: is set twice");
    }
}

//! router.yaml as flat keys with their lines: `service_kit::yaml`, with this configuration's values and errors.

use std::collections::BTreeMap;

use service_kit::yaml::{YamlProblem, YamlShape, YamlValue};

use super::{ConfigError, RawValue, ValueSource};

/// `addresses:` is the only section.
const SHAPE: YamlShape =
    YamlShape { max_depth: 1, expected: "keys such as `domain: pool.example.com`", section_lists: &[] };

pub(super) fn read(text: &str, path: &str, errors: &mut Vec<ConfigError>) -> BTreeMap<String, RawValue> {
    let source = |line| ValueSource::File { path: path.to_owned(), line };
    let (entries, problems) = service_kit::yaml::read(text, SHAPE);
    errors.extend(problems.into_iter().map(|YamlProblem { line, key, problem }| ConfigError {
        source: Some(source(line)),
        key,
        problem,
    }));
    let mut values = BTreeMap::new();
    for (key, entry) in entries {
        let written = match entry.value {
            YamlValue::Null => continue, // an empty value is the default
            YamlValue::Scalar(value) => vec![value],
            YamlValue::List(items) => items,
        };
        values.insert(key, RawValue { values: written, source: source(entry.line) });
    }
    values
}

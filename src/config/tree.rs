//! Defaults, files and environment merged into one tree by the `config` crate, in which each value knows its origin.
//!
//! Values are text until the key tables give them types: the crate's own file formats would turn `007` into 7 before
//! the key's kind is known, lose lines and variables, and stop at the first error. `yaml`, `ini` and `environment` are
//! its sources here.

use std::collections::BTreeMap;
use std::fmt;

use ::config::builder::DefaultState;
use ::config::{ConfigBuilder, Map, Source, Value, ValueKind};

use super::key::{ConfigKey, KeyDefault};

/// The values of one source, or of all merged.
#[derive(Clone, Default)]
pub(super) struct ConfigTree {
    /// Of config.yaml, by the key's path.
    pub settings: BTreeMap<String, Value>,
    /// Of connections.ini, by connection and key.
    pub connections: BTreeMap<String, BTreeMap<String, Value>>,
}

/// The origin of a value. In the tree it is a text, since that is what the crate stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueOrigin {
    Default,
    /// The line in the section's file, from 1.
    Line(usize),
    /// The variable's name as written.
    Variable(String),
}

impl ValueOrigin {
    pub fn of(value: &Value) -> ValueOrigin {
        match value.origin() {
            None => ValueOrigin::Default,
            // a variable's name has no `=`
            Some(origin) => match origin.strip_prefix("line=").and_then(|line| line.parse().ok()) {
                Some(line) => ValueOrigin::Line(line),
                None => ValueOrigin::Variable(origin.to_owned()),
            },
        }
    }

    pub fn value(&self, kind: impl Into<ValueKind>) -> Value {
        let origin = match self {
            ValueOrigin::Default => None,
            ValueOrigin::Line(line) => Some(format!("line={line}")),
            ValueOrigin::Variable(name) => Some(name.clone()),
        };
        Value::new(origin.as_ref(), kind)
    }
}

/// The keys that have a fixed default, with their defaults.
pub(super) fn defaults<T>(keys: &[ConfigKey<T>]) -> BTreeMap<String, Value> {
    let fixed = keys.iter().filter_map(|key| match key.default {
        KeyDefault::Is(text) => Some((key.path.to_owned(), ValueOrigin::Default.value(text))),
        _ => None,
    });
    fixed.collect()
}

impl ConfigTree {
    /// The effective values: each source overrides those before it.
    pub fn merge<const N: usize>(sources: [ConfigTree; N]) -> ConfigTree {
        let builder =
            sources.into_iter().fold(::config::Config::builder(), ConfigBuilder::<DefaultState>::add_source);
        // the crate fails only if a source does, and ours cannot
        let mut root = builder.build().map(|merged| table(merged.cache)).unwrap_or_default();
        let mut take = |name: &str| root.remove(name).map(table).unwrap_or_default();
        let (settings, connections) = (take(SETTINGS), take(CONNECTIONS));
        ConfigTree {
            settings,
            connections: connections.into_iter().map(|(name, section)| (name, table(section))).collect(),
        }
    }
}

fn table(value: Value) -> BTreeMap<String, Value> {
    value.into_table().map(|table| table.into_iter().collect()).unwrap_or_default()
}

/// The crate takes only the names at the root of a source for expressions (`a.b[0]`).
const SETTINGS: &str = "settings";
const CONNECTIONS: &str = "connections";

impl Source for ConfigTree {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        let table = |section: &BTreeMap<String, Value>| -> Map<String, Value> {
            section.clone().into_iter().collect()
        };
        let connections: Map<String, Value> =
            self.connections.iter().map(|(name, section)| (name.clone(), table(section).into())).collect();
        Ok([
            (SETTINGS.to_owned(), table(&self.settings).into()),
            (CONNECTIONS.to_owned(), connections.into()),
        ]
        .into())
    }
}

impl fmt::Debug for ConfigTree {
    /// Without values: some are passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigTree").field("settings", &self.settings.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(line: usize, settings: &[(&str, &str)], connections: &[(&str, &str, &str)]) -> ConfigTree {
        let mut tree = ConfigTree::default();
        for (key, text) in settings {
            tree.settings.insert((*key).to_owned(), ValueOrigin::Line(line).value(*text));
        }
        for (name, key, text) in connections {
            let section = tree.connections.entry((*name).to_owned()).or_default();
            section.insert((*key).to_owned(), ValueOrigin::Variable("V".to_owned()).value(*text));
        }
        tree
    }

    #[test]
    fn the_last_source_wins_and_each_value_keeps_its_origin() {
        let merged = ConfigTree::merge([
            tree(1, &[("a.b", "1"), ("a.c", "1")], &[("x.y@z", "k", "1")]),
            tree(2, &[("a.c", "2")], &[("x.y@z", "l[99999999]", "2")]),
        ]);
        let shown = merged
            .settings
            .into_iter()
            .map(|(key, value)| (key, ValueOrigin::of(&value), value.into_string().unwrap()));
        let expected = [("a.b", 1, "1"), ("a.c", 2, "2")];
        assert_eq!(
            shown.collect::<Vec<_>>(),
            expected.map(|(key, line, text)| (key.to_owned(), ValueOrigin::Line(line), text.to_owned()))
        );
        let keys: Vec<&String> = merged.connections["x.y@z"].keys().collect();
        assert_eq!(keys, ["k", "l[99999999]"], "names are no expressions");
        assert_eq!(ValueOrigin::of(&merged.connections["x.y@z"]["k"]), ValueOrigin::Variable("V".to_owned()));
    }

    #[test]
    fn no_value_is_shown() {
        let shown = format!("{:?}", tree(1, &[("kafka.properties.sasl.password", "hunter2")], &[]));
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    }
}

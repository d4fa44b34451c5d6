//! Extracts typed values from the tree, key by key, and collects every error.

use std::collections::BTreeMap;
use std::path::Path;

use ::config::{Value, ValueKind};

use super::environment::{connection_variable, variable};
use super::errors::{ErrorCollector, SourceLocation};
use super::key::{ConfigKey, KeyDefault, KeyGroup};
use super::kind::{KeyKind, KeyValue, quoted};
use super::load::FilesInUse;
use super::settings::PROPERTIES;
use super::tree::ValueOrigin;
use crate::text::nearest;

/// The merged values of config.yaml, or of one connection. A key that was read is removed, so that what remains at the
/// end are unknown keys.
pub(super) struct SectionReader<'a> {
    /// The file's path, for errors.
    pub file: &'a str,
    /// The connection that is being read; `None` for config.yaml.
    pub connection: Option<SectionScope<'a>>,
    pub values: BTreeMap<String, Value>,
    pub errors: &'a mut ErrorCollector,
    /// Files and directories that values name.
    pub files: &'a FilesInUse,
}

/// A connection's name, and the line where its section starts; `None` if only the environment defines it.
#[derive(Clone, Copy)]
pub(super) struct SectionScope<'a> {
    pub name: &'a str,
    pub line: Option<usize>,
}

impl SectionReader<'_> {
    /// Sets every key. One with an error leaves its field unchanged, which has no effect, since loading then fails.
    pub fn read<T>(&mut self, keys: &[ConfigKey<T>], target: &mut T) {
        for key in
            keys.iter().filter(|key| key.group.is_some_and(|group| group.keys.first() == Some(&key.path)))
        {
            self.choose(key.group);
        }
        for key in keys {
            let Some(value) = self.values.remove(key.path) else {
                if matches!(key.default, KeyDefault::Required) {
                    self.wrong(key.path, None, format!("is missing; expected {}", key.kind.describe()));
                }
                continue;
            };
            let origin = ValueOrigin::of(&value);
            let set = self.typed(key.kind, value).and_then(|value| match value {
                Some(value) => (key.field.set)(target, value),
                None => Ok(()),
            });
            if let Err(problem) = set {
                self.wrong(key.path, Some(&origin), problem);
            }
        }
    }

    /// Keeps one of a group's alternative keys; the environment's override the file's.
    fn choose(&mut self, group: Option<&KeyGroup>) {
        let Some(group) = group else { return };
        if group.ignores_empty {
            self.values.retain(|key, value| {
                !(group.keys.contains(&key.as_str())
                    && matches!(&value.kind, ValueKind::String(text) if text.is_empty()))
            });
        }
        let is_variable = |value: &Value| matches!(ValueOrigin::of(value), ValueOrigin::Variable(_));
        if group.keys.iter().any(|key| self.values.get(*key).is_some_and(is_variable)) {
            self.values.retain(|key, value| !group.keys.contains(&key.as_str()) || is_variable(value));
        }
        let mut set = group.keys.iter().copied().filter(|key| self.values.contains_key(*key));
        match (set.next(), set.next(), group.missing) {
            (Some(first), Some(second), _) => {
                let value = self.values.remove(second);
                let problem = format!("{first} is set as well; expected one of them");
                self.wrong(second, value.as_ref().map(ValueOrigin::of).as_ref(), problem);
                self.values.retain(|key, _| key == first || !group.keys.contains(&key.as_str()));
            }
            (None, _, Some(problem)) => {
                let first = group.keys.first().copied().unwrap_or_default();
                self.wrong(first, None, problem);
            }
            _ => {}
        }
    }

    /// `None` if the value is not needed.
    fn typed(&mut self, kind: KeyKind, value: Value) -> Result<Option<KeyValue>, String> {
        let value = match value.kind {
            ValueKind::String(text) => kind.read(&text)?,
            ValueKind::Array(items) => {
                let items: Vec<String> =
                    items.into_iter().filter_map(|item| item.into_string().ok()).collect();
                kind.read_list(items.iter().map(String::as_str))?
            }
            _ => return Err(format!("has no value; expected {}", kind.describe())),
        };
        match (kind, value) {
            (KeyKind::Directory, KeyValue::Text(path)) => {
                if self.files.needs_directories() {
                    check_directory(Path::new(&path))?;
                }
                Ok(Some(KeyValue::Text(path)))
            }
            (KeyKind::File { max_bytes }, KeyValue::Text(path)) => {
                if !self.files.needs_files_of(self.connection.map(|scope| scope.name)) {
                    return Ok(None);
                }
                let content = self.errors.read_file(&path, max_bytes)?;
                Ok(Some(KeyValue::File { path, content }))
            }
            (_, value) => Ok(Some(value)),
        }
    }

    /// Extracts every value beneath a section, by the rest of its key.
    pub fn take_beneath(&mut self, section: &str) -> BTreeMap<String, Value> {
        let prefix = format!("{section}.");
        let (beneath, rest): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.values).into_iter().partition(|(key, _)| key.starts_with(&prefix));
        self.values = rest;
        beneath.into_iter().map(|(key, value)| (key.split_at(prefix.len()).1.to_owned(), value)).collect()
    }

    /// Records an error at a key, whose value comes from `origin`; `None` if it is missing.
    pub fn wrong(&mut self, key: &str, origin: Option<&ValueOrigin>, problem: impl Into<String>) {
        let line = match (origin, self.connection) {
            (Some(ValueOrigin::Variable(name)), _) => {
                return self.errors.add(SourceLocation::Environment, name.as_str(), problem);
            }
            (None | Some(ValueOrigin::Default), Some(SectionScope { name, line: None })) => {
                let variable = connection_variable(name, key);
                return self.errors.add(SourceLocation::Environment, variable, problem);
            }
            (Some(ValueOrigin::Line(line)), _) => Some(*line),
            (None | Some(ValueOrigin::Default), scope) => scope.and_then(|scope| scope.line),
        };
        let label = match self.connection {
            Some(SectionScope { name, .. }) => format!("[{name}] {key}"),
            None => key.to_owned(),
        };
        self.errors.add(SourceLocation::File { path: self.file.to_owned(), line }, label, problem);
    }

    /// Every remaining value is an error; `known` are the keys that could have been meant.
    pub fn refuse_the_rest<T>(&mut self, known: &[ConfigKey<T>]) {
        for (written, value) in std::mem::take(&mut self.values) {
            if value.kind == ValueKind::Nil && is_section(&written, known) {
                continue;
            }
            let origin = ValueOrigin::of(&value);
            let problem = unknown(&written, &origin, known);
            self.wrong(&written, Some(&origin), problem);
        }
    }
}

fn check_directory(path: &Path) -> Result<(), String> {
    let shown = quoted(&path.display().to_string());
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(format!("{shown} is not a directory")),
        Err(error) => Err(format!("{shown}: {error}; expected an existing directory")),
    }
}

/// Not a section of config.yaml, but a plausible mistake.
const CONNECTIONS: &str = "connections";

fn is_section<T>(path: &str, known: &[ConfigKey<T>]) -> bool {
    path == PROPERTIES || known.iter().any(|key| is_beneath(key.path, path))
}

fn is_beneath(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn unknown<T>(written: &str, origin: &ValueOrigin, known: &[ConfigKey<T>]) -> String {
    if is_section(written, known) {
        return "is a section; expected keys below it".to_owned();
    }
    if written == CONNECTIONS || is_beneath(written, CONNECTIONS) {
        return match origin {
            ValueOrigin::Variable(_) => {
                format!("unknown key; expected {}", connection_variable("name", "key"))
            }
            _ => "unknown key; connections are in connections.ini".to_owned(),
        };
    }
    if let Some(key) = known.iter().find(|key| is_beneath(written, key.path)) {
        return format!("unknown key; {} takes {}, not a section", key.path, key.kind.describe());
    }
    let (section, name) = written.rsplit_once('.').unwrap_or(("", written));
    let neighbours: Vec<&str> =
        known.iter().filter(|k| k.section() == section).map(ConfigKey::name).collect();
    let meant =
        nearest(name, neighbours.iter().copied()).map(str::to_owned).or_else(|| elsewhere(written, known));
    match (meant, origin) {
        (Some(meant), ValueOrigin::Variable(written_variable)) => {
            format!("unknown key; did you mean {}?", same_shape(written_variable, section, &meant))
        }
        (Some(meant), _) => format!("unknown key; did you mean {meant}?"),
        (None, _) if neighbours.is_empty() => {
            let mut sections: Vec<&str> = known.iter().map(ConfigKey::section).collect();
            sections.dedup();
            match nearest(written.split('.').next().unwrap_or(written), sections.iter().copied()) {
                Some(section) => format!("unknown key; did you mean the section {section}?"),
                None => format!("unknown key; the sections are {}", sections.join(", ")),
            }
        }
        (None, _) => format!("unknown key; expected one of {}", neighbours.join(", ")),
    }
}

/// The right key in a wrong section, or the right section misspelt.
fn elsewhere<T>(written: &str, known: &[ConfigKey<T>]) -> Option<String> {
    let name = written.rsplit('.').next().unwrap_or(written);
    let same_name = known.iter().filter(|key| key.name() == name && key.path != name);
    let mut same_name = same_name.map(|key| key.path);
    let only = same_name.next().filter(|_| same_name.next().is_none());
    nearest(written, known.iter().map(|key| key.path)).or(only).map(str::to_owned)
}

/// The variable that was meant, for a connection's key or a key of config.yaml.
fn same_shape(written: &str, section: &str, meant: &str) -> String {
    if meant.contains('.') {
        return variable(meant);
    }
    if !section.is_empty() {
        return variable(&format!("{section}.{meant}"));
    }
    let stem = written.rsplit_once("__").map_or(written, |(stem, _)| stem);
    format!("{stem}__{}", meant.to_ascii_uppercase())
}

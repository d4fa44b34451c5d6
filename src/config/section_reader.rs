//! Takes typed values out of what was written, key by key, and notes every mistake on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entry::{At, Entry, Said};
use super::environment::{connection_variable, variable};
use super::errors::{Mistakes, SourceLocation};
use super::keys::{Key, Standard};
use super::kind::Value;
use crate::text::nearest;

/// The merged entries of config.yaml, or of one connection. A key that was taken is gone, so that what is
/// left in the end are the keys that nothing knows.
pub(super) struct Reading<'a> {
    /// The file's path, for mistakes.
    pub file: &'a str,
    /// The connection that is read; `None` for config.yaml.
    pub connection: Option<Scope<'a>>,
    pub entries: BTreeMap<String, Entry>,
    pub mistakes: &'a mut Mistakes,
}

/// A connection's name, and the line where its section begins; `None` where only the environment defines it.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub name: &'a str,
    pub line: Option<usize>,
}

/// A key that has a mistake reads as the empty value of its type: nobody sees it, since the mistake ends it all.
impl Reading<'_> {
    pub fn text(&mut self, key: &Key) -> String {
        self.text_if_set(key).unwrap_or_default()
    }

    pub fn text_if_set(&mut self, key: &Key) -> Option<String> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn list(&mut self, key: &Key) -> Vec<String> {
        match self.value(key) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }

    pub fn number(&mut self, key: &Key) -> u64 {
        self.number_if_set(key).unwrap_or_default()
    }

    pub fn number_if_set(&mut self, key: &Key) -> Option<u64> {
        match self.value(key)? {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    pub fn count(&mut self, key: &Key) -> usize {
        usize::try_from(self.number(key)).unwrap_or(usize::MAX)
    }

    pub fn port(&mut self, key: &Key) -> u16 {
        u16::try_from(self.number(key)).unwrap_or_default()
    }

    pub fn time(&mut self, key: &Key) -> Duration {
        self.time_if_set(key).unwrap_or_default()
    }

    pub fn time_if_set(&mut self, key: &Key) -> Option<Duration> {
        match self.value(key)? {
            Value::Time(time) => Some(time),
            _ => None,
        }
    }

    pub fn flag(&mut self, key: &Key) -> bool {
        matches!(self.value(key), Some(Value::Flag(true)))
    }

    pub fn is_set(&self, key: &Key) -> bool {
        self.entries.contains_key(key.path)
    }

    /// Whether the environment has set this key.
    pub fn is_from_environment(&self, key: &Key) -> bool {
        matches!(self.entries.get(key.path), Some(Entry { at: At::Variable(_), .. }))
    }

    /// Takes every entry beneath a section, by the rest of its key.
    pub fn take_beneath(&mut self, section: &str) -> BTreeMap<String, Entry> {
        let prefix = format!("{section}.");
        let (beneath, rest) =
            std::mem::take(&mut self.entries).into_iter().partition(|(key, _)| key.starts_with(&prefix));
        self.entries = rest;
        let beneath: BTreeMap<String, Entry> = beneath;
        beneath.into_iter().map(|(key, entry)| (key.split_at(prefix.len()).1.to_owned(), entry)).collect()
    }

    /// Notes a mistake at a key whose entry is (or was) `entry`.
    pub fn wrong(&mut self, key: &str, entry: Option<&Entry>, problem: impl Into<String>) {
        let line = match (entry.map(|entry| &entry.at), self.connection) {
            (Some(At::Variable(name)), _) => {
                return self.mistakes.add(SourceLocation::Environment, name.as_str(), problem);
            }
            (None, Some(Scope { name, line: None })) => {
                return self.mistakes.add(
                    SourceLocation::Environment,
                    connection_variable(name, key),
                    problem,
                );
            }
            (Some(At::Line(line)), _) => Some(*line),
            (None, scope) => scope.and_then(|scope| scope.line),
        };
        let label = match self.connection {
            Some(Scope { name, .. }) => format!("[{name}] {key}"),
            None => key.to_owned(),
        };
        self.mistakes.add(SourceLocation::File { path: self.file.to_owned(), line }, label, problem);
    }

    /// Everything that was not taken is a mistake; `known` are the keys that could have been meant.
    pub fn refuse_the_rest(&mut self, known: &[&Key]) {
        for (written, entry) in std::mem::take(&mut self.entries) {
            if entry.said == Said::Nothing && is_section(&written, known) {
                continue;
            }
            let problem = unknown(&written, &entry, known);
            self.wrong(&written, Some(&entry), problem);
        }
    }

    fn value(&mut self, key: &Key) -> Option<Value> {
        let Some(entry) = self.entries.remove(key.path) else {
            return self.standard(key);
        };
        let value = match &entry.said {
            Said::Nothing => Err(format!("has no value; expected {}", key.kind.describe())),
            Said::One(text) => key.kind.read(text),
            Said::Many(items) => key.kind.read_list(items.iter().map(String::as_str)),
        };
        match value {
            Ok(value) => Some(value),
            Err(problem) => {
                self.wrong(key.path, Some(&entry), problem);
                None
            }
        }
    }

    fn standard(&mut self, key: &Key) -> Option<Value> {
        match key.standard {
            Standard::Is(text) => key.kind.read(text).ok(),
            Standard::Told(_) => None,
            Standard::Required => {
                self.wrong(key.path, None, format!("is missing; expected {}", key.kind.describe()));
                None
            }
        }
    }
}

/// No section of config.yaml, but one could think so.
const CONNECTIONS: &str = "connections";

fn is_section(path: &str, known: &[&Key]) -> bool {
    path == super::keys::PROPERTIES || known.iter().any(|key| is_beneath(key.path, path))
}

fn is_beneath(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn unknown(written: &str, entry: &Entry, known: &[&Key]) -> String {
    if is_section(written, known) {
        return "is a section; expected keys beneath it".to_owned();
    }
    if written == CONNECTIONS || is_beneath(written, CONNECTIONS) {
        return match entry.at {
            At::Line(_) => "unknown key; connections are in connections.ini".to_owned(),
            At::Variable(_) => format!("unknown key; expected {}", connection_variable("name", "key")),
        };
    }
    if let Some(key) = known.iter().find(|key| is_beneath(written, key.path)) {
        return format!("unknown key; {} takes {}, not a section", key.path, key.kind.describe());
    }
    let (section, name) = written.rsplit_once('.').unwrap_or(("", written));
    let neighbours: Vec<&str> = known.iter().filter(|k| k.section() == section).map(|k| k.name()).collect();
    let meant =
        nearest(name, neighbours.iter().copied()).map(str::to_owned).or_else(|| elsewhere(written, known));
    match (meant, &entry.at) {
        (Some(meant), At::Line(_)) => format!("unknown key; did you mean {meant}?"),
        (Some(meant), At::Variable(written_variable)) => {
            format!("unknown key; did you mean {}?", same_shape(written_variable, section, &meant))
        }
        (None, _) if neighbours.is_empty() => {
            let mut sections: Vec<&str> = known.iter().map(|key| key.section()).collect();
            sections.dedup();
            format!("unknown key; the sections are {}", sections.join(", "))
        }
        (None, _) => format!("unknown key; expected one of {}", neighbours.join(", ")),
    }
}

/// The right key in a wrong section, or the right section misspelt.
fn elsewhere(written: &str, known: &[&Key]) -> Option<String> {
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

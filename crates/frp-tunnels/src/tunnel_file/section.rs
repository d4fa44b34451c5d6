//! One table of the file: each key is asked for with its type; what was never asked for is unknown.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::server_settings::SecretSource;

/// A table with its place.
pub(super) struct Section<'t> {
    /// For messages: `server`, `tunnel database`.
    label: String,
    table: &'t DeTable<'t>,
    start: usize,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'t> Section<'t> {
    pub(super) fn new(label: &str, table: &'t DeTable<'t>, start: usize) -> Self {
        Self { label: label.to_owned(), table, start, asked: RefCell::default() }
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    fn get(&self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key)
    }

    fn name(&self, key: &str) -> String {
        if self.label.is_empty() { key.to_owned() } else { format!("{}: {key}", self.label) }
    }
}

/// What a file may say wrongly of one key.
impl<'t> Reader<'_> {
    fn wrong(&mut self, section: &Section<'_>, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let found = match value.get_ref() {
            // its content may be a secret
            DeValue::String(_) => "a text".to_owned(),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Boolean(is_set) => is_set.to_string(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
            DeValue::Float(_) | DeValue::Datetime(_) => "another value".to_owned(),
        };
        self.add(value.span().start, format!("{}: {expected} is expected, not {found}", section.name(key)));
    }

    pub(super) fn text(&mut self, section: &Section<'t>, key: &'static str) -> Option<String> {
        let value = section.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => return Some(text.clone().into_owned()),
            _ => self.wrong(section, key, value, "a text"),
        }
        None
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, section: &Section<'t>, key: &'static str) -> Option<String> {
        if !section.has(key) {
            section.get(key);
            self.add(section.start, format!("{} is missing", section.name(key)));
            return None;
        }
        self.text(section, key)
    }

    pub(super) fn parsed<T: FromStr>(&mut self, section: &Section<'t>, key: &'static str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.text(section, key)?;
        let start = section.get(key).map_or(0, |value| value.span().start);
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.add(start, format!("{}: {error}", section.name(key)));
                None
            }
        }
    }

    pub(super) fn path(&mut self, section: &Section<'t>, key: &'static str) -> Option<PathBuf> {
        self.text(section, key).map(PathBuf::from)
    }

    pub(super) fn flag(&mut self, section: &Section<'t>, key: &'static str) -> Option<bool> {
        let value = section.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(is_set) => return Some(*is_set),
            _ => self.wrong(section, key, value, "true or false"),
        }
        None
    }

    /// A whole number within these bounds.
    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        section: &Section<'t>,
        key: &'static str,
        least: i64,
        most: i64,
    ) -> Option<T> {
        let value = section.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if let Some(converted) = number.and_then(|number| T::try_from(number).ok()) {
            return Some(converted);
        }
        self.wrong(section, key, value, &format!("a whole number from {least} to {most}"));
        None
    }

    pub(super) fn port(&mut self, section: &Section<'t>, key: &'static str) -> Option<u16> {
        self.number(section, key, 1, 65_535)
    }

    /// `"30s"`, `"1m 30s"`.
    pub(super) fn duration(&mut self, section: &Section<'t>, key: &'static str) -> Option<Duration> {
        let text = self.text(section, key)?;
        let parsed =
            text.parse::<jiff::SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
        if parsed.is_none() {
            let start = section.get(key).map_or(0, |value| value.span().start);
            self.add(
                start,
                format!("{}: {text:?} is not a duration such as \"30s\" or \"5m\"", section.name(key)),
            );
        }
        parsed
    }

    /// A text, or a list of them.
    pub(super) fn texts(&mut self, section: &Section<'t>, key: &'static str) -> Vec<String> {
        let Some(value) = section.get(key) else { return Vec::new() };
        let items: Vec<_> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => texts.push(text.clone().into_owned()),
                _ => self.wrong(section, key, item, "a text"),
            }
        }
        texts
    }

    pub(super) fn map(&mut self, section: &Section<'t>, key: &'static str) -> BTreeMap<String, String> {
        let Some(value) = section.get(key) else { return BTreeMap::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong(section, key, value, "a table");
            return BTreeMap::new();
        };
        let mut map = BTreeMap::new();
        for (name, item) in table {
            match item.get_ref() {
                DeValue::String(text) => {
                    map.insert(name.get_ref().clone().into_owned(), text.clone().into_owned());
                }
                _ => self.wrong(section, key, item, "a text"),
            }
        }
        map
    }

    /// A secret from a file, read when a process is started. In the file itself it is refused: the file is
    /// shown, copied and committed.
    pub(super) fn secret_file(&mut self, section: &Section<'t>, key: &'static str) -> Option<SecretSource> {
        self.path(section, key).map(SecretSource::File)
    }

    /// As above, and read now: a tunnel's keys are part of what it is.
    pub(super) fn secret(&mut self, section: &Section<'t>, key: &'static str) -> Option<SecretString> {
        let source = self.secret_file(section, key)?;
        match source.read() {
            Ok(secret) => Some(secret),
            Err(error) => {
                let start = section.get(key).map_or(0, |value| value.span().start);
                self.add(start, format!("{}: {error}", section.name(key)));
                None
            }
        }
    }

    pub(super) fn table(&mut self, section: &Section<'t>, key: &'static str) -> Option<Section<'t>> {
        let value = section.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                return Some(Section::new(&section.name(key), table, value.span().start));
            }
            _ => self.wrong(section, key, value, "a table"),
        }
        None
    }

    /// `[[key]]`; each is labelled by its name.
    pub(super) fn tables(&mut self, section: &Section<'t>, key: &'static str) -> Vec<Section<'t>> {
        let Some(value) = section.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(section, key, value, &format!("[[{key}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let DeValue::Table(table) = item.get_ref() else {
                self.wrong(section, key, item, "a table");
                continue;
            };
            let name = match table.get("name").map(Spanned::get_ref) {
                Some(DeValue::String(name)) => name.clone().into_owned(),
                _ => format!("number {}", at + 1),
            };
            sections.push(Section::new(&format!("{key} {name}"), table, item.span().start));
        }
        sections
    }

    /// Every unknown key is a mistake, reported with the one that may be meant.
    pub(super) fn unknown_keys(&mut self, section: &Section<'t>) {
        let asked = section.asked.borrow().clone();
        for (key, _) in section.table {
            let name = key.get_ref().as_ref();
            if asked.contains(name) {
                continue;
            }
            let near = asked.iter().map(|known| (strsim::damerau_levenshtein(known, name), *known)).min();
            let hint = near
                .filter(|(distance, _)| *distance <= 3)
                .map(|(_, known)| format!("; did you mean {known}?"));
            let message = format!("{} is not a known key{}", section.name(name), hint.unwrap_or_default());
            self.add(key.span().start, message);
        }
    }
}

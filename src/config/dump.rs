//! The effective configuration, after all layers, without its secrets.

use std::fmt::Write;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::connection_keys::{FTP_KEYS, LOCAL_KEYS};
use super::feeds::{FEED_KEYS, FEEDS};
use super::key::ConfigKey;
use super::kind::{KeyKind, KeyValue};
use super::settings::{Config, SETTINGS};
use super::tunnel::FRP_KEYS;
use super::{duration, size};

impl Config {
    /// The effective configuration as YAML. Passwords and librdkafka's properties are `(set)` or `(empty)`.
    #[must_use]
    pub fn to_yaml_redacted(&self) -> String {
        let mut yaml = YamlWriter::default();
        let mut section = "";
        for key in SETTINGS {
            if key.section() != section {
                if section == "kafka" {
                    yaml.properties(self);
                }
                section = key.section();
                yaml.section(section);
            }
            yaml.key(key, self);
        }
        yaml.feeds(self);
        yaml.section("connections");
        for (name, ftp) in &self.connections.ftp {
            yaml.connection(name, FTP_KEYS, ftp);
        }
        for (name, local) in &self.connections.local {
            yaml.connection(name, LOCAL_KEYS, local);
        }
        for (name, tunnel) in &self.connections.tunnels {
            yaml.connection(name, FRP_KEYS, tunnel);
        }
        yaml.out
    }
}

/// Lines of YAML, indented by two blanks per level.
#[derive(Default)]
struct YamlWriter {
    out: String,
    depth: usize,
}

impl YamlWriter {
    fn key<T>(&mut self, key: &ConfigKey<T>, target: &T) {
        let shown = match ((key.field.get)(target), key.kind) {
            (KeyValue::ShownByAnother, _) => return,
            (KeyValue::Unset, _) => "null".to_owned(),
            (KeyValue::Text(text) | KeyValue::File { path: text, .. }, _) => scalar(&text),
            (KeyValue::List(items), _) => {
                format!("[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
            }
            (KeyValue::Number(bytes), KeyKind::Size { .. }) => size::show(bytes),
            (KeyValue::Number(number), _) => number.to_string(),
            (KeyValue::Time(time), _) if key.path.ends_with("_seconds") => seconds(time),
            (KeyValue::Time(time), _) => duration::show(time),
            (KeyValue::Flag(flag), _) => flag.to_string(),
            (KeyValue::Hidden { shown, .. }, _) if shown.starts_with('(') => shown,
            (KeyValue::Hidden { shown, .. }, _) => scalar(&shown),
        };
        self.line(format_args!("{}: {shown}", key.name()));
    }

    fn properties(&mut self, config: &Config) {
        if config.kafka.properties.is_empty() {
            return self.line(format_args!("properties: {{}}"));
        }
        self.open("properties");
        for (name, value) in &config.kafka.properties {
            let shown = if value.expose_secret().is_empty() { "(empty)" } else { "(set)" };
            self.line(format_args!("{}: {shown}", scalar(name)));
        }
        self.depth -= 1;
    }

    /// A list; unset values are omitted.
    fn feeds(&mut self, config: &Config) {
        self.depth = 0;
        if config.feeds.is_empty() {
            return self.line(format_args!("{FEEDS}: []"));
        }
        self.open(FEEDS);
        for feed in &config.feeds {
            let mut sub = "";
            for key in FEED_KEYS.iter().filter(|key| (key.field.get)(feed) != KeyValue::Unset) {
                if !key.section().is_empty() && sub != key.section() {
                    sub = key.section();
                    self.line(format_args!("  {sub}:"));
                }
                self.depth += 1 + usize::from(!key.section().is_empty());
                if key.path == "name" {
                    self.depth -= 1;
                    self.line(format_args!("- name: {}", scalar(&feed.name)));
                    self.depth += 1;
                } else {
                    self.key(key, feed);
                }
                self.depth -= 1 + usize::from(!key.section().is_empty());
            }
        }
    }

    fn connection<T>(&mut self, name: &str, keys: &[ConfigKey<T>], connection: &T) {
        self.open(&scalar(name));
        for key in keys {
            self.key(key, connection);
        }
        self.depth -= 1;
    }

    fn section(&mut self, name: &str) {
        self.depth = 0;
        self.open(name);
    }

    fn open(&mut self, name: &str) {
        self.line(format_args!("{name}:"));
        self.depth += 1;
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "{:indent$}{line}", "", indent = self.depth * 2);
    }
}

/// For keys in seconds: a plain number if it is a whole one.
fn seconds(time: Duration) -> String {
    if time.subsec_nanos() == 0 { time.as_secs().to_string() } else { duration::show(time) }
}

/// A text in YAML: plain if it cannot be misread, otherwise in quotes.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    let means_more = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    if is_word && !means_more { text.to_owned() } else { quoted(text) }
}

/// JSON's quoting is valid in YAML, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

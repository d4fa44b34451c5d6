//! `config/router.yaml`, overridden by `PATTERN_ROUTER__KEY`: read as a whole, with every error reported at once.
//!
//! ```text
//! yaml   router.yaml as flat keys with their lines
//! keys   the table of keys: default, how the value is read, meaning
//! read   reads the values by the table; each error is collected
//! draft  the settings while they are read, and what must hold between several keys
//! ```

mod draft;
mod keys;
mod read;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub use keys::{ConfigKey, KEYS, table, template};
use read::settings_from;

use crate::settings::Settings;

/// The prefix of variables that override keys: `PATTERN_ROUTER__DOMAIN`.
pub const ENVIRONMENT_PREFIX: &str = "PATTERN_ROUTER__";
/// The maximum size of the file in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    File { path: String, line: usize },
    Environment(String),
}

/// A key's value as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawValue {
    pub values: Vec<String>,
    pub source: ValueSource,
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub source: Option<ValueSource>,
    pub key: String,
    pub problem: String,
}

/// Every error in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueSource::File { path, line } => write!(f, "{path}:{line}"),
            ValueSource::Environment(name) => write!(f, "environment variable {name}"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        if self.key.is_empty() {
            f.write_str(&self.problem)
        } else {
            write!(f, "{}: {}", self.key, self.problem)
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Reads the file and the environment into settings.
pub fn load(
    path: &Path,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Settings, ConfigErrors> {
    let mut errors = Vec::new();
    let shown = path.display().to_string();
    let text = match read_file(path) {
        Ok(text) => text,
        Err(problem) => {
            let error = ConfigError { source: None, key: shown, problem };
            return Err(ConfigErrors(vec![error]));
        }
    };
    let mut values = yaml::read(&text, &shown, &mut errors);
    override_from(environment, &mut values);
    settings_from(values, errors)
}

fn read_file(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > MAX_FILE {
        return Err(format!("exceeds {MAX_FILE} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

fn override_from(
    environment: impl Iterator<Item = (String, String)>,
    values: &mut BTreeMap<String, RawValue>,
) {
    for (name, value) in environment {
        let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        // `ADDRESSES__WS0` is `addresses.ws0`.
        let key = key.to_ascii_lowercase().replace("__", ".");
        values.insert(key, RawValue { values: vec![value], source: ValueSource::Environment(name) });
    }
}

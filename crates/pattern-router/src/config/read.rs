//! Reads a key's value by its kind: each method records an error and continues with a default, so that all errors are
//! reported.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use super::draft::ConfigDraft;
use super::keys::{self, ConfigKey, KEYS};
use super::{ConfigError, ConfigErrors, RawValue};
use crate::name::is_pod_id;
use crate::settings::Settings;

/// The maximum duration: a month.
const MAX_DURATION: Duration = Duration::from_secs(31 * 24 * 3600);
/// hyper's minimum for reading a head.
const MIN_HEAD: u64 = 8 * 1024;
const MAX_HEAD: u64 = 1024 * 1024;

/// The settings, or every error in the values.
pub(super) fn settings_from(
    values: BTreeMap<String, RawValue>,
    errors: Vec<ConfigError>,
) -> Result<Settings, ConfigErrors> {
    let mut reader = ValueReader { values, errors };
    reader.report_unknown_keys();
    let mut draft = ConfigDraft::default();
    for key in KEYS {
        (key.set)(&mut draft, &mut KeyReader { key, reader: &mut reader });
    }
    let settings = draft.finish(&mut reader);
    if reader.errors.is_empty() { Ok(settings) } else { Err(ConfigErrors(reader.errors)) }
}

/// The values as written, and the errors in them.
pub(super) struct ValueReader {
    values: BTreeMap<String, RawValue>,
    errors: Vec<ConfigError>,
}

impl ValueReader {
    pub fn error(&mut self, key: &str, problem: impl Into<String>) {
        let source = self.values.get(key).map(|value| value.source.clone());
        self.errors.push(ConfigError { source, key: key.to_owned(), problem: problem.into() });
    }

    pub fn is_set(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    fn report_unknown_keys(&mut self) {
        let unknown: Vec<String> =
            self.values.keys().filter(|key| keys::find(key).is_none()).cloned().collect();
        for key in unknown {
            let hint = keys::closest(&key).map(|closest| format!("; did you mean {closest}?"));
            self.error(&key, format!("unknown key{}", hint.unwrap_or_default()));
        }
    }
}

/// One key's value while it is read.
pub(super) struct KeyReader<'a> {
    key: &'static ConfigKey,
    reader: &'a mut ValueReader,
}

impl KeyReader<'_> {
    pub fn error(&mut self, problem: impl Into<String>) {
        self.reader.error(self.key.name, problem);
    }

    /// The value as written, or the default.
    pub fn text(&self) -> String {
        match self.reader.values.get(self.key.name).map(|value| value.values.as_slice()) {
            None => self.key.default.to_owned(),
            Some([one]) => one.trim().to_owned(),
            Some(many) => many.join(", "),
        }
    }

    /// None if there is no value.
    pub fn optional(&self) -> Option<String> {
        Some(self.text()).filter(|text| !text.is_empty())
    }

    pub fn secret(&self) -> Option<SecretString> {
        self.optional().map(SecretString::from)
    }

    pub fn parsed<T>(&mut self) -> T
    where
        T: FromStr + Default,
        T::Err: Display,
    {
        self.text().parse().unwrap_or_else(|error: T::Err| {
            self.error(error.to_string());
            T::default()
        })
    }

    pub fn address(&mut self) -> Option<IpAddr> {
        let parsed = self.text().parse();
        parsed.map_err(|error: std::net::AddrParseError| self.error(error.to_string())).ok()
    }

    pub fn number<T: FromStr + PartialOrd + Display + Copy>(&mut self, least: T, most: T) -> T {
        match self.text().parse() {
            Ok(value) if value >= least && value <= most => value,
            _ => {
                self.error(format!("expected a number from {least} to {most}"));
                least
            }
        }
    }

    pub fn boolean(&mut self) -> bool {
        match self.text().as_str() {
            "true" => true,
            "false" => false,
            _ => {
                self.error("expected true or false");
                false
            }
        }
    }

    /// `10s`, `1m30s`, `2h`, `300ms`; a plain number is seconds.
    pub fn duration(&mut self) -> Duration {
        let text = self.text();
        let duration = text.parse::<u64>().map(Duration::from_secs).ok().or_else(|| {
            let signed = text.parse::<jiff::SignedDuration>().ok()?;
            Duration::try_from(signed).ok()
        });
        match duration {
            Some(duration) if duration <= MAX_DURATION => duration,
            _ => {
                self.error("expected a duration such as 10s, 1m30s or 2h, at most a month");
                Duration::from_secs(1)
            }
        }
    }

    /// A duration of which zero means none.
    pub fn optional_duration(&mut self) -> Option<Duration> {
        Some(self.duration()).filter(|duration| !duration.is_zero())
    }

    /// A non-zero duration.
    pub fn timeout(&mut self) -> Duration {
        let duration = self.duration();
        if duration.is_zero() {
            self.error("must be longer than 0");
        }
        duration
    }

    /// Bytes: `4096`, `32Ki`, `1Mi`, `2Gi`.
    pub fn size(&mut self) -> u64 {
        let text = self.text();
        let units = [("Ki", 1u64 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
        let (number, unit) = units
            .iter()
            .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number, *unit)))
            .unwrap_or((text.as_str(), 1));
        if let Some(bytes) = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
            bytes
        } else {
            self.error("expected a size such as 4096, 32Ki, 1Mi or 2Gi");
            0
        }
    }

    /// A size of which zero means none.
    pub fn optional_size(&mut self) -> Option<u64> {
        Some(self.size()).filter(|bytes| *bytes > 0)
    }

    /// The size of a request's head.
    pub fn head_size(&mut self) -> usize {
        let size = self.size();
        if !(MIN_HEAD..=MAX_HEAD).contains(&size) {
            self.error("expected 8Ki to 1Mi");
        }
        usize::try_from(size).unwrap_or(usize::MAX)
    }

    /// The items of a list, or of a comma-separated text.
    pub fn list(&self) -> Vec<String> {
        let text = self.text();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    pub fn networks(&mut self) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for item in self.list() {
            // A single address is a network of size one.
            match item
                .parse::<IpNet>()
                .or_else(|error| item.parse::<IpAddr>().map(IpNet::from).map_err(|_| error))
            {
                Ok(network) => networks.push(network.trunc()),
                Err(_) => self.error(format!("'{item}' is not a network such as 10.0.0.0/8")),
            }
        }
        networks
    }

    pub fn url(&mut self) -> Option<String> {
        let text = self.optional()?;
        let uri = text.replace("{id}", "id").parse::<hyper::Uri>().ok();
        let fits =
            uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        if !fits {
            self.error("expected a URL that begins with http:// or https://");
        }
        Some(text)
    }

    /// One of several choices; the default one if it is none of them.
    pub fn choice<T: Copy + Default>(&mut self, choices: &[(&str, T)]) -> T {
        let text = self.text();
        choices.iter().find(|(name, _)| *name == text).map_or_else(
            || {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                self.error(format!("expected one of {}", names.join(", ")));
                T::default()
            },
            |(_, value)| *value,
        )
    }

    /// A file that must exist.
    pub fn existing_file(&mut self) -> Option<PathBuf> {
        let path = self.optional().map(PathBuf::from)?;
        self.check_readable(&path);
        Some(path)
    }

    /// Files that must exist.
    pub fn existing_files(&mut self) -> Vec<PathBuf> {
        let paths: Vec<_> = self.list().into_iter().map(PathBuf::from).collect();
        for path in &paths {
            self.check_readable(path);
        }
        paths
    }

    fn check_readable(&mut self, path: &Path) {
        if let Err(error) = std::fs::File::open(path) {
            self.error(format!("{}: {error}", path.display()));
        }
    }

    /// The section of ids and their addresses.
    pub fn addresses(&mut self) -> Vec<(String, IpAddr)> {
        let values = self.reader.values.iter();
        let named: Vec<(String, String)> = values
            .filter_map(|(key, value)| {
                Some((key.strip_prefix("addresses.")?.to_owned(), value.values.join(",")))
            })
            .collect();
        let mut addresses = Vec::new();
        for (id, text) in named {
            let key = format!("addresses.{id}");
            if !is_pod_id(&id) {
                let problem = "an id has lower-case letters, digits and dashes, no dash at its ends";
                self.reader.error(&key, problem);
            }
            match text.trim().parse() {
                Ok(address) => addresses.push((id, address)),
                Err(_) => self.reader.error(&key, "expected an IP address"),
            }
        }
        addresses
    }
}

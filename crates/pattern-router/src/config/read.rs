//! Reads values by their kind: each reader records an error and continues with the default, so that all errors are
//! reported.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use super::keys;
use super::{ConfigMistake, RawValue};

/// The maximum duration: a month.
const MAX_DURATION: Duration = Duration::from_secs(31 * 24 * 3600);

pub(super) struct ValueReader {
    pub values: BTreeMap<String, RawValue>,
    pub mistakes: Vec<ConfigMistake>,
}

impl ValueReader {
    pub fn mistake(&mut self, key: &str, problem: impl Into<String>) {
        let source = self.values.get(key).map(|value| value.source.clone());
        self.mistakes.push(ConfigMistake { source, key: key.to_owned(), problem: problem.into() });
    }

    pub fn is_set(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The value as written, or the default.
    pub fn text(&mut self, key: &str) -> String {
        match self.values.get(key).map(|value| value.values.as_slice()) {
            None => keys::find(key).map(|key| key.default.to_owned()).unwrap_or_default(),
            Some([one]) => one.trim().to_owned(),
            Some(many) => many.join(", "),
        }
    }

    /// None if the key is not set.
    pub fn optional(&mut self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.optional(key).map(PathBuf::from)
    }

    pub fn secret(&mut self, key: &str) -> Option<SecretString> {
        self.optional(key).map(SecretString::from)
    }

    pub fn parsed<T>(&mut self, key: &str, fallback: T) -> T
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.text(key).parse() {
            Ok(value) => value,
            Err(error) => {
                self.mistake(key, format!("{error}"));
                fallback
            }
        }
    }

    pub fn number<T: FromStr + PartialOrd + Display + Copy>(&mut self, key: &str, least: T, most: T) -> T {
        match self.text(key).parse() {
            Ok(value) if value >= least && value <= most => value,
            _ => {
                self.mistake(key, format!("expected a number from {least} to {most}"));
                least
            }
        }
    }

    pub fn boolean(&mut self, key: &str) -> bool {
        match self.text(key).as_str() {
            "true" => true,
            "false" => false,
            _ => {
                self.mistake(key, "expected true or false");
                false
            }
        }
    }

    /// `10s`, `1m30s`, `2h`, `300ms`; a plain number is seconds.
    pub fn duration(&mut self, key: &str) -> Duration {
        let text = self.text(key);
        let duration = text.parse::<u64>().map(Duration::from_secs).ok().or_else(|| {
            let signed = text.parse::<jiff::SignedDuration>().ok()?;
            Duration::try_from(signed).ok()
        });
        match duration {
            Some(duration) if duration <= MAX_DURATION => duration,
            _ => {
                self.mistake(key, "expected a duration such as 10s, 1m30s or 2h, at most a month");
                Duration::from_secs(1)
            }
        }
    }

    /// A non-zero duration.
    pub fn timeout(&mut self, key: &str) -> Duration {
        let duration = self.duration(key);
        if duration.is_zero() {
            self.mistake(key, "must be longer than 0");
        }
        duration
    }

    /// Bytes: `4096`, `32Ki`, `1Mi`, `2Gi`.
    pub fn size(&mut self, key: &str) -> u64 {
        let text = self.text(key);
        let units = [("Ki", 1u64 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
        let (number, unit) = units
            .iter()
            .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number, *unit)))
            .unwrap_or((text.as_str(), 1));
        if let Some(bytes) = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
            bytes
        } else {
            self.mistake(key, "expected a size such as 4096, 32Ki, 1Mi or 2Gi");
            0
        }
    }

    /// The items of a list, or of a comma-separated text.
    pub fn list(&mut self, key: &str) -> Vec<String> {
        let text = self.text(key);
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    pub fn networks(&mut self, key: &str) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for item in self.list(key) {
            // A single address is a network of size one.
            match item
                .parse::<IpNet>()
                .or_else(|error| item.parse::<std::net::IpAddr>().map(IpNet::from).map_err(|_| error))
            {
                Ok(network) => networks.push(network.trunc()),
                Err(_) => self.mistake(key, format!("'{item}' is not a network such as 10.0.0.0/8")),
            }
        }
        networks
    }

    pub fn url(&mut self, key: &str) -> Option<String> {
        let text = self.optional(key)?;
        let uri = text.replace("{id}", "id").parse::<hyper::Uri>().ok();
        let fits =
            uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        if !fits {
            self.mistake(key, "expected a URL that begins with http:// or https://");
        }
        Some(text)
    }

    /// One of several choices.
    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)], fallback: T) -> T {
        let text = self.text(key);
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            *value
        } else {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.mistake(key, format!("expected one of {}", names.join(", ")));
            fallback
        }
    }
}

//! An entry of a key table: name, kind, default and meaning of an option, and how it is set and shown.
//!
//! Reading, defaults, `check`'s output, the comparison at a reload, the documentation and the template files all use
//! these entries: `settings` has those of config.yaml, `connection_keys` those of connections.ini.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::kind::{KeyKind, KeyValue};

/// One option of `T`: of [`super::Config`], or of a connection.
pub(super) struct ConfigKey<T: 'static> {
    /// `kafka.input_topic`; in connections.ini the key alone.
    pub path: &'static str,
    pub kind: KeyKind,
    pub default: KeyDefault,
    /// Its meaning, as printed in docs/CONFIGURATION.md.
    pub doc: &'static str,
    pub field: FieldAccess<T>,
    /// rclone's FTP backend has an option of this name with the same meaning.
    pub is_rclones: bool,
    /// A connection whose value changes keeps its open sessions.
    pub keeps_sessions: bool,
    /// Changes which files the paths of a connection name.
    pub selects_files: bool,
    /// The alternative keys for the same option.
    pub group: Option<&'static KeyGroup>,
}

/// The value of a key that is not set.
#[derive(Debug, Clone, Copy)]
pub(super) enum KeyDefault {
    /// The key must be set.
    Required,
    Is(&'static str),
    /// No fixed value; the text describes it.
    Described(&'static str),
}

/// Keys of which at most one may be set. The environment's overrides the file's, whichever of them either uses.
#[derive(Debug)]
pub(super) struct KeyGroup {
    pub keys: &'static [&'static str],
    /// The error if none is set.
    pub missing: Option<&'static str>,
    /// An empty value counts as unset.
    pub ignores_empty: bool,
}

/// How a key's value is stored in `T`, and read from it.
pub(super) struct FieldAccess<T> {
    /// The error says what would be right.
    pub set: fn(&mut T, KeyValue) -> Result<(), String>,
    pub get: fn(&T) -> KeyValue,
}

pub(super) const fn key<T>(
    path: &'static str,
    kind: KeyKind,
    default: KeyDefault,
    field: FieldAccess<T>,
    doc: &'static str,
) -> ConfigKey<T> {
    let (is_rclones, keeps_sessions, selects_files, group) = (false, false, false, None);
    ConfigKey { path, kind, default, doc, field, is_rclones, keeps_sessions, selects_files, group }
}

impl<T> ConfigKey<T> {
    pub const fn rclones(self) -> Self {
        ConfigKey { is_rclones: true, ..self }
    }

    pub const fn keeps_sessions(self) -> Self {
        ConfigKey { keeps_sessions: true, ..self }
    }

    pub const fn selects_files(self) -> Self {
        ConfigKey { selects_files: true, ..self }
    }

    pub const fn one_of(self, group: &'static KeyGroup) -> Self {
        ConfigKey { group: Some(group), ..self }
    }

    /// The key's name within its section.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The section of config.yaml that the key belongs to; empty in connections.ini.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Whether both have the same value.
    pub fn is_same(&self, one: &T, other: &T) -> bool {
        (self.field.get)(one) == (self.field.get)(other)
    }
}

/// Sets every key that has a fixed default.
pub(super) fn set_defaults<T>(keys: &[ConfigKey<T>], target: &mut T) {
    for key in keys {
        if let KeyDefault::Is(text) = key.default
            && let Ok(value) = key.kind.read(text)
        {
            // A test checks that each default is valid.
            let _ = (key.field.set)(target, value);
        }
    }
}

/// A key that sets one field, without further conditions.
macro_rules! field {
    ($($path:ident).+) => {
        $crate::config::key::FieldAccess {
            set: |target, value| {
                $crate::config::key::KeyField::store(&mut target.$($path).+, value);
                Ok(())
            },
            get: |target| $crate::config::key::KeyField::load(&target.$($path).+),
        }
    };
}
pub(super) use field;

/// Like [`field!`], for an `Option` that is `None` if the key is 0.
macro_rules! nonzero_field {
    ($($path:ident).+) => {
        $crate::config::key::FieldAccess {
            set: |target, value| {
                target.$($path).+ = $crate::config::key::nonzero(value);
                Ok(())
            },
            get: |target| $crate::config::key::KeyField::load(&target.$($path).+.unwrap_or_default()),
        }
    };
}
pub(super) use nonzero_field;

pub(super) fn nonzero<F: KeyField + Default + PartialEq>(value: KeyValue) -> Option<F> {
    let mut field = F::default();
    field.store(value);
    Some(field).filter(|field| *field != F::default())
}

/// The type of a field that a key sets. A value of another kind leaves the field empty, which a test finds.
pub(super) trait KeyField {
    fn store(&mut self, value: KeyValue);
    fn load(&self) -> KeyValue;
}

impl KeyField for bool {
    fn store(&mut self, value: KeyValue) {
        *self = value == KeyValue::Flag(true);
    }

    fn load(&self) -> KeyValue {
        KeyValue::Flag(*self)
    }
}

impl KeyField for String {
    fn store(&mut self, value: KeyValue) {
        *self = value.into_text();
    }

    fn load(&self) -> KeyValue {
        KeyValue::Text(self.clone())
    }
}

impl KeyField for Vec<String> {
    fn store(&mut self, value: KeyValue) {
        *self = if let KeyValue::List(list) = value { list } else { Vec::new() };
    }

    fn load(&self) -> KeyValue {
        KeyValue::List(self.clone())
    }
}

impl KeyField for Duration {
    fn store(&mut self, value: KeyValue) {
        *self = if let KeyValue::Time(time) = value { time } else { Duration::ZERO };
    }

    fn load(&self) -> KeyValue {
        KeyValue::Time(*self)
    }
}

impl KeyField for SecretString {
    fn store(&mut self, value: KeyValue) {
        *self = value.into_text().into();
    }

    fn load(&self) -> KeyValue {
        KeyValue::secret(self.expose_secret().as_bytes())
    }
}

macro_rules! number_fields {
    ($($number:ty),+) => {$(
        impl KeyField for $number {
            fn store(&mut self, value: KeyValue) {
                // The key's kind accepts nothing larger.
                *self = if let KeyValue::Number(number) = value { number.try_into().unwrap_or(Self::MAX) } else { 0 };
            }

            fn load(&self) -> KeyValue {
                KeyValue::Number(u64::try_from(*self).unwrap_or(u64::MAX))
            }
        }
    )+};
}
number_fields!(u8, u16, u64, usize);

impl<F: KeyField + Default> KeyField for Option<F> {
    fn store(&mut self, value: KeyValue) {
        self.get_or_insert_default().store(value);
    }

    fn load(&self) -> KeyValue {
        self.as_ref().map_or(KeyValue::Unset, KeyField::load)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::{FtpConnection, LocalConnection};
    use super::super::connection_keys::{FTP_KEYS, LOCAL_KEYS};
    use super::super::feeds::{FEED_KEYS, FeedConfig};
    use super::super::rclone_keys::RCLONE_ONLY_KEYS;
    use super::super::settings::{Config, SETTINGS};
    use super::super::tunnel::{FRP_KEYS, FrpTunnel};
    use super::*;

    /// A valid value of a key, other than its default.
    fn another_value<T>(key: &ConfigKey<T>) -> KeyValue {
        let text = |text: &str| KeyValue::Text(text.to_owned());
        match (key.kind, key.default) {
            (KeyKind::Flag, default) => KeyValue::Flag(!matches!(default, KeyDefault::Is("true"))),
            (KeyKind::Choice(names), KeyDefault::Is(default)) => {
                text(names.iter().find(|name| **name != default).unwrap())
            }
            (KeyKind::Number { .. } | KeyKind::Size { .. }, _) => KeyValue::Number(7),
            (KeyKind::Time { min, .. }, _) => KeyValue::Time(min + Duration::from_secs(7)),
            (KeyKind::Patterns, _) => KeyValue::List(vec!["*.other".to_owned()]),
            (KeyKind::Servers, _) => KeyValue::List(vec!["other:9092".to_owned()]),
            (KeyKind::TopicPatterns, _) => KeyValue::List(vec!["replies-*".to_owned()]),
            (KeyKind::File { .. }, _) if key.path.starts_with("tls_") => {
                let made = rcgen::generate_simple_self_signed(vec!["ftp.example.com".to_owned()]).unwrap();
                KeyValue::File { path: "/ca.pem".to_owned(), content: made.cert.pem().into_bytes() }
            }
            (KeyKind::File { .. }, _) => {
                KeyValue::File { path: "/file".to_owned(), content: b"0123456789abcdef".to_vec() }
            }
            _ => text(match key.path {
                "http_proxy" => "http://proxy:3128",
                "socks_proxy" => "proxy:1080",
                "active_address" | "source_address" => "192.0.2.1",
                "active_ports" | "passive_ports" => "50000-50099",
                "server" | "servers" => "frps.example.com:7500",
                "tunnels.frpc" => "/opt/frp/frpc",
                "tunnels.addresses" => "127.78.0.0/16",
                "charset" => "shift_jis",
                "encoding" => "Slash",
                "time_offset" => "+02:00",
                "bandwidth" | "pool.bandwidth" => "08:00,512k 18:00,off",
                "obscured_pass" => "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ",
                "tls_pin" => "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                "from" | "to" => "other:/another/",
                "every" => "*/7 * * * *",
                "time_zone" => "Europe/Berlin",
                "newer_than" | "older_than" => "7h",
                "options.after" => "move_to:/done",
                "type" => "ftp",
                _ => "another-value-of-it",
            }),
        }
    }

    /// Each key sets a field of one of the targets, which its `get` returns and which a comparison detects.
    fn each_is_set_and_shown<T: Clone>(keys: &[ConfigKey<T>], targets: &[T]) {
        for key in keys.iter().filter(|key| key.path != "type") {
            let is_shown = targets.iter().any(|target| {
                let mut set = target.clone();
                let problem = (key.field.set)(&mut set, another_value(key)).err();
                assert_eq!(problem, None, "{}", key.path);
                match (key.field.get)(&set) {
                    KeyValue::ShownByAnother => keys.iter().any(|other| !other.is_same(target, &set)),
                    _ => !key.is_same(target, &set),
                }
            });
            assert!(is_shown, "{} does not show what it sets", key.path);
        }
    }

    #[test]
    fn every_key_sets_a_field_and_shows_it() {
        each_is_set_and_shown(SETTINGS, &[Config::with_defaults()]);
        // some keys have an effect only if the server opens the data connections
        let passive = FtpConnection::default();
        let mut active = FtpConnection::default();
        active.network.data = super::super::DataConnectionMode::Active { announced: None, ports: None };
        each_is_set_and_shown(FTP_KEYS, &[passive, active]);
        each_is_set_and_shown(LOCAL_KEYS, &[LocalConnection::default()]);
        each_is_set_and_shown(FRP_KEYS, &[FrpTunnel::named("plant")]);
        each_is_set_and_shown(FEED_KEYS, &[FeedConfig::default()]);
    }

    fn each_default_fits<T>(keys: &[ConfigKey<T>], target: &mut T) {
        for key in keys {
            let KeyDefault::Is(text) = key.default else { continue };
            let Ok(value) = key.kind.read(text) else { panic!("{} = {text}", key.path) };
            assert!((key.field.set)(target, value.clone()).is_ok(), "{} = {text}", key.path);
            let shown = (key.field.get)(target);
            let by_another = matches!(shown, KeyValue::ShownByAnother);
            assert!(shown == value || by_another, "{} is not {text}", key.path);
        }
    }

    #[test]
    fn every_default_fits_its_own_kind_and_field() {
        each_default_fits(SETTINGS, &mut Config::default());
        each_default_fits(FTP_KEYS, &mut FtpConnection::default());
        each_default_fits(LOCAL_KEYS, &mut LocalConnection::default());
        each_default_fits(FRP_KEYS, &mut FrpTunnel::named("plant"));
        each_default_fits(FEED_KEYS, &mut FeedConfig::default());
    }

    #[test]
    fn no_key_is_declared_twice() {
        let mut paths: Vec<_> = SETTINGS.iter().map(|key| key.path).collect();
        assert!(SETTINGS.iter().all(|key| !key.section().is_empty()));
        paths.extend(FTP_KEYS.iter().map(|key| key.path));
        paths.extend(RCLONE_ONLY_KEYS.iter().map(|key| key.name));
        let declared = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), declared);
    }
}

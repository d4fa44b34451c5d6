//! The differences between two configurations: of values, by the key tables. Comments, the order of sections and keys,
//! and the notation of a value make no difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::connection::{ConfiguredConnections, FtpConnection};
use super::connection_keys::FTP_KEYS;
use super::feeds::FeedConfig;
use super::settings::{Config, PROPERTIES, SETTINGS};

/// How a connection differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionChange {
    Added,
    /// Its open sessions can no longer be used.
    Changed,
    /// How many sessions there may be, and how long they may be idle: open ones are kept.
    Limits,
    Removed,
}

/// The differences, by connection name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigDiff {
    /// The API's token has changed.
    pub token: bool,
    pub ftp: BTreeMap<String, ConnectionChange>,
    pub local: BTreeMap<String, ConnectionChange>,
    pub tunnels: BTreeMap<String, ConnectionChange>,
    pub feeds: BTreeMap<String, ConnectionChange>,
}

impl ConfigDiff {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let maps = [&self.ftp, &self.local, &self.tunnels, &self.feeds];
        maps.iter().all(|map| map.is_empty()) && !self.token
    }

    /// The names of the sections with this change, FTP servers first.
    #[must_use]
    pub fn names(&self, change: ConnectionChange) -> Vec<&str> {
        let all = self.ftp.iter().chain(&self.local).chain(&self.tunnels);
        all.filter(|(_, became)| **became == change).map(|(name, _)| name.as_str()).collect()
    }
}

impl Config {
    /// The differences in everything that may change while a pod runs.
    #[must_use]
    pub fn changes_to(&self, new: &Config) -> ConfigDiff {
        let token = match (&self.api_token, &new.api_token) {
            (Some(old), Some(new)) => !old.is(new),
            (old, new) => old.is_some() != new.is_some(),
        };
        let by_name = |config: &Config| -> BTreeMap<String, Arc<FeedConfig>> {
            config.feeds.iter().map(|feed| (feed.name.clone(), Arc::clone(feed))).collect()
        };
        let feeds = differences(&by_name(self), &by_name(new), |old, new| {
            (old != new).then_some(ConnectionChange::Changed)
        });
        ConfigDiff { token, feeds, ..self.connections.changes_to(&new.connections) }
    }
}

impl ConfiguredConnections {
    /// The differences between the connections.
    #[must_use]
    pub fn changes_to(&self, new: &ConfiguredConnections) -> ConfigDiff {
        ConfigDiff {
            token: false,
            ftp: differences(&self.ftp, &new.ftp, |old, new| old.change_to(new)),
            local: differences(&self.local, &new.local, |old, new| {
                (old != new).then_some(ConnectionChange::Changed)
            }),
            tunnels: differences(&self.tunnels, &new.tunnels, |old, new| {
                (old != new).then_some(ConnectionChange::Changed)
            }),
            feeds: BTreeMap::new(),
        }
    }
}

fn differences<T>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    change: impl Fn(&T, &T) -> Option<ConnectionChange>,
) -> BTreeMap<String, ConnectionChange> {
    let removed =
        old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name, ConnectionChange::Removed));
    let there = new.iter().filter_map(|(name, new)| match old.get(name) {
        None => Some((name, ConnectionChange::Added)),
        Some(old) => Some((name, change(old, new)?)),
    });
    removed.chain(there).map(|(name, change)| (name.clone(), change)).collect()
}

impl FtpConnection {
    fn change_to(&self, new: &FtpConnection) -> Option<ConnectionChange> {
        let mut differing = FTP_KEYS.iter().filter(|key| !key.is_same(self, new)).peekable();
        differing.peek()?;
        let keeps_sessions = differing.all(|key| key.keeps_sessions);
        Some(if keeps_sessions { ConnectionChange::Limits } else { ConnectionChange::Changed })
    }
}

impl Config {
    /// The names of the keys of config.yaml that have another value in `new`, without the values.
    #[must_use]
    pub fn differing_keys(&self, new: &Config) -> Vec<String> {
        let keys = SETTINGS.iter().filter(|key| !key.is_same(self, new)).map(|key| key.path.to_owned());
        let (old_properties, new_properties) = (&self.kafka.properties, &new.kafka.properties);
        let text = |value: Option<&SecretString>| value.map(|value| value.expose_secret().to_owned());
        let names: BTreeSet<&String> = old_properties.keys().chain(new_properties.keys()).collect();
        let properties = names
            .into_iter()
            .filter(|name| text(old_properties.get(*name)) != text(new_properties.get(*name)))
            .map(|name| format!("{PROPERTIES}.{name}"));
        let mut differing: Vec<String> = keys.chain(properties).collect();
        differing.sort_unstable();
        differing
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{LocalConnection, NetworkOptions, ProxyKind, ProxyServer, TlsMode, TlsOptions};
    use super::*;

    fn ftp(name: &str) -> FtpConnection {
        FtpConnection {
            name: name.to_owned(),
            pass: SecretString::from("secret"),
            ..FtpConnection::default()
        }
    }

    fn connections(ftp: &[FtpConnection], locals: &[(&str, &str)]) -> ConfiguredConnections {
        let local = |(name, path): &(&str, &str)| {
            let connection = LocalConnection { name: (*name).to_owned(), base_path: PathBuf::from(path) };
            (connection.name.clone(), Arc::new(connection))
        };
        ConfiguredConnections {
            ftp: ftp.iter().map(|one| (one.name.clone(), Arc::new(one.clone()))).collect(),
            local: locals.iter().map(local).collect(),
            tunnels: BTreeMap::new(),
            in_file: true,
        }
    }

    #[test]
    fn each_connection_is_new_changed_gone_or_as_it_was() {
        let old = connections(&[ftp("gone"), ftp("same"), ftp("wrong")], &[("in", "/in"), ("out", "/out")]);
        let mended = FtpConnection { pass: SecretString::from("right"), ..ftp("wrong") };
        let new = connections(&[ftp("same"), mended, ftp("new")], &[("in", "/in"), ("out", "/elsewhere")]);
        let changes = old.changes_to(&new);
        assert_eq!(changes.names(ConnectionChange::Added), ["new"]);
        assert_eq!(changes.names(ConnectionChange::Changed), ["wrong", "out"]);
        assert_eq!(changes.names(ConnectionChange::Removed), ["gone"]);
        assert!(old.changes_to(&old.clone()).is_empty());
    }

    #[test]
    fn a_connection_that_becomes_another_kind_is_gone_and_new() {
        let old = connections(&[ftp("it")], &[]);
        let changes = old.changes_to(&connections(&[], &[("it", "/it")]));
        assert_eq!(
            (changes.ftp["it"], changes.local["it"]),
            (ConnectionChange::Removed, ConnectionChange::Added)
        );
    }

    #[test]
    fn other_limits_leave_the_sessions_alone_and_anything_else_does_not() {
        let old = ftp("it");
        let more =
            FtpConnection { max_sessions: 20, idle_timeout: Some(std::time::Duration::ZERO), ..ftp("it") };
        assert_eq!(old.change_to(&more), Some(ConnectionChange::Limits));
        for other in [
            FtpConnection { host: "other".to_owned(), ..more.clone() },
            FtpConnection { pass: SecretString::from("other"), ..more.clone() },
            FtpConnection {
                tls: TlsOptions { mode: TlsMode::Explicit, ..TlsOptions::default() },
                ..more.clone()
            },
            FtpConnection {
                network: NetworkOptions { trusts_pasv: true, ..NetworkOptions::default() },
                ..more
            },
        ] {
            assert_eq!(old.change_to(&other), Some(ConnectionChange::Changed));
        }
        assert_eq!(old.change_to(&ftp("it")), None);
    }

    #[test]
    fn a_proxys_password_counts() {
        let with = |user: Option<(&str, &str)>| {
            let user = user.map(|(user, pass)| (user.to_owned(), SecretString::from(pass)));
            let proxy = ProxyServer { kind: ProxyKind::Socks5, host: "proxy".to_owned(), port: 1080, user };
            FtpConnection {
                network: NetworkOptions { proxy: Some(proxy), ..NetworkOptions::default() },
                ..ftp("it")
            }
        };
        assert!(with(Some(("anna", "a"))) == with(Some(("anna", "a"))));
        assert!(with(Some(("anna", "a"))) != with(Some(("anna", "b"))));
        assert!(with(Some(("anna", "a"))) != with(None));
    }
}

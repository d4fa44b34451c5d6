//! What differs from one configuration to the next. Remarks, the order of sections and keys, and the way in which a
//! value is written make no difference.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::{Config, ConfiguredConnections, FtpConnection, ProxyServer};

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionChange {
    Added,
    /// Its sessions are of no use any more.
    Changed,
    /// How many sessions there may be, and for how long they may be idle: those that are there go on.
    Limits,
    Removed,
}

/// What differs, by the connections' names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigDiff {
    /// The API's token has another value.
    pub token: bool,
    pub ftp: BTreeMap<String, ConnectionChange>,
    pub local: BTreeMap<String, ConnectionChange>,
}

impl ConfigDiff {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ftp.is_empty() && self.local.is_empty() && !self.token
    }

    /// The names of all connections of which this became, FTP servers first.
    #[must_use]
    pub fn names(&self, change: ConnectionChange) -> Vec<&str> {
        let both = self.ftp.iter().chain(&self.local);
        both.filter(|(_, became)| **became == change).map(|(name, _)| name.as_str()).collect()
    }
}

impl Config {
    /// What differs of that which may change while a pod runs.
    #[must_use]
    pub fn changes_to(&self, new: &Config) -> ConfigDiff {
        let token = match (&self.api_token, &new.api_token) {
            (Some(old), Some(new)) => !old.is(new),
            (old, new) => old.is_some() != new.is_some(),
        };
        ConfigDiff { token, ..self.connections.changes_to(&new.connections) }
    }
}

impl ConfiguredConnections {
    /// What became of these connections.
    #[must_use]
    pub fn changes_to(&self, new: &ConfiguredConnections) -> ConfigDiff {
        ConfigDiff {
            token: false,
            ftp: differences(&self.ftp, &new.ftp, |old, new| old.change_to(new)),
            local: differences(&self.local, &new.local, |old, new| {
                (old != new).then_some(ConnectionChange::Changed)
            }),
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
        if self == new {
            return None;
        }
        let limits =
            FtpConnection { max_sessions: new.max_sessions, idle_timeout: new.idle_timeout, ..self.clone() };
        Some(if limits == *new { ConnectionChange::Limits } else { ConnectionChange::Changed })
    }

    /// Whether the files beneath a path of the one are those of the other, as far as their keys tell.
    #[must_use]
    pub fn has_the_files_of(&self, other: &FtpConnection) -> bool {
        let place = |connection: &FtpConnection| {
            let FtpConnection { host, port, user, path_root, charset, encoding, .. } = connection;
            (host.clone(), *port, user.clone(), path_root.clone(), *charset, *encoding)
        };
        place(self) == place(other)
    }
}

impl PartialEq for FtpConnection {
    fn eq(&self, other: &FtpConnection) -> bool {
        // All by name: a field that is added is not forgotten here.
        let FtpConnection {
            name,
            host,
            port,
            user,
            pass,
            max_sessions,
            max_session_age,
            max_session_transfers,
            tls,
            network,
            path_root,
            disable_epsv,
            disable_utf8,
            charset,
            time_offset,
            encoding,
            writing_mdtm,
            idle_timeout,
            rename_over,
            resume,
            max_file_size,
            min_rate,
            timeouts,
        } = self;
        *name == other.name
            && *host == other.host
            && *port == other.port
            && *user == other.user
            && is_same(pass, &other.pass)
            && *max_sessions == other.max_sessions
            && *max_session_age == other.max_session_age
            && *max_session_transfers == other.max_session_transfers
            && *tls == other.tls
            && *network == other.network
            && *path_root == other.path_root
            && *disable_epsv == other.disable_epsv
            && *disable_utf8 == other.disable_utf8
            && *charset == other.charset
            && *time_offset == other.time_offset
            && *encoding == other.encoding
            && *writing_mdtm == other.writing_mdtm
            && *idle_timeout == other.idle_timeout
            && *rename_over == other.rename_over
            && *resume == other.resume
            && *max_file_size == other.max_file_size
            && *min_rate == other.min_rate
            && *timeouts == other.timeouts
    }
}

impl PartialEq for ProxyServer {
    fn eq(&self, other: &ProxyServer) -> bool {
        let ProxyServer { kind, host, port, user } = self;
        let is_same_user = match (user, &other.user) {
            (Some((user, pass)), Some((name, word))) => user == name && is_same(pass, word),
            (None, None) => true,
            _ => false,
        };
        *kind == other.kind && *host == other.host && *port == other.port && is_same_user
    }
}

impl Eq for FtpConnection {}
impl Eq for ProxyServer {}

/// Both are ours, from our own files: nothing is told by how long this takes.
fn is_same(secret: &SecretString, other: &SecretString) -> bool {
    secret.expose_secret() == other.expose_secret()
}

impl Config {
    /// The keys of config.yaml that have another value in `new`, by name. What they are set to is not told.
    #[must_use]
    pub fn differing_keys(&self, new: &Config) -> Vec<String> {
        let (old_values, new_values) = (values(self), values(new));
        let names = old_values.keys().chain(new_values.keys().filter(|key| !old_values.contains_key(*key)));
        let mut differing: Vec<String> =
            names.filter(|key| old_values.get(*key) != new_values.get(*key)).cloned().collect();
        if self.api_token.as_ref().is_some_and(|token| token.needs_restart_for(new.api_token.as_deref())) {
            differing.push(super::keys::API_TOKEN.path.to_owned());
        }
        // In the YAML they are only told to be set.
        for (name, value) in &self.kafka.properties {
            let other = new.kafka.properties.get(name);
            if other.is_some_and(|other| !is_same(value, other)) {
                differing.push(format!("kafka.properties.{name}"));
            }
        }
        differing.sort_unstable();
        differing.dedup();
        differing
    }
}

/// The effective configuration's values by key, but for the connections.
fn values(config: &Config) -> BTreeMap<String, String> {
    let yaml = Config { connections: ConfiguredConnections::default(), ..config.clone() }.to_yaml_redacted();
    let mut sections: Vec<&str> = Vec::new();
    let mut values = BTreeMap::new();
    for line in yaml.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        sections.truncate((key.len() - key.trim_start().len()) / 2);
        sections.push(key.trim());
        if !value.is_empty() {
            values.insert(sections.join("."), value.trim().to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::super::{LocalConnection, NetworkOptions, ProxyKind, TlsMode, TlsOptions};
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
        let proxy = |pass: &str| ProxyServer {
            kind: ProxyKind::Socks5,
            host: "proxy".to_owned(),
            port: 1080,
            user: Some(("anna".to_owned(), SecretString::from(pass))),
        };
        assert!(proxy("a") == proxy("a") && proxy("a") != proxy("b"));
        assert!(proxy("a") != ProxyServer { user: None, ..proxy("a") });
    }
}

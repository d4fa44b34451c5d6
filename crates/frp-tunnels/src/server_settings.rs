//! How a client reaches frps: addresses, proof of identity, transport.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::spec::{is_valid_name, validation_is_host};

/// frps' port where none is given.
pub const DEFAULT_SERVER_PORT: u16 = 7000;

/// A secret's file is one line; more is another file by mistake.
const MAX_SECRET_BYTES: u64 = 16 * 1024;

/// How a client reaches frps.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Tried in turn: the next one where the session is lost or cannot be made.
    pub servers: Vec<ServerAddress>,
    /// Prefix of every name at frps (`user.name`): keeps several clients' tunnels apart.
    pub user: Option<String>,
    pub authentication: Authentication,
    pub protocol: TransportProtocol,
    pub tls: TlsSettings,
    /// A dead peer is noticed after this and ten seconds more; at frps, its own `tcpMuxKeepaliveInterval` counts.
    pub keepalive: Duration,
    pub dial_timeout: Duration,
    /// Connections that frpc keeps ready at frps; 0 to 50.
    pub pool_count: u8,
    /// `http://user:password@host:port` or `socks5://…` between here and frps.
    pub proxy_url: Option<SecretString>,
    /// Sent with the login, where server plugins read it.
    pub metadata: BTreeMap<String, String>,
    /// Sent as the metadata `token`: what a per-client token of `server plugin` is compared with.
    pub client_token: Option<SecretSource>,
    /// For xtcp: `host:port`; `None`: frp's.
    pub stun_server: Option<String>,
}

impl ServerSettings {
    pub fn new(server: ServerAddress) -> Self {
        Self {
            servers: vec![server],
            user: None,
            authentication: Authentication::None,
            protocol: TransportProtocol::Tcp,
            tls: TlsSettings::default(),
            keepalive: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(10),
            pool_count: 1,
            proxy_url: None,
            metadata: BTreeMap::new(),
            client_token: None,
            stun_server: None,
        }
    }

    #[must_use]
    pub fn with_token(mut self, token: SecretSource) -> Self {
        self.authentication = Authentication::Token(token);
        self
    }

    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Everything that is wrong, as `key: message`.
    pub fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.servers.is_empty() {
            found.push("server: at least one is needed".to_owned());
        }
        if self.user.as_ref().is_some_and(|user| !is_valid_name(user)) {
            found.push("user: must be letters, digits, \".\", \"_\" or \"-\"".to_owned());
        }
        if self.keepalive < Duration::from_secs(1) || self.dial_timeout < Duration::from_secs(1) {
            found.push("keepalive, dial_timeout: whole seconds from 1".to_owned());
        }
        if self.pool_count > 50 {
            found.push("pool_count: at most 50".to_owned());
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            found.push("tls_certificate, tls_key: both or neither".to_owned());
        }
        for file in [&self.tls.ca, &self.tls.certificate, &self.tls.key].into_iter().flatten() {
            if let Err(error) = std::fs::metadata(file) {
                found.push(format!("tls: {}: {error}", file.display()));
            }
        }
        if self.metadata.contains_key("token") && self.client_token.is_some() {
            found.push("metadata: the key \"token\" is that of client_token".to_owned());
        }
        found
    }

    /// What works, and is not safe.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        if !self.tls.enabled {
            found.push("tls = false: login and data can be read on the way");
        } else if self.tls.ca.is_none() {
            found.push("no tls_ca: frps' certificate is not checked, so anybody on the way can be frps");
        }
        if matches!(self.authentication, Authentication::None) && self.client_token.is_none() {
            found.push("no token: a server that takes this client takes everybody");
        }
        found
    }
}

/// `host[:port]`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    pub host: String,
    pub port: u16,
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.parse::<std::net::Ipv6Addr>().is_ok();
        let (host, port) = match text.rsplit_once(':').filter(|_| !bare) {
            Some((host, port)) => {
                let port = port.parse().ok().filter(|port| *port > 0);
                (host, port.ok_or_else(|| format!("{text:?}: the port must be 1 to 65535"))?)
            }
            None => (text, DEFAULT_SERVER_PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if !validation_is_host(host) {
            return Err(format!("{text:?} is not host:port"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

#[derive(Debug, Clone)]
pub enum Authentication {
    None,
    /// The token that all clients of a server share.
    Token(SecretSource),
    /// frpc fetches tokens itself (OAuth 2.0 client credentials).
    Oidc(OidcSettings),
}

#[derive(Debug, Clone)]
pub struct OidcSettings {
    pub client_id: String,
    pub client_secret: SecretSource,
    pub token_endpoint: String,
    pub audience: Option<String>,
    pub scope: Option<String>,
}

/// A secret, or the file that it is read from whenever a process is started.
#[derive(Debug, Clone)]
pub enum SecretSource {
    Value(SecretString),
    File(PathBuf),
}

/// Why a secret could not be had; never with the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: is empty", .0.display())]
    Empty(PathBuf),
    #[error("{}: has more than {MAX_SECRET_BYTES} bytes, so it is not a secret file", .0.display())]
    TooLarge(PathBuf),
}

impl SecretSource {
    /// The secret; of a file, without the line end that editors add.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => read_secret(path),
        }
    }
}

fn read_secret(path: &Path) -> Result<SecretString, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let is_large = std::fs::metadata(path).map_err(unreadable)?.len() > MAX_SECRET_BYTES;
    if is_large {
        return Err(SecretError::TooLarge(path.to_owned()));
    }
    let text = SecretString::from(std::fs::read_to_string(path).map_err(unreadable)?);
    let secret = text.expose_secret().trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(SecretError::Empty(path.to_owned()));
    }
    Ok(SecretString::from(secret.to_owned()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransportProtocol {
    #[default]
    Tcp,
    /// Over UDP; ten times slower on a lossless link.
    Kcp,
    Quic,
    Websocket,
    Wss,
}

impl TransportProtocol {
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Kcp, Self::Quic, Self::Websocket, Self::Wss];

    /// frp's word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Kcp => "kcp",
            Self::Quic => "quic",
            Self::Websocket => "websocket",
            Self::Wss => "wss",
        }
    }
}

impl FromStr for TransportProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|protocol| protocol.label() == text);
        found.ok_or_else(|| format!("{text:?} is not one of tcp, kcp, quic, websocket, wss"))
    }
}

#[derive(Debug, Clone)]
pub struct TlsSettings {
    pub enabled: bool,
    /// Without it, frpc encrypts and checks nothing.
    pub ca: Option<PathBuf>,
    /// The name in frps' certificate; `None`: the server's host.
    pub server_name: Option<String>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { enabled: true, ca: None, server_name: None, certificate: None, key: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, host, port) in [
            ("frps.test", "frps.test", 7000),
            ("frps.test:7500", "frps.test", 7500),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[::1]:7001", "::1", 7001),
            ("::1", "::1", 7000),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port), "{text}");
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        for wrong in ["", ":7000", "a b:1", "host:0", "host:70000", "host:x"] {
            assert!(wrong.parse::<ServerAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secrets_file_loses_its_line_end_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = SecretSource::File(file.path().to_owned());
        assert!(matches!(source.read(), Err(SecretError::Empty(_))));
        std::fs::write(file.path(), " se cret \r\n").unwrap();
        assert_eq!(source.read().unwrap().expose_secret(), " se cret ");
        std::fs::write(file.path(), vec![b'x'; 20_000]).unwrap();
        assert!(matches!(source.read(), Err(SecretError::TooLarge(_))));
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let mut settings = ServerSettings::new("frps.test".parse().unwrap());
        assert_eq!(settings.mistakes(), [""; 0]);
        settings.servers.clear();
        settings.user = Some("a/b".into());
        settings.keepalive = Duration::ZERO;
        settings.pool_count = 51;
        settings.tls.certificate = Some("/nowhere/tls.crt".into());
        assert_eq!(settings.mistakes().len(), 6, "{:#?}", settings.mistakes());
    }

    proptest! {
        #[test]
        fn no_address_makes_it_panic(text in "\\PC{0,60}") {
            let _ = text.parse::<ServerAddress>();
        }
    }
}

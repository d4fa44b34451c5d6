//! A section with `type = frp`: how FTP servers without a public address are reached, and the table of its keys.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::connection_keys::{TYPE, TYPE_DOC, TYPES, type_is};
use super::key::KeyDefault::{Described, Is, Required};
use super::key::{ConfigKey, FieldAccess, KeyGroup, field, key, set_defaults};
use super::kind::{KeyKind, KeyValue, MAX_SECRET_FILE_BYTES, quoted};
use super::network;
use super::password::from_file;
use super::tls::MAX_CA_BYTES;

/// frps's default port.
const DEFAULT_SERVER_PORT: u16 = 7000;
/// The maximum number of servers to fail over to.
const MAX_SERVERS: usize = 8;
/// Each passive port is a listening socket here and a tunnel at the server.
pub(super) const MAX_PASSIVE_PORTS: usize = 1000;

/// A tunnel through frp, which connections use with `via`.
#[derive(Debug, Clone, Default)]
pub struct FrpTunnel {
    pub name: String,
    /// `host:port` of frps, tried in order.
    pub servers: Vec<String>,
    pub token: SecretString,
    /// Our user at frps; the consumer group unless the section sets it.
    pub user: Option<String>,
    /// The user of the client next to the FTP server; our own unless the section sets it.
    pub target_user: Option<String>,
    /// The secret of the far side's tunnels.
    pub secret: SecretString,
    /// The FTP server's passive ports, each a tunnel; `None`: one tunnel leads to an HTTP CONNECT proxy.
    pub passive_ports: Option<RangeInclusive<u16>>,
    /// `tcp`, `quic`, `websocket` or `wss`.
    pub protocol: String,
    pub tls: bool,
    pub tls_ca: Option<PemFile>,
    pub tls_name: Option<String>,
    pub tls_certificate: Option<PemFile>,
    pub tls_key: Option<PemFile>,
    pub keepalive: Duration,
    /// A tunnel that is not up by then is reported as failed; attempts continue.
    pub up_within: Duration,
}

/// A file that frpc reads itself. Its content shows whether it has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    pub path: PathBuf,
    content: Vec<u8>,
}

impl FrpTunnel {
    /// With every key's default.
    pub(super) fn named(name: &str) -> FrpTunnel {
        let mut tunnel = FrpTunnel { name: name.to_owned(), ..FrpTunnel::default() };
        set_defaults(FRP_KEYS, &mut tunnel);
        tunnel
    }

    /// How many passive ports are tunnels; 0 if a proxy leads to them.
    #[must_use]
    pub fn port_count(&self) -> usize {
        self.passive_ports.as_ref().map_or(0, |ports| usize::from(ports.end() - ports.start()) + 1)
    }

    /// Whether both can share one session with frps: they differ only in what they reach there.
    #[must_use]
    pub fn shares_session_with(&self, other: &FrpTunnel) -> bool {
        let is_session = |key: &&ConfigKey<FrpTunnel>| !OF_THE_TUNNEL.contains(&key.path);
        FRP_KEYS.iter().filter(is_session).all(|key| key.is_same(self, other))
    }
}

/// Keys of the far side rather than of the session with frps.
const OF_THE_TUNNEL: &[&str] = &["target_user", "secret_file", "passive_ports"];

impl PartialEq for FrpTunnel {
    fn eq(&self, other: &FrpTunnel) -> bool {
        self.name == other.name && FRP_KEYS.iter().all(|key| key.is_same(self, other))
    }
}

impl Eq for FrpTunnel {}

const SERVERS: KeyGroup = KeyGroup {
    keys: &["server", "servers"],
    missing: Some("is missing; expected host:port of frps, or servers, a list of them"),
    ignores_empty: false,
};
const ONE_IS_REQUIRED: super::key::KeyDefault = Described("one of these two is required");

/// The keys of a section with `type = frp`.
#[rustfmt::skip] // one entry after the other, its text last
pub(super) const FRP_KEYS: &[ConfigKey<FrpTunnel>] = &[
    key(TYPE, TYPES, Required, type_is(|_| KeyValue::Text("frp".to_owned())), TYPE_DOC),
    key("server", KeyKind::Syntax("host:port"), ONE_IS_REQUIRED, SERVER_LIST,
        "The frps server: `host:port`, or `host` for port 7000.").one_of(&SERVERS),
    key("servers", KeyKind::Syntax("list of host:port"), ONE_IS_REQUIRED, SERVER_LIST_AGAIN,
        "Several of them, separated by commas: the next one is tried when the session with one is lost or cannot be \
         made. The far side must be connected to all of them.").one_of(&SERVERS),
    key("token_file", KeyKind::File { max_bytes: MAX_SECRET_FILE_BYTES }, Required, TOKEN,
        "A file that contains frps' token, such as a mounted secret. It reaches frpc in memory: it is in no file of \
         ours, no argument and no log."),
    key("user", KeyKind::Text, Described("`kafka.consumer_group`"), USER,
        "The pods' user at frps, the same for all pods: the far side's `--allow-user`."),
    key("target_user", KeyKind::Text, Described("the `user` of this section"), TARGET_USER,
        "The user of the client next to the FTP server: the far side's `--user`."),
    key("secret_file", KeyKind::File { max_bytes: MAX_SECRET_FILE_BYTES }, Required, SECRET,
        "A file that contains the key of the far side's tunnels: its `--secret-file`."),
    key("passive_ports", KeyKind::Syntax("a range of ports"), Described("none: one tunnel to the far side's CONNECT proxy"),
        PASSIVE_PORTS,
        "The FTP server's passive ports, `50000-50049`, as its own configuration has them and the far side's \
         `--passive-ports`: each becomes a tunnel, which is the fastest way and reaches nothing but this server. At \
         most 1,000."),
    key("protocol", KeyKind::Choice(&["tcp", "quic", "websocket", "wss"]), Is("tcp"), field!(protocol),
        "What carries the session with frps. `tcp` is the fastest; `websocket` and `wss` pass HTTP proxies."),
    key("tls", KeyKind::Flag, Is("true"), field!(tls),
        "Whether the session with frps is encrypted. If false, the token and all FTP sessions without TLS of their own \
         can be read on the way."),
    key("tls_ca", KeyKind::File { max_bytes: MAX_CA_BYTES }, Described("none: frps' certificate is not checked"), TLS_CA,
        "A PEM file of the authorities that may have issued frps' certificate. Without it frpc encrypts and checks nothing, \
         and anybody on the way can be frps."),
    key("tls_name", KeyKind::Host, Described("the server's host"), TLS_NAME,
        "The name that frps' certificate must have."),
    key("tls_certificate", KeyKind::File { max_bytes: MAX_CA_BYTES }, Described("none"), TLS_CERTIFICATE,
        "The client certificate, for an frps that requires one; `tls_key` is its key."),
    key("tls_key", KeyKind::File { max_bytes: MAX_CA_BYTES }, Described("none"), TLS_KEY,
        "The key of `tls_certificate`."),
    key("keepalive", KeyKind::Time { min: Duration::from_secs(1), max: Duration::from_secs(300) }, Is("10s"),
        field!(keepalive),
        "A session with frps that is silent is probed after this; one that is dead is noticed ten seconds later."),
    key("up_within", KeyKind::Time { min: Duration::from_secs(1), max: Duration::from_secs(600) }, Is("20s"),
        field!(up_within),
        "A tunnel that has not connected within this time is reported as failed. It is retried indefinitely."),
];

fn set_servers(tunnel: &mut FrpTunnel, value: KeyValue) -> Result<(), String> {
    let text = value.into_text();
    let servers: Vec<String> = text.split(',').map(server).collect::<Result<_, _>>()?;
    if servers.len() > MAX_SERVERS {
        return Err(format!("lists {} servers; expected {MAX_SERVERS} at most", servers.len()));
    }
    tunnel.servers = servers;
    Ok(())
}

const SERVER_LIST: FieldAccess<FrpTunnel> =
    FieldAccess { set: set_servers, get: |tunnel| KeyValue::List(tunnel.servers.clone()) };
const SERVER_LIST_AGAIN: FieldAccess<FrpTunnel> =
    FieldAccess { set: set_servers, get: |_| KeyValue::ShownByAnother };

fn server(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong = || format!("found {}; expected host:port, such as frps.example.com:7000", quoted(text));
    let is_bare_ipv6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = match text.rsplit_once(':').filter(|_| !is_bare_ipv6) {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong)?),
        None => (text, DEFAULT_SERVER_PORT),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_ipv6 = bare.parse::<std::net::Ipv6Addr>().is_ok();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bare.is_empty() || (!is_ipv6 && !bare.chars().all(is_name)) {
        return Err(wrong());
    }
    Ok(if is_ipv6 { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") })
}

/// A secret in a file: one non-empty line.
fn secret(value: KeyValue) -> Result<Option<SecretString>, String> {
    let KeyValue::File { path, content } = value else { return Ok(None) };
    let secret = from_file(&path, content)?;
    match KeyKind::Secret.read(secret.expose_secret()) {
        Ok(_) if secret.expose_secret().is_empty() => Err(format!("`{path}` is empty")),
        Ok(_) => Ok(Some(secret)),
        Err(problem) => Err(format!("the secret {problem}")),
    }
}

const TOKEN: FieldAccess<FrpTunnel> = FieldAccess {
    set: |tunnel, value| {
        tunnel.token = secret(value)?.unwrap_or_default();
        Ok(())
    },
    get: |tunnel| KeyValue::secret(tunnel.token.expose_secret().as_bytes()),
};

const SECRET: FieldAccess<FrpTunnel> = FieldAccess {
    set: |tunnel, value| {
        tunnel.secret = secret(value)?.unwrap_or_default();
        Ok(())
    },
    get: |tunnel| KeyValue::secret(tunnel.secret.expose_secret().as_bytes()),
};

/// A name that frp accepts for tunnels and users.
pub(super) fn is_frp_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn user(value: KeyValue) -> Result<Option<String>, String> {
    let text = value.into_text();
    if is_frp_name(&text) {
        return Ok(Some(text));
    }
    Err(format!("found {}; expected letters, digits, `.`, `_` and `-`", quoted(&text)))
}

const USER: FieldAccess<FrpTunnel> = FieldAccess {
    set: |tunnel, value| {
        tunnel.user = user(value)?;
        Ok(())
    },
    get: |tunnel| tunnel.user.clone().map_or(KeyValue::Unset, KeyValue::Text),
};

const TARGET_USER: FieldAccess<FrpTunnel> = FieldAccess {
    set: |tunnel, value| {
        tunnel.target_user = user(value)?;
        Ok(())
    },
    get: |tunnel| tunnel.target_user.clone().map_or(KeyValue::Unset, KeyValue::Text),
};

const PASSIVE_PORTS: FieldAccess<FrpTunnel> = FieldAccess {
    set: |tunnel, value| {
        let ports = network::ports(&value.into_text())?;
        let count = usize::from(ports.end() - ports.start()) + 1;
        if count > MAX_PASSIVE_PORTS {
            return Err(format!(
                "has {count} ports; expected {MAX_PASSIVE_PORTS} at most: each is a tunnel, and a server needs no more \
                 than twice its sessions"
            ));
        }
        tunnel.passive_ports = Some(ports);
        Ok(())
    },
    get: |tunnel| match &tunnel.passive_ports {
        Some(ports) => KeyValue::Text(format!("{}-{}", ports.start(), ports.end())),
        None => KeyValue::Unset,
    },
};

const TLS_NAME: FieldAccess<FrpTunnel> = FieldAccess {
    set: |tunnel, value| {
        tunnel.tls_name = Some(value.into_text());
        Ok(())
    },
    get: |tunnel| tunnel.tls_name.clone().map_or(KeyValue::Unset, KeyValue::Text),
};

fn pem(value: KeyValue) -> Result<Option<PemFile>, String> {
    let KeyValue::File { path, content } = value else { return Ok(None) };
    if !content.windows(11).any(|part| part == b"-----BEGIN ") {
        return Err(format!("`{path}` has nothing in PEM (-----BEGIN …)"));
    }
    Ok(Some(PemFile { path: path.into(), content }))
}

/// Its path is shown, and its content compared.
fn shown_pem(file: Option<&PemFile>) -> KeyValue {
    let Some(file) = file else { return KeyValue::Unset };
    KeyValue::Hidden { shown: file.path.display().to_string(), content: file.content.clone() }
}

const TLS_CA: FieldAccess<FrpTunnel> = FieldAccess {
    set: |tunnel, value| {
        tunnel.tls_ca = pem(value)?;
        Ok(())
    },
    get: |tunnel| shown_pem(tunnel.tls_ca.as_ref()),
};

const TLS_CERTIFICATE: FieldAccess<FrpTunnel> = FieldAccess {
    set: |tunnel, value| {
        tunnel.tls_certificate = pem(value)?;
        Ok(())
    },
    get: |tunnel| shown_pem(tunnel.tls_certificate.as_ref()),
};

const TLS_KEY: FieldAccess<FrpTunnel> = FieldAccess {
    set: |tunnel, value| {
        tunnel.tls_key = pem(value)?;
        Ok(())
    },
    get: |tunnel| shown_pem(tunnel.tls_key.as_ref()),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts_with_ports() {
        for (text, read) in [
            ("frps.example.com", "frps.example.com:7000"),
            (" 10.0.0.1:7500 ", "10.0.0.1:7500"),
            ("::1", "[::1]:7000"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(server(text).as_deref(), Ok(read), "{text}");
        }
        for wrong in ["", ":7000", "a b", "a:0", "a:x", "http://a:1", "user:secret@a:1"] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tunnels_that_differ_in_what_they_reach_share_a_session() {
        let one = FrpTunnel { servers: vec!["a:7000".into()], ..FrpTunnel::named("one") };
        let other =
            FrpTunnel { passive_ports: Some(1..=9), ..FrpTunnel { name: "other".into(), ..one.clone() } };
        assert!(one.shares_session_with(&other) && one != other);
        let elsewhere = FrpTunnel { token: "another".into(), ..other };
        assert!(!one.shares_session_with(&elsewhere));
    }
}

//! From values as written to consistent settings.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use secrecy::ExposeSecret as _;

use super::read::ValueReader;
use super::{ConfigError, ConfigMistake, RawValue, keys};
use crate::address::AddressPolicy;
use crate::name::{RoutedDomain, is_pod_id};
use crate::pool::PoolBounds;
use crate::ports::PortList;
use crate::rate::RateLimit;
use crate::settings::{
    AccessLog, AuthMode, AuthSettings, CertificateFiles, HostHeader, Limits, LogFormat, ResolverSettings,
    Settings, Timeouts,
};
use crate::ticket::MIN_SECRET;

/// hyper's minimum for reading a head.
const MIN_HEAD: u64 = 8 * 1024;
const MAX_HEAD: u64 = 1024 * 1024;
const MAX_WORKERS: usize = 1024;
const MAX_COUNT: usize = 1_000_000;

/// The settings, or every error in the values.
pub fn settings_from(
    values: BTreeMap<String, RawValue>,
    mistakes: Vec<ConfigMistake>,
) -> Result<Settings, ConfigError> {
    let mut reader = ValueReader { values, mistakes };
    unknown_keys(&mut reader);
    let domain = domain(&mut reader);
    let settings = Settings {
        listen: socket(&mut reader, "host", "port"),
        admin: if reader.text("admin_port") == "off" {
            None
        } else {
            Some(socket(&mut reader, "admin_host", "admin_port"))
        },
        admin_token: reader.secret("admin_token"),
        admin_token_file: existing(&mut reader, "admin_token_file"),
        workers: workers(&mut reader),
        domain: domain.clone().unwrap_or_else(RoutedDomain::placeholder),
        ports: ports(&mut reader, "ports"),
        https_ports: ports(&mut reader, "https_ports"),
        h2_ports: ports(&mut reader, "h2_ports"),
        pod_ca_file: existing(&mut reader, "pod_ca_file"),
        resolver: resolver(&mut reader),
        lookup_for: reader.timeout("lookup_for"),
        addresses: AddressPolicy {
            networks: reader.networks("networks"),
            allow_loopback: reader.boolean("allow_loopback"),
        },
        auth: auth(&mut reader, domain.as_ref()),
        certificates: certificates(&mut reader),
        trusted: reader.networks("trusted"),
        proxy_protocol: reader.boolean("proxy_protocol"),
        host_header: reader.choice(
            "host_header",
            &[("keep", HostHeader::Keep), ("localhost", HostHeader::Localhost)],
            HostHeader::Keep,
        ),
        timeouts: timeouts(&mut reader),
        limits: limits(&mut reader),
        pool: pool(&mut reader),
        drain: reader.duration("drain"),
        reload_every: reader.timeout("reload_every"),
        access_log: access_log(&mut reader),
        log_format: reader.choice(
            "log_format",
            &[("json", LogFormat::Json), ("human", LogFormat::Human)],
            LogFormat::Json,
        ),
    };
    together(&mut reader, &settings);
    if reader.mistakes.is_empty() { Ok(settings) } else { Err(ConfigError(reader.mistakes)) }
}

fn unknown_keys(reader: &mut ValueReader) {
    let unknown: Vec<String> =
        reader.values.keys().filter(|key| keys::find(key).is_none()).cloned().collect();
    for key in unknown {
        let hint =
            keys::closest(&key).map(|closest| format!("; did you mean {closest}?")).unwrap_or_default();
        reader.mistake(&key, format!("unknown key{hint}"));
    }
}

fn domain(reader: &mut ValueReader) -> Option<RoutedDomain> {
    let Some(text) = reader.optional("domain") else {
        reader.mistake("domain", "is required: what stands after {port}-{id}., such as pool.example.com");
        return None;
    };
    match RoutedDomain::parse(&text) {
        Ok(domain) => Some(domain),
        Err(error) => {
            reader.mistake("domain", error.to_string());
            None
        }
    }
}

fn socket(reader: &mut ValueReader, host: &str, port: &str) -> SocketAddr {
    let address: IpAddr = reader.parsed(host, IpAddr::from([0, 0, 0, 0]));
    SocketAddr::new(address, reader.number(port, 0, u16::MAX))
}

fn workers(reader: &mut ValueReader) -> usize {
    match reader.number("workers", 0, MAX_WORKERS) {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    }
}

fn ports(reader: &mut ValueReader, key: &str) -> PortList {
    reader.parsed(key, PortList::default())
}

/// A file that must exist.
fn existing(reader: &mut ValueReader, key: &str) -> Option<std::path::PathBuf> {
    let path = reader.path(key)?;
    check_readable(reader, key, &path);
    Some(path)
}

fn check_readable(reader: &mut ValueReader, key: &str, path: &Path) {
    if let Err(error) = std::fs::File::open(path) {
        reader.mistake(key, format!("{}: {error}", path.display()));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ResolverKind {
    List,
    Dns,
    Kubernetes,
    Http,
}

fn resolver(reader: &mut ValueReader) -> ResolverSettings {
    let kinds = [
        ("list", ResolverKind::List),
        ("dns", ResolverKind::Dns),
        ("kubernetes", ResolverKind::Kubernetes),
        ("http", ResolverKind::Http),
    ];
    let kind = reader.choice("pods", &kinds, ResolverKind::Dns);
    let of = [
        ("name", ResolverKind::Dns),
        ("lookup_url", ResolverKind::Http),
        ("selector", ResolverKind::Kubernetes),
    ];
    for (key, other) in of {
        if reader.is_set(key) && kind != other {
            reader.mistake(key, format!("has no meaning with pods: {}", reader_kind(&kinds, kind)));
        }
    }
    match kind {
        ResolverKind::List => ResolverSettings::List(addresses(reader)),
        ResolverKind::Dns => {
            let name = with_placeholder(reader, "name", "{id}.workspaces");
            if name.split_once('.').is_some_and(|(first, _)| !first.contains("{id}")) {
                reader.mistake("name", "expected {id} in the first label, such as {id}.workspaces");
            }
            ResolverSettings::Dns { name }
        }
        ResolverKind::Kubernetes => {
            let selector = reader.optional("selector").unwrap_or_else(|| {
                reader.mistake(
                    "selector",
                    "is required with pods: kubernetes; only pods that it selects are reached",
                );
                String::new()
            });
            let (namespace, id_label) = (reader.optional("namespace"), reader.optional("id_label"));
            ResolverSettings::Kubernetes { namespace, selector, id_label }
        }
        ResolverKind::Http => {
            let url = with_placeholder(reader, "lookup_url", "http://api.example/pods/{id}");
            reader.url("lookup_url");
            ResolverSettings::Http { url, token_file: existing(reader, "lookup_token_file") }
        }
    }
}

fn reader_kind(kinds: &[(&'static str, ResolverKind)], kind: ResolverKind) -> &'static str {
    kinds.iter().find(|(_, one)| *one == kind).map_or("", |(name, _)| *name)
}

/// A text that contains `{id}` exactly once.
fn with_placeholder(reader: &mut ValueReader, key: &str, example: &str) -> String {
    let text = reader.text(key);
    if text.is_empty() {
        reader.mistake(key, format!("is required: {{id}} once, such as {example}"));
    } else if text.matches("{id}").count() != 1 {
        reader.mistake(key, format!("expected {{id}} once, such as {example}"));
    }
    text
}

fn addresses(reader: &mut ValueReader) -> Vec<(String, IpAddr)> {
    let named: Vec<(String, String)> = reader
        .values
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("addresses.")?.to_owned(), value.values.join(","))))
        .collect();
    let mut addresses = Vec::new();
    for (id, text) in named {
        let key = format!("addresses.{id}");
        if !is_pod_id(&id) {
            reader.mistake(&key, "an id has lower-case letters, digits and dashes, no dash at its ends");
        }
        match text.trim().parse() {
            Ok(address) => addresses.push((id, address)),
            Err(_) => reader.mistake(&key, "expected an IP address"),
        }
    }
    if addresses.is_empty() {
        reader.mistake("addresses", "is required with pods: list, such as addresses: {ws0: 10.1.2.3}");
    }
    addresses
}

fn auth(reader: &mut ValueReader, domain: Option<&RoutedDomain>) -> AuthSettings {
    let modes = [("none", AuthMode::None), ("session", AuthMode::Session), ("forward", AuthMode::Forward)];
    let mode = reader.choice("auth", &modes, AuthMode::None);
    let settings = AuthSettings {
        mode,
        secret: reader.secret("secret"),
        secret_file: existing(reader, "secret_file"),
        login_url: reader.url("login_url"),
        auth_url: reader.url("auth_url"),
        session: reader.timeout("session"),
    };
    if mode == AuthMode::Session {
        match (&settings.secret, &settings.secret_file) {
            (None, None) => reader.mistake("secret_file", "auth: session needs secret or secret_file"),
            (Some(_), Some(_)) => reader.mistake("secret_file", "set either secret or secret_file"),
            (Some(secret), None) if secret.expose_secret().len() < MIN_SECRET => {
                reader.mistake("secret", format!("is shorter than {MIN_SECRET} characters"));
            }
            _ => {}
        }
        let host = settings.login_url.as_ref().and_then(|url| url.parse::<hyper::Uri>().ok());
        let host = host.as_ref().and_then(|uri| uri.host());
        if host.zip(domain).is_some_and(|(host, domain)| domain.covers(host)) {
            reader
                .mistake("login_url", "is beneath the routed domain: its cookies would be in reach of pods");
        }
    }
    if mode == AuthMode::Forward && settings.auth_url.is_none() {
        reader.mistake("auth_url", "auth: forward needs auth_url");
    }
    settings
}

fn certificates(reader: &mut ValueReader) -> Vec<CertificateFiles> {
    let (certificates, keys) = (reader.list("tls_cert"), reader.list("tls_key"));
    if certificates.len() != keys.len() {
        reader.mistake("tls_key", format!("{} certificates and {} keys", certificates.len(), keys.len()));
    }
    for (key, paths) in [("tls_cert", &certificates), ("tls_key", &keys)] {
        for path in paths {
            check_readable(reader, key, Path::new(path));
        }
    }
    let pairs = certificates.into_iter().zip(keys);
    pairs
        .map(|(certificate, key)| CertificateFiles { certificate: certificate.into(), key: key.into() })
        .collect()
}

fn timeouts(reader: &mut ValueReader) -> Timeouts {
    Timeouts {
        head: reader.timeout("head_timeout"),
        connect: reader.timeout("connect_timeout"),
        answer: reader.timeout("answer_timeout"),
        idle: reader.timeout("idle_timeout"),
        stream_idle: Some(reader.duration("stream_idle_timeout")).filter(|idle| !idle.is_zero()),
        body: reader.timeout("body_timeout"),
        send: reader.timeout("send_timeout"),
        lookup: reader.timeout("lookup_timeout"),
    }
}

fn limits(reader: &mut ValueReader) -> Limits {
    let head = reader.size("max_head");
    if !(MIN_HEAD..=MAX_HEAD).contains(&head) {
        reader.mistake("max_head", "expected 8Ki to 1Mi");
    }
    let (rate, burst) =
        (reader.number("rate", 0, 1_000_000u32), reader.number("rate_burst", 1, 1_000_000u32));
    Limits {
        connections: reader.number("max_connections", 1, MAX_COUNT),
        connections_per_client: reader.number("max_connections_per_client", 1, MAX_COUNT),
        head: usize::try_from(head).unwrap_or(usize::MAX),
        body: Some(reader.size("max_body")).filter(|bytes| *bytes > 0),
        rate: RateLimit::new(rate, burst),
    }
}

fn pool(reader: &mut ValueReader) -> PoolBounds {
    let bounds = PoolBounds {
        soft: reader.number("pod_connections", 1, MAX_COUNT),
        hard: reader.number("pod_connections_max", 1, MAX_COUNT),
        idle: reader.timeout("pod_idle_timeout"),
    };
    if bounds.hard < bounds.soft {
        reader.mistake("pod_connections_max", "is less than pod_connections");
    }
    bounds
}

fn access_log(reader: &mut ValueReader) -> AccessLog {
    match reader.text("access_log").as_str() {
        "none" => AccessLog::None,
        "errors" => AccessLog::Errors,
        "all" => AccessLog::OneOf(1),
        number => match number.parse() {
            Ok(of) if of > 0 => AccessLog::OneOf(of),
            _ => {
                reader.mistake("access_log", "expected none, errors, all, or a number such as 100");
                AccessLog::None
            }
        },
    }
}

/// Checks values that are valid alone but not together.
fn together(reader: &mut ValueReader, settings: &Settings) {
    if settings.ports.is_empty() {
        reader.mistake("ports", "names no port: nothing could be reached");
    }
    if settings.addresses.networks.is_empty() && !settings.addresses.allow_loopback {
        reader.mistake("networks", "names no network: no pod could be reached");
    }
    if settings.proxy_protocol && settings.trusted.is_empty() {
        reader.mistake("proxy_protocol", "needs trusted: from whom is a PROXY header believed?");
    }
    if settings.admin.is_some_and(|admin| admin.port() == settings.listen.port() && admin.port() != 0) {
        reader.mistake("admin_port", "is the same as port");
    }
    if settings.admin_token.is_some() && settings.admin_token_file.is_some() {
        reader.mistake("admin_token_file", "set either admin_token or admin_token_file");
    }
}

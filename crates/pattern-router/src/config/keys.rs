//! The table of keys: name, default, how its value is read into the settings, and its meaning. Reading, `router.yaml`, the
//! guide and the hints in errors all use it, so a new option is a field of [`crate::settings::Settings`] and an entry here.

use std::fmt::Write as _;

use super::draft::{ConfigDraft, ResolverKind};
use super::read::KeyReader;
use crate::name::RoutedDomain;
use crate::settings::{AccessLog, AuthMode, HostHeader, LogFormat};

const MAX_WORKERS: usize = 1024;
const MAX_COUNT: usize = 1_000_000;
const MAX_RATE: u32 = 1_000_000;

/// A key of the configuration.
#[derive(Debug)]
pub struct ConfigKey {
    pub name: &'static str,
    /// Empty: none.
    pub default: &'static str,
    /// Reads the value, or the default, and stores it.
    pub(super) set: fn(&mut ConfigDraft, &mut KeyReader<'_>),
    pub meaning: &'static str,
}

const fn key(
    name: &'static str,
    default: &'static str,
    set: fn(&mut ConfigDraft, &mut KeyReader<'_>),
    meaning: &'static str,
) -> ConfigKey {
    ConfigKey { name, default, set, meaning }
}

/// A key that is a setting by itself: `setting!(timeouts.head, timeout)` reads it with [`KeyReader::timeout`].
macro_rules! setting {
    ($($field:ident).+, $read:ident $(($($argument:expr),*))?) => {
        |draft, value| draft.settings.$($field).+ = value.$read($($($argument),*)?)
    };
}

/// Like [`setting!`], for a key that makes a setting only together with others: see [`ConfigDraft`].
macro_rules! part {
    ($($field:ident).+, $read:ident $(($($argument:expr),*))?) => {
        |draft, value| draft.$($field).+ = value.$read($($($argument),*)?)
    };
}

/// In the order of the guide.
#[rustfmt::skip] // one entry after the other, its text last
pub const KEYS: &[ConfigKey] = &[
    key("domain", "", |draft, value| draft.settings.domain = domain(value),
        "The part after `{port}-{id}.`, with the public port if it is not 80 or 443. Required. Must not be a domain with other sessions"),
    key("host", "0.0.0.0", part!(host, address), "Address to listen on: HTTP/1.1 and HTTP/2 on one port; `::` for IPv6 and IPv4"),
    key("port", "8000", part!(port, number(0, u16::MAX)), "Port to listen on"),
    key("workers", "0", |draft, value| draft.settings.workers = workers(value),
        "Threads, each with its own connections; 0 is one per core"),
    key("ports", "8080", setting!(ports, parsed),
        "Ports of pods that may be reached: `8080, 3000-3999`. Those below 1024 and those of the control plane must be listed individually"),
    key("https_ports", "", setting!(https_ports, parsed), "Ports of pods that use TLS; ALPN chooses HTTP/2 or HTTP/1.1"),
    key("h2_ports", "", setting!(h2_ports, parsed), "Ports of pods that use HTTP/2 without TLS (gRPC)"),
    key("pod_ca_file", "", setting!(pod_ca_file, existing_file),
        "PEM file: certificates of `https_ports` must be issued by these authorities, for the requested name. None: any certificate, encryption only"),
    key("host_header", "keep",
        setting!(host_header, choice(&[("keep", HostHeader::Keep), ("localhost", HostHeader::Localhost)])),
        "`keep`, or `localhost`: pods see Host and Origin as `localhost:{port}`"),
    key("pods", "dns", part!(resolver.kind, choice(&ResolverKind::NAMES)), "How a pod is found: `list`, `dns`, `kubernetes`, `http`"),
    key("addresses", "", part!(resolver.addresses, addresses), "`list`: ids and their addresses, as `addresses: {ws0: 10.1.2.3}`"),
    key("name", "", part!(resolver.name, text), "`dns`: a name that contains `{id}` once, such as `{id}.workspaces`"),
    key("namespace", "", part!(resolver.namespace, optional), "`kubernetes`: the namespace of the pods; none: the router's own"),
    key("selector", "", part!(resolver.selector, optional), "`kubernetes`: a label selector; only pods that match it are reached"),
    key("id_label", "", part!(resolver.id_label, optional), "`kubernetes`: the label whose value is the id; none: the pod's name is the id"),
    key("lookup_url", "", part!(resolver.lookup_url, url), "`http`: a URL that contains `{id}` and returns `{\"address\": …}` or 404"),
    key("lookup_token_file", "", part!(resolver.lookup_token_file, existing_file), "`http`: a file with a bearer token for `lookup_url`"),
    key("lookup_for", "5s", setting!(lookup_for, timeout), "How long a look-up is cached; a negative one is cached for 1s. A refused connect repeats it at once"),
    key("lookup_timeout", "3s", setting!(timeouts.lookup, timeout), "Time limit of a look-up, and of a request to `auth_url`"),
    key("networks", "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7", setting!(addresses.networks, networks),
        "A pod's address must be in one of them; loopback, link-local, metadata and own addresses are never allowed"),
    key("allow_loopback", "false", setting!(addresses.allow_loopback, boolean), "Pods may be on this machine: for evaluation, not for production"),
    key("auth", "none",
        setting!(auth.mode, choice(&[("none", AuthMode::None), ("session", AuthMode::Session), ("forward", AuthMode::Forward)])),
        "Access control: `none`, `session`, `forward`"),
    key("secret", "", setting!(auth.secret, secret), "`session`: at least 32 characters, shared with the application"),
    key("secret_file", "", setting!(auth.secret_file, existing_file), "`session`: a file with the secret; reloaded when it changes"),
    key("login_url", "", setting!(auth.login_url, url), "`session`: where a browser without a session is redirected, with `to` and `nonce`"),
    key("session", "12h", setting!(auth.session, timeout), "`session`: how long a session is valid"),
    key("auth_url", "", setting!(auth.auth_url, url), "`forward`: the URL that is asked about each request; 2xx grants access"),
    key("tls_cert", "", part!(certificate_files, existing_files),
        "PEM file, or a list of them: certificate chains, chosen by SNI, reloaded when they change. None: no TLS"),
    key("tls_key", "", part!(key_files, existing_files), "PEM file, or a list of them: the keys, in the same order"),
    key("trusted", "", setting!(trusted, networks),
        "Networks of proxies in front of the router, whose X-Forwarded-*, Forwarded and PROXY header are trusted"),
    key("proxy_protocol", "false", setting!(proxy_protocol, boolean), "Connections from `trusted` begin with a PROXY header (version 1 or 2)"),
    key("head_timeout", "10s", setting!(timeouts.head, timeout), "Time limit of a client's TLS handshake and request head"),
    key("connect_timeout", "3s", setting!(timeouts.connect, timeout),
        "Time limit of a connect to a pod; a refused connect is retried for that long, for every method"),
    key("answer_timeout", "60s", setting!(timeouts.answer, timeout), "From the end of a request to the first byte of its response"),
    key("idle_timeout", "75s", setting!(timeouts.idle, timeout), "A client's connection between two requests"),
    key("stream_idle_timeout", "1h", setting!(timeouts.stream_idle, optional_duration), "A WebSocket, event stream or response without a byte; 0 is never"),
    key("body_timeout", "60s", setting!(timeouts.body, timeout), "A request's body without a byte"),
    key("send_timeout", "60s", setting!(timeouts.send, timeout), "A client that accepts no data of a response"),
    key("pod_idle_timeout", "4s", setting!(pool.idle, timeout), "A pooled connection to a pod: below the 5s of Node"),
    key("max_connections", "8192", setting!(limits.connections, number(1, MAX_COUNT)), "Maximum number of client connections"),
    key("max_connections_per_client", "512", setting!(limits.connections_per_client, number(1, MAX_COUNT)),
        "The same per address (IPv6: /64); does not apply to proxies in `trusted`"),
    key("max_head", "32Ki", setting!(limits.head, head_size), "Maximum size of a request's head, which has at most 100 fields; at least 8Ki"),
    key("max_body", "0", setting!(limits.body, optional_size), "Maximum size of a request's body; 0 is no limit, since it is never buffered"),
    key("pod_connections", "16", setting!(pool.soft, number(1, MAX_COUNT)),
        "Connections to one port of a pod, per worker; above it a request waits a moment for a free one"),
    key("pod_connections_max", "128", setting!(pool.hard, number(1, MAX_COUNT)), "Their maximum; WebSockets count"),
    key("rate", "0", part!(rate, number(0, MAX_RATE)), "Requests per second for each client address and name; 0 is no limit"),
    key("rate_burst", "200", part!(rate_burst, number(1, MAX_RATE)), "Requests at once after a pause"),
    key("drain", "10s", setting!(drain, duration), "After SIGTERM: time for open requests; then WebSockets get close 1001"),
    key("reload_every", "10s", setting!(reload_every, timeout), "How often configuration, certificates and secrets are checked for changes"),
    key("access_log", "errors", |draft, value| draft.settings.access_log = access_log(value),
        "`none`, `errors`, `all`, or a number: one in this many requests, and all that failed"),
    key("log_format", "json", setting!(log_format, choice(&[("json", LogFormat::Json), ("human", LogFormat::Human)])), "`json` or `human`"),
    key("admin_host", "127.0.0.1", part!(admin_host, address), "Address of `/health`, `/ready`, `/metrics` and the status page"),
    key("admin_port", "8001", |draft, value| draft.admin_port = admin_port(value), "Their port; `off`: none"),
    key("admin_token", "", setting!(admin_token, secret), "Bearer token of the status page and `/metrics`; none: open to everyone who reaches the port"),
    key("admin_token_file", "", setting!(admin_token_file, existing_file), "A file with that token; reloaded when it changes"),
];

fn domain(value: &mut KeyReader<'_>) -> RoutedDomain {
    let text = value.text();
    if text.is_empty() {
        value.error("is required: the part after {port}-{id}., such as pool.example.com");
        return RoutedDomain::default();
    }
    RoutedDomain::parse(&text).unwrap_or_else(|error| {
        value.error(error.to_string());
        RoutedDomain::default()
    })
}

fn workers(value: &mut KeyReader<'_>) -> usize {
    match value.number(0, MAX_WORKERS) {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

fn admin_port(value: &mut KeyReader<'_>) -> Option<u16> {
    (value.text() != "off").then(|| value.number(0, u16::MAX))
}

fn access_log(value: &mut KeyReader<'_>) -> AccessLog {
    match value.text().as_str() {
        "none" => AccessLog::None,
        "errors" => AccessLog::Errors,
        "all" => AccessLog::OneOf(1),
        number => match number.parse() {
            Ok(of) if of > 0 => AccessLog::OneOf(of),
            _ => {
                value.error("expected none, errors, all, or a number such as 100");
                AccessLog::None
            }
        },
    }
}

/// The key of this name; `addresses.ws0` belongs to `addresses`.
pub(super) fn find(name: &str) -> Option<&'static ConfigKey> {
    let section = name.split('.').next().unwrap_or(name);
    KEYS.iter().find(|key| key.name == name || (key.name == "addresses" && section == "addresses"))
}

/// The key that was probably meant.
pub(super) fn closest(name: &str) -> Option<&'static str> {
    let scored = KEYS.iter().map(|key| (strsim::jaro_winkler(name, key.name), key.name));
    scored.filter(|(score, _)| *score > 0.85).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// `config/router.yaml`: every key with its meaning and default, all of them commented out but the first.
pub fn template() -> String {
    let mut text = String::from(
        "# The pattern router: {port}-{id}.domain is that port of that pod. docs/router/README.md is the guide;\n\
         # `pattern-router check` reports errors. Each key can be set by a variable: PATTERN_ROUTER__DOMAIN.\n\n",
    );
    for key in KEYS {
        let value = match (key.name, key.default) {
            ("domain", _) => "domain: pool.example.com\n\n".to_owned(),
            ("name", _) => "name: \"{id}.ftp-pooler\"\n\n".to_owned(),
            (name, "") => format!("# {name}:\n\n"),
            (name, default) => format!("# {name}: {default}\n\n"),
        };
        let _ = write!(text, "# {}\n{value}", key.meaning);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The table of all keys for the guide.
pub fn table() -> String {
    let mut text = String::from("| Key | Default | Meaning |\n|---|---|---|\n");
    for key in KEYS {
        let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        let _ = writeln!(text, "| `{}` | {default} | {} |", key.name, key.meaning.replace('|', "\\|"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares a file with what it is generated from; `UPDATE_DOCUMENTS=1` writes it.
    fn is_current(file: &str, made: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
        if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
            std::fs::write(&path, made).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == made, "{file} is out of date: run with UPDATE_DOCUMENTS=1");
    }

    #[test]
    fn the_template_and_the_reference_have_every_key() {
        is_current("config/router.yaml", &template());
        let reference = format!(
            "# Configuration of the pattern router\n\nGenerated from the source; `config/router.yaml` has the same keys. Durations: `10s`, `1m30s`, `2h`, a plain number is\nseconds. Sizes: `4096`, `32Ki`, `1Mi`. Lists: `[a, b]` or `a, b`. A variable `PATTERN_ROUTER__KEY` overrides `key`.\n\n{}",
            table()
        );
        is_current("docs/router/CONFIGURATION.md", &reference);
    }

    #[test]
    fn the_template_is_a_configuration() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/router.yaml");
        let settings = crate::config::load(&path, std::iter::empty()).unwrap();
        assert_eq!(settings.domain.name(), "pool.example.com");
    }

    /// A valid line for each key that can differ from the default by itself.
    #[rustfmt::skip]
    const OTHERS: &[&str] = &[
        "domain: other.test", "host: 10.0.0.9", "port: 8002", "workers: 77", "ports: 9000", "https_ports: 9000",
        "h2_ports: 9000", "pod_ca_file: /none", "host_header: localhost", "pods: list", "name: '{id}.x'", "selector: s",
        "lookup_url: 'http://a/{id}'", "lookup_token_file: /none", "lookup_for: 6s", "lookup_timeout: 6s",
        "networks: 10.9.0.0/16", "allow_loopback: true", "auth: session", "secret: s", "secret_file: /none",
        "login_url: 'https://a/'", "session: 1h", "auth_url: 'http://a/'", "tls_cert: /none", "tls_key: /none",
        "trusted: 10.0.0.0/8", "proxy_protocol: true", "head_timeout: 9s", "connect_timeout: 9s", "answer_timeout: 9s",
        "idle_timeout: 9s", "stream_idle_timeout: 9s", "body_timeout: 9s", "send_timeout: 9s", "pod_idle_timeout: 9s",
        "max_connections: 9", "max_connections_per_client: 9", "max_head: 9Ki", "max_body: 9", "pod_connections: 9",
        "pod_connections_max: 99", "rate: 9", "drain: 9s", "reload_every: 9s", "access_log: all", "log_format: human",
        "admin_host: 10.0.0.9", "admin_port: off", "admin_token: t", "admin_token_file: /none",
    ];

    /// Keys that have an effect only together with another one.
    const PARTS: &[&str] = &["addresses", "namespace", "id_label", "rate_burst"];

    fn loaded(line: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("router.yaml");
        let key = line.split(':').next().unwrap();
        let base = ["domain: pool.test\n", "pods: dns\n", "name: '{id}.w'\n"];
        let base: String = base.into_iter().filter(|other| !other.starts_with(&format!("{key}:"))).collect();
        std::fs::write(&path, format!("{base}{line}\n")).unwrap();
        format!("{:?}", crate::config::load(&path, std::iter::empty()))
    }

    /// An entry that sets another key's field, or none, would leave its value without effect.
    #[test]
    fn each_key_has_its_own_effect() {
        let unchanged = loaded("drain: 10s");
        let mut effects = std::collections::BTreeMap::new();
        for line in OTHERS {
            let effect = loaded(line);
            assert!(effect != unchanged, "{line} changes nothing");
            if let Some(other) = effects.insert(effect, line) {
                panic!("{line} does the same as {other}");
            }
        }
        for key in KEYS {
            let is_tried = OTHERS.iter().any(|line| line.starts_with(&format!("{}:", key.name)));
            assert!(is_tried != PARTS.contains(&key.name), "{}: add a line to OTHERS", key.name);
        }
    }
}

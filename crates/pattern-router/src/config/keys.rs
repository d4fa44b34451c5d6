//! Every key with its default and meaning: what `router.yaml`, the guide and the mistakes are made from.

use std::fmt::Write as _;

/// A key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct ConfigKey {
    pub name: &'static str,
    /// Empty: none.
    pub default: &'static str,
    pub meaning: &'static str,
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> ConfigKey {
    ConfigKey { name, default, meaning }
}

/// In the order of the guide.
pub const KEYS: &[ConfigKey] = &[
    key(
        "domain",
        "",
        "What stands after `{port}-{id}.`, with the public port if it is not 80 or 443. Required. Not a domain that holds other sessions",
    ),
    key("host", "0.0.0.0", "Address to listen on: HTTP/1.1 and HTTP/2 on one port; `::` for IPv6 and IPv4"),
    key("port", "8000", "Port to listen on"),
    key("workers", "0", "Threads, each with its own connections; 0 is one a core"),
    key(
        "ports",
        "8080",
        "Ports of pods that may be reached: `8080, 3000-3999`. Those below 1024 and those of the control plane need naming one by one",
    ),
    key("https_ports", "", "Ports of pods that speak TLS; ALPN picks HTTP/2 or HTTP/1.1"),
    key("h2_ports", "", "Ports of pods that speak HTTP/2 without TLS (gRPC)"),
    key(
        "pod_ca_file",
        "",
        "PEM file: certificates of `https_ports` must be of these authorities, for the name asked for. None: any certificate, encryption alone",
    ),
    key("host_header", "keep", "`keep`, or `localhost`: pods see Host and Origin as `localhost:{port}`"),
    key("pods", "dns", "How a pod is found: `list`, `dns`, `kubernetes`, `http`"),
    key("addresses", "", "`list`: ids and their addresses, as `addresses: {ws0: 10.1.2.3}`"),
    key("name", "", "`dns`: a name with `{id}` in it once, such as `{id}.workspaces`"),
    key("namespace", "", "`kubernetes`: the namespace of the pods; none: the router's own"),
    key("selector", "", "`kubernetes`: a label selector; only such pods are reached"),
    key("id_label", "", "`kubernetes`: the label whose value is the id; none: the pod's name is"),
    key("lookup_url", "", "`http`: a URL with `{id}` in it that answers `{\"address\": …}` or 404"),
    key("lookup_token_file", "", "`http`: a file with a bearer token for `lookup_url`"),
    key("lookup_for", "5s", "A look-up holds so long, a miss 1s; a refused connect asks again at once"),
    key("lookup_timeout", "3s", "A look-up, or a question to `auth_url`, takes no longer"),
    key(
        "networks",
        "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7",
        "A pod's address must be in one of them; loopback, link-local, metadata and own addresses never are",
    ),
    key("allow_loopback", "false", "Pods may be on this machine: for trying out, not for production"),
    key("auth", "none", "Who may pass: `none` (all), `session`, `forward`"),
    key("secret", "", "`session`: at least 32 characters, shared with the application"),
    key("secret_file", "", "`session`: a file with the secret; read again when it changes"),
    key("login_url", "", "`session`: where a browser without a session is sent, with `to` and `nonce`"),
    key("session", "12h", "`session`: how long one holds"),
    key("auth_url", "", "`forward`: who is asked about each request; 2xx passes"),
    key(
        "tls_cert",
        "",
        "PEM file, or a list of them: certificate chains, chosen by SNI, read again when they change. None: no TLS",
    ),
    key("tls_key", "", "PEM file, or a list of them: the keys, in the same order"),
    key(
        "trusted",
        "",
        "Networks of proxies before the router, whose X-Forwarded-*, Forwarded and PROXY header are believed",
    ),
    key("proxy_protocol", "false", "Connections from `trusted` begin with a PROXY header (version 1 or 2)"),
    key("head_timeout", "10s", "A client's TLS handshake and request head"),
    key(
        "connect_timeout",
        "3s",
        "A connect to a pod; while it is refused it is tried again that long, for every method",
    ),
    key("answer_timeout", "60s", "From the end of a request to the first byte of its answer"),
    key("idle_timeout", "75s", "A client's connection between two requests"),
    key("stream_idle_timeout", "1h", "A WebSocket, event stream or answer without a byte; 0 is never"),
    key("body_timeout", "60s", "A request's body without a byte"),
    key("send_timeout", "60s", "A client that takes nothing of an answer"),
    key("pod_idle_timeout", "4s", "A pooled connection to a pod: below the 5s of Node"),
    key("max_connections", "8192", "Clients' connections at once"),
    key(
        "max_connections_per_client",
        "512",
        "Of one address (IPv6: /64); proxies in `trusted` have no such bound",
    ),
    key("max_head", "32Ki", "A request's head, at most 100 fields; 8Ki at least"),
    key("max_body", "0", "A request's body; 0 is no limit, since it is never held"),
    key(
        "pod_connections",
        "16",
        "To one port of a pod, for each worker; above it a request waits a moment for a free one",
    ),
    key("pod_connections_max", "128", "Never more; WebSockets count"),
    key("rate", "0", "Requests a second for each client address and name; 0 is no limit"),
    key("rate_burst", "200", "Requests at once after a pause"),
    key("drain", "10s", "After SIGTERM: time for open requests; then WebSockets get close 1001"),
    key("reload_every", "10s", "How often configuration, certificates and secrets are looked at"),
    key(
        "access_log",
        "errors",
        "`none`, `errors`, `all`, or a number: one of so many requests, and all that failed",
    ),
    key("log_format", "json", "`json` or `human`"),
    key("admin_host", "127.0.0.1", "Address of `/health`, `/ready`, `/metrics` and the status page"),
    key("admin_port", "8001", "Their port; `off`: none"),
    key(
        "admin_token",
        "",
        "Bearer token of the status page and `/metrics`; none: open to who reaches the port",
    ),
    key("admin_token_file", "", "A file with that token; read again when it changes"),
];

/// The key of this name; `addresses.ws0` belongs to `addresses`.
pub fn find(name: &str) -> Option<&'static ConfigKey> {
    let section = name.split('.').next().unwrap_or(name);
    KEYS.iter().find(|key| key.name == name || (key.name == "addresses" && section == "addresses"))
}

/// The key that was probably meant.
pub fn closest(name: &str) -> Option<&'static str> {
    let scored = KEYS.iter().map(|key| (strsim::jaro_winkler(name, key.name), key.name));
    scored.filter(|(score, _)| *score > 0.85).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// `config/router.yaml`: every key with its meaning and default, all of them commented out but the first.
pub fn template() -> String {
    let mut text = String::from(
        "# The pattern router: {port}-{id}.domain is that port of that pod. docs/router/README.md is the guide;\n\
         # `pattern-router check` tells what is wrong. Each key can be set by a variable: PATTERN_ROUTER__DOMAIN.\n\n",
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

    /// Compares a file with what it is made from; `UPDATE_DOCUMENTS=1` writes it.
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
            "# Configuration of the pattern router\n\nMade from the source; `config/router.yaml` has the same keys. Durations: `10s`, `1m30s`, `2h`, a plain number is\nseconds. Sizes: `4096`, `32Ki`, `1Mi`. Lists: `[a, b]` or `a, b`. A variable `PATTERN_ROUTER__KEY` overrides `key`.\n\n{}",
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
}

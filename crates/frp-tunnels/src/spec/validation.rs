//! All mistakes of a tunnel at once, each with its tunnel, its key and the remedy.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    ClientPlugin, ConflictKind, DomainTunnel, HealthCheckKind, HttpTunnel, LocalService, MAX_NAME_LENGTH,
    PathPattern, Probe, SecretTunnel, TunnelKind, TunnelSpec, Visitor, conflicts, is_valid_name,
};

/// frps gives each proxy this much metadata's room; more than a few short values is a mistake.
const MAX_METADATA_BYTES: usize = 16 * 1024;

/// Something that must be set right before a tunnel can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The tunnel's name, or what identifies it.
    pub tunnel: String,
    /// The key as files write it.
    pub key: &'static str,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}: {}", self.tunnel, self.key, self.message)
    }
}

/// Collects the mistakes of one tunnel.
struct Findings {
    tunnel: String,
    found: Vec<Mistake>,
}

impl Findings {
    fn add(&mut self, key: &'static str, message: impl Into<String>) {
        self.found.push(Mistake { tunnel: self.tunnel.clone(), key, message: message.into() });
    }
}

/// Mistakes within one tunnel.
pub fn mistakes(spec: &TunnelSpec) -> Vec<Mistake> {
    let tunnel = spec.name.clone().unwrap_or_else(|| format!("a {} tunnel", spec.kind.label()));
    let mut findings = Findings { tunnel, found: Vec::new() };
    check_common(spec, &mut findings);
    match &spec.kind {
        TunnelKind::Tcp(ports) | TunnelKind::Udp(ports) => {
            if ports.remote_port == Some(0) {
                findings.add("remote_port", "0 is not a port; leave the key out where frps may choose one");
            }
        }
        TunnelKind::Http(http) => check_http(http, &mut findings),
        TunnelKind::Https(https) => check_domains(&https.domains, https.subdomain.as_ref(), &mut findings),
        TunnelKind::TcpMux(mux) => {
            let DomainTunnel { domains, subdomain, .. } = &mux.domains;
            check_domains(domains, subdomain.as_ref(), &mut findings);
        }
        TunnelKind::Stcp(secret) | TunnelKind::Sudp(secret) | TunnelKind::Xtcp(secret) => {
            check_secret(secret, &mut findings);
        }
        TunnelKind::StcpVisitor(visitor) | TunnelKind::SudpVisitor(visitor) => {
            check_visitor(visitor, &mut findings);
        }
        TunnelKind::XtcpVisitor(xtcp) => {
            check_visitor(&xtcp.visitor, &mut findings);
            if let Some((name, after)) = &xtcp.fallback {
                if !is_valid_name(name) {
                    findings.add("fallback", format!("{name:?} is not a valid tunnel name"));
                }
                if after.is_zero() {
                    findings.add("fallback_after", "must be longer than nothing");
                }
            }
        }
    }
    findings.found
}

/// Mistakes of each, and conflicts between them.
pub fn mistakes_of_all(specs: &[TunnelSpec]) -> Vec<Mistake> {
    let mut found: Vec<_> = specs.iter().flat_map(mistakes).collect();
    let refused = conflicts(specs).into_iter().filter(|conflict| conflict.kind == ConflictKind::Refused);
    for conflict in refused {
        let name = |at: usize| {
            let spec = specs.get(at);
            spec.and_then(|spec| spec.name.clone()).unwrap_or_else(|| format!("tunnel {}", at + 1))
        };
        let message = format!("{} by {}", conflict.message, name(conflict.tunnels.0));
        found.push(Mistake { tunnel: name(conflict.tunnels.1), key: "conflict", message });
    }
    found
}

fn check_common(spec: &TunnelSpec, findings: &mut Findings) {
    if let Some(name) = spec.name.as_ref().filter(|name| !is_valid_name(name)) {
        let message =
            format!("{name:?} must be 1 to {MAX_NAME_LENGTH} letters, digits, \".\", \"_\" or \"-\"");
        findings.add("name", message);
    }
    if let Some(local) = spec.kind.local() {
        check_local(local, findings);
    }
    if spec.transport.bandwidth_limit.is_some_and(|limit| limit.kib_per_second == 0) {
        findings.add("bandwidth_limit", "must be at least 1 KiB/s");
    }
    let is_plain = |text: &str| !text.is_empty() && text.chars().all(|c| !c.is_control());
    if spec.metadata.iter().any(|(key, value)| !is_plain(key) || value.chars().any(char::is_control)) {
        findings.add(
            "metadata",
            "keys must not be empty, and neither keys nor values may hold control characters",
        );
    }
    let bytes: usize = spec.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_METADATA_BYTES {
        findings.add("metadata", format!("{bytes} bytes are more than {MAX_METADATA_BYTES}"));
    }
    check_group(spec, findings);
    check_health(spec, findings);
    check_probe(spec, findings);
}

fn check_group(spec: &TunnelSpec, findings: &mut Findings) {
    let Some(group) = &spec.group else { return };
    let may_balance = matches!(
        spec.kind,
        TunnelKind::Tcp(_) | TunnelKind::Http(_) | TunnelKind::Https(_) | TunnelKind::TcpMux(_)
    );
    if !may_balance {
        findings.add("group", format!("frps does not balance {} tunnels", spec.kind.label()));
    }
    if !is_valid_name(&group.name) {
        findings.add("group", format!("{:?} is not a valid group name", group.name));
    }
    check_key("group_key", &group.key, findings);
}

fn check_health(spec: &TunnelSpec, findings: &mut Findings) {
    let Some(health) = &spec.health_check else { return };
    if !matches!(spec.kind.local(), Some(LocalService::Address { .. })) {
        findings.add("health_check", "needs a local address to check");
    }
    if matches!(spec.kind, TunnelKind::Udp(_) | TunnelKind::Sudp(_)) {
        findings.add("health_check", "frpc checks TCP and HTTP services only");
    }
    if matches!(&health.kind, HealthCheckKind::Http(path) if !path.starts_with('/')) {
        findings.add("health_check", "the path must begin with \"/\"");
    }
    let second = Duration::from_secs(1);
    if health.interval < second || health.timeout < second || health.max_failed == 0 {
        findings
            .add("health_check", "interval and timeout are whole seconds from 1, max_failed is at least 1");
    }
}

fn check_probe(spec: &TunnelSpec, findings: &mut Findings) {
    let Some(probe) = &spec.probe else { return };
    let label = spec.kind.label();
    let possible = match probe {
        Probe::Accepted => true,
        Probe::LocalService => matches!(spec.kind.local(), Some(LocalService::Address { .. })),
        Probe::Open | Probe::Greeting(_) => {
            matches!(spec.kind, TunnelKind::Tcp(_) | TunnelKind::StcpVisitor(_) | TunnelKind::XtcpVisitor(_))
        }
        Probe::Http { path, .. } => {
            if !path.starts_with('/') || path.contains(char::is_whitespace) {
                findings.add("probe", format!("{path:?} is not a path"));
            }
            let through = matches!(spec.kind, TunnelKind::Tcp(_) | TunnelKind::Http(_));
            through || matches!(spec.kind, TunnelKind::StcpVisitor(_) | TunnelKind::XtcpVisitor(_))
        }
    };
    if !possible {
        findings.add("probe", format!("cannot be made through a {label} tunnel from here"));
    }
    if matches!(probe, Probe::Greeting(text) if text.contains(char::is_control)) {
        findings.add("probe", "a greeting is the beginning of one line");
    }
}

fn check_local(local: &LocalService, findings: &mut Findings) {
    match local {
        LocalService::Address { host, port } => {
            if !is_host(host) {
                findings.add("local", format!("{host:?} is neither a host name nor an IP address"));
            }
            if *port == 0 {
                findings.add("local", "0 is not a port");
            }
        }
        LocalService::Plugin(ClientPlugin::StaticFiles { directory, .. }) if !directory.is_absolute() => {
            findings.add("directory", "must be an absolute path");
        }
        LocalService::Plugin(ClientPlugin::UnixSocket(path)) if !path.is_absolute() => {
            findings.add("unix_socket", "must be an absolute path");
        }
        LocalService::Plugin(ClientPlugin::HttpsToHttp { local, .. }) => {
            let split = local.rsplit_once(':');
            if !split
                .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
            {
                findings.add("local", format!("{local:?} must be host:port"));
            }
        }
        LocalService::Plugin(_) => {}
    }
}

fn check_http(http: &HttpTunnel, findings: &mut Findings) {
    check_domains(&http.domains, http.subdomain.as_ref(), findings);
    for path in &http.paths {
        if let Err(error) = PathPattern::parse(path) {
            findings.add("paths", format!("{path:?} {error}"));
        }
    }
    if http.needs_rewriting() && !matches!(http.local, LocalService::Address { .. }) {
        findings.add("paths", "strip_path and wildcards need a local address behind them, no plugin");
    }
    if http.strip_path && http.paths.is_empty() {
        findings.add("strip_path", "has no path to strip: set paths");
    }
    let headers = http.request_headers.iter().chain(&http.response_headers);
    for (name, value) in headers {
        let is_name = hyper::header::HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !is_name || hyper::header::HeaderValue::from_str(value).is_err() {
            findings.add(
                "headers",
                format!("{name:?} is not a valid header name, or its value is not a valid header value"),
            );
        }
    }
    if http.auth.as_ref().is_some_and(|auth| auth.user.is_empty() || auth.user.contains(':')) {
        findings.add("user", "must be there and hold no \":\"");
    }
}

fn check_domains(domains: &[String], subdomain: Option<&String>, findings: &mut Findings) {
    if domains.is_empty() && subdomain.is_none() {
        findings.add("domains", "at least one domain, or a subdomain, is needed");
    }
    for domain in domains {
        let name = domain.strip_prefix("*.").unwrap_or(domain);
        if !is_domain(name) {
            findings.add("domains", format!("{domain:?} is not a domain name (nor one below \"*.\")"));
        }
    }
    let is_label = |label: &String| is_domain(label) && !label.contains('.');
    if let Some(label) = subdomain.filter(|label| !is_label(label)) {
        findings.add("subdomain", format!("{label:?} must be one label of a domain name"));
    }
}

fn check_secret(secret: &SecretTunnel, findings: &mut Findings) {
    check_key("secret_key", &secret.secret_key, findings);
    if secret.allow_users.iter().any(String::is_empty) {
        findings.add("allow_users", "holds an empty user");
    }
}

fn check_visitor(visitor: &Visitor, findings: &mut Findings) {
    check_key("secret_key", &visitor.secret_key, findings);
    if !is_valid_name(&visitor.server_name) {
        findings.add("server_name", format!("{:?} is not a valid tunnel name", visitor.server_name));
    }
    if visitor.server_user.as_ref().is_some_and(|user| !is_valid_name(user)) {
        findings.add("server_user", "is not a valid user name");
    }
    if visitor.bind.port() == 0 {
        findings.add("bind", "0 is not a port");
    }
}

fn check_key(name: &'static str, key: &SecretString, findings: &mut Findings) {
    let key = key.expose_secret();
    if key.is_empty() {
        findings.add(name, "is empty: everybody could come in");
    } else if key.chars().any(char::is_control) {
        findings.add(name, "holds control characters");
    }
}

/// A host name (RFC 1123) or an IP address.
pub(crate) fn is_host(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok() || is_domain(host)
}

fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && !name.is_empty() && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests;

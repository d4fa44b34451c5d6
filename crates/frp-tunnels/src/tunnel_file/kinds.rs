//! `[[tunnel]]`: one tunnel of each kind.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::Reader;
use super::section::Section;
use crate::spec::{
    BalancingGroup, BandwidthLimit, BasicAuth, ClientPlugin, DomainTunnel, HealthCheck, HealthCheckKind,
    HolePunching, HttpTunnel, LocalService, PortTunnel, Probe, ProxyProtocol, SecretTunnel, TcpMuxTunnel,
    TunnelKind, TunnelSpec, TunnelTransport, Visitor, XtcpVisitor,
};

/// All values of `type`.
const KINDS: &str =
    "tcp, udp, http, https, tcpmux, stcp, sudp, xtcp, stcp-visitor, sudp-visitor, xtcp-visitor";

/// `None`: what is wrong was said.
pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<TunnelSpec> {
    // read first, so that an unknown type does not make its keys unknown
    let name = reader.text(section, "name");
    let kind = kind(reader, section);
    let mut spec = kind.map(TunnelSpec::new);
    let transport = transport(reader, section);
    let group = group(reader, section);
    let health_check = health_check(reader, section);
    let metadata = reader.map(section, "metadata");
    let probe = reader.parsed::<Probe>(section, "probe");
    if let Some(spec) = &mut spec {
        spec.name = name;
        spec.transport = transport;
        spec.group = group;
        spec.health_check = health_check;
        spec.metadata = metadata;
        spec.probe = probe;
        reader.unknown_keys(section);
    }
    spec
}

fn kind(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<TunnelKind> {
    let word = reader.required(section, "type")?;
    match word.as_str() {
        "tcp" => port_tunnel(reader, section).map(TunnelKind::Tcp),
        "udp" => port_tunnel(reader, section).map(TunnelKind::Udp),
        "http" => http(reader, section).map(TunnelKind::Http),
        "https" => domain_tunnel(reader, section).map(TunnelKind::Https),
        "tcpmux" => {
            let domains = domain_tunnel(reader, section);
            let auth = basic_auth(reader, section);
            let route_by_user = reader.text(section, "route_by_user");
            Some(TunnelKind::TcpMux(TcpMuxTunnel { domains: domains?, auth, route_by_user }))
        }
        "stcp" => secret_tunnel(reader, section).map(TunnelKind::Stcp),
        "sudp" => secret_tunnel(reader, section).map(TunnelKind::Sudp),
        "xtcp" => secret_tunnel(reader, section).map(TunnelKind::Xtcp),
        "stcp-visitor" => visitor(reader, section).map(TunnelKind::StcpVisitor),
        "sudp-visitor" => visitor(reader, section).map(TunnelKind::SudpVisitor),
        "xtcp-visitor" => xtcp_visitor(reader, section).map(TunnelKind::XtcpVisitor),
        other => {
            reader.add(section.start(), format!("tunnel: type: {other:?} is not one of {KINDS}"));
            None
        }
    }
}

fn port_tunnel(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<PortTunnel> {
    let local = local(reader, section);
    let remote_port = reader.port(section, "remote_port");
    Some(PortTunnel { local: local?, remote_port })
}

fn domain_tunnel(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<DomainTunnel> {
    let local = local(reader, section);
    let domains = reader.texts(section, "domains");
    let subdomain = reader.text(section, "subdomain");
    Some(DomainTunnel { local: local?, domains, subdomain })
}

fn http(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<HttpTunnel> {
    let local = local(reader, section);
    let domains = reader.texts(section, "domains");
    let subdomain = reader.text(section, "subdomain");
    let paths = reader.texts(section, "paths");
    let strip_path = reader.flag(section, "strip_path").unwrap_or(false);
    let auth = basic_auth(reader, section);
    let host_header = reader.text(section, "host_header");
    let request_headers = reader.map(section, "request_headers");
    let response_headers = reader.map(section, "response_headers");
    let route_by_user = reader.text(section, "route_by_user");
    Some(HttpTunnel {
        local: local?,
        domains,
        subdomain,
        paths,
        strip_path,
        auth,
        host_header,
        request_headers,
        response_headers,
        route_by_user,
    })
}

fn secret_tunnel(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<SecretTunnel> {
    let local = local(reader, section);
    let secret_key = required_secret(reader, section);
    let allow_users = reader.texts(section, "allow_users");
    Some(SecretTunnel { local: local?, secret_key: secret_key?, allow_users })
}

fn required_secret(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<secrecy::SecretString> {
    reader.required(section, "secret_file")?;
    reader.secret(section, "secret_file")
}

fn visitor(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Visitor> {
    let server_name = reader.required(section, "server_name");
    let server_user = reader.text(section, "server_user");
    let secret_key = required_secret(reader, section);
    reader.required(section, "bind");
    let bind = reader.parsed::<SocketAddr>(section, "bind");
    Some(Visitor { server_name: server_name?, server_user, secret_key: secret_key?, bind: bind? })
}

fn xtcp_visitor(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<XtcpVisitor> {
    let visitor = visitor(reader, section);
    let protocol = reader.parsed::<HolePunching>(section, "hole_protocol").unwrap_or_default();
    let keep_open = reader.flag(section, "keep_open").unwrap_or(false);
    let after = reader.duration(section, "fallback_after").unwrap_or(Duration::from_secs(1));
    let fallback = reader.text(section, "fallback").map(|name| (name, after));
    Some(XtcpVisitor { visitor: visitor?, protocol, keep_open, fallback })
}

/// `local` or one of the plugins.
fn local(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<LocalService> {
    if !section.has("plugin") {
        reader.required(section, "local")?;
        return reader.parsed(section, "local");
    }
    let plugin = reader.text(section, "plugin")?;
    let plugin = match plugin.as_str() {
        "http_proxy" => ClientPlugin::HttpProxy(basic_auth(reader, section)),
        "socks5" => ClientPlugin::Socks5(basic_auth(reader, section)),
        "static_files" => ClientPlugin::StaticFiles {
            directory: reader.required(section, "directory")?.into(),
            strip_prefix: reader.text(section, "strip_prefix"),
            auth: basic_auth(reader, section),
        },
        "unix_socket" => ClientPlugin::UnixSocket(reader.required(section, "unix_socket")?.into()),
        "https_to_http" => ClientPlugin::HttpsToHttp {
            local: reader.required(section, "local")?,
            certificate: reader.required(section, "certificate")?.into(),
            key: reader.required(section, "key")?.into(),
        },
        other => {
            let known = "http_proxy, socks5, static_files, unix_socket, https_to_http";
            reader.add(section.start(), format!("tunnel: plugin: {other:?} is not one of {known}"));
            return None;
        }
    };
    Some(LocalService::Plugin(plugin))
}

fn basic_auth(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<BasicAuth> {
    let user = reader.text(section, "user");
    let password = reader.secret(section, "password_file");
    match (user, password) {
        (Some(user), Some(password)) => Some(BasicAuth { user, password }),
        (None, None) => None,
        _ if section.has("user") && section.has("password_file") => None,
        _ => {
            reader.add(section.start(), "tunnel: user, password_file: both or neither");
            None
        }
    }
}

fn transport(reader: &mut Reader<'_>, section: &Section<'_>) -> TunnelTransport {
    let kib_per_second = reader.number(section, "bandwidth_kib", 1, i64::from(u32::MAX));
    let at_server = reader.flag(section, "bandwidth_at_server").unwrap_or(false);
    TunnelTransport {
        encryption: reader.flag(section, "encryption").unwrap_or(false),
        compression: reader.flag(section, "compression").unwrap_or(false),
        bandwidth_limit: kib_per_second.map(|kib_per_second| BandwidthLimit { kib_per_second, at_server }),
        proxy_protocol: reader.parsed(section, "proxy_protocol"),
    }
}

fn group(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<BalancingGroup> {
    let name = reader.text(section, "group");
    let key = reader.secret(section, "group_key_file");
    if section.has("group") != section.has("group_key_file") {
        reader.add(section.start(), "tunnel: group, group_key_file: both or neither");
    }
    Some(BalancingGroup { name: name?, key: key? })
}

fn health_check(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<HealthCheck> {
    let word = reader.text(section, "health_check");
    let timeout = reader.duration(section, "health_timeout").unwrap_or(Duration::from_secs(3));
    let interval = reader.duration(section, "health_interval").unwrap_or(Duration::from_secs(10));
    let max_failed = reader.number(section, "health_max_failed", 1, 1000).unwrap_or(1);
    let kind = match word?.as_str() {
        "tcp" => HealthCheckKind::Tcp,
        path => HealthCheckKind::Http(path.to_owned()),
    };
    Some(HealthCheck { kind, timeout, interval, max_failed })
}

impl FromStr for ProxyProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => Err(format!("{text:?} is neither v1 nor v2")),
        }
    }
}

impl FromStr for HolePunching {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "kcp" => Ok(Self::Kcp),
            "quic" => Ok(Self::Quic),
            _ => Err(format!("{text:?} is neither kcp nor quic")),
        }
    }
}

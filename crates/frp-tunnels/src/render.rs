//! frp's v1 configuration as JSON, which frp accepts like TOML. The text is a secret: it holds the token.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::server_settings::{Authentication, SecretError, ServerAddress, ServerSettings};
use crate::spec::{
    BasicAuth, ClientPlugin, DomainTunnel, HealthCheck, HealthCheckKind, HolePunching, HttpTunnel,
    LocalService, PathPattern, ProxyProtocol, SecretTunnel, TunnelKind, TunnelSpec, Visitor,
};

/// The metadata key whose value changes when a tunnel is to be tried again: frpc compares configurations, and
/// restarts what differs.
const ATTEMPT_KEY: &str = "frp-tunnels-attempt";

/// One tunnel as frpc is configured with it.
#[derive(Debug, Clone)]
pub struct RenderedTunnel<'a> {
    pub name: &'a str,
    pub spec: &'a TunnelSpec,
    /// Higher than before: frpc starts it again.
    pub attempt: u32,
    /// The rewriting proxy in front of the service.
    pub rewriting: Option<SocketAddr>,
}

/// frpc's administration API: loopback, with a password of this process' own.
#[derive(Debug, Clone)]
pub struct AdminEndpoint {
    pub port: u16,
    pub user: String,
    pub password: SecretString,
}

/// The common part, with the secrets as they are read now.
pub fn render_common(
    settings: &ServerSettings,
    server: &ServerAddress,
    admin: &AdminEndpoint,
) -> Result<Map<String, Value>, SecretError> {
    let mut config = Map::new();
    config.insert("serverAddr".into(), json!(server.host));
    config.insert("serverPort".into(), json!(server.port));
    insert(&mut config, "user", settings.user.as_deref());
    insert(&mut config, "natHoleStunServer", settings.stun_server.as_deref());
    config.insert("loginFailExit".into(), json!(false));
    config.insert("log".into(), json!({"to": "console", "level": "info", "disablePrintColor": true}));
    let password = admin.password.expose_secret();
    config.insert(
        "webServer".into(),
        json!({"addr": "127.0.0.1", "port": admin.port, "user": admin.user, "password": password}),
    );
    config.insert("transport".into(), transport(settings));
    if let Some(auth) = authentication(&settings.authentication)? {
        config.insert("auth".into(), auth);
    }
    let mut metadata = settings.metadata.clone();
    if let Some(token) = &settings.client_token {
        metadata.insert("token".into(), token.read()?.expose_secret().to_owned());
    }
    insert_map(&mut config, "metadatas", &metadata);
    Ok(config)
}

/// What a plain frpc needs for these tunnels: without an administration API, and with the secrets.
pub fn render_for_frpc(
    settings: &ServerSettings,
    tunnels: &[RenderedTunnel<'_>],
) -> Result<Value, SecretError> {
    let none = AdminEndpoint { port: 0, user: String::new(), password: SecretString::default() };
    let server = settings.servers.first();
    let unknown = ServerAddress { host: String::new(), port: 0 };
    let mut common = render_common(settings, server.unwrap_or(&unknown), &none)?;
    common.remove("webServer");
    Ok(Value::Object(with_tunnels(&common, tunnels)))
}

/// Changes whenever anything of the tunnel does.
pub fn fingerprint(spec: &TunnelSpec) -> [u8; 32] {
    let name = spec.name.as_deref().unwrap_or_default();
    let rendered = render(&Map::new(), &[RenderedTunnel { name, spec, attempt: 0, rewriting: None }]);
    let mut hash = Sha256::new();
    hash.update(rendered.expose_secret());
    // not part of frpc's configuration
    hash.update(format!("{:?}", spec.probe));
    if let TunnelKind::Http(http) = &spec.kind {
        hash.update(format!("{:?} {}", http.paths, http.strip_path));
    }
    hash.finalize().into()
}

/// The whole configuration.
pub fn render(common: &Map<String, Value>, tunnels: &[RenderedTunnel<'_>]) -> SecretString {
    SecretString::from(escape_templates(&Value::Object(with_tunnels(common, tunnels)).to_string()))
}

fn with_tunnels(common: &Map<String, Value>, tunnels: &[RenderedTunnel<'_>]) -> Map<String, Value> {
    let mut config = common.clone();
    let (visitors, proxies): (Vec<_>, Vec<_>) =
        tunnels.iter().partition(|tunnel| tunnel.spec.kind.is_visitor());
    config.insert("proxies".into(), proxies.into_iter().map(proxy).collect());
    config.insert("visitors".into(), visitors.into_iter().filter_map(visitor).collect());
    config
}

/// frp treats every configuration file as a Go template first. In JSON, two opening braces in a row occur only in
/// strings, where an escape means the same.
pub fn escape_templates(json: &str) -> String {
    json.replace("{{", "\\u007b\\u007b")
}

fn insert(map: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), json!(value));
    }
}

fn insert_map(map: &mut Map<String, Value>, key: &str, values: &BTreeMap<String, String>) {
    if !values.is_empty() {
        map.insert(key.to_owned(), json!(values));
    }
}

fn transport(settings: &ServerSettings) -> Value {
    let tls = &settings.tls;
    let mut rendered = Map::new();
    rendered.insert("enable".into(), json!(tls.enabled));
    insert(&mut rendered, "serverName", tls.server_name.as_deref());
    for (key, file) in [("trustedCaFile", &tls.ca), ("certFile", &tls.certificate), ("keyFile", &tls.key)] {
        insert(&mut rendered, key, file.as_ref().map(|file| file.to_string_lossy()).as_deref());
    }
    let mut transport = Map::new();
    transport.insert("protocol".into(), json!(settings.protocol.label()));
    transport.insert("dialServerTimeout".into(), json!(settings.dial_timeout.as_secs().max(1)));
    transport.insert("tcpMuxKeepaliveInterval".into(), json!(settings.keepalive.as_secs().max(1)));
    transport.insert("poolCount".into(), json!(settings.pool_count));
    let proxy_url = settings.proxy_url.as_ref().map(ExposeSecret::expose_secret);
    insert(&mut transport, "proxyURL", proxy_url);
    transport.insert("tls".into(), Value::Object(rendered));
    Value::Object(transport)
}

fn authentication(authentication: &Authentication) -> Result<Option<Value>, SecretError> {
    Ok(match authentication {
        Authentication::None => None,
        Authentication::Token(token) => {
            Some(json!({"method": "token", "token": token.read()?.expose_secret()}))
        }
        Authentication::Oidc(oidc) => {
            let mut rendered = Map::new();
            rendered.insert("clientID".into(), json!(oidc.client_id));
            rendered.insert("clientSecret".into(), json!(oidc.client_secret.read()?.expose_secret()));
            rendered.insert("tokenEndpointURL".into(), json!(oidc.token_endpoint));
            insert(&mut rendered, "audience", oidc.audience.as_deref());
            insert(&mut rendered, "scope", oidc.scope.as_deref());
            Some(json!({"method": "oidc", "oidc": rendered}))
        }
    })
}

fn proxy(tunnel: &RenderedTunnel<'_>) -> Value {
    let RenderedTunnel { name, spec, attempt, rewriting } = tunnel;
    let mut map = Map::new();
    map.insert("name".into(), json!(name));
    map.insert("type".into(), json!(spec.kind.frp_type()));
    if let Some(service) = spec.kind.local() {
        local(&mut map, service, *rewriting);
    }
    let mut transport = Map::new();
    transport.insert("useEncryption".into(), json!(spec.transport.encryption));
    transport.insert("useCompression".into(), json!(spec.transport.compression));
    if let Some(limit) = spec.transport.bandwidth_limit {
        transport.insert("bandwidthLimit".into(), json!(format!("{}KB", limit.kib_per_second)));
        let mode = if limit.at_server { "server" } else { "client" };
        transport.insert("bandwidthLimitMode".into(), json!(mode));
    }
    if let Some(version) = spec.transport.proxy_protocol {
        let version = if version == ProxyProtocol::V1 { "v1" } else { "v2" };
        transport.insert("proxyProtocolVersion".into(), json!(version));
    }
    map.insert("transport".into(), Value::Object(transport));
    let mut metadata = spec.metadata.clone();
    if *attempt > 0 {
        metadata.insert(ATTEMPT_KEY.into(), attempt.to_string());
    }
    insert_map(&mut map, "metadatas", &metadata);
    if let Some(group) = &spec.group {
        let key = group.key.expose_secret();
        map.insert("loadBalancer".into(), json!({"group": group.name, "groupKey": key}));
    }
    if let Some(check) = &spec.health_check {
        map.insert("healthCheck".into(), health_check(check));
    }
    kind(&mut map, &spec.kind);
    Value::Object(map)
}

fn kind(map: &mut Map<String, Value>, kind: &TunnelKind) {
    match kind {
        TunnelKind::Tcp(ports) | TunnelKind::Udp(ports) => {
            map.insert("remotePort".into(), json!(ports.remote_port.unwrap_or(0)));
        }
        TunnelKind::Http(tunnel) => http(map, tunnel),
        TunnelKind::Https(tunnel) => domains(map, tunnel),
        TunnelKind::TcpMux(mux) => {
            domains(map, &mux.domains);
            map.insert("multiplexer".into(), json!("httpconnect"));
            basic_auth(map, mux.auth.as_ref());
            insert(map, "routeByHTTPUser", mux.route_by_user.as_deref());
        }
        TunnelKind::Stcp(secret) | TunnelKind::Sudp(secret) | TunnelKind::Xtcp(secret) => {
            let SecretTunnel { secret_key, allow_users, .. } = secret;
            map.insert("secretKey".into(), json!(secret_key.expose_secret()));
            if !allow_users.is_empty() {
                map.insert("allowUsers".into(), json!(allow_users));
            }
        }
        TunnelKind::StcpVisitor(_) | TunnelKind::SudpVisitor(_) | TunnelKind::XtcpVisitor(_) => {}
    }
}

fn local(map: &mut Map<String, Value>, service: &LocalService, rewriting: Option<SocketAddr>) {
    match (service, rewriting) {
        (_, Some(address)) => {
            map.insert("localIP".into(), json!(address.ip().to_string()));
            map.insert("localPort".into(), json!(address.port()));
        }
        (LocalService::Address { host, port }, None) => {
            map.insert("localIP".into(), json!(host));
            map.insert("localPort".into(), json!(port));
        }
        (LocalService::Plugin(offered), None) => {
            map.insert("plugin".into(), Value::Object(plugin(offered)));
        }
    }
}

fn plugin(offered: &ClientPlugin) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    match offered {
        ClientPlugin::HttpProxy(auth) => {
            put("type", json!("http_proxy"));
            basic_auth(&mut map, auth.as_ref());
        }
        ClientPlugin::Socks5(auth) => {
            put("type", json!("socks5"));
            if let Some(auth) = auth {
                put("username", json!(auth.user));
                put("password", json!(auth.password.expose_secret()));
            }
        }
        ClientPlugin::StaticFiles { directory, strip_prefix, auth } => {
            put("type", json!("static_file"));
            put("localPath", json!(directory.to_string_lossy()));
            insert(&mut map, "stripPrefix", strip_prefix.as_deref());
            basic_auth(&mut map, auth.as_ref());
        }
        ClientPlugin::UnixSocket(path) => {
            put("type", json!("unix_domain_socket"));
            put("unixPath", json!(path.to_string_lossy()));
        }
        ClientPlugin::HttpsToHttp { local, certificate, key } => {
            put("type", json!("https2http"));
            put("localAddr", json!(local));
            put("crtPath", json!(certificate.to_string_lossy()));
            put("keyPath", json!(key.to_string_lossy()));
        }
    }
    map
}

fn http(map: &mut Map<String, Value>, tunnel: &HttpTunnel) {
    if !tunnel.domains.is_empty() {
        map.insert("customDomains".into(), json!(tunnel.domains));
    }
    insert(map, "subdomain", tunnel.subdomain.as_deref());
    if !tunnel.paths.is_empty() {
        map.insert("locations".into(), json!(locations(tunnel)));
    }
    basic_auth(map, tunnel.auth.as_ref());
    insert(map, "hostHeaderRewrite", tunnel.host_header.as_deref());
    insert(map, "routeByHTTPUser", tunnel.route_by_user.as_deref());
    for (key, headers) in
        [("requestHeaders", &tunnel.request_headers), ("responseHeaders", &tunnel.response_headers)]
    {
        if !headers.is_empty() {
            map.insert(key.into(), json!({"set": headers}));
        }
    }
}

/// The string prefixes that frps matches, each once.
fn locations(tunnel: &HttpTunnel) -> Vec<String> {
    let patterns = tunnel.paths.iter().filter_map(|path| PathPattern::parse(path).ok());
    let mut prefixes: Vec<_> = patterns.map(|pattern| pattern.literal_prefix()).collect();
    prefixes.sort();
    prefixes.dedup();
    prefixes
}

fn domains(map: &mut Map<String, Value>, tunnel: &DomainTunnel) {
    if !tunnel.domains.is_empty() {
        map.insert("customDomains".into(), json!(tunnel.domains));
    }
    insert(map, "subdomain", tunnel.subdomain.as_deref());
}

fn basic_auth(map: &mut Map<String, Value>, auth: Option<&BasicAuth>) {
    if let Some(auth) = auth {
        map.insert("httpUser".into(), json!(auth.user));
        map.insert("httpPassword".into(), json!(auth.password.expose_secret()));
    }
}

fn health_check(check: &HealthCheck) -> Value {
    let mut map = Map::new();
    match &check.kind {
        HealthCheckKind::Tcp => map.insert("type".into(), json!("tcp")),
        HealthCheckKind::Http(path) => {
            map.insert("path".into(), json!(path));
            map.insert("type".into(), json!("http"))
        }
    };
    map.insert("timeoutSeconds".into(), json!(check.timeout.as_secs()));
    map.insert("intervalSeconds".into(), json!(check.interval.as_secs()));
    map.insert("maxFailed".into(), json!(check.max_failed));
    Value::Object(map)
}

fn visitor(tunnel: &RenderedTunnel<'_>) -> Option<Value> {
    let RenderedTunnel { name, spec, .. } = tunnel;
    let (TunnelKind::StcpVisitor(visitor) | TunnelKind::SudpVisitor(visitor)) = &spec.kind else {
        let TunnelKind::XtcpVisitor(xtcp) = &spec.kind else { return None };
        let mut map = visitor_map(name, spec, &xtcp.visitor);
        let protocol = if xtcp.protocol == HolePunching::Kcp { "kcp" } else { "quic" };
        map.insert("protocol".into(), json!(protocol));
        map.insert("keepTunnelOpen".into(), json!(xtcp.keep_open));
        if let Some((fallback, after)) = &xtcp.fallback {
            map.insert("fallbackTo".into(), json!(fallback));
            map.insert("fallbackTimeoutMs".into(), json!(after.as_millis()));
        }
        return Some(Value::Object(map));
    };
    Some(Value::Object(visitor_map(name, spec, visitor)))
}

fn visitor_map(name: &str, spec: &TunnelSpec, visitor: &Visitor) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("name".into(), json!(name));
    map.insert("type".into(), json!(spec.kind.frp_type()));
    map.insert("serverName".into(), json!(visitor.server_name));
    insert(&mut map, "serverUser", visitor.server_user.as_deref());
    map.insert("secretKey".into(), json!(visitor.secret_key.expose_secret()));
    map.insert("bindAddr".into(), json!(visitor.bind.ip().to_string()));
    map.insert("bindPort".into(), json!(visitor.bind.port()));
    let transport =
        json!({"useEncryption": spec.transport.encryption, "useCompression": spec.transport.compression});
    map.insert("transport".into(), transport);
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn templates_are_escaped_and_mean_the_same() {
        let text = json!({"a": {"b": "{{ .Envs.HOME }} {{{ }}"}}).to_string();
        let escaped = escape_templates(&text);
        assert!(!escaped.contains("{{"), "{escaped}");
        assert_eq!(
            serde_json::from_str::<Value>(&escaped).unwrap(),
            serde_json::from_str::<Value>(&text).unwrap()
        );
    }

    proptest! {
        #[test]
        fn any_text_survives_the_escape(text in "[{}\\\\\"a]{0,40}", key in "[{}a]{0,10}") {
            let value = json!({key: [{"x": text}]});
            let escaped = escape_templates(&value.to_string());
            prop_assert!(!escaped.contains("{{"));
            prop_assert_eq!(serde_json::from_str::<Value>(&escaped).unwrap(), value);
        }
    }
}

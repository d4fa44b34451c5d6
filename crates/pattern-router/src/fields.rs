//! Header fields: hop-by-hop ones (RFC 9110, section 7.6.1), and those that a proxy adds about the client.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};
use ipnet::IpNet;

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// Marks a response as the router's own, with the reason: it distinguishes a pod's 502 from ours.
pub const X_ROUTER_ERROR: HeaderName = HeaderName::from_static("x-router-error");
/// A trace's id (W3C Trace Context): forwarded, and included in the access log.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// The fields that the application may add with `auth: forward`; a client's own are removed.
pub const AUTH_PREFIX: &str = "x-auth-";
/// How many addresses of `X-Forwarded-For` are examined at most.
const MAX_FORWARDED_HOPS: usize = 32;

/// What a head's hop-by-hop fields requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HopByHop {
    /// `Connection: upgrade` and `Upgrade: websocket`.
    pub websocket: bool,
    /// `TE: trailers`, which gRPC servers require.
    pub trailers: bool,
}

/// Which groups of fields a head has: determined in one pass, since most heads have none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a group of its own")]
pub struct FieldGroups {
    /// Any hop-by-hop field, including those below.
    pub hop_by_hop: bool,
    pub transfer_encoding: bool,
    pub upgrade: bool,
    pub forwarded: bool,
    pub auth: bool,
    pub cookie: bool,
    pub expect: bool,
    pub accept: bool,
    pub traceparent: bool,
    /// A name with an underscore.
    pub underscored: bool,
}

impl FieldGroups {
    pub fn of(headers: &HeaderMap) -> FieldGroups {
        let mut groups = FieldGroups::default();
        for name in headers.keys() {
            if *name == header::COOKIE {
                groups.cookie = true;
            } else if *name == header::EXPECT {
                groups.expect = true;
            } else if *name == header::ACCEPT {
                groups.accept = true;
            } else if is_hop_by_hop(name) {
                groups.hop_by_hop = true;
                groups.transfer_encoding |= *name == header::TRANSFER_ENCODING;
                groups.upgrade |= *name == header::UPGRADE;
            } else if *name == FORWARDED {
                groups.forwarded = true;
            } else if name.as_str().starts_with('x') {
                groups.forwarded |= is_about_the_client(name);
                groups.auth |= name.as_str().starts_with(AUTH_PREFIX);
                groups.underscored |= name.as_str().contains('_');
            } else {
                groups.traceparent |= *name == TRACEPARENT;
                groups.underscored |= name.as_str().contains('_');
            }
        }
        groups
    }
}

pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TE
        || *name == header::UPGRADE
        || *name == header::TRANSFER_ENCODING
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
        || *name == HTTP2_SETTINGS
        || *name == header::PROXY_AUTHORIZATION
        || *name == header::PROXY_AUTHENTICATE
}

/// Fields by which programs identify a client: a client must not set them itself.
fn is_about_the_client(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-")
        || matches!(
            name.as_str(),
            "x-real-ip" | "x-client-ip" | "x-cluster-client-ip" | "x-original-forwarded-for"
        )
}

/// Fields that `Connection` must not remove by naming them: those that the pod relies on.
fn is_protected(name: &HeaderName) -> bool {
    *name == header::HOST
        || *name == header::COOKIE
        || *name == header::AUTHORIZATION
        || *name == header::CONTENT_LENGTH
        || *name == header::CONTENT_TYPE
        || *name == header::ORIGIN
        || *name == header::CACHE_CONTROL
        || *name == FORWARDED
        || name.as_str().starts_with("x-")
        || name.as_str().starts_with("sec-")
}

/// Removes the hop-by-hop fields, including those that `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) -> HopByHop {
    let mut asked = HopByHop::default();
    let mut upgrade = false;
    let connection: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    for name in connection.iter().flat_map(|line| line.as_bytes().split(|b| *b == b',')) {
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"keep-alive") || name.eq_ignore_ascii_case(b"close") {
            continue;
        }
        if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade = true;
        } else if let Ok(name) = HeaderName::from_bytes(name)
            && !is_protected(&name)
            && !is_hop_by_hop(&name)
        {
            headers.remove(name);
        }
    }
    let mut upgrades = headers.get_all(header::UPGRADE).iter();
    let websocket = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket");
    asked.websocket = upgrade && upgrades.next().is_some_and(websocket) && upgrades.next().is_none();
    asked.trailers = headers.get_all(header::TE).iter().any(|line| {
        line.as_bytes()
            .split(|b| *b == b',')
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    for name in [
        header::CONNECTION,
        header::TE,
        header::UPGRADE,
        header::TRANSFER_ENCODING,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        HTTP2_SETTINGS,
        header::PROXY_AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
    ] {
        headers.remove(name);
    }
    asked
}

/// `keep-alive` or `close` only: it names no field.
pub fn is_plain_connection(line: &HeaderValue) -> bool {
    line.as_bytes().eq_ignore_ascii_case(b"keep-alive") || line.as_bytes().eq_ignore_ascii_case(b"close")
}

/// `Transfer-Encoding` is absent, or exactly `chunked`, once.
pub fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(line), None) => line.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

/// Fields whose name some pods' servers (CGI, WSGI) confuse with another's: `X_Forwarded_For`. They are removed, as by
/// nginx.
pub fn strip_underscored(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    for name in names {
        let same = name.as_str().replace('_', "-");
        let spoofs = HeaderName::from_bytes(same.as_bytes()).is_ok_and(|n| {
            is_about_the_client(&n)
                || n == FORWARDED
                || n.as_str().starts_with(AUTH_PREFIX)
                || is_hop_by_hop(&n)
        });
        if spoofs {
            headers.remove(name);
        }
    }
}

/// What the pod is told about the client's connection.
#[derive(Debug, Clone, Copy)]
pub struct ForwardedClient<'a> {
    /// Its address according to the connection (or PROXY v2).
    pub peer: &'a HeaderValue,
    /// A trusted proxy: its values are passed on.
    pub trusted: bool,
    pub https: bool,
    pub host: &'a HeaderValue,
    /// The port in the address bar, if it is not in `host`.
    pub port: &'a HeaderValue,
}

const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// Sets `X-Forwarded-For`, `-Host`, `-Proto` and `-Port`; a client's own values are removed, a trusted proxy's are kept
/// and extended.
pub fn set_forwarded(headers: &mut HeaderMap, groups: FieldGroups, client: ForwardedClient<'_>) {
    if groups.forwarded && !client.trusted {
        let names: Vec<HeaderName> =
            headers.keys().filter(|name| is_about_the_client(name) || **name == FORWARDED).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
    if groups.forwarded && client.trusted {
        append_for(headers, client.peer);
        if headers.contains_key(FORWARDED) {
            append_forwarded(headers, client);
        }
        if !headers.contains_key(X_FORWARDED_PROTO) {
            headers.insert(X_FORWARDED_PROTO, if client.https { HTTPS } else { HTTP });
        }
        if !headers.contains_key(X_FORWARDED_HOST) {
            headers.insert(X_FORWARDED_HOST, client.host.clone());
        }
        return;
    }
    headers.insert(X_FORWARDED_FOR, client.peer.clone());
    headers.insert(X_FORWARDED_HOST, client.host.clone());
    headers.insert(X_FORWARDED_PROTO, if client.https { HTTPS } else { HTTP });
    headers.insert(X_FORWARDED_PORT, client.port.clone());
}

fn append_for(headers: &mut HeaderMap, peer: &HeaderValue) {
    let mut chain: Vec<u8> = Vec::new();
    for line in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(line.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.as_bytes());
    if let Ok(chain) = HeaderValue::from_bytes(&chain) {
        headers.insert(X_FORWARDED_FOR, chain);
    }
}

/// Appends an element (RFC 7239); IPv6 addresses in brackets and quotes.
fn append_forwarded(headers: &mut HeaderMap, client: ForwardedClient<'_>) {
    let peer = client.peer.to_str().unwrap_or("unknown");
    let node = if peer.contains(':') { format!("\"[{peer}]\"") } else { peer.to_owned() };
    let host = client.host.to_str().unwrap_or_default();
    let proto = if client.https { "https" } else { "http" };
    let mut lines: Vec<&str> = headers.get_all(FORWARDED).iter().filter_map(|l| l.to_str().ok()).collect();
    let own = format!("for={node};host=\"{host}\";proto={proto}");
    lines.push(&own);
    if let Ok(value) = HeaderValue::from_str(&lines.join(", ")) {
        headers.insert(FORWARDED, value);
    }
}

/// The client behind trusted proxies: the last address of `X-Forwarded-For` that is not a trusted proxy's.
pub fn client_behind(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|l| l.to_str().ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')).take(MAX_FORWARDED_HOPS) {
        if !is_trusted(&client) {
            return client;
        }
        let Ok(address) = hop.trim().trim_matches(['[', ']']).parse::<IpAddr>() else { return client };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;

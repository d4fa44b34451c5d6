//! A proxy's changes to heads: hop-by-hop fields, fields about the client, cookies, and the host.

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Method, Uri, Version};

use super::link::ClientLink;
use super::route::Route;
use crate::cookies;
use crate::error::{ErrorCode, RouterError};
use crate::fields::{self, FieldGroups, ForwardedClient, HopByHop};
use crate::pool::UpstreamProtocol;

const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// What the rewritten head requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKind {
    pub websocket: bool,
}

/// Rewrites a client's head for the pod.
pub fn rewrite_request(
    parts: &mut Parts,
    groups: FieldGroups,
    link: &ClientLink,
    route: &Route,
    extended_connect: bool,
) -> Result<RequestKind, RouterError> {
    let headers = &mut parts.headers;
    let asked = if groups.hop_by_hop { fields::strip_hop_by_hop(headers) } else { HopByHop::default() };
    let websocket = extended_connect || (asked.websocket && parts.method == Method::GET);
    if groups.underscored {
        fields::strip_underscored(headers);
    }
    if groups.cookie {
        cookies::clean_request(headers);
    }
    if groups.expect {
        // Handled here: hyper sends 100 as soon as the pod's connection accepts the body.
        headers.remove(header::EXPECT);
    }
    let client = ForwardedClient {
        peer: &link.peer_value,
        trusted: link.trusted,
        https: link.https,
        host: &route.host,
        port: &route.public_port,
    };
    fields::set_forwarded(headers, groups, client);
    if let Some(host) = &route.pod_host {
        as_localhost(headers, host);
    }
    if websocket {
        upgrade_to_websocket(headers, extended_connect)?;
        parts.method = Method::GET;
    }
    if asked.trailers {
        headers.insert(header::TE, TRAILERS);
    }
    parts.version = Version::HTTP_11;
    address_to_pod(parts, route);
    Ok(RequestKind { websocket })
}

/// `Origin` and the host of `Referer` change with `Host`: a dev server that compares them finds them equal.
fn as_localhost(headers: &mut HeaderMap, host: &HeaderValue) {
    if headers.contains_key(header::ORIGIN) {
        let origin = host.to_str().map(|host| format!("http://{host}")).unwrap_or_default();
        if let Ok(origin) = HeaderValue::from_str(&origin) {
            headers.insert(header::ORIGIN, origin);
        }
    }
}

fn upgrade_to_websocket(headers: &mut HeaderMap, extended_connect: bool) -> Result<(), RouterError> {
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, WEBSOCKET);
    if extended_connect {
        headers.insert(header::SEC_WEBSOCKET_KEY, websocket_key()?);
        headers.remove(header::CONTENT_LENGTH);
    }
    Ok(())
}

/// 16 random bytes (RFC 6455, section 4.1): HTTP/2 has no key.
fn websocket_key() -> Result<HeaderValue, RouterError> {
    use base64::Engine as _;
    let mut bytes = [0u8; 16];
    let failed = || RouterError::new(ErrorCode::Full, "There is no randomness on this machine.");
    getrandom::fill(&mut bytes).map_err(|_| failed())?;
    HeaderValue::from_str(&base64::engine::general_purpose::STANDARD.encode(bytes)).map_err(|_| failed())
}

/// Sets the target's form: a path for HTTP/1.1, with authority and scheme for HTTP/2.
fn address_to_pod(parts: &mut Parts, route: &Route) {
    // An HTTP/1.1 request in the usual form has named the pod by its Host, which remains.
    let usual = parts.uri.authority().is_none();
    match &route.pod_host {
        Some(host) => drop(parts.headers.insert(header::HOST, host.clone())),
        None if usual => {}
        None => drop(parts.headers.insert(header::HOST, route.host.clone())),
    }
    // Behind TLS it may turn out to be HTTP/2: the form is set once the connection exists.
    if !usual && route.upstream.key.protocol == UpstreamProtocol::Http1 {
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        parts.uri = Uri::from(path);
    }
}

/// Converts the head for HTTP/2: authority instead of `Host`.
pub fn for_http2(parts: &mut Parts, https: bool) {
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    let host = parts.headers.remove(header::HOST);
    uri.authority = host.and_then(|host| host.as_bytes().try_into().ok());
    uri.scheme = Some(if https { Scheme::HTTPS } else { Scheme::HTTP });
    uri.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    parts.version = Version::HTTP_2;
}

/// Converts the head for HTTP/1.1, for a port whose protocol was negotiated by TLS.
pub fn for_http1(parts: &mut Parts) {
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(path);
}

/// A body of unknown length needs chunks even if hyper would not expect a body at all.
pub fn frame_unknown_length(parts: &mut Parts) {
    if !parts.headers.contains_key(header::CONTENT_LENGTH) {
        parts.headers.insert(header::TRANSFER_ENCODING, CHUNKED);
    }
}

/// Rewrites a pod's head for the client.
pub fn rewrite_response(headers: &mut HeaderMap) {
    let (mut connections, mut others, mut set_cookie, mut forged) = (0, false, false, false);
    for (name, value) in headers.iter() {
        if *name == header::CONNECTION {
            connections += 1;
            others |= !fields::is_plain_connection(value);
        } else if *name == header::SET_COOKIE {
            set_cookie = true;
        } else {
            others |= fields::is_hop_by_hop(name);
            forged |= *name == fields::X_ROUTER_ERROR;
        }
    }
    if others || connections > 1 {
        fields::strip_hop_by_hop(headers);
    } else if connections == 1 {
        headers.remove(header::CONNECTION);
    }
    if set_cookie {
        cookies::clean_response(headers);
    }
    if forged {
        headers.remove(fields::X_ROUTER_ERROR);
    }
}

/// The head of a 101 keeps the fields that switch the protocol.
pub fn mark_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, WEBSOCKET);
}

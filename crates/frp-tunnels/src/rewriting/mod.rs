//! The rewriting proxy, for what frps cannot do with paths. It listens on loopback between frpc and the service,
//! accepts requests of its patterns only (by whole segments, with wildcards), strips the matched part, and restores the
//! prefix in the service's responses.

mod paths;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use http_forward::{ForwardLimits, Forwarder};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode};

use self::paths::{cookie_with_prefix, location_with_prefix, matched, redirect_to_directory, stripped};
use crate::loopback_server::LoopbackServer;
use crate::spec::{HttpTunnel, LocalService, PathPattern};

static FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Serves until it is dropped; exchanges that are under way then end by themselves.
#[derive(Debug)]
pub struct RewritingProxy {
    server: LoopbackServer,
}

/// What every connection needs.
#[derive(Debug)]
struct Rewriter {
    forwarder: Forwarder,
    /// The most specific first.
    patterns: Vec<PathPattern>,
    strips: bool,
}

type Body = BoxBody<Bytes, hyper::Error>;

impl RewritingProxy {
    /// Listens for the paths of this tunnel, in front of its service.
    pub async fn start(tunnel: &HttpTunnel) -> std::io::Result<Self> {
        let LocalService::Address { host, port } = &tunnel.local else {
            return Err(std::io::Error::other("a plugin cannot stand behind the rewriting proxy"));
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let service: Authority = format!("{host}:{port}").parse().map_err(std::io::Error::other)?;
        let mut patterns: Vec<_> =
            tunnel.paths.iter().filter_map(|path| PathPattern::parse(path).ok()).collect();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.specificity()));
        let forwarder = Forwarder::new(service, ForwardLimits::default());
        let rewriter = Arc::new(Rewriter { forwarder, patterns, strips: tunnel.strip_path });
        let server = LoopbackServer::start("rewriting proxy", move |request, _slot| {
            let rewriter = rewriter.clone();
            async move { rewriter.answer(request).await }
        });
        Ok(Self { server: server.await? })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

impl Rewriter {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let Some((pattern, length)) = matched(&self.patterns, &path) else {
            return plain(StatusCode::NOT_FOUND, "no path of this tunnel\n");
        };
        let prefix = path.get(..length).unwrap_or_default().to_owned();
        if self.strips {
            if let Some(location) = redirect_to_directory(pattern, &prefix, request.uri()) {
                return redirect(&location);
            }
            match stripped(request.uri(), length) {
                Some(uri) => *request.uri_mut() = uri,
                None => return plain(StatusCode::BAD_REQUEST, "the path cannot be rewritten\n"),
            }
            if !prefix.is_empty()
                && let Ok(value) = HeaderValue::from_str(&prefix)
            {
                request.headers_mut().insert(FORWARDED_PREFIX.clone(), value);
            }
        }
        let host = request.headers().get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
        match self.forwarder.forward(request).await {
            Ok(mut response) => {
                if self.strips {
                    give_prefix_back(&mut response, &prefix, host.as_deref());
                }
                response.map(http_body_util::BodyExt::boxed)
            }
            Err(error) => {
                tracing::warn!(event = "request_not_forwarded", %error, path, "a request could not be forwarded");
                plain(error.status(), "the service behind this tunnel does not answer\n")
            }
        }
    }
}

fn give_prefix_back<B>(response: &mut Response<B>, prefix: &str, host: Option<&str>) {
    let headers = response.headers_mut();
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.and_then(|location| location_with_prefix(location, prefix, host));
    if let Some(value) = location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(LOCATION, value);
    }
    let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        let changed = cookie.to_str().ok().and_then(|text| cookie_with_prefix(text, prefix));
        let value = changed.and_then(|text| HeaderValue::from_str(&text).ok()).unwrap_or(cookie);
        headers.append(SET_COOKIE, value);
    }
}

fn body(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {}).boxed()
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(body(text));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// 308: the method stays (RFC 9110, section 15.4.9).
fn redirect(location: &str) -> Response<Body> {
    let Ok(value) = HeaderValue::from_str(location) else {
        return plain(StatusCode::BAD_REQUEST, "the path cannot be rewritten\n");
    };
    let mut response = plain(StatusCode::PERMANENT_REDIRECT, "");
    response.headers_mut().insert(LOCATION, value);
    response
}

#[cfg(test)]
mod tests;

//! The rewriting proxy: what frps cannot do with paths. It listens on loopback between frpc and the service,
//! takes requests of its patterns only (by whole segments, with wildcards), strips the matched part, and gives
//! the prefix back to what the service answers.

mod paths;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use http_forward::{ForwardLimits, Forwarder};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use hyper::http::uri::Authority;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::paths::{cookie_with_prefix, location_with_prefix, matched, redirect_to_directory, stripped};
use crate::spec::{HttpTunnel, LocalService, PathPattern};

/// Connections of frpc at a time; further ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1024;
/// A client that has not sent the head of its request by then is gone.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// After an error of accept, such as no file handles left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

static FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Serves until it is dropped; exchanges that are under way then end by themselves.
#[derive(Debug)]
pub struct RewritingProxy {
    address: SocketAddr,
    stop: CancellationToken,
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, rewriter, stop.clone()));
        Ok(Self { address, stop })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RewritingProxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(listener: TcpListener, rewriter: Arc<Rewriter>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Some((Ok((stream, _)), place)) => {
                let rewriter = rewriter.clone();
                tokio::spawn(async move {
                    connection(stream, rewriter).await;
                    drop(place);
                });
            }
            Some((Err(error), _)) => {
                tracing::warn!(%error, "the rewriting proxy cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => return,
        }
    }
}

async fn connection(stream: TcpStream, rewriter: Arc<Rewriter>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let rewriter = rewriter.clone();
        async move { Ok::<_, Infallible>(rewriter.answer(request).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
        tracing::debug!(%error, "a connection of the rewriting proxy broke");
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
                tracing::warn!(%error, path, "a request could not be forwarded");
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

//! The checks before a request is forwarded: its form, its name, the client's rate, and access.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Version};

use super::link::ClientLink;
use super::record::ExchangeRecord;
use super::route::{Route, find_route};
use super::{Admitted, OwnAnswer};
use crate::auth::Access;
use crate::error::{ErrorCode, RouterError};
use crate::fields::{self, FieldGroups};
use crate::router::RouterState;

/// The maximum length of the path with its query, in bytes.
const MAX_TARGET: usize = 16 * 1024;

/// A request that passed every check, or the response that rejects it.
pub async fn admit(
    mut request: Request<Incoming>,
    mut groups: FieldGroups,
    link: &Arc<ClientLink>,
    state: &Arc<RouterState>,
    record: &mut ExchangeRecord,
) -> Result<Admitted, OwnAnswer> {
    check_form(&request, groups, state)?;
    let extended_connect = is_websocket_connect(&request);
    check_method(&request, extended_connect)?;
    let host = host_of(&request)?;
    if let (Some(line), RequestHost::Field(field)) = (record.line.as_mut(), host) {
        line.host = Some(field.clone());
    }
    let route = find_route(link, state, host.as_bytes(), false, record.started).await?;
    route.requests.fetch_add(1, Ordering::Relaxed);
    if let Some(limit) = &state.settings.limits.rate {
        check_rate(link, state, &route, request.headers(), limit, record.started)?;
    }
    let upgrade = extended_connect || groups.upgrade;
    let websocket = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (mut request, body) = request.into_parts();
    match state.authenticator.decide(&mut request, groups, link, state, &route, extended_connect).await {
        Access::Pass { user, cookies_clean } => {
            groups.cookie &= !cookies_clean;
            if let Some(line) = record.line.as_mut() {
                line.user = user;
            }
        }
        Access::Answer(answer) => return Err(answer),
    }
    Ok(Admitted { route, groups, websocket, extended_connect, request, body })
}

/// RFC 8441: `:protocol` is `websocket`.
fn is_websocket_connect(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_2
        && *request.method() == Method::CONNECT
        && request.extensions().get::<hyper::ext::Protocol>().is_some_and(|p| p.as_str() == "websocket")
}

fn check_method(request: &Request<Incoming>, extended_connect: bool) -> Result<(), RouterError> {
    let refused = match *request.method() {
        Method::CONNECT => !extended_connect,
        Method::TRACE => true,
        _ => false,
    };
    if refused {
        let detail = format!("{} is not passed on.", request.method());
        return Err(RouterError::new(ErrorCode::MethodNotAllowed, detail));
    }
    Ok(())
}

/// Rejects what other servers could parse differently, instead of forwarding it in the hope that they do not.
fn check_form(
    request: &Request<Incoming>,
    groups: FieldGroups,
    state: &RouterState,
) -> Result<(), RouterError> {
    let malformed = |detail: &str| Err(RouterError::new(ErrorCode::BadRequest, detail));
    let headers = request.headers();
    if groups.transfer_encoding && !fields::is_plainly_framed(headers) {
        let detail = "Only chunked, alone and once, is supported as Transfer-Encoding.";
        return Err(RouterError::new(ErrorCode::TransferCoding, detail));
    }
    if groups.transfer_encoding && request.version() < Version::HTTP_11 {
        return malformed("HTTP/1.0 has no Transfer-Encoding.");
    }
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    if target.len() > MAX_TARGET {
        let detail = format!("The path exceeds {MAX_TARGET} bytes.");
        return Err(RouterError::new(ErrorCode::HeadTooLarge, detail));
    }
    if !target.is_ascii() {
        return malformed("A path holds ASCII alone; other characters are percent-encoded.");
    }
    if !target.starts_with('/') && *request.method() != Method::CONNECT {
        return malformed("The request's target is not a path.");
    }
    if let (Some(limit), Some(length)) = (state.settings.limits.body, request.body().size_hint().exact())
        && length > limit
    {
        return Err(too_large(limit));
    }
    Ok(())
}

pub fn too_large(limit: u64) -> RouterError {
    RouterError::new(ErrorCode::BodyTooLarge, format!("A request's body may have {limit} bytes."))
}

/// Where a request names its host.
#[derive(Debug, Clone, Copy)]
enum RequestHost<'a> {
    Authority(&'a str),
    Field(&'a HeaderValue),
}

impl<'a> RequestHost<'a> {
    fn as_bytes(self) -> &'a [u8] {
        match self {
            RequestHost::Authority(authority) => authority.as_bytes(),
            RequestHost::Field(field) => field.as_bytes(),
        }
    }
}

/// The one host that a request names: `Host`, and the authority of HTTP/2 or of the absolute form, which must be equal.
fn host_of(request: &Request<Incoming>) -> Result<RequestHost<'_>, RouterError> {
    let malformed = |detail: &str| RouterError::new(ErrorCode::BadRequest, detail);
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(malformed("A request has one Host."));
    }
    match (request.uri().authority().map(axum::http::uri::Authority::as_str), host) {
        (Some(authority), Some(host)) if !authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
            Err(malformed("Host and the request's authority differ."))
        }
        (Some(authority), _) => Ok(RequestHost::Authority(authority)),
        (None, Some(host)) => Ok(RequestHost::Field(host)),
        (None, None) => Err(malformed("A request names its Host.")),
    }
}

fn check_rate(
    link: &ClientLink,
    state: &RouterState,
    route: &Arc<Route>,
    headers: &HeaderMap,
    limit: &crate::rate::RateLimit,
    now: Instant,
) -> Result<(), RouterError> {
    let router = &link.worker.router;
    let nanos = router.nanos(now);
    let taken = match &route.bucket {
        Some(bucket) if !link.trusted => bucket.take(limit, nanos),
        _ => {
            let client = fields::client_behind(headers, link.peer, &state.settings.trusted);
            router.rates.bucket(client, &route.name, nanos).take(limit, nanos)
        }
    };
    taken.map_err(|wait| {
        let detail = format!("There were too many requests for {}.", route.name);
        RouterError::new(ErrorCode::SlowDown, detail).retry_after(wait)
    })
}

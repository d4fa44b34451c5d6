//! `session`: a cookie of the router, for one name, issued for a ticket that the application signs.
//!
//! A browser without one is redirected to the application's `login_url` with its destination and a nonce that it also
//! gets as a cookie. The application redirects it back to [`super::ENTER_PATH`] with a ticket for that id, port and
//! nonce; the router sets the session's cookie and redirects the browser to its destination.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, Entry, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Access, ENTER_PATH, LEAVE_PATH, is_navigation};
use crate::cookies::{self, NONCE_COOKIE, SESSION_COOKIE};
use crate::error::{ErrorCode, RouterError};
use crate::proxy::{ClientLink, KnownSession, OwnAnswer, Route};
use crate::router::RouterState;
use crate::ticket::{TicketClaims, TicketKey, TicketUse};

/// How long a sign-in may take.
const NONCE_FOR: Duration = Duration::from_secs(600);
/// The length of a nonce in bytes.
const NONCE_BYTES: usize = 16;
/// How long a verified cookie is not hashed again on its connection.
const REMEMBER_FOR: Duration = Duration::from_secs(60);

/// Sessions based on signed tickets.
#[derive(Debug)]
pub struct SessionAuth {
    key: TicketKey,
    login_url: Option<String>,
    session: Duration,
}

impl SessionAuth {
    pub fn new(key: TicketKey, login_url: Option<String>, session: Duration) -> SessionAuth {
        SessionAuth { key, login_url, session }
    }

    /// Answers requests for the router's own paths.
    pub fn own_path(
        &self,
        request: &Parts,
        link: &ClientLink,
        state: &RouterState,
        route: &Route,
    ) -> Option<OwnAnswer> {
        let count = |outcome: &str| link.worker.router.metrics.auth.with_label_values(&[outcome]).inc();
        match request.uri.path() {
            ENTER_PATH => Some(match self.enter(request, route, state) {
                Ok(response) => {
                    count("entered");
                    OwnAnswer::Response(Box::new(response))
                }
                Err(error) => {
                    count("bad_ticket");
                    OwnAnswer::Error(error)
                }
            }),
            LEAVE_PATH => Some(OwnAnswer::Response(Box::new(leave()))),
            _ => None,
        }
    }

    /// Whether the session's cookie grants access to this request.
    pub fn decide(
        &self,
        request: &mut Parts,
        link: &ClientLink,
        state: &RouterState,
        route: &Arc<Route>,
    ) -> Access {
        let metrics = &link.worker.router.metrics;
        if let Some(known) = link.session().filter(|known| known.holds(route))
            && take_out_session(&mut request.headers, &known)
        {
            return Access::Pass { user: Some(Arc::clone(&known.user)), cookies_clean: true };
        }
        let claims = cookies::find(&request.headers, SESSION_COOKIE)
            .ok_or(None)
            .and_then(|cookie| self.key.open(cookie, unix_seconds()).map_err(Some))
            .and_then(|claims| {
                claims
                    .check(TicketUse::Session, &route.name.id, route.name.port)
                    .map(|()| claims)
                    .map_err(Some)
            });
        match claims {
            Ok(claims) if !route.pod.allows(&claims.user, &claims.roles) => {
                metrics.auth.with_label_values(&["not_allowed"]).inc();
                let detail = format!("{} has no access to {}.", claims.user, route.name.id);
                Access::refuse(ErrorCode::NotAllowed, detail)
            }
            Ok(claims) => {
                metrics.auth.with_label_values(&["session"]).inc();
                let user: Arc<str> = claims.user.as_str().into();
                remember(request, link, route, &claims, &user);
                Access::Pass { user: Some(user), cookies_clean: true }
            }
            Err(_) => {
                metrics.auth.with_label_values(&["sign_in"]).inc();
                Access::Answer(self.sign_in(request, link, state, route))
            }
        }
    }

    /// Redirects a browser to sign in; programs get an error.
    fn sign_in(&self, request: &Parts, link: &ClientLink, state: &RouterState, route: &Route) -> OwnAnswer {
        let refused =
            || RouterError::new(ErrorCode::SignIn, format!("A session is needed for {}.", route.name)).into();
        let Some(login) = self.login_url.as_ref().filter(|_| is_navigation(request)) else {
            return refused();
        };
        let Some(nonce) = usable_nonce(&request.headers).or_else(new_nonce) else { return refused() };
        let scheme = if is_https(request, link) { "https" } else { "http" };
        let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = state.settings.domain.host_of(&route.name);
        let to = format!("{scheme}://{host}{path}");
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let separator = if login.contains('?') { '&' } else { '?' };
        let location = format!("{login}{separator}to={}&nonce={}", encoded(&to), encoded(&nonce));
        let cookie = format!(
            "{NONCE_COOKIE}={nonce}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}",
            NONCE_FOR.as_secs()
        );
        match redirect(StatusCode::FOUND, &location, &[cookie]) {
            Some(response) => OwnAnswer::Response(Box::new(response)),
            None => refused(),
        }
    }

    /// Exchanges a ticket from the application for a session.
    fn enter(
        &self,
        request: &Parts,
        route: &Route,
        _: &RouterState,
    ) -> Result<Response<Full<Bytes>>, RouterError> {
        let bad = |why: &str| RouterError::new(ErrorCode::BadTicket, format!("The ticket {why}."));
        let query = request.uri.query().unwrap_or_default();
        let ticket = parameter(query, "ticket").ok_or_else(|| bad("is missing"))?;
        let now = unix_seconds();
        let claims = self.key.open(&ticket, now).map_err(|error| bad(&error.to_string()))?;
        let name = &route.name;
        claims.check(TicketUse::Enter, &name.id, name.port).map_err(|error| bad(&error.to_string()))?;
        claims.check_lifetime(now).map_err(|error| bad(&error.to_string()))?;
        let nonce = cookies::find(&request.headers, NONCE_COOKIE).unwrap_or_default();
        let same = subtle::ConstantTimeEq::ct_eq(nonce.as_bytes(), claims.nonce.as_bytes());
        if claims.nonce.is_empty() || !bool::from(same) {
            return Err(bad("was made for another browser"));
        }
        if !route.pod.allows(&claims.user, &claims.roles) {
            let detail = format!("{} has no access to {}.", claims.user, name.id);
            return Err(RouterError::new(ErrorCode::NotAllowed, detail));
        }
        let session = TicketClaims {
            usage: TicketUse::Session,
            nonce: String::new(),
            expires: now.saturating_add(self.session.as_secs()),
            ..claims
        };
        let cookie = self.key.sign(&session).ok_or_else(|| bad("cannot be answered"))?;
        let attributes = "Path=/; Secure; HttpOnly; SameSite=Lax";
        let cookies = [
            format!("{SESSION_COOKIE}={cookie}; {attributes}; Max-Age={}", self.session.as_secs()),
            format!("{NONCE_COOKIE}=; {attributes}; Max-Age=0"),
        ];
        let path =
            parameter(query, "path").filter(|path| is_local_path(path)).unwrap_or_else(|| "/".to_owned());
        redirect(StatusCode::SEE_OTHER, &path, &cookies).ok_or_else(|| bad("cannot be answered"))
    }
}

/// Deletes the session on this name.
fn leave() -> Response<Full<Bytes>> {
    let cookie = format!("{SESSION_COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
    redirect(StatusCode::SEE_OTHER, "/", &[cookie]).unwrap_or_default()
}

/// A path of this name, not `//other.host` or `/\other.host`.
fn is_local_path(path: &str) -> bool {
    let mut bytes = path.bytes();
    bytes.next() == Some(b'/')
        && !matches!(bytes.next(), Some(b'/' | b'\\'))
        && path.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\')
        && !path.starts_with("/.router/")
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
    Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
}

/// A sign-in may be in progress in several tabs: they share their nonce.
fn usable_nonce(headers: &HeaderMap) -> Option<String> {
    let nonce = cookies::find(headers, NONCE_COOKIE)?;
    let fits = URL_SAFE_NO_PAD.decode(nonce).is_ok_and(|bytes| bytes.len() == NONCE_BYTES);
    fits.then(|| nonce.to_owned())
}

fn new_nonce() -> Option<String> {
    let mut bytes = [0u8; NONCE_BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

fn is_https(request: &Parts, link: &ClientLink) -> bool {
    let forwarded =
        || request.headers.get(crate::fields::X_FORWARDED_PROTO).is_some_and(|proto| proto == "https");
    link.https || (link.trusted && forwarded())
}

fn one_cookie_line(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(header::COOKIE).iter();
    lines.next().filter(|_| lines.next().is_none())
}

fn remember(
    request: &mut Parts,
    link: &ClientLink,
    route: &Arc<Route>,
    claims: &TicketClaims,
    user: &Arc<str>,
) {
    let line = one_cookie_line(&request.headers).cloned();
    cookies::clean_request(&mut request.headers);
    let Some(cookie) = line else { return };
    let left = Duration::from_secs(claims.expires.saturating_sub(unix_seconds()));
    link.set_session(Arc::new(KnownSession {
        cookie,
        cleaned: request.headers.get(header::COOKIE).cloned(),
        route: Arc::clone(route),
        user: Arc::clone(user),
        until: Instant::now() + left.min(REMEMBER_FOR),
    }));
}

/// Replaces the cookies by those that the pod may see, if they equal those that were verified before.
fn take_out_session(headers: &mut HeaderMap, known: &KnownSession) -> bool {
    let Entry::Occupied(mut cookies) = headers.entry(header::COOKIE) else { return false };
    if *cookies.get() != known.cookie || cookies.iter().nth(1).is_some() {
        return false;
    }
    match &known.cleaned {
        Some(cleaned) => drop(cookies.insert(cleaned.clone())),
        None => drop(cookies.remove()),
    }
    true
}

fn redirect(status: StatusCode, location: &str, cookies: &[String]) -> Option<Response<Full<Bytes>>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_str(location).ok()?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for cookie in cookies {
        headers.append(header::SET_COOKIE, HeaderValue::from_str(cookie).ok()?);
    }
    Some(response)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_name_are_returned_to() {
        for path in ["/", "/a/b?c=d#e", "/%2f"] {
            assert!(is_local_path(path), "{path}");
        }
        for path in
            ["", "//evil.test", "/\\evil.test", "https://evil.test", "/a\\b", "/a\nb", "/.router/enter", "/ü"]
        {
            assert!(!is_local_path(path), "{path}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(parameter("a=1&path=%2Fx%3Fy%3D1&b", "path").as_deref(), Some("/x?y=1"));
        assert_eq!(parameter("path", "path"), None);
    }
}

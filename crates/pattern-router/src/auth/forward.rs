//! `forward`: the application is asked about each request, as by nginx's `auth_request` or Traefik's `ForwardAuth`:
//! method, name, path and cookies are sent to `auth_url`; 2xx grants access and may add `X-Auth-*`, any other response
//! is returned to the client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Response, StatusCode, Uri};
use moka::future::Cache;
use sha2::{Digest as _, Sha256};

use super::{Access, is_navigation};
use crate::error::ErrorCode;
use crate::fields::{self, AUTH_PREFIX, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use crate::http_client::{HttpAnswer, HttpClient};
use crate::proxy::{ClientLink, OwnAnswer, Route};
use crate::router::RouterState;

/// How long a decision is cached for the same credentials, name, method and path.
const HOLD_FOR: Duration = Duration::from_secs(10);
/// A refusal is cached for less time: the user may have just signed in.
const HOLD_REFUSAL_FOR: Duration = Duration::from_secs(1);
const MAX_DECISIONS: u64 = 65_536;
/// The fields of the request that are sent to the application.
const PASSED_ON: [HeaderName; 3] = [header::COOKIE, header::AUTHORIZATION, header::USER_AGENT];
/// The fields of a refusal that are returned to the client.
const RETURNED: [HeaderName; 5] = [
    header::LOCATION,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
];
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_POD_ID: HeaderName = HeaderName::from_static("x-pod-id");
const X_POD_PORT: HeaderName = HeaderName::from_static("x-pod-port");
const X_AUTH_USER: &str = "x-auth-user";

#[derive(Debug, Clone)]
struct Decision {
    answer: Arc<HttpAnswer>,
    at: Instant,
}

/// Asks the application about access.
#[derive(Debug)]
pub struct ForwardAuth {
    client: HttpClient,
    url: Uri,
    timeout: Duration,
    decisions: Cache<[u8; 32], Decision>,
}

impl ForwardAuth {
    pub fn new(client: HttpClient, url: Uri, timeout: Duration) -> ForwardAuth {
        let decisions = Cache::builder().max_capacity(MAX_DECISIONS).time_to_live(HOLD_FOR).build();
        ForwardAuth { client, url, timeout, decisions }
    }

    pub async fn decide(
        &self,
        request: &mut Parts,
        link: &ClientLink,
        state: &RouterState,
        route: &Arc<Route>,
    ) -> Access {
        let count = |outcome: &str| link.worker.router.metrics.auth.with_label_values(&[outcome]).inc();
        let question = question(request, link, state, route);
        let stale =
            |held: &Decision| !held.answer.status.is_success() && held.at.elapsed() > HOLD_REFUSAL_FOR;
        let key = key(&question);
        if let Some(held) = self.decisions.get(&key).await.filter(|held| !stale(held)) {
            return conclude(request, &held.answer);
        }
        match self.client.get(self.url.clone(), question, self.timeout).await {
            Ok(answer) => {
                let answer = Arc::new(answer);
                if answer.status.is_success() || answer.status.is_client_error() {
                    let decision = Decision { answer: Arc::clone(&answer), at: Instant::now() };
                    self.decisions.insert(key, decision).await;
                }
                count(if answer.status.is_success() { "forward" } else { "refused" });
                conclude(request, &answer)
            }
            Err(error) => {
                tracing::warn!(event = "auth_request_failed", %error, "the authorization service did not answer");
                count("failed");
                Access::refuse(ErrorCode::LookupFailed, "Who decides about access does not answer right now.")
            }
        }
    }
}

fn question(request: &Parts, link: &ClientLink, state: &RouterState, route: &Route) -> HeaderMap {
    let mut question = HeaderMap::new();
    for name in PASSED_ON {
        for value in request.headers.get_all(&name) {
            question.append(name.clone(), value.clone());
        }
    }
    let client = fields::client_behind(&request.headers, link.peer, &state.settings.trusted);
    let mut insert = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            question.insert(name, value);
        }
    };
    insert(X_FORWARDED_METHOD, request.method.as_str());
    insert(X_FORWARDED_URI, request.uri.path_and_query().map_or("/", |path| path.as_str()));
    insert(X_FORWARDED_FOR, &client.to_string());
    insert(X_POD_ID, &route.name.id);
    insert(X_POD_PORT, &route.name.port.to_string());
    let forwarded = request.headers.get(X_FORWARDED_PROTO).filter(|_| link.trusted);
    let own = HeaderValue::from_static(if link.https { "https" } else { "http" });
    question.insert(X_FORWARDED_PROTO, forwarded.cloned().unwrap_or(own));
    question.insert(X_FORWARDED_HOST, route.host.clone());
    let accept = if is_navigation(request) { "text/html" } else { "application/json" };
    question.insert(header::ACCEPT, HeaderValue::from_static(accept));
    question
}

/// Credentials are stored only as a hash. The client's address is part of the question, and therefore of the key.
fn key(question: &HeaderMap) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (name, value) in question {
        for part in [name.as_str().as_bytes(), value.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}

fn conclude(request: &mut Parts, answer: &HttpAnswer) -> Access {
    if answer.status.is_success() {
        let added = answer.headers.iter().filter(|(name, _)| name.as_str().starts_with(AUTH_PREFIX));
        for (name, value) in added {
            request.headers.insert(name.clone(), value.clone());
        }
        let user = answer.headers.get(X_AUTH_USER).and_then(|user| user.to_str().ok()).map(Arc::from);
        return Access::Pass { user, cookies_clean: false };
    }
    if answer.status == StatusCode::UNAUTHORIZED && answer.body.is_empty() {
        return Access::refuse(ErrorCode::SignIn, "A session is needed.");
    }
    if answer.status.is_server_error() {
        return Access::refuse(
            ErrorCode::LookupFailed,
            "Who decides about access does not answer right now.",
        );
    }
    if answer.status.is_redirection() && !is_navigation(request) {
        return Access::refuse(ErrorCode::SignIn, "A session is needed.");
    }
    let mut response = Response::new(Full::new(answer.body.clone()));
    *response.status_mut() = answer.status;
    for name in RETURNED {
        for value in answer.headers.get_all(&name) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    let code =
        if answer.status == StatusCode::UNAUTHORIZED { ErrorCode::SignIn } else { ErrorCode::NotAllowed };
    let code = HeaderValue::from_static(code.as_str());
    response.headers_mut().insert(fields::X_ROUTER_ERROR, code);
    Access::Answer(OwnAnswer::Response(Box::new(response)))
}

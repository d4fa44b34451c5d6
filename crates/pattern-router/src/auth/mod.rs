//! Access control: none (`none`), sessions of the router (`session`), or the application for each request (`forward`).
//!
//! ```text
//! session  a cookie of the router, issued for a ticket that the application signs
//! forward  the application is asked about each request
//! origin   pages of other sites may neither open a WebSocket nor change anything
//! ```

mod forward;
mod origin;
mod session;

use std::sync::Arc;

use hyper::Method;
use hyper::header::HeaderName;
use hyper::http::request::Parts;

pub use forward::ForwardAuth;
pub use origin::{OriginVerdict, check_origin};
pub use session::SessionAuth;

use crate::error::{ErrorCode, RouterError};
use crate::fields::FieldGroups;
use crate::proxy::{ClientLink, OwnAnswer, Route};
use crate::router::RouterState;

/// Where a browser enters with a ticket from the application.
pub const ENTER_PATH: &str = "/.router/enter";
/// Ends the session on this name.
pub const LEAVE_PATH: &str = "/.router/leave";

/// Decides about access.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Authenticator {
    None,
    Session(SessionAuth),
    Forward(ForwardAuth),
}

/// A decision.
#[derive(Debug)]
pub enum Access {
    /// `cookies_clean`: the router's own have been removed already.
    Pass {
        user: Option<Arc<str>>,
        cookies_clean: bool,
    },
    Answer(OwnAnswer),
}

impl Access {
    const PASS: Access = Access::Pass { user: None, cookies_clean: false };

    fn refuse(code: ErrorCode, detail: impl Into<String>) -> Access {
        Access::Answer(RouterError::new(code, detail).into())
    }
}

impl Authenticator {
    /// Whether a request is granted access. Removes the router's own cookies, and fields that only the router may set,
    /// from its head.
    pub async fn decide(
        &self,
        request: &mut Parts,
        groups: FieldGroups,
        link: &ClientLink,
        state: &Arc<RouterState>,
        route: &Arc<Route>,
        extended_connect: bool,
    ) -> Access {
        if matches!(self, Authenticator::None) {
            return Access::PASS;
        }
        if groups.auth {
            strip_auth_fields(request);
        }
        if let Authenticator::Session(session) = self
            && let Some(answer) = session.own_path(request, link, state, route)
        {
            return Access::Answer(answer);
        }
        if route.public || is_preflight(request) {
            return Access::PASS;
        }
        let websocket = extended_connect || groups.upgrade;
        let verdict = check_origin(request, &state.settings.domain, &route.name, websocket);
        if verdict == OriginVerdict::Foreign {
            let detail = "This request comes from a page of another origin.";
            return Access::refuse(ErrorCode::ForeignOrigin, detail);
        }
        match self {
            Authenticator::None => Access::PASS,
            Authenticator::Session(session) => session.decide(request, link, state, route),
            Authenticator::Forward(forward) => Box::pin(forward.decide(request, link, state, route)).await,
        }
    }
}

/// CORS preflights contain no credentials: they are passed on, and the pod answers them.
fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key("access-control-request-method")
        && request.headers.contains_key("origin")
}

/// `X-Auth-*` may come only from the application.
fn strip_auth_fields(request: &mut Parts) {
    let is_auth = |name: &&HeaderName| name.as_str().starts_with(crate::fields::AUTH_PREFIX);
    let names: Vec<HeaderName> = request.headers.keys().filter(is_auth).cloned().collect();
    for name in names {
        request.headers.remove(name);
    }
}

/// A browser that displays a page may be redirected to sign in. Anything else gets a 401.
fn is_navigation(request: &Parts) -> bool {
    let mode = request.headers.get("sec-fetch-mode").map(axum::http::HeaderValue::as_bytes);
    let navigates =
        mode.map_or_else(|| crate::error::wants_html(&request.headers), |mode| mode == b"navigate");
    navigates && (request.method == Method::GET || request.method == Method::HEAD)
}

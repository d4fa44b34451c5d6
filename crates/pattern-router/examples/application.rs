//! The application's side of `auth: session` and `pods: http` in Rust: who may open which workspace, the ticket for it,
//! and its address.
//!
//! `ROUTER_SECRET=… ROUTER_DOMAIN=code-hub.com LISTEN=127.0.0.1:8080 cargo run --example application`

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use pattern_router::name::RoutedDomain;
use pattern_router::ticket::{TicketClaims, TicketKey, TicketPort, TicketUse};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::json;

struct Application {
    key: TicketKey,
    domain: RoutedDomain,
    /// Each workspace's owner and address. Yours come from your database.
    workspaces: HashMap<&'static str, (&'static str, String)>,
}

/// A parameter of the query, decoded.
fn parameter(asked: &Uri, name: &str) -> Option<String> {
    let pairs = asked.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
    Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
}

/// Your application's own session; here a cookie that names the user.
fn signed_in_user(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    cookies.split(';').find_map(|pair| pair.trim().strip_prefix("demo_user="))
}

async fn open(
    State(application): State<Arc<Application>>,
    headers: HeaderMap,
    asked: Uri,
) -> Result<Response, StatusCode> {
    let to = parameter(&asked, "to").and_then(|to| to.parse::<Uri>().ok()).ok_or(StatusCode::BAD_REQUEST)?;
    let nonce = parameter(&asked, "nonce").ok_or(StatusCode::BAD_REQUEST)?;
    let scheme = to.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
    let (Some(scheme), Some(authority)) = (scheme, to.authority()) else {
        return Err(StatusCode::BAD_REQUEST);
    };
    // Only names of the routed domain: this endpoint redirects, and must not lead elsewhere.
    let host = authority.as_str();
    let name = application.domain.parse_host(host.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
    let user = signed_in_user(&headers).ok_or(StatusCode::UNAUTHORIZED)?; // or a redirect to your login page
    let owner = application.workspaces.get(name.id.as_str()).map(|(owner, _)| *owner);
    if owner != Some(user) {
        return Err(StatusCode::FORBIDDEN);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = TicketClaims {
        usage: TicketUse::Enter,
        id: name.id,
        port: TicketPort::One(name.port),
        user: user.to_owned(),
        roles: vec![],
        nonce,
        expires: now + 30,
    };
    let ticket = application.key.sign(&claims).ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    let path = to.path_and_query().map_or("/", |path| path.as_str());
    let path = utf8_percent_encode(path, NON_ALPHANUMERIC);
    let enter = format!("{scheme}://{host}/.router/enter?ticket={ticket}&path={path}");
    Ok(Redirect::to(&enter).into_response())
}

/// `lookup_url`: keep it inside your network.
async fn pod(State(application): State<Arc<Application>>, Path(id): Path<String>) -> Response {
    match application.workspaces.get(id.as_str()) {
        Some((owner, address)) => Json(json!({ "address": address, "users": [owner] })).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = TicketKey::new(std::env::var("ROUTER_SECRET")?.into_bytes())
        .ok_or("ROUTER_SECRET has fewer than 32 characters")?;
    let address = std::env::var("WS123").unwrap_or_else(|_| "10.1.2.3".to_owned());
    let application = Application {
        key,
        domain: RoutedDomain::parse(&std::env::var("ROUTER_DOMAIN")?)?,
        workspaces: HashMap::from([("ws123", ("alice", address))]),
    };
    let routes = Router::new().route("/open", get(open)).route("/router/pods/{id}", get(pod));
    let listener = tokio::net::TcpListener::bind(std::env::var("LISTEN")?).await?;
    axum::serve(listener, routes.with_state(Arc::new(application))).await?;
    Ok(())
}

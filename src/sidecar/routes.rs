//! What is at which path.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::guard::guard;
use super::view::View;
use super::{api, page};
use crate::metrics;

const API_PATHS: &str = "nothing here; known are /, /health, /ready, /metrics, /api/v1/status and what else /api/v1/openapi.json describes\n";
const METRICS_PATHS: &str = "nothing here; known is /metrics\n";
const METHODS: &str = "read-only: GET and HEAD\n";

/// The API port: the page, health and readiness for everybody; metrics and the page's figures for those who have the
/// token, where there is one.
pub fn api_routes(view: View) -> Router {
    let guarded = api::routes()
        .route("/metrics", get(show_metrics))
        .route_layer(from_fn_with_state(view.clone(), guard));
    let routes = Router::new()
        .route("/", get(show_page))
        .route("/health", get(show_health))
        .route("/ready", get(show_ready))
        .merge(guarded);
    finish(routes, API_PATHS, view)
}

/// The metrics port: `/metrics` alone.
pub fn metrics_routes(view: View) -> Router {
    finish(Router::new().route("/metrics", get(show_metrics)), METRICS_PATHS, view)
}

fn finish(routes: Router<View>, known_paths: &'static str, view: View) -> Router {
    routes
        .fallback(move || async move { (StatusCode::NOT_FOUND, known_paths) })
        .method_not_allowed_fallback(|| async { (StatusCode::METHOD_NOT_ALLOWED, METHODS) })
        .layer(map_response(protect))
        .with_state(view)
}

/// Nothing is cached, guessed at or embedded anywhere.
async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}

async fn show_page() -> Response {
    ([(header::CONTENT_SECURITY_POLICY, page::POLICY.clone())], Html(page::PAGE.as_str())).into_response()
}

/// 200 while each loop is alive, else 503, with the silence of each.
async fn show_health(State(view): State<View>) -> Response {
    let verdict = view.verdict();
    let status = if verdict.is_healthy() { "healthy" } else { "stuck" };
    let body = json!({ "status": status, "stuck": verdict.stuck(), "loops": verdict.loops });
    (code(verdict.is_healthy()), Json(body)).into_response()
}

/// 200 while the pod takes tasks, else 503, with each reason.
async fn show_ready(State(view): State<View>) -> Response {
    let verdict = view.verdict();
    let status = if verdict.is_ready() { "ready" } else { "not ready" };
    (code(verdict.is_ready()), Json(json!({ "status": status, "reasons": verdict.reasons }))).into_response()
}

async fn show_metrics(State(view): State<View>) -> Response {
    let verdict = view.verdict();
    view.metrics.health(verdict.is_healthy(), verdict.is_ready());
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], view.metrics.encode()).into_response()
}

fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

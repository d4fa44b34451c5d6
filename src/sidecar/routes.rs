//! What is at which path.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::page;
use super::status::Status;
use crate::health::{Health, Verdict};
use crate::metrics::{self, Metrics};

const API_PATHS: &str = "nothing here; known are /, /health, /ready, /metrics and /api/v1/status\n";
const METRICS_PATHS: &str = "nothing here; known is /metrics\n";
const METHODS: &str = "read-only: GET and HEAD\n";

/// What the sidecar shows: read when it is asked for, changed never.
#[derive(Clone)]
pub struct View {
    health: Arc<Health>,
    metrics: Metrics,
    clock: Arc<dyn Fn() -> Instant + Send + Sync>,
}

impl View {
    pub fn new(health: Arc<Health>, metrics: Metrics) -> Self {
        View { health, metrics, clock: Arc::new(Instant::now) }
    }

    /// With another clock, by which the loops' silence is judged.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        View { clock: Arc::new(clock), ..self }
    }

    fn verdict(&self) -> Verdict {
        self.health.verdict((self.clock)())
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("health", &self.health).finish_non_exhaustive()
    }
}

/// The API port: the page, health, readiness, metrics, and the page's figures as JSON.
pub fn api_routes(view: View) -> Router {
    let routes = Router::new()
        .route("/", get(show_page))
        .route("/health", get(show_health))
        .route("/ready", get(show_ready))
        .route("/metrics", get(show_metrics))
        .route("/api/v1/status", get(show_status));
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

async fn show_status(State(view): State<View>) -> Json<Status> {
    Json(Status::new(view.verdict(), view.metrics.snapshot()))
}

fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

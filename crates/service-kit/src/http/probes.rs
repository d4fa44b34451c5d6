//! `/health`, `/ready` and `/metrics`.

use std::sync::Arc;
use std::time::Instant;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::health::ReportHealth;
use crate::metrics::{CONTENT_TYPE, EncodeMetrics};

/// `/health`: 200 while each loop is alive, else 503; with the silence of each loop. `/ready`: 200 while the process
/// accepts work, else 503; with each reason.
pub fn health_routes<S: Clone + Send + Sync + 'static>(health: Arc<dyn ReportHealth>) -> Router<S> {
    let ready = Arc::clone(&health);
    Router::new()
        .route("/health", get(move || async move { show_health(&*health) }))
        .route("/ready", get(move || async move { show_ready(&*ready) }))
}

/// `/metrics`, in Prometheus's text format.
pub fn metrics_route<S: Clone + Send + Sync + 'static>(metrics: Arc<dyn EncodeMetrics>) -> Router<S> {
    let show = move || async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.encode()) };
    Router::new().route("/metrics", get(show))
}

fn show_health(health: &dyn ReportHealth) -> Response {
    let report = health.report(Instant::now());
    let status = if report.is_healthy() { "healthy" } else { "stuck" };
    let body = json!({ "status": status, "stuck": report.stuck(), "loops": report.loops });
    (status_code(report.is_healthy()), Json(body)).into_response()
}

fn show_ready(health: &dyn ReportHealth) -> Response {
    let report = health.report(Instant::now());
    let status = if report.is_ready() { "ready" } else { "not ready" };
    (status_code(report.is_ready()), Json(json!({ "status": status, "reasons": report.reasons })))
        .into_response()
}

fn status_code(is_good: bool) -> StatusCode {
    if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

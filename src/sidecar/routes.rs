//! Which handler serves which path.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use service_kit::http::token::require_token;
use service_kit::http::{probes, responses};

use super::pod_view::PodView;
use super::{api, page};

const API_PATHS: &str = "nothing here; known are /, /health, /ready, /metrics, /api/v1/status and what else /api/v1/openapi.json describes\n";
const METRICS_PATHS: &str = "nothing here; known is /metrics\n";

/// The API port: the page, health and readiness for everyone; metrics and the page's data for clients that have the
/// token, if there is one.
pub fn api_routes(view: PodView) -> Router {
    let guarded = api::routes()
        .merge(probes::metrics_route(Arc::new(view.clone())))
        .route_layer(from_fn_with_state(view.guard(), require_token));
    let routes = Router::new()
        .route("/", get(show_page))
        .merge(probes::health_routes(Arc::new(view.clone())))
        .merge(guarded);
    responses::finish(routes, API_PATHS).with_state(view)
}

/// The metrics port: `/metrics` alone.
pub fn metrics_routes(view: PodView) -> Router {
    responses::finish(probes::metrics_route(Arc::new(view)), METRICS_PATHS)
}

async fn show_page() -> Response {
    ([(header::CONTENT_SECURITY_POLICY, page::POLICY.clone())], Html(page::PAGE.as_str())).into_response()
}

//! The HTTP endpoints of a running command, read-only.

use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use service_kit::health::Health;
use service_kit::http::{host, probes, responses};

use crate::exposition::Exposition;

const NOT_FOUND: &str = "nothing here; see /health, /ready, /metrics, /api/v1/tunnels and /api/v1/events\n";

pub(super) fn routes(health: Arc<Health>, exposition: Arc<Exposition>) -> Router {
    let (tunnels, events) = (exposition.clone(), exposition.clone());
    let routes = Router::new()
        .route("/api/v1/tunnels", get(move || async move { Json(tunnels.tunnels_json()) }))
        .route("/api/v1/events", get(move || async move { Json(events.events_json()) }))
        .merge(probes::health_routes(health))
        .merge(probes::metrics_route(exposition));
    let routes = responses::finish(routes, NOT_FOUND);
    host::check(routes, host::AllowedHosts::new("--listen", [""; 0]))
}

//! The router's own port: `/health`, `/ready`, `/metrics` and a status page; read-only.

mod page;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router as Routes};
use hyper::header::{self, HeaderValue};
use secrecy::ExposeSecret as _;
use service_kit::health::{Health, HealthReport, ReportHealth};
use service_kit::http::token::{BearerToken, TokenGuard, require_token};
use service_kit::http::{probes, responses};
use service_kit::metrics::{EncodeMetrics, ProcessMetrics};

use crate::router::Router;

/// How many names the status page shows.
const BUSIEST: usize = 20;
/// A worker's runtime that is silent for this long is stuck.
pub const WORKER_SILENCE: Duration = Duration::from_secs(20);

/// Health, including the resolver's state.
#[derive(Debug)]
pub struct RouterHealth {
    pub health: Arc<Health>,
    pub router: Arc<Router>,
}

impl ReportHealth for RouterHealth {
    fn report(&self, now: Instant) -> HealthReport {
        match self.router.state().directory.resolver().not_ready() {
            Some(reason) => self.health.set_not_ready("pods", reason),
            None => self.health.clear_not_ready("pods"),
        }
        self.health.report(now)
    }
}

/// The registry, with figures that are read on request.
#[derive(Debug)]
pub struct RouterMetrics {
    pub router: Arc<Router>,
    pub process: ProcessMetrics,
}

impl EncodeMetrics for RouterMetrics {
    fn encode(&self) -> String {
        self.process.refresh();
        let metrics = &self.router.metrics;
        let (used, idle, waiting) = self.router.pod_connections();
        for (state, count) in [("used", used), ("idle", idle), ("waiting", waiting)] {
            metrics.pod_connections.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let expires = self.router.state().tls.as_ref().map_or(0, |tls| tls.expires);
        metrics.certificate_expiry.set(expires);
        service_kit::metrics::encode(&metrics.registry)
    }
}

/// All routes of the admin port. The probes are open, the rest requires the token if there is one.
pub fn routes(health: Arc<RouterHealth>, metrics: Arc<RouterMetrics>) -> Routes {
    let router = Arc::clone(&health.router);
    let token = Arc::clone(&router);
    let guard = TokenGuard::new("pattern-router", "admin_token", move || {
        let state = token.state();
        let secret = state.admin_token.as_ref()?.expose_secret().to_owned();
        BearerToken::new(secret.into()).ok().map(Arc::new)
    });
    let status = move || {
        let router = Arc::clone(&router);
        async move { Json(page::status(&router, BUSIEST)) }
    };
    let guarded = Routes::new()
        .route("/api/status", get(status))
        .merge(probes::metrics_route(metrics))
        .layer(from_fn_with_state(guard, require_token));
    let open = Routes::new().route("/", get(show_page)).merge(probes::health_routes(health));
    responses::finish(open.merge(guarded), "nothing here; see /, /health, /ready, /metrics and /api/status\n")
}

/// The page is static: its script requests `/api/status`, with the token that the user enters.
async fn show_page() -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    ([(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy))], Html(page::PAGE)).into_response()
}

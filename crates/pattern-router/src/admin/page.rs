//! The content of the status page.

use serde_json::{Value, json};

use crate::router::Router;

/// The page itself: no external assets, light and dark.
pub const PAGE: &str = include_str!("page.html");

/// Open streams by kind, rates, errors, the busiest names.
pub fn status(router: &Router, busiest: usize) -> Value {
    let metrics = &router.metrics;
    let (requests, failed) = metrics.totals();
    let (used, idle, waiting) = router.pod_connections();
    let state = router.state();
    let refused: Vec<Value> = metrics
        .refusals()
        .into_iter()
        .map(|(code, count)| json!({ "code": code.as_str(), "count": count }))
        .collect();
    let names: Vec<Value> = router
        .busiest
        .top(busiest)
        .into_iter()
        .map(|(name, count)| json!({ "name": name.to_string(), "requests": count }))
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "domain": state.settings.domain.name(),
        "draining": router.is_draining(),
        "reloads": state.generation,
        "uptime_seconds": router.uptime().as_secs(),
        "open": {
            "http1": metrics.open.http1.get(),
            "http2": metrics.open.http2.get(),
            "websocket": metrics.open.websocket.get(),
            "connections": router.connections.open(),
        },
        "pods": { "used": used, "idle": idle, "waiting": waiting },
        "requests": requests,
        "failed": failed,
        "bytes": { "received": metrics.bytes_received.get(), "sent": metrics.bytes_sent.get() },
        "refused": refused,
        "busiest": names,
        "not_ready": state.directory.resolver().not_ready(),
    })
}

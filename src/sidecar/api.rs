//! Everything beneath `/api/v1/`.

use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use service_kit::http::StreamDeadline;

use super::answers::{
    ConfigAnswer, ConnectionsAnswer, ErrorAnswer, FailuresAnswer, FeedAnswer, FeedsAnswer, PartitionsAnswer,
    PoolAnswer, StatusAnswer, TunnelsAnswer,
};
use super::event_feed::COME_AGAIN;
use super::history::HistoryAnswer;
use super::pod_view::PodView;
use super::query;
use crate::insight::OpenBatches;

/// The API's description, for programs.
const OPENAPI: &str = include_str!("openapi.json");

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) fn routes() -> Router<PodView> {
    Router::new()
        .route("/api/v1/status", get(show_status))
        .route("/api/v1/connections", get(show_connections))
        .route("/api/v1/pool", get(show_pool))
        .route("/api/v1/batches", get(show_batches))
        .route("/api/v1/tunnels", get(show_tunnels))
        .route("/api/v1/feeds", get(show_feeds))
        .route("/api/v1/transfers", get(show_transfers))
        .route("/api/v1/failures", get(show_failures))
        .route("/api/v1/partitions", get(show_partitions))
        .route("/api/v1/history", get(show_history))
        .route("/api/v1/config", get(show_config))
        .route("/api/v1/events", get(show_events))
        .route("/api/v1/openapi.json", get(([(header::CONTENT_TYPE, JSON)], OPENAPI)))
}

async fn show_status(State(view): State<PodView>) -> Json<StatusAnswer> {
    Json(view.status())
}

async fn show_connections(State(view): State<PodView>) -> Json<ConnectionsAnswer> {
    Json(ConnectionsAnswer { connections: view.connections() })
}

async fn show_pool(State(view): State<PodView>) -> Json<PoolAnswer> {
    Json(view.pool())
}

async fn show_batches(State(view): State<PodView>) -> Json<OpenBatches> {
    Json(view.insight.batches())
}

async fn show_tunnels(State(view): State<PodView>) -> Json<TunnelsAnswer> {
    Json(TunnelsAnswer { tunnels: view.insight.tunnels() })
}

async fn show_feeds(State(view): State<PodView>) -> Json<FeedsAnswer> {
    Json(FeedsAnswer { feeds: FeedAnswer::all(&*view.insight) })
}

async fn show_transfers(State(view): State<PodView>, RawQuery(query): RawQuery) -> Response {
    match query::transfers(query.as_deref()) {
        Ok(query) => Json(view.insight.transfers(&query)).into_response(),
        Err(error) => refuse(StatusCode::BAD_REQUEST, error),
    }
}

async fn show_failures(State(view): State<PodView>, RawQuery(query): RawQuery) -> Response {
    match query::failures(query.as_deref()) {
        Ok(limit) => Json(FailuresAnswer { failures: view.insight.failures(limit) }).into_response(),
        Err(error) => refuse(StatusCode::BAD_REQUEST, error),
    }
}

async fn show_partitions(State(view): State<PodView>) -> Json<PartitionsAnswer> {
    Json(PartitionsAnswer { partitions: view.insight.partitions() })
}

async fn show_history(State(view): State<PodView>) -> Json<HistoryAnswer> {
    Json(view.history.hour())
}

async fn show_config(State(view): State<PodView>) -> Json<ConfigAnswer> {
    Json(ConfigAnswer { yaml: view.insight.config() })
}

/// A stream that ends before its connection must.
async fn show_events(
    State(view): State<PodView>,
    Extension(StreamDeadline(end)): Extension<StreamDeadline>,
    method: Method,
) -> Response {
    // A client that reconnects does so on a new connection, with its full lifetime.
    let head =
        [(header::CONTENT_TYPE, EVENT_STREAM), (header::CONNECTION, HeaderValue::from_static("close"))];
    if method == Method::HEAD {
        return head.into_response();
    }
    if let Some(events) = view.feed.stream(end) {
        return (head, events).into_response();
    }
    let mut refused = refuse(StatusCode::SERVICE_UNAVAILABLE, "there are too many streams".to_owned());
    refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(COME_AGAIN.as_secs()));
    refused
}

fn refuse(code: StatusCode, error: String) -> Response {
    (code, Json(ErrorAnswer { error })).into_response()
}

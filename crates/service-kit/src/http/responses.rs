//! What all responses have in common: headers against caching, framing and sniffing; 404 and 405 with a text.

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;

const READ_ONLY: &str = "method not allowed\n";

/// Adds 404 with this text, 405, and headers against caching, sniffing, framing and external content; a handler may set
/// its own `Content-Security-Policy`.
pub fn finish<S: Clone + Send + Sync + 'static>(router: Router<S>, not_found: &'static str) -> Router<S> {
    router
        .fallback(move || async move { (StatusCode::NOT_FOUND, not_found) })
        .method_not_allowed_fallback(|| async { (StatusCode::METHOD_NOT_ALLOWED, READ_ONLY) })
        .layer(map_response(add_headers))
}

async fn add_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}

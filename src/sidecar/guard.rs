//! Who may look: everybody, or those who have the token.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answers::Refused;
use super::view::View;

/// RFC 6750, section 3.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"ftp-pooler\"");

/// Lets requests with the right token through. What was sent instead is told to nobody.
pub(super) async fn guard(State(view): State<View>, request: Request, next: Next) -> Response {
    let Some(token) = view.token() else { return next.run(request).await };
    let given = request.headers().get(header::AUTHORIZATION);
    if given.is_some_and(|given| token.admits(given.as_bytes())) {
        return next.run(request).await;
    }
    let error = match given {
        None => "api.token is set: send it as `Authorization: Bearer TOKEN`",
        Some(_) => "this is not the token that api.token is set to",
    };
    let body = Json(Refused { error: error.to_owned() });
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, CHALLENGE)], body).into_response()
}

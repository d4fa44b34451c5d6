//! Errors that the router itself answers: each one's code, status, and the page or JSON that shows it.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};

use crate::fields::X_ROUTER_ERROR;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// Why the router itself answers: the value of `X-Router-Error` and of `code` in JSON.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $code,)* }
            }

            pub fn status(self) -> StatusCode {
                match self { $(ErrorCode::$variant => StatusCode::$status,)* }
            }

            /// The page's heading.
            pub fn title(self) -> &'static str {
                match self { $(ErrorCode::$variant => $title,)* }
            }
        }
    };
}

error_codes! {
    /// The name is beneath the domain, but not PORT-ID.
    BadName = "bad_name", BAD_REQUEST, "This name is not PORT-ID";
    /// A request that other servers could parse differently.
    BadRequest = "bad_request", BAD_REQUEST, "This request is malformed";
    /// The resolver knows no such pod.
    NoSuchPod = "no_such_pod", NOT_FOUND, "Workspace not found";
    /// The port is not one that may be reached.
    PortClosed = "port_closed", FORBIDDEN, "This port is not open";
    /// A page of another origin sent the request.
    ForeignOrigin = "origin", FORBIDDEN, "Another site may not do this";
    /// Signed in, but without a right to this pod.
    NotAllowed = "not_allowed", FORBIDDEN, "No access to this workspace";
    /// A session is needed.
    SignIn = "sign_in", UNAUTHORIZED, "Please sign in";
    /// An invalid ticket.
    BadTicket = "bad_ticket", FORBIDDEN, "The sign-in did not succeed";
    /// The name belongs to another domain.
    NotHere = "not_here", MISDIRECTED_REQUEST, "This name is not served here";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "This method is not allowed";
    /// A transfer coding other than chunked.
    TransferCoding = "transfer_coding", NOT_IMPLEMENTED, "This transfer coding is not supported";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The request body is too large";
    BodyTooSlow = "body_too_slow", REQUEST_TIMEOUT, "The request body came too slowly";
    SlowDown = "slow_down", TOO_MANY_REQUESTS, "Too many requests";
    /// Larger than `max_head`.
    HeadTooLarge = "head_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The request head is too large";
    /// Connects are refused, or the address does not answer.
    NothingListens = "nothing_listens", BAD_GATEWAY, "Nothing listens there yet";
    /// The pod closed the connection or broke the protocol.
    PodHungUp = "pod_hung_up", BAD_GATEWAY, "The connection to the workspace broke";
    /// An address that is never dialled.
    AddressRefused = "address_refused", BAD_GATEWAY, "This workspace's address may not be reached";
    /// The resolver, or the authorization service, does not answer.
    LookupFailed = "lookup_failed", SERVICE_UNAVAILABLE, "The workspace could not be looked up";
    /// Every connection to the pod is in use, or too many connections are open.
    Full = "full", SERVICE_UNAVAILABLE, "Too busy right now";
    PodSilent = "pod_silent", GATEWAY_TIMEOUT, "The workspace does not answer";
}

/// The router's own error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterError {
    pub code: ErrorCode,
    /// A sentence for the user, without internal addresses.
    pub detail: String,
    pub retry_after: Option<Duration>,
}

impl RouterError {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> RouterError {
        RouterError { code, detail: detail.into(), retry_after: None }
    }

    #[must_use]
    pub fn retry_after(self, wait: Duration) -> RouterError {
        RouterError { retry_after: Some(wait), ..self }
    }

    /// HTML for browsers that navigate, JSON for programs; not cacheable.
    pub fn response(&self, method: &Method, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let html = wants_html(headers);
        let body = if html { self.page() } else { self.json() };
        let mut response =
            Response::new(Full::new(if *method == Method::HEAD { Bytes::new() } else { body.into() }));
        *response.status_mut() = self.code.status();
        let fields = response.headers_mut();
        let kind = if html { "text/html; charset=utf-8" } else { "application/json" };
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        fields.insert(X_ROUTER_ERROR, HeaderValue::from_static(self.code.as_str()));
        if html {
            fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
        }
        if let Some(wait) = self.retry_after {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if self.code == ErrorCode::MethodNotAllowed {
            fields.insert(
                header::ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            );
        }
        response
    }

    fn json(&self) -> String {
        serde_json::json!({ "error": self.detail, "code": self.code.as_str() }).to_string()
    }

    fn page(&self) -> String {
        let again = if self.is_temporary() { "<meta http-equiv=\"refresh\" content=\"2\">" } else { "" };
        let hint = if self.is_temporary() {
            "<p class=\"hint\">This page tries again every two seconds.</p>"
        } else {
            ""
        };
        let mut page = String::with_capacity(1024);
        let _ = write!(
            page,
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">{again}<title>{title}</title>\
             <style>{PAGE_STYLE}</style></head><body><main><p class=\"status\">{status}</p><h1>{title}</h1>\
             <p>{detail}</p>{hint}<p class=\"code\">{code}</p></main></body></html>",
            title = escaped(self.code.title()),
            status = self.code.status().as_u16(),
            detail = escaped(&self.detail),
            code = self.code.as_str(),
        );
        page
    }

    /// Whether the page reloads automatically: the cause usually goes away.
    fn is_temporary(&self) -> bool {
        matches!(
            self.code,
            ErrorCode::NothingListens | ErrorCode::Full | ErrorCode::PodSilent | ErrorCode::LookupFailed
        )
    }
}

/// Nothing is loaded or executed, and the page cannot be framed.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
const PAGE_STYLE: &str = ":root{color-scheme:light dark}body{margin:0;font:16px/1.5 system-ui,sans-serif;\
    display:grid;min-height:100vh;place-items:center;background:Canvas;color:CanvasText}main{max-width:34rem;\
    padding:2rem}h1{font-size:1.5rem;margin:.2rem 0 1rem}.status{font-size:3rem;font-weight:600;margin:0;\
    opacity:.35}.hint,.code{opacity:.65;font-size:.9rem}.code{font-family:ui-monospace,monospace}";

/// Whether a browser requests a page to display.
pub fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.to_str().is_ok_and(|text| text.contains("text/html")))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn shown(error: &RouterError, accept: &str) -> (Response<()>, String) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        let (parts, body) = error.response(&Method::GET, &headers).into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(parts, ()), String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_code_has_a_page_and_json() {
        for code in ErrorCode::ALL {
            let error = RouterError::new(*code, "a <b> & c");
            let (head, page) = shown(&error, "text/html,*/*;q=0.8").await;
            assert_eq!(head.status(), code.status());
            assert_eq!(head.headers()["x-router-error"], code.as_str());
            assert!(page.contains("a &lt;b&gt; &amp; c") && page.contains(code.as_str()), "{page}");
            assert!(!page.contains("<script") && !page.contains("http:") && !page.contains("src="), "{page}");
            let (head, json) = shown(&error, "*/*").await;
            assert_eq!(head.headers()["content-type"], "application/json");
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(
                (json["code"].as_str(), json["error"].as_str()),
                (Some(code.as_str()), Some("a <b> & c"))
            );
        }
    }

    #[tokio::test]
    async fn a_page_of_what_goes_away_looks_again() {
        let (_, page) = shown(&RouterError::new(ErrorCode::NothingListens, "x"), "text/html").await;
        assert!(page.contains("http-equiv=\"refresh\" content=\"2\""));
        let (_, page) = shown(&RouterError::new(ErrorCode::NoSuchPod, "x"), "text/html").await;
        assert!(!page.contains("refresh"));
        let slow = RouterError::new(ErrorCode::SlowDown, "x").retry_after(Duration::from_millis(20));
        assert_eq!(shown(&slow, "*/*").await.0.headers()["retry-after"], "1");
    }
}

//! A page of another site may neither open a WebSocket nor change anything with the visitor's session (CWE-1385, CWE-352).

use hyper::Method;
use hyper::http::request::Parts;

use crate::name::{PodName, RoutedDomain};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginVerdict {
    /// This name, another port of the same id, or a request that was not sent by a page.
    Own,
    Foreign,
}

/// Checks `WebSockets` and methods that may change something.
pub fn check_origin(
    request: &Parts,
    domain: &RoutedDomain,
    name: &PodName,
    websocket: bool,
) -> OriginVerdict {
    let safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if safe && !websocket {
        return OriginVerdict::Own;
    }
    let mut origins = request.headers.get_all("origin").iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) if is_own_origin(origin.as_bytes(), domain, name) => OriginVerdict::Own,
        (Some(_), _) => OriginVerdict::Foreign,
        (None, _) => {
            let site = request.headers.get("sec-fetch-site").map(axum::http::HeaderValue::as_bytes);
            if matches!(site, Some(b"cross-site")) { OriginVerdict::Foreign } else { OriginVerdict::Own }
        }
    }
}

fn is_own_origin(origin: &[u8], domain: &RoutedDomain, name: &PodName) -> bool {
    let host = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
    host.is_some_and(|host| domain.parse_host(host).is_ok_and(|other| other.id == name.id))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn verdict(method: &str, fields: &[(&str, &str)]) -> OriginVerdict {
        let mut request = Request::builder().method(method);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let domain = RoutedDomain::parse("pool.test").unwrap();
        let name = PodName { port: 3000, id: "ws1".into() };
        let websocket = fields.iter().any(|(name, _)| *name == "upgrade");
        check_origin(&request.body(()).unwrap().into_parts().0, &domain, &name, websocket)
    }

    #[test]
    fn foreign_pages_open_no_websocket_and_change_nothing() {
        let foreign = [
            "https://evil.test",
            "https://3000-ws2.pool.test",
            "https://pool.test",
            "null",
            "https://3000-ws1.pool.test.evil.test",
            "https://3000-ws1.pool.test@evil.test",
            "file://3000-ws1.pool.test",
            "",
        ];
        for origin in foreign {
            for method in ["POST", "PUT", "DELETE", "PATCH", "PROPFIND"] {
                assert_eq!(
                    verdict(method, &[("origin", origin)]),
                    OriginVerdict::Foreign,
                    "{method} {origin}"
                );
            }
            assert_eq!(
                verdict("GET", &[("origin", origin), ("upgrade", "websocket")]),
                OriginVerdict::Foreign
            );
            assert_eq!(
                verdict("GET", &[("origin", origin)]),
                OriginVerdict::Own,
                "a plain GET changes nothing"
            );
        }
        assert_eq!(verdict("POST", &[("sec-fetch-site", "cross-site")]), OriginVerdict::Foreign);
    }

    #[test]
    fn the_same_workspace_and_programs_pass() {
        for origin in
            ["https://3000-ws1.pool.test", "https://5000-WS1.pool.test:8443", "http://80-ws1.pool.test"]
        {
            assert_eq!(verdict("POST", &[("origin", origin)]), OriginVerdict::Own, "{origin}");
            assert_eq!(verdict("GET", &[("origin", origin), ("upgrade", "websocket")]), OriginVerdict::Own);
        }
        assert_eq!(verdict("POST", &[]), OriginVerdict::Own, "a program sends no Origin");
    }
}

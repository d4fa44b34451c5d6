//! Which `Host` a request may have. A web page in an operator's browser can make its own name resolve to this process's
//! address (DNS rebinding) and could then read what the process serves, as if it were the page's own server; its
//! requests contain the page's name, which is rejected here.
//!
//! Accepted without configuration are names that cannot be registered in the public DNS: addresses, names without a
//! dot, `localhost` and names below it, Kubernetes's `….svc` and `….cluster.local`, `….internal`, and this machine's
//! name.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

/// Domains below which no name can be registered: RFC 6761 (localhost), ICANN's private-use domain (internal), and
/// Kubernetes's service domains.
const PRIVATE_DOMAINS: &[&str] = &[".localhost", ".internal", ".svc", ".cluster.local"];

/// The names that requests may use besides those that are always safe.
#[derive(Clone, Debug)]
pub struct AllowedHosts {
    /// The configuration's key that adds names.
    key: &'static str,
    /// In lower case: a name, or `.example.com` for each name below `example.com`; `*` for all.
    names: Arc<[String]>,
}

impl AllowedHosts {
    /// `key` is the configuration's key that `names` come from. A name that begins with a dot stands for each name
    /// below that domain, `*` for any name at all.
    pub fn new<N: Into<String>>(key: &'static str, names: impl IntoIterator<Item = N>) -> Self {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let names = names.into_iter().map(Into::into).chain([machine]);
        let names = names.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        AllowedHosts { key, names: names.filter(|name| !name.is_empty()).collect() }
    }

    /// Whether a request with this `Host` (with or without a port) is answered.
    #[must_use]
    pub fn admits(&self, host: &str) -> bool {
        if self.names.iter().any(|name| name == "*") {
            return true;
        }
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        is_address(&host)
            || !host.contains('.')
            || PRIVATE_DOMAINS.iter().any(|domain| host.ends_with(domain))
            || self.names.iter().any(|name| matches_name(name, &host))
    }

    fn admits_request(&self, request: &Request) -> bool {
        // A browser always sends a Host; a client without one is not a browser.
        let mut headers = request.headers().get_all(header::HOST).iter();
        let headers_are_right = headers.all(|host| host.to_str().is_ok_and(|host| self.admits(host)));
        let authority = request.uri().authority();
        headers_are_right && authority.is_none_or(|authority| self.admits(authority.as_str()))
    }
}

/// Adds the check to each route, and answers 421 (RFC 9110, section 15.5.20) to other hosts.
pub fn check(router: Router, allowed: AllowedHosts) -> Router {
    router.layer(from_fn_with_state(allowed, check_host))
}

async fn check_host(State(allowed): State<AllowedHosts>, request: Request, next: Next) -> Response {
    if allowed.admits_request(&request) {
        return next.run(request).await;
    }
    let text = format!(
        "this host name is not accepted; use the address, or add the name to {} (protection against DNS rebinding)\n",
        allowed.key
    );
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

fn is_address(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok()
}

fn matches_name(name: &str, host: &str) -> bool {
    if name.starts_with('.') { host.ends_with(name) } else { name == host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_register_is_admitted_with_any_port() {
        let hosts = AllowedHosts::new("api.allowed_hosts", [""; 0]);
        for host in [
            "127.0.0.1",
            "10.1.2.3:8080",
            "[::1]:8080",
            "[fd00::7]",
            "localhost",
            "LOCALHOST:8080",
            "page.localhost:1",
            "pooler-0",
            "pooler-0:9090",
            "pooler.ns.svc",
            "pooler.ns.svc.cluster.local.:8080",
            "build.internal",
        ] {
            assert!(hosts.admits(host), "{host}");
        }
    }

    #[test]
    fn names_of_the_public_dns_are_refused_until_they_are_configured() {
        let none = AllowedHosts::new("api.allowed_hosts", [""; 0]);
        let some = AllowedHosts::new("api.allowed_hosts", ["Status.example.com", ".intra.example.com"]);
        for host in
            ["status.example.com", "STATUS.example.com:8080", "a.intra.example.com", "a.b.intra.example.com."]
        {
            assert!(!none.admits(host) && some.admits(host), "{host}");
        }
        for host in [
            "rebind.attacker.net",
            "127.0.0.1.attacker.net",
            "localhost.attacker.net",
            "intra.example.com.attacker.net",
            "xstatus.example.com",
            "intra.example.com",
            "svc.attacker.net",
            "",
            "a b",
            "\u{e4}.example.com",
        ] {
            assert!(!none.admits(host) && !some.admits(host), "{host:?}");
        }
        assert!(AllowedHosts::new("api.allowed_hosts", ["*"]).admits("rebind.attacker.net"));
    }
}

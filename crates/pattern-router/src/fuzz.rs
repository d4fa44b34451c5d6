//! Arbitrary names, tickets and heads. For `make fuzz`, and for the tests, which replay its corpus.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::cookies::{self, NONCE_COOKIE, SESSION_COOKIE};
use crate::fields::{self, FieldGroups, ForwardedClient, X_FORWARDED_FOR};
use crate::name::{RoutedDomain, is_pod_id};
use crate::ticket::{TicketClaims, TicketError, TicketKey};

/// Any bytes are a host or none; a host that is accepted matches the grammar, and formatting and parsing it again gives
/// the same.
///
/// # Panics
/// If that does not hold.
pub fn name(input: &[u8]) {
    let Ok(domain) = RoutedDomain::parse("pool.test") else { return };
    if let Ok(name) = domain.parse_host(input) {
        assert!(name.port > 0 && is_pod_id(&name.id), "{name}");
        assert_eq!(domain.parse_host(domain.host_of(&name).as_bytes()), Ok(name));
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(domain) = RoutedDomain::parse(text)
    {
        assert!(domain.covers(domain.name()));
    }
}

/// Any text is a ticket or none; only tickets signed with this key are accepted; and a signed one parses to the same.
///
/// # Panics
/// If that does not hold.
pub fn ticket(input: &[u8]) {
    let (Some(key), Some(other)) = (TicketKey::new(vec![7; 32]), TicketKey::new(vec![9; 32])) else { return };
    let text = String::from_utf8_lossy(input);
    assert!(key.open(&text, 0).is_err(), "{text}");
    if let Ok(claims) = serde_json::from_slice::<TicketClaims>(input)
        && let Some(signed) = key.sign(&claims)
    {
        match key.open(&signed, 0) {
            Ok(opened) => assert_eq!(opened, claims),
            Err(error) => assert!(matches!(error, TicketError::Expired | TicketError::Malformed), "{error}"),
        }
        assert!(other.open(&signed, 0).is_err());
    }
}

/// A head of `name: value` lines: afterwards it contains no hop-by-hop field, no cookie of the router and none of the
/// client's statements about itself, and no cookie of a pod has a `Domain`.
///
/// # Panics
/// If that does not hold.
pub fn head(input: &[u8]) {
    let headers = read_head(input);
    let mut request = headers.clone();
    let groups = FieldGroups::of(&request);
    if groups.hop_by_hop {
        fields::strip_hop_by_hop(&mut request);
    }
    if groups.underscored {
        fields::strip_underscored(&mut request);
    }
    if groups.cookie {
        cookies::clean_request(&mut request);
    }
    let (peer, host, port) = (
        HeaderValue::from_static("203.0.113.7"),
        HeaderValue::from_static("h"),
        HeaderValue::from_static("80"),
    );
    let client = ForwardedClient { peer: &peer, trusted: false, https: false, host: &host, port: &port };
    fields::set_forwarded(&mut request, groups, client);
    assert!(request.keys().all(|name| !fields::is_hop_by_hop(name)), "{request:?}");
    assert!(request.get_all(header::COOKIE).iter().count() <= 1, "{request:?}");
    assert!([SESSION_COOKIE, NONCE_COOKIE].iter().all(|name| cookies::find(&request, name).is_none()));
    assert_eq!(request.get_all(X_FORWARDED_FOR).iter().collect::<Vec<_>>(), [&peer]);
    assert!(!request.contains_key(fields::FORWARDED) && !request.contains_key("x_forwarded_for"));
    let mut response = headers;
    cookies::clean_response(&mut response);
    for line in response.get_all(header::SET_COOKIE) {
        let mut attributes = line.as_bytes().split(|b| *b == b';').skip(1);
        let is_domain = |part: &[u8]| {
            let name = part.split(|b| *b == b'=').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"domain")
        };
        assert!(!attributes.any(is_domain), "{line:?}");
    }
}

/// The lines that are valid fields; HTTP's parser accepts no others.
fn read_head(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|b| *b == b'\n').take(100) {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Replays the fuzzers' corpus of seeds and findings.
    #[test]
    fn the_corpus_finds_nothing() {
        let run: fn(&[u8]) = super::name;
        let targets = [("router_name", run), ("router_ticket", super::ticket), ("router_head", super::head)];
        for (target, run) in targets {
            let corpus = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
            let mut count = 0;
            for entry in std::fs::read_dir(corpus).unwrap() {
                run(&std::fs::read(entry.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 0, "{target}");
        }
    }

    proptest! {
        #[test]
        fn heads_of_such_fields_are_clean(
            lines in prop::collection::vec(
                "(connection|cookie|Set-Cookie|forwarded|x-forwarded-for|x_forwarded_for|te|upgrade|transfer-encoding|keep-alive): \
                 ?(__Host-pattern-router|a|=__host-pattern-router|\"__Host-pattern-router-nonce\"|close|x-forwarded-for|cookie)?\
                 [=,; ]{0,2}(v1|Domain|domain)?[=; ]{0,2}(pool.test)?",
                0..8,
            ),
        ) {
            super::head(lines.join("\n").as_bytes());
        }
    }
}

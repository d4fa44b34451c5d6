//! Header fields that concern one connection only (RFC 9110, section 7.6.1).

use hyper::HeaderMap;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};

/// Removed even if `Connection` does not name them, as old peers send them.
const ALWAYS_HOP_BY_HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
];

/// The protocol that a message requests to change to, or agrees to.
pub fn upgrade_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_named = tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| is_named).cloned()
}

/// Removes what must not be forwarded: the fields above, and those that `Connection` names. An upgrade is added again
/// if `upgrade` is given.
pub fn remove_hop_by_hop(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    let named: Vec<HeaderName> = tokens(headers).filter_map(|token| token.parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in ALWAYS_HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(UPGRADE);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// The tokens of all `Connection` fields.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn fields_that_connection_names_go() {
        let mut map = headers(&[
            ("connection", "close, X-Own"),
            ("connection", "keep-alive"),
            ("x-own", "1"),
            ("keep-alive", "5"),
            ("x-other", "2"),
        ]);
        remove_hop_by_hop(&mut map, None);
        assert_eq!(map, headers(&[("x-other", "2")]));
    }

    #[test]
    fn an_upgrade_needs_both_fields_and_is_put_back() {
        assert_eq!(upgrade_protocol(&headers(&[("upgrade", "websocket")])), None);
        let mut map = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        let upgrade = upgrade_protocol(&map);
        remove_hop_by_hop(&mut map, upgrade);
        assert_eq!(map, headers(&[("connection", "upgrade"), ("upgrade", "websocket")]));
    }

    proptest! {
        #[test]
        fn nothing_hop_by_hop_is_left(names in prop::collection::vec("[a-z]{1,8}(-[a-z]{1,4})?", 0..6), odd in "[ -~]{0,30}") {
            let mut map = HeaderMap::new();
            for name in &names {
                map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("x"));
            }
            map.append(CONNECTION, names.join(" , ").parse().unwrap());
            map.append(CONNECTION, odd.parse().unwrap());
            remove_hop_by_hop(&mut map, None);
            prop_assert!(names.iter().all(|name| !map.contains_key(name.as_str())));
            prop_assert!(ALWAYS_HOP_BY_HOP.iter().all(|name| !map.contains_key(*name)));
        }
    }
}

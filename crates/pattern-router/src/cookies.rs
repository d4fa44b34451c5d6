//! Cookies: the router's own never reach a pod, and a pod's cookies never reach a sibling.

use hyper::HeaderMap;
use hyper::header::{self, HeaderValue};

/// The session, on one name only: `__Host-` cookies are Secure, have Path=/ and no Domain (RFC 6265bis, 4.1.3.2).
pub const SESSION_COOKIE: &str = "__Host-pattern-router";
/// The nonce of a sign-in in progress.
pub const NONCE_COOKIE: &str = "__Host-pattern-router-nonce";
/// Contained in every cookie name of ours: a cheap pre-check.
const MARK: &[u8] = b"pattern-router";

/// The value of the first cookie of this name, exactly spelled.
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key.trim() == name).then(|| value.trim()))
}

/// Joins the lines into which HTTP/2 splits a Cookie field (RFC 9113, section 8.2.3), and removes the router's own
/// cookies, in every spelling that some pod's parser might read as one of them.
pub fn clean_request(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    let (Some(first), second) = (lines.next(), lines.next()) else { return };
    if second.is_none() && !has_mark(first.as_bytes()) {
        return;
    }
    let mut joined: Vec<u8> = Vec::with_capacity(256);
    for line in headers.get_all(header::COOKIE) {
        for pair in line.as_bytes().split(|b| *b == b';') {
            let pair = pair.trim_ascii();
            if pair.is_empty() || is_own_pair(pair) {
                continue;
            }
            if !joined.is_empty() {
                joined.extend_from_slice(b"; ");
            }
            joined.extend_from_slice(pair);
        }
    }
    match HeaderValue::from_bytes(&joined) {
        Ok(value) if !joined.is_empty() => {
            headers.insert(header::COOKIE, value);
        }
        _ => {
            headers.remove(header::COOKIE);
        }
    }
}

/// Restricts a pod's `Set-Cookie`: cookies named like ours are removed, and so is a `Domain`, so that the cookie
/// applies to this one name only.
pub fn clean_response(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::SET_COOKIE);
    if !lines.iter().any(|line| has_mark(line.as_bytes()) || has_domain(line.as_bytes())) {
        return;
    }
    let kept: Vec<HeaderValue> =
        lines.iter().filter_map(|line| cleaned_set_cookie(line.as_bytes())).collect();
    headers.remove(header::SET_COOKIE);
    for line in kept {
        headers.append(header::SET_COOKIE, line);
    }
}

fn cleaned_set_cookie(line: &[u8]) -> Option<HeaderValue> {
    let mut parts = line.split(|b| *b == b';');
    let pair = parts.next().unwrap_or_default();
    if is_own_pair(pair.trim_ascii()) {
        return None;
    }
    let mut kept = pair.to_vec();
    for part in parts.filter(|part| !attribute_name(part).eq_ignore_ascii_case(b"domain")) {
        kept.push(b';');
        kept.extend_from_slice(part);
    }
    HeaderValue::from_bytes(&kept).ok()
}

fn has_domain(line: &[u8]) -> bool {
    line.split(|b| *b == b';').skip(1).any(|part| attribute_name(part).eq_ignore_ascii_case(b"domain"))
}

fn attribute_name(part: &[u8]) -> &[u8] {
    part.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii()
}

/// A pair whose name contains ours, also in quotes, in capitals, or behind an empty name (`=__Host-…=x`).
fn is_own_pair(pair: &[u8]) -> bool {
    let trimmed = pair.strip_prefix(b"=").unwrap_or(pair);
    has_mark(attribute_name(trimmed))
}

fn has_mark(text: &[u8]) -> bool {
    let begins = |window: &[u8]| window.first().is_some_and(|first| first | 0x20 == b'p');
    text.windows(MARK.len()).any(|window| begins(window) && window.eq_ignore_ascii_case(MARK))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cookies(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    fn cleaned(lines: &[&str]) -> Vec<String> {
        let mut headers = cookies(lines);
        clean_request(&mut headers);
        headers
            .get_all(header::COOKIE)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .collect()
    }

    #[test]
    fn own_cookies_never_reach_a_pod_in_any_spelling() {
        assert_eq!(cleaned(&["a=1; __Host-pattern-router=secret; b=2"]), ["a=1; b=2"]);
        for own in [
            "__Host-pattern-router=s",
            "__host-Pattern-Router=s",
            " __Host-pattern-router =s",
            "\"__Host-pattern-router\"=s",
            "__Host-pattern-router-nonce=s",
            "=__Host-pattern-router=s",
            "__Host-pattern-router",
            "__Secure-pattern-router=s",
        ] {
            assert_eq!(cleaned(&[own]), Vec::<String>::new(), "{own}");
            assert_eq!(cleaned(&[&format!("a=1;{own};b=2")]), ["a=1; b=2"], "{own}");
        }
    }

    #[test]
    fn split_cookies_are_joined_and_others_untouched() {
        assert_eq!(cleaned(&["a=1", "b=2; c=3"]), ["a=1; b=2; c=3"]);
        assert_eq!(cleaned(&["a=1;b=2"]), ["a=1;b=2"]);
        assert_eq!(cleaned(&["page=/docs/pattern-router"]), ["page=/docs/pattern-router"]);
    }

    #[test]
    fn a_cookie_is_found_by_its_exact_name() {
        let headers = cookies(&["x=1; __Host-pattern-router-nonce=n", "__Host-pattern-router=v1.a.b"]);
        assert_eq!(find(&headers, SESSION_COOKIE), Some("v1.a.b"));
        assert_eq!(find(&headers, NONCE_COOKIE), Some("n"));
        assert_eq!(find(&cookies(&["__host-pattern-router=x"]), SESSION_COOKIE), None);
    }

    fn set(line: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, line.parse().unwrap());
        clean_response(&mut headers);
        headers.get(header::SET_COOKIE).map(|v| v.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_pods_cookie_is_for_its_own_name_alone() {
        for line in [
            "a=1; Domain=pool.example.com; Path=/",
            "a=1; domain = .pool.example.com ; Path=/",
            "a=1; DOMAIN=com; Path=/; Domain=pool.example.com",
            "a=1; Path=/; Domain",
        ] {
            assert_eq!(set(line).unwrap().replace(' ', ""), "a=1;Path=/", "{line}");
        }
        assert_eq!(set("a=1; Path=/domain; HttpOnly").unwrap(), "a=1; Path=/domain; HttpOnly");
        assert_eq!(set("domain=1; Path=/").unwrap(), "domain=1; Path=/");
    }

    #[test]
    fn a_pod_may_not_set_the_routers_cookies() {
        assert_eq!(set("__Host-pattern-router=forged; Path=/; Secure"), None);
        assert_eq!(set(" __HOST-pattern-router-nonce =x"), None);
    }

    proptest! {
        #[test]
        fn no_own_name_survives(before in "[a-z=; \"]{0,20}", after in "[a-z=; \"]{0,20}", upper: bool) {
            let own = if upper { SESSION_COOKIE.to_uppercase() } else { SESSION_COOKIE.to_owned() };
            for line in cleaned(&[&format!("{before};{own}=S3CRET;{after}")]) {
                prop_assert!(!line.contains("S3CRET"), "{}", line);
            }
        }

        #[test]
        fn any_bytes_are_taken(line in prop::collection::vec(prop_oneof![Just(b'\t'), 32u8..127, 128u8..=255], 0..100)) {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_bytes(&line).unwrap());
            headers.append(header::SET_COOKIE, HeaderValue::from_bytes(&line).unwrap());
            clean_request(&mut headers);
            clean_response(&mut headers);
            prop_assert!(headers.get_all(header::SET_COOKIE).iter().all(|l| !has_domain(l.as_bytes())));
        }
    }
}

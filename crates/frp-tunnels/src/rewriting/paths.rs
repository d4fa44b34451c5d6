//! Rewriting of paths, `Location` and cookies; pure.

use hyper::Uri;

use crate::spec::PathPattern;

/// The most specific pattern that matches the path, and the length of the matched part.
pub(super) fn matched<'a>(patterns: &'a [PathPattern], path: &str) -> Option<(&'a PathPattern, usize)> {
    patterns.iter().find_map(|pattern| Some((pattern, pattern.matched_length(path)?)))
}

/// The target without its first `length` bytes, which a pattern took.
pub(super) fn stripped(uri: &Uri, length: usize) -> Option<Uri> {
    let rest = uri.path().get(length..)?;
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let target = uri.query().map_or_else(|| rest.clone(), |query| format!("{rest}?{query}"));
    target.parse().ok()
}

/// Relative links of the page at `/app` would leave it: `/app` is redirected to `/app/`. Not if a wildcard matches the
/// path: then the service's own resources start there.
pub(super) fn redirect_to_directory(pattern: &PathPattern, prefix: &str, uri: &Uri) -> Option<String> {
    let is_bare = !prefix.is_empty() && uri.path() == prefix && !pattern.has_wildcard();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // a path that begins with two slashes would name another host
    (is_bare && !prefix.starts_with("//")).then(|| format!("{prefix}/{query}"))
}

/// A `Location` of the service with the prefix in front: a path, or a URL of the host that was asked.
/// `None`: it stays as it is.
pub(super) fn location_with_prefix(location: &str, prefix: &str, host: Option<&str>) -> Option<String> {
    if prefix.is_empty() {
        return None;
    }
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(format!("{prefix}{location}"));
    }
    let (scheme, rest) =
        location.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let is_own = host.is_some_and(|host| host.eq_ignore_ascii_case(authority));
    let slash = if path.starts_with('/') { "" } else { "/" };
    is_own.then(|| format!("{scheme}://{authority}{prefix}{slash}{path}"))
}

/// A `Set-Cookie` whose `Path` has the prefix in front. `None`: it has no `Path`, and its default is right.
pub(super) fn cookie_with_prefix(cookie: &str, prefix: &str) -> Option<String> {
    if prefix.is_empty() {
        return None;
    }
    let mut is_changed = false;
    let change = |attribute: &str| {
        let (name, value) = attribute.split_once('=')?;
        let path = value.trim();
        (name.trim().eq_ignore_ascii_case("path") && path.starts_with('/'))
            .then(|| format!(" Path={prefix}{path}"))
    };
    let mut parts = cookie.split(';');
    // the first is the cookie itself, whose name may be "path"
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for attribute in parts {
        changed.push(';');
        if let Some(with_prefix) = change(attribute) {
            is_changed = true;
            changed.push_str(&with_prefix);
        } else {
            changed.push_str(attribute);
        }
    }
    is_changed.then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn locations_get_the_prefix_back() {
        let of = |location| location_with_prefix(location, "/app", Some("a.test"));
        assert_eq!(of("/login?x=/y").as_deref(), Some("/app/login?x=/y"));
        assert_eq!(of("http://a.test/login").as_deref(), Some("http://a.test/app/login"));
        assert_eq!(of("https://A.test").as_deref(), Some("https://A.test/app/"));
        for kept in ["http://other.test/login", "//other.test/x", "login", "mailto:x@y", "#top"] {
            assert_eq!(of(kept), None, "{kept}");
        }
    }

    #[test]
    fn cookie_paths_get_the_prefix_back() {
        let of = |cookie| cookie_with_prefix(cookie, "/app");
        assert_eq!(of("id=1; Path=/; Secure").as_deref(), Some("id=1; Path=/app/; Secure"));
        assert_eq!(of("path=/x; HttpOnly; path=/y").as_deref(), Some("path=/x; HttpOnly; Path=/app/y"));
        assert_eq!(of("id=1; Secure"), None);
    }

    #[test]
    fn paths_are_stripped_by_segments() {
        let of = |uri: &str, length| stripped(&uri.parse().unwrap(), length).map(|uri| uri.to_string());
        assert_eq!(of("/app/x?y=/z", 4).as_deref(), Some("/x?y=/z"));
        assert_eq!(of("/app", 4).as_deref(), Some("/"));
        assert_eq!(of("/app?q", 4).as_deref(), Some("/?q"));
        let app = PathPattern::parse("/app").unwrap();
        let to = |uri: &str| redirect_to_directory(&app, "/app", &uri.parse().unwrap());
        assert_eq!(to("/app?q=1").as_deref(), Some("/app/?q=1"));
        assert_eq!(to("/app/"), None);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "\\PC{0,60}", prefix in "(/[a-z]{1,5}){0,3}") {
            let _ = location_with_prefix(&text, &prefix, Some("a.test"));
            let _ = cookie_with_prefix(&text, &prefix);
        }

        #[test]
        fn what_is_stripped_begins_with_a_slash(path in "(/[a-z]{1,3}){1,5}/?", pattern in "(/[a-z*]{1,1}){0,3}") {
            let pattern = PathPattern::parse(if pattern.is_empty() { "/" } else { &pattern }).unwrap();
            if let Some(length) = pattern.matched_length(&path) {
                let uri = stripped(&path.parse().unwrap(), length).unwrap();
                prop_assert!(uri.path().starts_with('/'));
                prop_assert!(path.ends_with(uri.path()) || uri.path() == "/");
            }
        }
    }
}

//! Paths of HTTP tunnels: prefixes by segments, with `*` for one whole segment.

use std::fmt;

/// At most this many segments a pattern: every request is matched against it.
const MAX_SEGMENTS: usize = 32;

/// `/`, `/app`, `/api/*/users`: matches a path whose first segments are these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPattern {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Any,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    #[error("must begin with \"/\"")]
    NoLeadingSlash,
    #[error("holds an empty segment (\"//\")")]
    EmptySegment,
    #[error("\"*\" must be a whole segment, as in /api/*/users")]
    PartialWildcard,
    #[error("holds \"{0}\", which is not part of a path")]
    NotAPath(char),
    #[error("holds a segment \"{0}\", which clients resolve before they send the path")]
    DotSegment(String),
    #[error("has more than {MAX_SEGMENTS} segments")]
    TooLong,
}

impl PathPattern {
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PathPatternError::NoLeadingSlash);
        };
        let is_foreign = |c: &char| c.is_whitespace() || c.is_control() || "?#\\".contains(*c);
        if let Some(foreign) = text.chars().find(is_foreign) {
            return Err(PathPatternError::NotAPath(foreign));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Ok(Self { segments: Vec::new() });
        }
        let segments: Vec<_> = rest.split('/').map(parse_segment).collect::<Result<_, _>>()?;
        if segments.len() > MAX_SEGMENTS {
            return Err(PathPatternError::TooLong);
        }
        Ok(Self { segments })
    }

    /// The length in bytes of the part of `path` that this pattern matches: `/app` matches `/app`, `/app/` and
    /// `/app/x`, never `/application`. `None`: no match.
    pub fn matched_length(&self, path: &str) -> Option<usize> {
        let mut length = 0;
        for wanted in &self.segments {
            let rest = path.get(length..)?.strip_prefix('/')?;
            let segment = rest.split('/').next().unwrap_or_default();
            match wanted {
                Segment::Literal(literal) if literal != segment => return None,
                Segment::Any if segment.is_empty() => return None,
                _ => length += 1 + segment.len(),
            }
        }
        Some(length)
    }

    pub fn has_wildcard(&self) -> bool {
        self.segments.contains(&Segment::Any)
    }

    /// What frps is given: the segments before the first wildcard, as a string prefix.
    pub fn literal_prefix(&self) -> String {
        let literal = self.segments.iter().map_while(|segment| match segment {
            Segment::Literal(text) => Some(text.as_str()),
            Segment::Any => None,
        });
        let joined = literal.fold(String::new(), |joined, segment| joined + "/" + segment);
        if joined.is_empty() { "/".to_owned() } else { joined }
    }

    /// More specific first: longer, then with fewer wildcards at the front.
    pub fn specificity(&self) -> (usize, Vec<bool>) {
        (self.segments.len(), self.segments.iter().map(|segment| *segment != Segment::Any).collect())
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return out.write_str("/");
        }
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(out, "/{text}")?,
                Segment::Any => out.write_str("/*")?,
            }
        }
        Ok(())
    }
}

fn parse_segment(text: &str) -> Result<Segment, PathPatternError> {
    match text {
        "" => Err(PathPatternError::EmptySegment),
        "*" => Ok(Segment::Any),
        "." | ".." => Err(PathPatternError::DotSegment(text.to_owned())),
        _ if text.contains('*') => Err(PathPatternError::PartialWildcard),
        _ => Ok(Segment::Literal(text.to_owned())),
    }
}

/// How the paths that two patterns take lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathOverlap {
    /// No path is taken by both.
    Disjoint,
    /// The same pattern.
    Same,
    /// One is a prefix of the other by segments: the longer one takes its part.
    Prefix,
    /// They meet through a wildcard.
    Wildcard,
}

/// Compares two patterns; symmetric.
pub fn overlap(left: &PathPattern, right: &PathPattern) -> PathOverlap {
    if left == right {
        return PathOverlap::Same;
    }
    let mut uses_wildcard = false;
    for (a, b) in left.segments.iter().zip(&right.segments) {
        match (a, b) {
            (Segment::Literal(a), Segment::Literal(b)) if a != b => return PathOverlap::Disjoint,
            (Segment::Any, Segment::Literal(_)) | (Segment::Literal(_), Segment::Any) => uses_wildcard = true,
            _ => {}
        }
    }
    if uses_wildcard { PathOverlap::Wildcard } else { PathOverlap::Prefix }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        assert_eq!(pattern("/app").matched_length("/app/x"), Some(4));
        assert_eq!(pattern("/app/").matched_length("/app"), Some(4));
        assert_eq!(pattern("/app").matched_length("/application"), None);
        assert_eq!(pattern("/").matched_length("/any"), Some(0));
        assert_eq!(pattern("/api/*/users").matched_length("/api/7/users/9"), Some(12));
        assert_eq!(pattern("/api/*/users").matched_length("/api//users"), None);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_reason() {
        for (text, error) in [
            ("app", PathPatternError::NoLeadingSlash),
            ("/a//b", PathPatternError::EmptySegment),
            ("/x*", PathPatternError::PartialWildcard),
            ("/a?b", PathPatternError::NotAPath('?')),
            ("/a/../b", PathPatternError::DotSegment("..".into())),
        ] {
            assert_eq!(PathPattern::parse(text), Err(error));
        }
    }

    #[test]
    fn overlaps_are_told_apart() {
        let of = |a, b| overlap(&pattern(a), &pattern(b));
        assert_eq!(of("/a", "/a/"), PathOverlap::Same);
        assert_eq!(of("/app", "/application"), PathOverlap::Disjoint);
        assert_eq!(of("/a", "/a/b"), PathOverlap::Prefix);
        assert_eq!(of("/api/*/users", "/api/7"), PathOverlap::Wildcard);
        assert_eq!(of("/api/*/users", "/api/7/orders"), PathOverlap::Disjoint);
    }

    fn any_pattern() -> impl Strategy<Value = PathPattern> {
        let segment = prop_oneof![Just("*".to_owned()), "[ab]{1,2}"];
        prop::collection::vec(segment, 0..4).prop_map(|segments| pattern(&format!("/{}", segments.join("/"))))
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_is_parsed_prints_as_itself(text in "\\PC{0,40}") {
            if let Ok(parsed) = PathPattern::parse(&text) {
                prop_assert_eq!(pattern(&parsed.to_string()), parsed);
            }
        }

        #[test]
        fn overlap_is_symmetric_and_disjoint_patterns_share_no_path(a in any_pattern(), b in any_pattern(), path in "(/[ab]{1,2}){0,5}") {
            prop_assert_eq!(overlap(&a, &b), overlap(&b, &a));
            if overlap(&a, &b) == PathOverlap::Disjoint {
                prop_assert!(a.matched_length(&path).is_none() || b.matched_length(&path).is_none());
            }
        }

        #[test]
        fn what_a_pattern_takes_begins_with_its_literal_prefix(a in any_pattern(), path in "(/[ab]{1,2}){0,5}") {
            if let Some(length) = a.matched_length(&path) {
                prop_assert!(length <= path.len() && path.is_char_boundary(length));
                prop_assert!(a.literal_prefix() == "/" || path.starts_with(&a.literal_prefix()));
            }
        }
    }
}

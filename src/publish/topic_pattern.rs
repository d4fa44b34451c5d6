//! Patterns of topics' names. Pure.

/// Whether a name matches a pattern, in which each `*` stands for any number of characters.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_is_a_name_with_stars() {
        for (pattern, name, fits) in [
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("replies-*", "replies-", true),
            ("replies-*", "replies-a.b", true),
            ("*-replies", "a-replies", true),
            ("*-replies", "a-replies-b", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("*", "anything", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_fits_what_is_made_of_it(parts in proptest::collection::vec("[a-c]{0,3}", 1..5), filling in "[a-c]{0,4}") {
            prop_assert!(matches(&parts.join("*"), &parts.join(&filling)));
        }
    }
}

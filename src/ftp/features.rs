//! What the server reports it can do beyond RFC 959: FEAT (RFC 2389).

/// How many features are stored at most.
const MAX_FEATURES: usize = 200;

/// The features of one server, upper case: `SIZE`, `REST STREAM`, `HASH SHA-1;SHA-256*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerFeatures(Vec<String>);

impl ServerFeatures {
    /// Parses the reply to FEAT: one feature per line, between a first and a last line without content. Some servers
    /// put the code before every line.
    pub fn parse(body: &[u8]) -> ServerFeatures {
        let body = String::from_utf8_lossy(body);
        let lines: Vec<&str> = body.lines().collect();
        let Some((_, [features @ .., _])) = lines.split_first() else { return ServerFeatures::default() };
        let names = features.iter().map(|line| without_code(line).trim().to_ascii_uppercase());
        ServerFeatures(names.filter(|name| !name.is_empty()).take(MAX_FEATURES).collect())
    }

    /// Whether the server lists nothing: it may still support some of them.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the server lists this command or option.
    pub fn has(&self, name: &str) -> bool {
        self.parameters(name).is_some()
    }

    /// What follows a feature's name; empty if nothing does.
    pub fn parameters(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|feature| {
            let rest = feature.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim_start())
        })
    }
}

fn without_code(line: &str) -> &str {
    match line.split_at_checked(4) {
        Some((code, rest)) if code.ends_with('-') && code.bytes().take(3).all(|b| b.is_ascii_digit()) => rest,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn features_are_read_as_servers_list_them() {
        let body =
            b"211-Features:\r\n EPSV\r\n Hash SHA-1;SHA-256*\r\n211-MFMT\r\n REST STREAM\r\n211 End\r\n";
        let features = ServerFeatures::parse(body);
        assert!(features.has("EPSV") && features.has("MFMT") && features.has("REST"));
        assert_eq!(features.parameters("HASH"), Some("SHA-1;SHA-256*"));
        assert!(!features.has("RES") && !features.has("FEATURES:") && !features.has("END"));
    }

    #[test]
    fn a_server_without_features_has_none() {
        for body in [&b"211 No features\r\n"[..], b"211-Features:\r\n211 End\r\n", b"500 What?\r\n", b""] {
            assert_eq!(ServerFeatures::parse(body), ServerFeatures::default());
        }
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_read_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert!(ServerFeatures::parse(&body).0.len() <= MAX_FEATURES);
        }
    }
}

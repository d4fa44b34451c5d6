//! The page at `/`: one file with its style and script within, under a policy that allows just these two.
//!
//! It is written in several files, which are joined here; there is no build step, and a browser gets exactly their
//! text.

use std::sync::LazyLock;

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const HTML: &str = include_str!("page/index.html");
const STYLE: &[&str] = &[
    include_str!("page/style/base.css"),
    include_str!("page/style/figures.css"),
    include_str!("page/style/tables.css"),
];
/// Joined into one script: each part sees the definitions of those before it.
const SCRIPT: &[&str] = &[
    include_str!("page/script/format.js"),
    include_str!("page/script/dom.js"),
    include_str!("page/script/stream.js"),
    include_str!("page/script/rates.js"),
    include_str!("page/script/head.js"),
    include_str!("page/script/chart.js"),
    include_str!("page/script/hour.js"),
    include_str!("page/script/connections.js"),
    include_str!("page/script/tunnels.js"),
    include_str!("page/script/pool.js"),
    include_str!("page/script/transfers.js"),
    include_str!("page/script/feeds.js"),
    include_str!("page/script/batches.js"),
    include_str!("page/script/answers.js"),
    include_str!("page/script/main.js"),
];

/// The whole page.
pub(super) static PAGE: LazyLock<String> =
    LazyLock::new(|| HTML.replace("/*STYLE*/", &STYLE.concat()).replace("/*SCRIPT*/", &SCRIPT.concat()));

/// Its Content-Security-Policy: style and script by their hashes, data from this host, nothing else.
pub(super) static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        source_hash(&STYLE.concat()),
        source_hash(&SCRIPT.concat()),
    );
    // Base64 and the text above are ASCII; otherwise the page would be shown without style and script.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// A hash source (CSP Level 3): the digest of the element's whole text.
fn source_hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text between `<tag>` and its end, as a browser hashes it.
    fn element<'a>(page: &'a str, tag: &str) -> &'a str {
        let (_, rest) = page.split_once(&format!("<{tag}>")).expect("the element begins");
        rest.split_once(&format!("</{tag}>")).expect("the element ends").0
    }

    #[test]
    fn the_policy_names_the_hashes_of_what_the_page_holds() {
        let policy = POLICY.to_str().unwrap();
        for tag in ["style", "script"] {
            let text = element(&PAGE, tag);
            assert!(text.len() > 100, "{tag} is filled in");
            assert!(policy.contains(&format!("{tag}-src '{}'", source_hash(text))), "{tag}: {policy}");
        }
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn every_file_of_the_page_is_in_it() {
        for (kind, parts) in [("style", STYLE), ("script", SCRIPT)] {
            let place = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sidecar/page");
            let files = std::fs::read_dir(format!("{place}/{kind}")).unwrap().count();
            assert_eq!(files, parts.len(), "{kind}");
        }
    }

    #[test]
    fn the_page_names_no_other_host_and_writes_no_markup() {
        for forbidden in ["http://", "https://", "//cdn", "innerHTML", "eval(", "style=", "onclick="] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn the_hash_is_the_one_of_the_standard() {
        // The method of CSP Level 3, section 8.4: sha256 of the text, base64.
        assert_eq!(source_hash("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}

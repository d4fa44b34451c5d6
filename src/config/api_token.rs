//! The API's token: who has it may look at the pod.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hyper::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::errors::{Mistakes, SourceLocation};
use super::keys::{API_TOKEN, API_TOKEN_FILE};
use super::password::from_file;
use super::section_reader::Reading;

/// The scheme of RFC 6750; its case does not matter.
const SCHEME: &str = "Bearer";

/// A bearer token (RFC 6750).
#[derive(Clone)]
pub struct ApiToken {
    secret: SecretString,
    /// SHA-256: what is compared has one length, whatever was sent.
    digest: [u8; 32],
    /// Where it was read.
    pub(super) file: Option<String>,
}

impl ApiToken {
    /// # Errors
    /// It is empty, or has a character that RFC 6750 lets no token have; the error does not show it.
    pub fn new(secret: SecretString) -> Result<ApiToken, &'static str> {
        let is_of_tokens = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let bare = secret.expose_secret().trim_end_matches('=');
        if bare.is_empty() || !bare.chars().all(is_of_tokens) {
            return Err(
                "is none that a header can carry; expected letters, digits and -._~+/, then = if at all",
            );
        }
        let digest = Sha256::digest(secret.expose_secret()).into();
        Ok(ApiToken { secret, digest, file: None })
    }

    /// Whether a request with this `Authorization` may look. Takes the same time wherever a wrong token differs.
    #[must_use]
    pub fn admits(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked(SCHEME.len()) else { return false };
        let is_bearer = scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && given.starts_with(b" ");
        let digest: [u8; 32] = Sha256::digest(given.trim_ascii()).into();
        is_bearer & bool::from(digest.ct_eq(&self.digest))
    }

    /// Whether the other is the same.
    #[must_use]
    pub(super) fn is(&self, other: &ApiToken) -> bool {
        self.digest == other.digest
    }

    /// Whether a token that stands in no file of its own has become another: that takes a restart.
    pub(super) fn needs_restart_for(&self, new: Option<&ApiToken>) -> bool {
        self.file.is_none() && new.is_some_and(|new| new.file.is_none() && !self.is(new))
    }

    /// The `Authorization` of one who asks.
    #[must_use]
    pub fn authorization(&self) -> HeaderValue {
        let value = format!("{SCHEME} {}", self.secret.expose_secret());
        // What a token may hold, a header may.
        let mut value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(SCHEME));
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

/// Reads a token's file.
fn read(file: &str) -> Result<ApiToken, String> {
    let token = ApiToken::new(from_file(file)?).map_err(|problem| format!("the token {problem}"))?;
    Ok(ApiToken { file: Some(file.to_owned()), ..token })
}

/// The token as its file has it now, where it has one.
pub(super) fn reread(token: &Arc<ApiToken>, mistakes: &mut Mistakes) -> Arc<ApiToken> {
    let Some(file) = &token.file else { return Arc::clone(token) };
    mistakes.reads(Path::new(file));
    match read(file) {
        Ok(new) if new.is(token) => Arc::clone(token),
        Ok(new) => Arc::new(new),
        Err(problem) => {
            mistakes.add(
                SourceLocation::File { path: file.clone(), line: None },
                API_TOKEN_FILE.path,
                problem,
            );
            Arc::clone(token)
        }
    }
}

/// Takes the token from whichever of the two keys is set; the environment's overrides the file's. Empty is none.
pub(super) fn take(reading: &mut Reading<'_>) -> Option<ApiToken> {
    for (key, other) in [(API_TOKEN, API_TOKEN_FILE), (API_TOKEN_FILE, API_TOKEN)] {
        if reading.is_from_environment(&key) && !reading.is_from_environment(&other) {
            reading.entries.remove(other.path);
        }
    }
    let entries = [API_TOKEN, API_TOKEN_FILE].map(|key| reading.entries.get(key.path).cloned());
    let (text, file) = (reading.text_if_set(&API_TOKEN), reading.text_if_set(&API_TOKEN_FILE));
    let [of_text, of_file] = entries;
    let (key, entry, token) = match (text.filter(|text| !text.is_empty()), &file) {
        (Some(_), Some(_)) => {
            let problem = format!("{} is set as well; expected one of them", API_TOKEN.path);
            reading.wrong(API_TOKEN_FILE.path, of_file.as_ref(), problem);
            return None;
        }
        (Some(text), None) => {
            let token = ApiToken::new(SecretString::from(text));
            (API_TOKEN, of_text, token.map_err(|problem| format!("the token {problem}")))
        }
        (None, Some(file)) => (API_TOKEN_FILE, of_file, read(file)),
        (None, None) => return None,
    };
    token.map_err(|problem| reading.wrong(key.path, entry.as_ref(), problem)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_admitted_with_the_token_and_nothing_else() {
        let token = ApiToken::new("s3cret-Token.==".into()).unwrap();
        for right in ["Bearer s3cret-Token.==", "bearer  s3cret-Token.==", "BEARER s3cret-Token.== "] {
            assert!(token.admits(right.as_bytes()), "{right}");
        }
        let wrong = [
            "",
            "Bearer",
            "Bearer ",
            "Bearers3cret-Token.==",
            "Basic s3cret-Token.==",
            "s3cret-Token.==",
            "Bearer s3cret-Token.=",
            "Bearer s3cret-token.==",
            "Bearer s3cret-Token.== x",
            "Bearer\ts3cret-Token.==",
        ];
        for wrong in wrong {
            assert!(!token.admits(wrong.as_bytes()), "{wrong}");
        }
        assert!(!token.admits(b"\xff\xfe"));
        assert_eq!(token.authorization(), "Bearer s3cret-Token.==");
        assert!(!format!("{:?}", token.authorization()).contains("s3cret"));
        assert!(!format!("{token:?}").contains("s3cret"));
    }

    #[test]
    fn what_no_header_could_carry_is_no_token_and_is_not_shown() {
        for wrong in ["", "=", "hunter2 x", "hunter2\n", "hünter2", "hunter2=x", "\"hunter2\""] {
            let problem = ApiToken::new(wrong.into()).unwrap_err();
            assert!(problem.starts_with("is none") && !problem.contains("hunter2"), "{problem}");
        }
    }
}

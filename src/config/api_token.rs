//! The API's token: who has it may look at the pod.

use std::fmt;
use std::sync::Arc;

use hyper::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::errors::{ErrorCollector, SourceLocation};
use super::key::{FieldAccess, KeyField};
use super::kind::{KeyValue, MAX_SECRET_FILE_BYTES};
use super::password::from_file;
use super::settings::Config;

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

/// `api.token`; empty is none.
pub(super) const TEXT: FieldAccess<Config> = FieldAccess {
    set: |config, value| {
        let text = value.into_text();
        if !text.is_empty() {
            config.api_token = Some(Arc::new(checked(text.into())?));
        }
        Ok(())
    },
    get: |config| match config.api_token.as_deref() {
        None => KeyValue::secret(b""),
        // what is in a file changes with it
        Some(ApiToken { file: Some(_), .. }) => KeyValue::secret(b"in a file"),
        Some(token) => KeyValue::secret(token.secret.expose_secret().as_bytes()),
    },
};

/// `api.token_file`.
pub(super) const FILE: FieldAccess<Config> = FieldAccess {
    set: |config, value| {
        if let KeyValue::File { path, content } = value {
            config.api_token = Some(Arc::new(in_file(path, content)?));
        }
        Ok(())
    },
    get: |config| config.api_token.as_ref().map_or(KeyValue::Unset, |token| token.file.load()),
};

fn in_file(path: String, content: Vec<u8>) -> Result<ApiToken, String> {
    let token = checked(from_file(&path, content)?)?;
    Ok(ApiToken { file: Some(path), ..token })
}

fn checked(secret: SecretString) -> Result<ApiToken, String> {
    ApiToken::new(secret).map_err(|problem| format!("the token {problem}"))
}

/// The token as its file has it now, if it has one.
pub(super) fn reread(token: &Arc<ApiToken>, errors: &mut ErrorCollector) -> Arc<ApiToken> {
    let Some(path) = token.file.clone() else { return Arc::clone(token) };
    let read = errors.read_file(&path, MAX_SECRET_FILE_BYTES);
    match read.and_then(|content| in_file(path.clone(), content)) {
        Ok(new) if new.is(token) => Arc::clone(token),
        Ok(new) => Arc::new(new),
        Err(problem) => {
            errors.add(SourceLocation::File { path, line: None }, "api.token_file", problem);
            Arc::clone(token)
        }
    }
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

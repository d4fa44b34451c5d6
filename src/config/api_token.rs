//! The API's token in the configuration.

use std::sync::Arc;

use secrecy::SecretString;
use service_kit::http::token::BearerToken;

use super::errors::{ErrorCollector, SourceLocation};
use super::key::{FieldAccess, KeyField};
use super::kind::{KeyValue, MAX_SECRET_FILE_BYTES};
use super::password::from_file;
use super::settings::Config;

/// A shorter token could be guessed.
const MIN_TOKEN_CHARS: usize = 16;

/// The API's bearer token, and where it comes from.
#[derive(Clone, Debug)]
pub struct ApiToken {
    bearer: Arc<BearerToken>,
    /// The file that it was read from, unless it is written in the configuration.
    file: Option<String>,
}

impl ApiToken {
    /// # Errors
    /// If it cannot be sent in a header; the error does not show it.
    pub fn new(secret: SecretString) -> Result<ApiToken, &'static str> {
        Ok(ApiToken { bearer: Arc::new(BearerToken::new(secret)?), file: None })
    }

    #[must_use]
    pub fn bearer(&self) -> Arc<BearerToken> {
        Arc::clone(&self.bearer)
    }

    /// Whether both have the same text.
    #[must_use]
    pub(super) fn is(&self, other: &ApiToken) -> bool {
        self.bearer == other.bearer
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
        // A token in a file changes with the file.
        Some(ApiToken { file: Some(_), .. }) => KeyValue::secret(b"in a file"),
        Some(token) => KeyValue::secret(token.bearer.authorization().as_bytes()),
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
    let token = ApiToken::new(secret).map_err(|problem| format!("the token {problem}"))?;
    if token.bearer.length() < MIN_TOKEN_CHARS {
        return Err(format!(
            "the token has fewer than {MIN_TOKEN_CHARS} characters, and could be guessed; `openssl rand -hex 32` makes one"
        ));
    }
    Ok(token)
}

/// Reads the token again from its file, if it has one.
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

//! The API's token: what the configuration says about it.

use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;
use service_kit::http::token::BearerToken;

use super::errors::{Mistakes, SourceLocation};
use super::keys::{API_TOKEN, API_TOKEN_FILE};
use super::password::from_file;
use super::section_reader::Reading;

/// The API's bearer token, and where it comes from.
#[derive(Clone, Debug)]
pub struct ApiToken {
    bearer: Arc<BearerToken>,
    /// The file that it was read from, unless its text is in the configuration.
    pub(super) file: Option<String>,
}

impl ApiToken {
    /// # Errors
    /// It cannot be sent in a header; the error does not show it.
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

    /// Whether a token that is not in a file of its own was replaced: that takes a restart.
    pub(super) fn needs_restart_for(&self, new: Option<&ApiToken>) -> bool {
        self.file.is_none() && new.is_some_and(|new| new.file.is_none() && !self.is(new))
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

//! Randomness of the operating system.

use base64::Engine as _;
use secrecy::SecretString;

/// Of a generated secret: 256 bits.
const SECRET_BYTES: usize = 32;

/// The system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("no randomness from the system: {0}")]
pub struct RandomError(getrandom::Error);

/// 43 characters of base64url, without padding.
pub fn secret() -> Result<SecretString, RandomError> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
    Ok(SecretString::from(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)))
}

/// For an identifier, which is not secret: zeros if the system has no random source.
pub(crate) fn bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    let _ = getrandom::fill(&mut bytes);
    bytes
}

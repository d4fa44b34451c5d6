//! rclone's obscured passwords: AES-256 in counter mode with a key that rclone publishes, so that a password cannot be
//! read at a glance. This does not protect it from anyone who has the file.

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ctr::Ctr128BE;
use secrecy::SecretString;

/// rclone's key, the same in every copy of rclone (its fs/config/obscure/obscure.go).
const KEY: [u8; 32] = [
    0x9c, 0x93, 0x5b, 0x48, 0x73, 0x0a, 0x55, 0x4d, 0x6b, 0xfd, 0x7c, 0x63, 0xc8, 0x86, 0xa9, 0x2b, //
    0xd3, 0x90, 0x19, 0x8e, 0xb8, 0x12, 0x8a, 0xfb, 0xf4, 0xde, 0x16, 0x2b, 0x8b, 0x95, 0xf6, 0x38,
];

/// The initialization vector precedes the ciphertext.
const IV_BYTES: usize = 16;

/// Why a text is not an obscured password. The messages never repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevealError {
    #[error("is not base64: is it a plain password? then the key is pass")]
    Encoding,
    #[error("is too short for an obscured password: is it a plain one? then the key is pass")]
    Short,
    #[error("does not reveal to text: is it a plain password? then the key is pass")]
    Text,
}

/// Reveals a password as printed by `rclone obscure`, or stored by rclone.conf as `pass`.
///
/// # Errors
/// See [`RevealError`].
pub fn reveal(obscured: &str) -> Result<SecretString, RevealError> {
    let mut bytes = URL_SAFE_NO_PAD.decode(obscured.trim()).map_err(|_| RevealError::Encoding)?;
    let (iv, password) = bytes.split_at_mut_checked(IV_BYTES).ok_or(RevealError::Short)?;
    apply(iv, password);
    let password = String::from_utf8(password.to_vec()).map_err(|_| RevealError::Text)?;
    Ok(SecretString::from(password))
}

/// Encrypts or decrypts: in counter mode both are the same.
fn apply(iv: &[u8], text: &mut [u8]) {
    let mut counter = [0; IV_BYTES];
    for (to, from) in counter.iter_mut().zip(iv) {
        *to = *from;
    }
    Ctr128BE::<Aes256>::new(&KEY.into(), &counter.into()).apply_keystream(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    fn obscure(password: &str, iv: [u8; IV_BYTES]) -> String {
        let mut text = password.as_bytes().to_vec();
        apply(&iv, &mut text);
        URL_SAFE_NO_PAD.encode([iv.as_slice(), &text].concat())
    }

    #[test]
    fn rclones_own_test_vectors_are_revealed() {
        for (obscured, password) in [
            ("YWFhYWFhYWFhYWFhYWFhYQ", ""),
            ("YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ", "potato"),
            ("YmJiYmJiYmJiYmJiYmJiYp3gcEWbAw", "potato"),
        ] {
            assert_eq!(reveal(obscured).unwrap().expose_secret(), password);
        }
    }

    #[test]
    fn a_text_that_rclone_did_not_obscure_is_refused_by_name() {
        assert_eq!(reveal("YmJiYmJiYmJiYmJiYmJiYp*gcEWbAw").unwrap_err(), RevealError::Encoding);
        assert_eq!(reveal("aGVsbG8").unwrap_err(), RevealError::Short);
        assert_eq!(reveal("").unwrap_err(), RevealError::Short);
        assert_eq!(reveal("YWFhYWFhYWFhYWFhYWFhYXMaGgIl_w").err(), Some(RevealError::Text));
    }

    proptest! {
        #[test]
        fn what_was_obscured_is_revealed(password in ".{0,200}", iv: [u8; IV_BYTES]) {
            let revealed = reveal(&obscure(&password, iv)).unwrap();
            prop_assert_eq!(revealed.expose_secret(), &password);
        }

        #[test]
        fn any_text_is_revealed_or_refused_without_a_panic(text in ".{0,80}") {
            let _ = reveal(&text);
        }
    }
}

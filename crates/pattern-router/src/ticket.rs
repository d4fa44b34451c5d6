//! Signed tickets: how the application tells the router who the user is, and the content of the router's own cookie.
//!
//! A ticket is `v1.PAYLOAD.MAC`: base64url (RFC 4648, section 5, no padding) of a JSON object, and of HMAC-SHA-256 (RFC
//! 2104) over `v1.PAYLOAD`'s ASCII. The application signs with `"use": "enter"`, the router's cookie has `"use":
//! "session"`: neither is accepted in place of the other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Shorter secrets are rejected: 32 bytes are as long as the MAC.
pub const MIN_SECRET: usize = 32;
/// The maximum length of a ticket.
pub const MAX_TICKET: usize = 2048;
/// The maximum validity of an application's ticket, in seconds.
pub const MAX_TICKET_SECONDS: u64 = 60;
const VERSION: &str = "v1";

/// The purpose of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TicketUse {
    /// Signed by the application, to enter once.
    Enter,
    /// The router's own cookie.
    Session,
}

/// The port that a ticket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TicketPort {
    Any,
    One(u16),
}

/// The signed content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketClaims {
    #[serde(rename = "use")]
    pub usage: TicketUse,
    /// The pod's (workspace's) id.
    pub id: String,
    /// A number, or `"*"` for every port of the pod.
    pub port: TicketPort,
    pub user: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The nonce that the router sent; empty in a session.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    /// Seconds since 1970.
    pub expires: u64,
}

/// Why a ticket is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error("is not a ticket")]
    Malformed,
    #[error("has a wrong signature")]
    BadSignature,
    #[error("has expired")]
    Expired,
    #[error("expires more than {MAX_TICKET_SECONDS} seconds from now")]
    TooLong,
    #[error("is for another pod or port")]
    OtherName,
    #[error("is for another use")]
    OtherUse,
}

/// The secret shared with the application; never shown.
#[derive(Debug, Clone)]
pub struct TicketKey(SecretSlice<u8>);

impl TicketKey {
    /// None if it is shorter than [`MIN_SECRET`].
    pub fn new(secret: Vec<u8>) -> Option<TicketKey> {
        (secret.len() >= MIN_SECRET).then(|| TicketKey(secret.into()))
    }

    fn mac(&self, signed: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).ok()?;
        mac.update(signed.as_bytes());
        Some(mac)
    }

    /// Signs claims; returns the ticket's text.
    pub fn sign(&self, claims: &TicketClaims) -> Option<String> {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).ok()?);
        let signed = format!("{VERSION}.{payload}");
        let mac = URL_SAFE_NO_PAD.encode(self.mac(&signed)?.finalize().into_bytes());
        Some(format!("{signed}.{mac}"))
    }

    /// The claims, if the signature is this key's and the ticket has not expired at `now` (seconds since 1970).
    pub fn open(&self, ticket: &str, now: u64) -> Result<TicketClaims, TicketError> {
        if ticket.len() > MAX_TICKET {
            return Err(TicketError::Malformed);
        }
        let (signed, mac) = ticket.rsplit_once('.').ok_or(TicketError::Malformed)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| TicketError::Malformed)?;
        let expected = self.mac(signed).ok_or(TicketError::BadSignature)?;
        expected.verify_slice(&mac).map_err(|_| TicketError::BadSignature)?;
        let payload =
            signed.strip_prefix(VERSION).and_then(|p| p.strip_prefix('.')).ok_or(TicketError::Malformed)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TicketError::Malformed)?;
        let claims: TicketClaims = serde_json::from_slice(&payload).map_err(|_| TicketError::Malformed)?;
        if claims.expires <= now { Err(TicketError::Expired) } else { Ok(claims) }
    }
}

impl TicketClaims {
    /// Whether it has this purpose and is valid for this port of this pod.
    pub fn check(&self, usage: TicketUse, id: &str, port: u16) -> Result<(), TicketError> {
        if self.usage != usage {
            return Err(TicketError::OtherUse);
        }
        let fits = match self.port {
            TicketPort::Any => true,
            TicketPort::One(one) => one == port,
        };
        if fits && self.id == id { Ok(()) } else { Err(TicketError::OtherName) }
    }

    /// A ticket of the application is valid for at most a minute, so that a leaked one soon becomes worthless.
    pub fn check_lifetime(&self, now: u64) -> Result<(), TicketError> {
        if self.expires > now.saturating_add(MAX_TICKET_SECONDS) { Err(TicketError::TooLong) } else { Ok(()) }
    }
}

impl Serialize for TicketPort {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            TicketPort::Any => serializer.serialize_str("*"),
            TicketPort::One(port) => serializer.serialize_u16(*port),
        }
    }
}

impl<'de> Deserialize<'de> for TicketPort {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumberOrText {
            Number(u16),
            Text(String),
        }
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(port) if port > 0 => Ok(TicketPort::One(port)),
            NumberOrText::Text(text) if text == "*" => Ok(TicketPort::Any),
            _ => Err(serde::de::Error::custom("expected a port or \"*\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> TicketKey {
        TicketKey::new(vec![byte; 32]).unwrap()
    }

    fn claims() -> TicketClaims {
        TicketClaims {
            usage: TicketUse::Enter,
            id: "ws123".into(),
            port: TicketPort::One(3000),
            user: "alice".into(),
            roles: vec![],
            nonce: "n".into(),
            expires: 1_060,
        }
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let ticket = key(b'k').sign(&claims()).unwrap();
        assert_eq!(
            ticket,
            "v1.eyJ1c2UiOiJlbnRlciIsImlkIjoid3MxMjMiLCJwb3J0IjozMDAwLCJ1c2VyIjoiYWxpY2UiLCJub25jZSI6Im4iLCJleHBpcmVzIjoxMDYwfQ.DsCyuu6zyzo2AkXsO3pMG5uZTk3v52QmKIiwTmdPgAU"
        );
    }

    #[test]
    fn use_name_lifetime_and_expiry_are_checked() {
        let opened = key(1).open(&key(1).sign(&claims()).unwrap(), 1_000).unwrap();
        assert_eq!(opened, claims());
        assert_eq!(opened.check(TicketUse::Enter, "ws123", 3000), Ok(()));
        assert_eq!(opened.check(TicketUse::Session, "ws123", 3000), Err(TicketError::OtherUse));
        assert_eq!(opened.check(TicketUse::Enter, "ws124", 3000), Err(TicketError::OtherName));
        assert_eq!(opened.check(TicketUse::Enter, "ws123", 3001), Err(TicketError::OtherName));
        assert_eq!(opened.check_lifetime(1_000), Ok(()));
        assert_eq!(opened.check_lifetime(999), Err(TicketError::TooLong));
        let any = TicketClaims { port: TicketPort::Any, ..claims() };
        let opened = key(1).open(&key(1).sign(&any).unwrap(), 0).unwrap();
        assert_eq!(opened.check(TicketUse::Enter, "ws123", 9), Ok(()));
        assert_eq!(key(1).open(&key(1).sign(&claims()).unwrap(), 1_060), Err(TicketError::Expired));
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_shown() {
        assert!(TicketKey::new(vec![1; 31]).is_none());
        assert!(!format!("{:?}", key(b'Z')).contains("90") && !format!("{:?}", key(b'Z')).contains('Z'));
    }

    proptest! {
        #[test]
        fn any_changed_byte_breaks_it(at in 0usize..200, byte: u8) {
            let ticket = key(1).sign(&claims()).unwrap();
            let mut bytes = ticket.clone().into_bytes();
            let at = at % bytes.len();
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert!(key(1).open(&text, 0).is_err());
            }
        }

        #[test]
        fn another_key_and_garbage_are_refused(text in "\\PC{0,300}") {
            prop_assert!(key(1).open(&text, 0).is_err());
            prop_assert!(key(2).open(&key(1).sign(&claims()).unwrap(), 0).is_err());
        }
    }
}

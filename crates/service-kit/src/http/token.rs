//! A bearer token (RFC 6750): compared in constant time, with a limit on guesses.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The scheme of RFC 6750, which is case-insensitive.
const SCHEME: &str = "Bearer";
/// How many wrong tokens in a row an address may send before it must wait.
const WRONG_TOKENS: u32 = 10;
/// The interval at which an address may then send another wrong token.
const WRONG_TOKEN_EVERY: Duration = Duration::from_secs(1);
/// How many wrong tokens of an address are remembered: a client that repeats one (an old token after a rotation) is not
/// guessing, and is not counted.
const REPEATED_TOKENS: usize = 4;
/// How many addresses have their wrong tokens counted separately; further ones share one count.
const MAX_ADDRESSES: usize = 1_024;

/// A bearer token.
#[derive(Clone)]
pub struct BearerToken {
    secret: SecretString,
    /// SHA-256: both sides of a comparison have the same length, whatever was sent.
    digest: TokenDigest,
}

/// SHA-256.
type TokenDigest = [u8; 32];

impl BearerToken {
    /// # Errors
    /// If it is empty, or has a character that RFC 6750 does not allow in a token; the error does not show it.
    pub fn new(secret: SecretString) -> Result<BearerToken, &'static str> {
        let is_of_tokens = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let bare = secret.expose_secret().trim_end_matches('=');
        if bare.is_empty() || !bare.chars().all(is_of_tokens) {
            return Err(
                "cannot be sent in a header; expected letters, digits and -._~+/, optionally followed by =",
            );
        }
        let digest = Sha256::digest(secret.expose_secret()).into();
        Ok(BearerToken { secret, digest })
    }

    /// Whether a request with this `Authorization` is admitted. Takes the same time wherever a wrong token differs.
    #[must_use]
    pub fn admits(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked(SCHEME.len()) else { return false };
        let is_bearer = scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && given.starts_with(b" ");
        let digest: TokenDigest = Sha256::digest(given.trim_ascii()).into();
        is_bearer & bool::from(digest.ct_eq(&self.digest))
    }

    /// The token's length in characters.
    #[must_use]
    pub fn length(&self) -> usize {
        self.secret.expose_secret().len()
    }

    /// The `Authorization` field of a client that has the token.
    #[must_use]
    pub fn authorization(&self) -> HeaderValue {
        let value = format!("{SCHEME} {}", self.secret.expose_secret());
        // A token's characters are valid in a header, too.
        let mut value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(SCHEME));
        value.set_sensitive(true);
        value
    }
}

impl PartialEq for BearerToken {
    fn eq(&self, other: &BearerToken) -> bool {
        self.digest.ct_eq(&other.digest).into()
    }
}

impl Eq for BearerToken {}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken").finish_non_exhaustive()
    }
}

/// Admits requests with the currently valid token. An address that has sent ten different wrong ones must wait a second
/// for each further try, even with the right token: otherwise a guesser would notice at once which one is right.
pub struct TokenGuard {
    /// The configuration key that sets the token, for messages.
    key: &'static str,
    challenge: HeaderValue,
    token: Box<dyn Fn() -> Option<Arc<BearerToken>> + Send + Sync>,
    wrong: Mutex<WrongTokens>,
}

impl fmt::Debug for TokenGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenGuard").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRejection {
    Missing,
    Wrong,
    /// Too many wrong tokens came from the client's address; the next one is accepted after this time.
    Throttled(Duration),
}

impl TokenGuard {
    /// `realm` names the process in its challenge, `key` the configuration key; `token` is called for each request:
    /// None admits everyone.
    pub fn new(
        realm: &'static str,
        key: &'static str,
        token: impl Fn() -> Option<Arc<BearerToken>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        // RFC 6750, section 3.
        let challenge = HeaderValue::try_from(format!("{SCHEME} realm=\"{realm}\""));
        Arc::new(TokenGuard {
            key,
            challenge: challenge.unwrap_or(HeaderValue::from_static(SCHEME)),
            token: Box::new(token),
            wrong: Mutex::default(),
        })
    }

    /// Whether a request with this `Authorization` from this address is admitted.
    ///
    /// # Errors
    /// Why it is not admitted.
    pub fn check(
        &self,
        authorization: Option<&[u8]>,
        client: IpAddr,
        now: Instant,
    ) -> Result<(), TokenRejection> {
        let Some(token) = (self.token)() else { return Ok(()) };
        let Some(authorization) = authorization else { return Err(TokenRejection::Missing) };
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = Sha256::digest(authorization).into();
        if let Some(wait) = wrong.wait(client, now) {
            return Err(TokenRejection::Throttled(wait));
        }
        if token.admits(authorization) {
            return Ok(());
        }
        wrong.count(client, digest, now);
        Err(TokenRejection::Wrong)
    }

    /// The response to a rejected request. It does not show what was sent.
    pub fn reject(&self, rejection: TokenRejection) -> Response {
        let key = self.key;
        let (status, name, value, error) = match rejection {
            TokenRejection::Missing => (
                StatusCode::UNAUTHORIZED,
                header::WWW_AUTHENTICATE,
                self.challenge.clone(),
                format!("token required: {key} is set; send it as `Authorization: Bearer TOKEN`"),
            ),
            TokenRejection::Wrong => (
                StatusCode::UNAUTHORIZED,
                header::WWW_AUTHENTICATE,
                self.challenge.clone(),
                format!("token rejected: it is not the one that {key} is set to"),
            ),
            TokenRejection::Throttled(wait) => (
                StatusCode::TOO_MANY_REQUESTS,
                header::RETRY_AFTER,
                HeaderValue::from(wait.as_secs() + 1),
                "too many wrong tokens from this address: wait a second".to_owned(),
            ),
        };
        (status, [(name, value)], Json(json!({ "error": error }))).into_response()
    }
}

/// A middleware: `axum::middleware::from_fn_with_state(guard, require_token)`.
pub async fn require_token(State(guard): State<Arc<TokenGuard>>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let client = client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0.ip());
    let authorization = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    match guard.check(authorization, client, Instant::now()) {
        Ok(()) => next.run(request).await,
        Err(rejection) => guard.reject(rejection),
    }
}

/// Counts the different wrong tokens by address.
#[derive(Debug, Default)]
struct WrongTokens {
    clients: HashMap<IpAddr, WrongClient>,
}

/// The count of one address.
#[derive(Debug)]
struct WrongClient {
    /// When its last wrong token is forgotten.
    forgotten_at: Instant,
    /// The latest ones, the newest last.
    repeated: Vec<TokenDigest>,
}

impl WrongTokens {
    /// How long this address must wait; None if it may try.
    fn wait(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let client = self.clients.get(&self.slot(client))?;
        let allowed = WRONG_TOKEN_EVERY * (WRONG_TOKENS - 1);
        let wait = client.forgotten_at.saturating_duration_since(now).saturating_sub(allowed);
        (!wait.is_zero()).then_some(wait)
    }

    fn count(&mut self, client: IpAddr, digest: TokenDigest, now: Instant) {
        if self.clients.len() >= MAX_ADDRESSES {
            self.clients.retain(|_, client| client.forgotten_at > now);
        }
        let new = WrongClient { forgotten_at: now, repeated: Vec::new() };
        let client = self.clients.entry(self.slot(client)).or_insert(new);
        if client.repeated.contains(&digest) {
            return;
        }
        if client.repeated.len() >= REPEATED_TOKENS {
            client.repeated.remove(0);
        }
        client.repeated.push(digest);
        client.forgotten_at = client.forgotten_at.max(now) + WRONG_TOKEN_EVERY;
    }

    /// The key that a client is counted under: its address, its /64 with IPv6 (which one client has entirely), or the
    /// slot that all further addresses beyond [`MAX_ADDRESSES`] share.
    fn slot(&self, client: IpAddr) -> IpAddr {
        let slot = match client.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
        };
        let is_counted = self.clients.contains_key(&slot) || self.clients.len() < MAX_ADDRESSES;
        if is_counted { slot } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> BearerToken {
        BearerToken::new("s3cret-Token.==".into()).unwrap()
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_request_is_admitted_with_the_token_and_nothing_else() {
        let token = token();
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
    fn a_text_that_no_header_can_carry_is_refused_and_not_shown() {
        for wrong in ["", "=", "hunter2 x", "hunter2\n", "hünter2", "hunter2=x", "\"hunter2\""] {
            let problem = BearerToken::new(wrong.into()).unwrap_err();
            assert!(problem.starts_with("cannot be sent") && !problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn an_address_that_guesses_waits_and_others_do_not() {
        let guard = TokenGuard::new("test", "api.token", || Some(Arc::new(token())));
        let (right, wrong) = (Some(&b"Bearer s3cret-Token.=="[..]), Some(&b"Bearer x"[..]));
        let start = Instant::now();
        for number in 0..WRONG_TOKENS {
            let guess = format!("Bearer {number}");
            assert_eq!(guard.check(Some(guess.as_bytes()), address(1), start), Err(TokenRejection::Wrong));
        }
        let throttled = Err(TokenRejection::Throttled(WRONG_TOKEN_EVERY));
        assert_eq!(guard.check(wrong, address(1), start), throttled);
        assert_eq!(guard.check(right, address(1), start), throttled, "the right one is not given away");
        assert_eq!(guard.check(right, address(2), start), Ok(()));
        assert_eq!(guard.check(None, address(1), start), Err(TokenRejection::Missing));

        let second_later = start + WRONG_TOKEN_EVERY;
        assert_eq!(
            guard.check(wrong, address(1), second_later),
            Err(TokenRejection::Wrong),
            "one more a second"
        );
        assert_eq!(guard.check(wrong, address(1), second_later), throttled);
        assert_eq!(guard.check(right, address(1), second_later + WRONG_TOKEN_EVERY), Ok(()));
    }

    #[test]
    fn a_client_that_repeats_an_old_token_locks_nobody_out() {
        let guard = TokenGuard::new("test", "api.token", || Some(Arc::new(token())));
        let start = Instant::now();
        for _ in 0..10 * WRONG_TOKENS {
            for old in ["Bearer old", "Bearer older"] {
                assert_eq!(guard.check(Some(old.as_bytes()), address(1), start), Err(TokenRejection::Wrong));
            }
        }
        assert_eq!(guard.check(Some(b"Bearer s3cret-Token.=="), address(1), start), Ok(()));
    }

    #[test]
    fn guesses_from_very_many_addresses_share_one_count_and_take_no_more_memory() {
        let mut wrong = WrongTokens::default();
        let now = Instant::now();
        for number in 0..10_000_u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            wrong.count(IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number)), digest, now);
        }
        assert!(wrong.clients.len() <= MAX_ADDRESSES + 1);
        assert!(wrong.wait(address(9), now).is_some(), "who comes now is counted with the others");
        wrong.count(address(9), [0; 32], now + Duration::from_secs(10_000));
        assert_eq!(wrong.clients.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let mut wrong = WrongTokens::default();
        let now = Instant::now();
        for number in 0..WRONG_TOKENS {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            wrong.count(format!("2001:db8::{number:x}").parse().unwrap(), digest, now);
        }
        assert!(wrong.wait("2001:db8::ffff".parse().unwrap(), now).is_some());
        assert!(wrong.wait("2001:db8:0:1::1".parse().unwrap(), now).is_none());
    }
}

//! Checks a server's certificate, and explains what is wrong with it in words that a user can act on.

use std::fmt;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::config::{CertificatePin, CertificateTrust};

/// Accepts the certificates that a connection trusts.
#[derive(Debug)]
pub(super) struct CertificateVerifier {
    check: TrustCheck,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum TrustCheck {
    Issuer(Arc<WebPkiServerVerifier>),
    Pinned(Vec<CertificatePin>),
    Nothing,
}

impl CertificateVerifier {
    /// # Errors
    /// /// Why no certificate could ever be accepted.
    pub fn new(trust: &CertificateTrust) -> Result<CertificateVerifier, String> {
        let provider = Arc::new(ring::default_provider());
        let check = match trust {
            CertificateTrust::System => TrustCheck::Issuer(issued_by(system_authorities()?, &provider)?),
            CertificateTrust::Authorities(authorities) => {
                let mut roots = RootCertStore::empty();
                let (added, _) = roots.add_parsable_certificates(authorities.iter().cloned());
                if added == 0 {
                    return Err("no certificate of tls_ca can be an authority's".to_owned());
                }
                TrustCheck::Issuer(issued_by(Arc::new(roots), &provider)?)
            }
            CertificateTrust::Pinned(pins) => TrustCheck::Pinned(pins.clone()),
            CertificateTrust::Anything => TrustCheck::Nothing,
        };
        Ok(CertificateVerifier { check, provider })
    }
}

/// This system's authorities, read once.
fn system_authorities() -> Result<Arc<RootCertStore>, String> {
    static AUTHORITIES: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = AUTHORITIES.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        return Err(
            "this system trusts no authority (is ca-certificates installed?); tls_ca or tls_pin can say \
                    whom to trust"
                .to_owned(),
        );
    }
    Ok(Arc::clone(roots))
}

fn issued_by(
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refused = match &self.check {
            TrustCheck::Nothing => return Ok(ServerCertVerified::assertion()),
            TrustCheck::Pinned(pins) if pins.iter().any(|pin| is_pinned(pin, certificate)) => {
                return Ok(ServerCertVerified::assertion());
            }
            TrustCheck::Pinned(_) => {
                format!(
                    "the server's certificate is not the one of tls_pin: its SHA-256 is {}",
                    print(certificate)
                )
            }
            TrustCheck::Issuer(verifier) => {
                match verifier.verify_server_cert(certificate, intermediates, name, ocsp, now) {
                    Err(rustls::Error::InvalidCertificate(error)) if is_ca_certificate(&error) => {
                        describe_ca_certificate(certificate)
                    }
                    Err(rustls::Error::InvalidCertificate(error)) => refusal(&error, certificate),
                    judged => return judged,
                }
            }
        };
        let refused = CertificateError::Other(OtherError(Arc::new(CertificateRefusal(refused))));
        Err(rustls::Error::InvalidCertificate(refused))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What is wrong with a certificate, carried through rustls.
#[derive(Debug)]
struct CertificateRefusal(String);

impl fmt::Display for CertificateRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CertificateRefusal {}

/// Explains a TLS error to a user.
pub(super) fn describe(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(refused))) => {
            refused.to_string()
        }
        rustls::Error::AlertReceived(alert) => format!("the server broke TLS off: {alert:?}"),
        error => error.to_string(),
    }
}

/// A certificate that may sign others (CA:TRUE) is never valid for a server, even if it is trusted (RFC 5280, 4.2.1.9).
fn is_ca_certificate(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity"))
}

/// A self-signed certificate as OpenSSL creates it; curl and lftp accept one from a CA file.
fn describe_ca_certificate(certificate: &CertificateDer<'_>) -> String {
    format!(
        "the server's certificate is one of an authority (CA:TRUE), as self-signed ones often are, and cannot be accepted \
         by tls_ca: use `tls_pin = {}`",
        print(certificate)
    )
}

fn refusal(error: &CertificateError, certificate: &CertificateDer<'_>) -> String {
    let what = match error {
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => format!("expired at {}", show(*not_after)),
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}", show(*not_before))
        }
        CertificateError::NotValidForName => "is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!("is for {names}, not for {}", expected.to_str())
        }
        CertificateError::UnknownIssuer => "is from an issuer that is not trusted".to_owned(),
        CertificateError::Revoked => "has been revoked".to_owned(),
        other => format!("is wrong: {other}"),
    };
    format!(
        "the server's certificate {what} (tls_ca names authorities to trust; tls_pin trusts one certificate, \
         this one's SHA-256 is {})",
        print(certificate)
    )
}

/// webpki writes `DnsName("a.example")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

fn show(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
}

fn print(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn is_pinned(pin: &CertificatePin, certificate: &CertificateDer<'_>) -> bool {
    match pin {
        CertificatePin::Certificate(hash) => Sha256::digest(certificate).as_slice() == hash,
        CertificatePin::PublicKey(hash) => ParsedCertificate::try_from(certificate)
            .is_ok_and(|parsed| Sha256::digest(parsed.subject_public_key_info()).as_slice() == hash),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    #[test]
    fn a_self_signed_certificate_in_tls_ca_is_told_what_to_use_instead() {
        let mut params = CertificateParams::new(vec!["ftp.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
        let verifier =
            CertificateVerifier::new(&CertificateTrust::Authorities(std::sync::Arc::new(vec![der.clone()])))
                .unwrap();
        let name = ServerName::try_from("ftp.example").unwrap();
        let judged = verifier.verify_server_cert(&der, &[], &name, &[], UnixTime::now());
        let told = describe(&judged.unwrap_err());
        assert!(told.contains("CA:TRUE"), "{told}");
        assert!(told.ends_with(&format!("use `tls_pin = {}`", print(&der))), "{told}");
    }
}

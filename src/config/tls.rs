//! Whether a connection uses TLS, and which certificates it accepts.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::connection::FtpConnection;
use super::key::FieldAccess;
use super::kind::KeyValue;

/// TLS of one connection (RFC 4217).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    pub mode: TlsMode,
    pub trust: CertificateTrust,
    /// TLS 1.2 at most (rclone's `disable_tls13`).
    pub tls12_only: bool,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    #[default]
    Off,
    /// After AUTH TLS (rclone's `explicit_tls`).
    Explicit,
    /// At once (rclone's `tls`).
    Implicit,
}

/// Which servers' certificates are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CertificateTrust {
    /// Issued by an authority that this system trusts.
    #[default]
    System,
    /// Issued by one of these authorities.
    Authorities(Arc<Vec<CertificateDer<'static>>>),
    /// One of these; issuer, name and date are then ignored.
    Pinned(Vec<CertificatePin>),
    /// Any (rclone's `no_check_certificate`).
    Anything,
}

/// A SHA-256 that identifies one certificate, or one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificatePin {
    /// Of the whole certificate, as `openssl x509 -fingerprint -sha256` prints it.
    Certificate([u8; 32]),
    /// Of its public key, as curl's `--pinnedpubkey sha256//…` takes it; survives a renewal.
    PublicKey([u8; 32]),
}

/// The maximum size of a CA file in bytes; the system's own is a quarter of a MiB.
pub(super) const MAX_CA_BYTES: u64 = 4 << 20;

/// `tls`.
pub(super) const IMPLICIT: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| mode(ftp, TlsMode::Implicit, &value),
    get: |ftp| KeyValue::Flag(ftp.tls.mode == TlsMode::Implicit),
};

/// `explicit_tls`.
pub(super) const EXPLICIT: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| mode(ftp, TlsMode::Explicit, &value),
    get: |ftp| KeyValue::Flag(ftp.tls.mode == TlsMode::Explicit),
};

fn mode(ftp: &mut FtpConnection, mode: TlsMode, value: &KeyValue) -> Result<(), String> {
    if *value != KeyValue::Flag(true) {
        return Ok(());
    }
    if ftp.tls.mode != TlsMode::Off {
        return Err("tls is set as well; expected one of them".to_owned());
    }
    ftp.tls.mode = mode;
    Ok(())
}

/// `no_check_certificate`; `tls_pin` overrides it.
pub(super) const UNCHECKED: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        if value == KeyValue::Flag(true) {
            ftp.tls.trust = CertificateTrust::Anything;
        }
        Ok(())
    },
    get: |ftp| KeyValue::Flag(ftp.tls.trust == CertificateTrust::Anything),
};

/// `tls_ca`; the two others override it.
pub(super) const AUTHORITIES: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        if let KeyValue::File { path, content } = value {
            let authorities = authorities(&path, &content)?;
            if ftp.tls.trust == CertificateTrust::System {
                ftp.tls.trust = CertificateTrust::Authorities(Arc::new(authorities));
            }
        }
        Ok(())
    },
    get: |ftp| match &ftp.tls.trust {
        CertificateTrust::Authorities(found) => KeyValue::Hidden {
            shown: format!("({} authorities)", found.len()),
            content: found.iter().flat_map(|certificate| certificate.to_vec()).collect(),
        },
        _ => KeyValue::Unset,
    },
};

/// `tls_pin`.
pub(super) const PINS: FieldAccess<FtpConnection> = FieldAccess {
    set: |ftp, value| {
        ftp.tls.trust = CertificateTrust::Pinned(pins(&value.into_text())?);
        Ok(())
    },
    get: |ftp| match &ftp.tls.trust {
        CertificateTrust::Pinned(pins) => KeyValue::List(pins.iter().map(ToString::to_string).collect()),
        _ => KeyValue::Unset,
    },
};

impl fmt::Display for CertificatePin {
    /// As `tls_pin` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificatePin::Certificate(hash) => f.write_str(&HEXLOWER.encode(hash)),
            CertificatePin::PublicKey(hash) => {
                write!(f, "sha256//{}", base64::engine::general_purpose::STANDARD.encode(hash))
            }
        }
    }
}

fn authorities(path: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("`{path}` cannot be read: {error}"))?;
    if found.is_empty() {
        return Err(format!("`{path}` has no certificate in PEM (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(found)
}

fn pins(text: &str) -> Result<Vec<CertificatePin>, String> {
    text.split(',').map(|one| pin(one.trim())).collect()
}

fn pin(text: &str) -> Result<CertificatePin, String> {
    let expected = "expected the SHA-256 of the certificate in hex (openssl x509 -noout -fingerprint -sha256), \
                    or sha256//… of its public key in base64; several with commas";
    let hash = match text.strip_prefix("sha256//") {
        Some(encoded) => {
            let hash = base64::engine::general_purpose::STANDARD.decode(encoded).ok();
            hash.and_then(|hash| hash.try_into().ok()).map(CertificatePin::PublicKey)
        }
        None => hex(text).map(CertificatePin::Certificate),
    };
    hash.ok_or_else(|| format!("is not a pin; {expected}"))
}

fn hex(text: &str) -> Option<[u8; 32]> {
    // The format of openssl's own output.
    let text = text.rsplit_once('=').map_or(text, |(_, hex)| hex);
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_as_openssl_and_curl_write_them() {
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(pin(&colons), Ok(CertificatePin::Certificate([0xab; 32])));
        assert_eq!(pin(&format!("sha256 Fingerprint={colons}")), Ok(CertificatePin::Certificate([0xab; 32])));
        assert_eq!(pin(&"ab".repeat(32)), Ok(CertificatePin::Certificate([0xab; 32])));
        let key = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(pin(key), Ok(CertificatePin::PublicKey([0; 32])));
        assert_eq!(pins(&format!("{key}, {colons}")).unwrap().len(), 2);
        for wrong in ["", "ab", &"ab".repeat(31), &"xy".repeat(32), "sha256//AAAA", &format!("{colons},")] {
            assert!(pins(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_no_authority() {
        assert!(authorities("ca.pem", b"hello").unwrap_err().contains("`ca.pem` has no certificate"));
        let broken = b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n";
        assert!(authorities("ca.pem", broken).unwrap_err().contains("`ca.pem` cannot be read"));
    }

    #[test]
    fn a_pin_is_shown_as_it_is_read() {
        for text in ["ab".repeat(32), "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()] {
            assert_eq!(pin(&text).unwrap().to_string(), text);
        }
    }
}

//! Whether a connection speaks TLS, and which certificates it accepts.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::connection_keys as keys;
use super::section_reader::Reading;

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
    /// One of these; issuer, name and date do not matter then.
    Pinned(Vec<CertificatePin>),
    /// Any (rclone's `no_check_certificate`).
    Anything,
}

/// A SHA-256 that tells one certificate, or one key, from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificatePin {
    /// Of the whole certificate, as `openssl x509 -fingerprint -sha256` prints it.
    Certificate([u8; 32]),
    /// Of its public key, as curl's `--pinnedpubkey sha256//…` takes it; survives a renewal.
    PublicKey([u8; 32]),
}

/// A file of authorities may have this many bytes; the system's own are a quarter of a MiB.
const MAX_CA_BYTES: u64 = 4 << 20;

/// Takes the keys about TLS.
pub(super) fn take(reading: &mut Reading<'_>) -> TlsOptions {
    let implicit = reading.entries.get(keys::TLS.path).cloned();
    let mode = match (reading.flag(&keys::TLS), reading.flag(&keys::EXPLICIT_TLS)) {
        (false, false) => TlsMode::Off,
        (false, true) => TlsMode::Explicit,
        (true, false) => TlsMode::Implicit,
        (true, true) => {
            let problem = "explicit_tls is set as well; expected one of them";
            reading.wrong(keys::TLS.path, implicit.as_ref(), problem);
            TlsMode::Off
        }
    };
    TlsOptions { mode, trust: trust(reading), tls12_only: reading.flag(&keys::DISABLE_TLS13) }
}

fn trust(reading: &mut Reading<'_>) -> CertificateTrust {
    let unchecked = reading.flag(&keys::NO_CHECK_CERTIFICATE);
    let ca = read_with(reading, &keys::TLS_CA, authorities);
    let pins = read_with(reading, &keys::TLS_PIN, pins);
    match (pins, ca) {
        (Some(pins), _) => CertificateTrust::Pinned(pins),
        (None, _) if unchecked => CertificateTrust::Anything,
        (None, Some(ca)) => CertificateTrust::Authorities(Arc::new(ca)),
        (None, None) => CertificateTrust::System,
    }
}

fn read_with<T>(
    reading: &mut Reading<'_>,
    key: &super::keys::Key,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let entry = reading.entries.get(key.path).cloned();
    let text = reading.text_if_set(key)?;
    if key.path == keys::TLS_CA.path {
        reading.mistakes.reads(Path::new(&text));
    }
    match read(&text) {
        Ok(value) => Some(value),
        Err(problem) => {
            reading.wrong(key.path, entry.as_ref(), problem);
            None
        }
    }
}

fn authorities(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("`{path}` cannot be read: {error}");
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| BufReader::new(file).take(MAX_CA_BYTES + 1).read_to_end(&mut pem))
        .map_err(|error| cannot(&error))?;
    if pem.len() as u64 > MAX_CA_BYTES {
        return Err(cannot(&io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| cannot(&e))?;
    if found.is_empty() {
        return Err(format!("`{path}` holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"));
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
            use base64::Engine as _;
            let hash = base64::engine::general_purpose::STANDARD.decode(encoded).ok();
            hash.and_then(|hash| hash.try_into().ok()).map(CertificatePin::PublicKey)
        }
        None => hex(text).map(CertificatePin::Certificate),
    };
    hash.ok_or_else(|| format!("is no pin; {expected}"))
}

fn hex(text: &str) -> Option<[u8; 32]> {
    // openssl's own output begins so.
    let text = text.rsplit_once('=').map_or(text, |(_, hex)| hex);
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let bytes: Vec<u8> = digits?
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect::<Option<_>>()?;
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
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "hello").unwrap();
        assert!(authorities(path.to_str().unwrap()).unwrap_err().contains("holds no certificate"));
        assert!(authorities("/nonexistent").unwrap_err().contains("cannot be read"));
        assert!(authorities("/dev/zero").unwrap_err().contains("cannot be read"));
    }
}

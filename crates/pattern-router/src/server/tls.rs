//! TLS for clients: several certificates by SNI, reloaded when their files change.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::settings::CertificateFiles;

/// Why a certificate cannot be used; names the file.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("{certificate} and {key} do not belong together")]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Certificates by the names that they are valid for.
pub struct CertificateStore {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the part after `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// For clients without SNI.
    first: Arc<CertifiedKey>,
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.exact.keys().chain(self.wildcard.keys()).collect();
        f.debug_struct("CertificateStore").field("names", &names).finish_non_exhaustive()
    }
}

impl CertificateStore {
    /// The certificate for a name: an exact one, else a wildcard, whose star matches one label.
    pub fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let above = || name.split_once('.').and_then(|(_, above)| self.wildcard.get(above));
        self.exact.get(&name).or_else(above)
    }
}

impl ResolvesServerCert for CertificateStore {
    /// None ends the handshake with `unrecognized_name`: our certificate is not sent for another name.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name() {
            Some(name) => self.find(name).cloned(),
            None => Some(Arc::clone(&self.first)),
        }
    }
}

/// A certificate as read.
#[derive(Debug)]
struct LoadedCertificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    /// Seconds since 1970.
    expires: i64,
}

/// TLS for clients, and what `check` reports about it.
#[derive(Debug, Clone)]
pub struct ClientTls {
    pub config: Arc<ServerConfig>,
    /// All names of all certificates.
    pub names: Vec<String>,
    /// When the first of them expires, in seconds since 1970.
    pub expires: i64,
}

/// Reads all certificates; the first is for clients without SNI. None: no TLS.
pub fn load_client_tls(files: &[CertificateFiles]) -> Result<Option<ClientTls>, CertificateError> {
    let loaded = files.iter().map(load_pair).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = loaded.first() else { return Ok(None) };
    let first = Arc::clone(&first.key);
    let mut store = CertificateStore { exact: HashMap::new(), wildcard: HashMap::new(), first };
    for certificate in &loaded {
        for name in &certificate.names {
            match name.strip_prefix("*.") {
                Some(above) => store.wildcard.insert(above.to_owned(), Arc::clone(&certificate.key)),
                None => store.exact.insert(name.clone(), Arc::clone(&certificate.key)),
            };
        }
    }
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(store));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let names = loaded.iter().flat_map(|certificate| certificate.names.clone()).collect();
    let expires = loaded.iter().map(|certificate| certificate.expires).min().unwrap_or_default();
    Ok(Some(ClientTls { config: Arc::new(config), names, expires }))
}

fn load_pair(files: &CertificateFiles) -> Result<LoadedCertificate, CertificateError> {
    let wrong = |path: &Path, reason: String| CertificateError::File { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&files.certificate, format!("not a PEM certificate: {error}")))?;
    let first = chain.first().ok_or_else(|| wrong(&files.certificate, "holds no certificate".to_owned()))?;
    let (names, expires) = names_of(first).map_err(|reason| wrong(&files.certificate, reason))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| wrong(&files.key, format!("not a PEM private key: {error}")))?;
    let key = ring::sign::any_supported_type(&key).map_err(|error| wrong(&files.key, error.to_string()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(_) => {
            let (certificate, key) = (files.certificate.clone(), files.key.clone());
            return Err(CertificateError::Mismatch { certificate, key });
        }
    }
    Ok(LoadedCertificate { key: Arc::new(certified), names, expires })
}

/// The DNS names of its subjectAltName, in lower case, and when it expires, in seconds since 1970.
fn names_of(certificate: &CertificateDer<'_>) -> Result<(Vec<String>, i64), String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| format!("not a certificate: {error}"))?;
    let expires = parsed.validity().not_after.timestamp();
    let extension = parsed.subject_alternative_name().ok().flatten();
    let names: Vec<String> = extension
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() { Err("holds no DNS name".to_owned()) } else { Ok((names, expires)) }
}

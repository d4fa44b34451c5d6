//! Certificates that the tests make for themselves: an authority, and a server's certificate issued by it.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// A server's certificate and its authority, as files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The authority that a client must trust.
    pub authority: PathBuf,
    /// The server's key and certificate in one file, as servers like to have them.
    pub server: PathBuf,
    /// The server's certificate, DER.
    pub der: Vec<u8>,
}

impl Certificate {
    /// For `127.0.0.1`, `localhost` and the far end of a [`super::link::Link`], valid now.
    pub fn good(directory: &Path) -> Certificate {
        Certificate::new(directory, &["127.0.0.1", "localhost", &super::link::SERVER.to_string()], 2096)
    }

    /// For these names, valid from 2000 to the first day of a year.
    ///
    /// # Panics
    /// Where it cannot be made or written.
    pub fn new(directory: &Path, names: &[&str], until: i32) -> Certificate {
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = params(&[], until);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "an authority");
        let authority_certificate = authority.self_signed(&authority_key).expect("an authority");
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().expect("a key");
        let certificate = params(names, until).signed_by(&key, &issuer).expect("a certificate");
        let paths = (directory.join("authority.pem"), directory.join("server.pem"));
        fs::write(&paths.0, authority_certificate.pem()).expect("authority.pem");
        fs::write(&paths.1, format!("{}{}", key.serialize_pem(), certificate.pem())).expect("server.pem");
        private(&paths.1);
        Certificate { authority: paths.0, server: paths.1, der: certificate.der().to_vec() }
    }
}

/// `ProFTPD` takes no key that others may read.
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a private file");
}

fn params(names: &[&str], until: i32) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

//! From settings to running parts: resolver, access, TLS. Used at the start and by each reload.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use crate::auth::{Authenticator, ForwardAuth, SessionAuth};
use crate::http_client::{HttpClient, client_tls};
use crate::pool::{Connector, PodTls};
use crate::resolve::{
    Directory, DnsResolver, HttpResolver, KubernetesApi, KubernetesError, KubernetesResolver, Resolver,
    SharedResolver,
};
use crate::router::RouterState;
use crate::server::{CertificateError, load_client_tls};
use crate::settings::{AuthMode, AuthSettings, ResolverSettings, Settings};
use crate::ticket::{MIN_SECRET, TicketKey};

/// Why valid settings do not work here.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    #[error("tls_cert: {0}")]
    Certificate(#[from] CertificateError),
    #[error("pods: kubernetes: {0}")]
    Kubernetes(#[from] KubernetesError),
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("TLS to others: {0}")]
    Tls(String),
    #[error("auth_url: not a URL")]
    AuthUrl,
}

/// Everything that is derived from the settings. A resolver whose settings are unchanged is kept, so that its list need
/// not be read again. Needs a runtime for the resolver's task.
pub fn assemble(settings: Settings, previous: Option<&RouterState>) -> Result<RouterState, AssembleError> {
    let timeout = settings.timeouts.lookup;
    let kept = previous.filter(|state| state.settings.resolver == settings.resolver);
    let resolver = match kept {
        Some(state) => Arc::clone(state.directory.resolver()),
        None => resolver(&settings)?,
    };
    let own_ports = std::iter::once(settings.sockets.listen.port())
        .chain(settings.sockets.admin.map(|admin| admin.port()))
        .collect();
    Ok(RouterState {
        generation: previous.map_or(0, |state| state.generation + 1),
        directory: Directory::new(resolver, settings.lookup_for, timeout),
        authenticator: authenticator(&settings)?,
        connector: Connector {
            policy: settings.addresses.clone(),
            timeout: settings.timeouts.connect,
            tls: pod_tls(&settings)?,
            own_ports,
        },
        tls: load_client_tls(&settings.certificates)?,
        admin_token: read_secret(settings.admin_token.as_ref(), settings.admin_token_file.as_ref())?,
        settings,
    })
}

fn resolver(settings: &Settings) -> Result<SharedResolver, AssembleError> {
    Ok(match &settings.resolver {
        ResolverSettings::List(addresses) => Arc::new(Resolver::List(addresses.iter().cloned().collect())),
        ResolverSettings::Dns { name } => Arc::new(Resolver::Dns(DnsResolver::new(name.clone()))),
        ResolverSettings::Kubernetes { namespace, selector, id_label } => {
            let api =
                KubernetesApi::from_service_account(namespace.clone(), selector.clone(), id_label.clone())?;
            KubernetesResolver::start(api)?
        }
        ResolverSettings::Http { url, token_file } => {
            let client = http_client()?;
            let resolver =
                HttpResolver::new(client, url.clone(), token_file.clone(), settings.timeouts.lookup);
            Arc::new(Resolver::Http(resolver))
        }
    })
}

fn http_client() -> Result<HttpClient, AssembleError> {
    Ok(HttpClient::new(client_tls(None).map_err(AssembleError::Tls)?))
}

fn authenticator(settings: &Settings) -> Result<Authenticator, AssembleError> {
    let auth = &settings.auth;
    Ok(match auth.mode {
        AuthMode::None => Authenticator::None,
        AuthMode::Session => {
            let key = ticket_key(auth)?;
            Authenticator::Session(SessionAuth::new(key, auth.login_url.clone(), auth.session))
        }
        AuthMode::Forward => {
            let url =
                auth.auth_url.as_ref().and_then(|url| url.parse().ok()).ok_or(AssembleError::AuthUrl)?;
            Authenticator::Forward(ForwardAuth::new(http_client()?, url, settings.timeouts.lookup))
        }
    })
}

fn ticket_key(auth: &AuthSettings) -> Result<TicketKey, AssembleError> {
    let path = auth.secret_file.clone().unwrap_or_else(|| PathBuf::from("secret"));
    let short = || AssembleError::File {
        path: path.clone(),
        reason: format!("a secret has at least {MIN_SECRET} characters"),
    };
    let secret = read_secret(auth.secret.as_ref(), auth.secret_file.as_ref())?.ok_or_else(short)?;
    TicketKey::new(secret.expose_secret().as_bytes().to_vec()).ok_or_else(short)
}

/// The value in the configuration, or a file's content without surrounding white space.
fn read_secret(
    given: Option<&SecretString>,
    file: Option<&PathBuf>,
) -> Result<Option<SecretString>, AssembleError> {
    let Some(path) = file else { return Ok(given.cloned()) };
    let wrong = |reason: String| AssembleError::File { path: path.clone(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(wrong("is empty".to_owned()));
    }
    Ok(Some(SecretString::from(text)))
}

fn pod_tls(settings: &Settings) -> Result<PodTls, AssembleError> {
    let config = match &settings.pod_ca_file {
        Some(path) => client_tls(Some(path)).map_err(AssembleError::Tls)?,
        None => unverified().map_err(|error| AssembleError::Tls(error.to_string()))?,
    };
    let (mut any, mut http1) = (config.clone(), config);
    any.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(PodTls { any: Arc::new(any), http1: Arc::new(http1) })
}

/// Pods' certificates are usually self-signed: encryption only, like nginx's `proxy_ssl_verify off`.
fn unverified() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

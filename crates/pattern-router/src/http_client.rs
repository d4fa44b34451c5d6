//! The router's own requests to the application: small responses, with a deadline and a size limit.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// The maximum size of a response body in bytes.
pub const MAX_ANSWER: usize = 64 * 1024;
/// Idle connections are closed before the usual server closes them.
const IDLE: Duration = Duration::from_secs(4);

type Connector = HttpsConnector<HttpConnector>;

/// Sends requests over HTTP/1.1, with and without TLS.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<Connector, Empty<Bytes>>,
}

/// A response.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("{0}")]
    Request(String),
    #[error("the answer broke off or exceeds {MAX_ANSWER} bytes")]
    Body,
}

impl HttpClient {
    pub fn new(tls: rustls::ClientConfig) -> HttpClient {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
        HttpClient { client: builder.build(https) }
    }

    /// The complete response to a GET, or an error after `limit`.
    pub async fn get(
        &self,
        uri: Uri,
        headers: HeaderMap,
        limit: Duration,
    ) -> Result<HttpAnswer, HttpClientError> {
        tokio::time::timeout(limit, self.get_unlimited(uri, headers))
            .await
            .map_err(|_| HttpClientError::TimedOut(limit))?
    }

    async fn get_unlimited(&self, uri: Uri, headers: HeaderMap) -> Result<HttpAnswer, HttpClientError> {
        let (head, body) = self.open(uri, headers).await?.into_parts();
        let body =
            Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| HttpClientError::Body)?.to_bytes();
        Ok(HttpAnswer { status: head.status, headers: head.headers, body })
    }

    /// A response whose body is read by the caller: a watch.
    pub async fn open(
        &self,
        uri: Uri,
        headers: HeaderMap,
    ) -> Result<hyper::Response<hyper::body::Incoming>, HttpClientError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        self.client.request(request).await.map_err(|error| {
            use std::error::Error as _;
            let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            HttpClientError::Request(format!("{error}{cause}"))
        })
    }
}

/// TLS with the system's authorities, or only with those in a file.
pub fn client_tls(ca_file: Option<&std::path::Path>) -> Result<rustls::ClientConfig, String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"holds no certificate"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

//! Pods that speak HTTP/2, with or without TLS, and clients that do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub type AnyBody = BoxBody<Bytes, hyper::Error>;

/// A server on 127.0.0.1 that answers with what `serve` makes of a request.
pub struct Http2Pod {
    pub port: u16,
    pub connections: Arc<AtomicUsize>,
    /// Sends GOAWAY on every connection that is open.
    pub goaway: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Http2Pod {
    pub async fn start(
        tls: Option<TlsAcceptor>,
        serve: fn(Request<Incoming>) -> Response<AnyBody>,
    ) -> Http2Pod {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (goaway, told) = watch::channel(0);
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (tls, told) = (tls.clone(), told.clone());
                open.spawn(async move {
                    match tls {
                        None => connection(TokioIo::new(socket), serve, told).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(socket).await {
                                connection(TokioIo::new(stream), serve, told).await;
                            }
                        }
                    }
                });
            }
        });
        Http2Pod { port, connections, goaway, task }
    }

    pub fn host(&self) -> String {
        format!("{}-ws1.pool.test", self.port)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Http2Pod {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection<I>(
    io: I,
    serve: fn(Request<Incoming>) -> Response<AnyBody>,
    mut told: watch::Receiver<u32>,
) where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let builder = auto::Builder::new(TokioExecutor::new());
    let service = service_fn(move |request| async move { Ok::<_, std::convert::Infallible>(serve(request)) });
    let served = builder.serve_connection_with_upgrades(io, service);
    let mut served = std::pin::pin!(served);
    told.mark_unchanged();
    loop {
        tokio::select! {
            ended = served.as_mut() => { let _ = ended; return; }
            changed = told.changed() => {
                if changed.is_err() { return; }
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The request's line and fields as text.
#[allow(clippy::needless_pass_by_value, reason = "as every service does")]
pub fn seen(request: Request<Incoming>) -> Response<AnyBody> {
    let mut text = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        text.extend([name.as_str(), ": ", &String::from_utf8_lossy(value.as_bytes()), "\n"]);
    }
    Response::new(http_body_util::Full::new(text.into()).map_err(|never| match never {}).boxed())
}

/// As a gRPC server does: sends each message back, and the status in the trailers.
pub fn grpc_echo(request: Request<Incoming>) -> Response<AnyBody> {
    let te = request.headers().get("te").cloned();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let body = request.into_body().with_trailers(async move { Some(Ok(trailers)) }).boxed();
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response.headers_mut().extend(te.map(|te| (hyper::header::HeaderName::from_static("x-te"), te)));
    response
}

/// A certificate for these names, with its server's side that offers these protocols.
pub fn tls_of(names: &[&str], protocols: &[&[u8]]) -> (CertificateDer<'static>, TlsAcceptor, String) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    (made.cert.der().clone(), TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

/// A connection with prior knowledge.
pub async fn http2_client<B>(address: SocketAddr) -> (SendRequest<B>, JoinHandle<hyper::Result<()>>)
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    (sender, tokio::spawn(connection))
}

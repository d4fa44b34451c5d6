//! One HTTP/1.1 request over its own connection, bounded in time and size.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Answers that are longer are refused.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// What is asked.
#[derive(Debug)]
pub struct HttpQuestion<'a> {
    /// `host:port` to connect to.
    pub address: &'a str,
    pub method: Method,
    /// With its query.
    pub path: &'a str,
    /// The `Host` header; `None`: the address.
    pub host: Option<&'a str>,
    pub credentials: Option<(&'a str, &'a SecretString)>,
    pub deadline: Duration,
}

#[derive(Debug)]
pub struct HttpAnswer {
    pub status: StatusCode,
    pub body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum HttpRequestError {
    #[error("cannot connect to {address}: {source}")]
    Connect {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("no answer from {address} within {} s", .deadline.as_secs_f32())]
    Deadline { address: String, deadline: Duration },
    #[error("{address} does not answer as HTTP: {source}")]
    Protocol {
        address: String,
        #[source]
        source: hyper::Error,
    },
    #[error("the answer of {0} is cut short or too long")]
    Body(String),
    #[error("{0:?} is not a path or host for a request")]
    Question(String),
}

/// Asks, and reads the whole answer.
pub async fn ask(question: HttpQuestion<'_>) -> Result<HttpAnswer, HttpRequestError> {
    let (address, deadline) = (question.address.to_owned(), question.deadline);
    timeout(deadline, exchange(question))
        .await
        .unwrap_or(Err(HttpRequestError::Deadline { address, deadline }))
}

async fn exchange(question: HttpQuestion<'_>) -> Result<HttpAnswer, HttpRequestError> {
    let address = question.address.to_owned();
    let request = request_of(&question)?;
    let stream = TcpStream::connect(&address)
        .await
        .map_err(|source| HttpRequestError::Connect { address: address.clone(), source })?;
    let protocol = |source| HttpRequestError::Protocol { address: address.clone(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(protocol)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(protocol)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|_| HttpRequestError::Body(address.clone()))?.to_bytes();
        Ok(HttpAnswer { status, body })
    };
    tokio::pin!(answer);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut answer => answer,
        // the connection may end first and leave an answer that is whole
        _ = &mut connection => answer.await,
    }
}

fn request_of(question: &HttpQuestion<'_>) -> Result<Request<Full<Bytes>>, HttpRequestError> {
    let host = question.host.unwrap_or(question.address);
    let wrong = || HttpRequestError::Question(format!("{host}{}", question.path));
    let mut request = Request::builder().method(question.method.clone()).uri(question.path);
    request = request.header(HOST, host).header(USER_AGENT, "frp-tunnels").header("connection", "close");
    if let Some((user, password)) = question.credentials {
        request = request.header(AUTHORIZATION, basic(user, password).ok_or_else(wrong)?);
    }
    request.body(Full::default()).map_err(|_| wrong())
}

fn basic(user: &str, password: &SecretString) -> Option<HeaderValue> {
    use base64::Engine as _;
    let both = format!("{user}:{}", password.expose_secret());
    let encoded = base64::engine::general_purpose::STANDARD.encode(both);
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

//! One GET of a pod's page, for the commands that ask pods: `health` and `watch`.

use std::fmt;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::ListenAddress;

/// Bytes of an answer that are read at most: the metrics of thousands of connections.
const MAX_BYTES: usize = 16 << 20;

/// A page of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUrl {
    /// `host:port`.
    pub authority: String,
    path: String,
}

impl PodUrl {
    /// Reads `host:port`, `http://host[:port]` or `http://host[:port]/path`; without a path it is `standard`.
    ///
    /// # Errors
    /// What would be right, for the terminal.
    pub fn parse(text: &str, standard: &str) -> Result<PodUrl, String> {
        let wrong = || format!("expected HOST:PORT or http://HOST:PORT{standard}");
        let bare = text.strip_prefix("http://");
        let rest = bare.unwrap_or(text);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_plain = |c: char| c.is_ascii_graphic() && !"?#@\\".contains(c);
        let is_odd = !authority.chars().all(is_plain) || !path.chars().all(|c| c.is_ascii_graphic());
        // The colons of `[::1]` do not precede a port.
        let behind = authority.rfind(']').map_or(0, |end| end + 1);
        let port = authority.get(behind..).and_then(|rest| rest.split_once(':'));
        let host = port.map_or(authority, |(_, port)| {
            authority.strip_suffix(port).and_then(|host| host.strip_suffix(':')).unwrap_or_default()
        });
        let port = match port {
            Some((_, port)) => port.parse::<u16>().map_err(|_| wrong())?,
            None if bare.is_some() => 80,
            None => return Err(wrong()),
        };
        if host.is_empty() || is_odd {
            return Err(wrong());
        }
        let path = if path.len() <= 1 { standard } else { path };
        Ok(PodUrl { authority: format!("{host}:{port}"), path: path.to_owned() })
    }

    /// That of the pod on this machine that listens here.
    pub fn here(api: &ListenAddress, path: &str) -> PodUrl {
        // Who listens everywhere listens here; a socket connects to no wildcard on every system.
        let host = match api.host.as_str() {
            "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        PodUrl { authority: format!("{host}:{}", api.port), path: path.to_owned() }
    }

    /// Another page of the same pod.
    #[must_use]
    pub fn at(&self, path: &str) -> PodUrl {
        PodUrl { authority: self.authority.clone(), path: path.to_owned() }
    }

    /// Its status and its text; connect, request and all end within `deadline`.
    ///
    /// # Errors
    /// The connection is refused, nothing came in time, or the response is not HTTP, not text, or too large.
    pub async fn get(
        &self,
        authorization: Option<HeaderValue>,
        deadline: Duration,
    ) -> io::Result<(StatusCode, String)> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {deadline:?}"));
        tokio::time::timeout(deadline, self.answer(authorization)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn answer(&self, authorization: Option<HeaderValue>) -> io::Result<(StatusCode, String)> {
        let odd = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        let no_http = |error: hyper::Error| odd(format!("the answer is no HTTP: {error}"));
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut request, connection) = handshake(TokioIo::new(stream)).await.map_err(no_http)?;
        let connection = tokio::spawn(connection);
        let mut asked = hyper::Request::get(&self.path)
            .header(HOST, &self.authority)
            .body(Empty::<Bytes>::new())
            .map_err(|error| odd(error.to_string()))?;
        asked.headers_mut().extend(authorization.map(|value| (AUTHORIZATION, value)));
        let reply = request.send_request(asked).await.map_err(no_http)?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), MAX_BYTES).collect().await;
        connection.abort();
        let body = body.map_err(|error| odd(error.to_string()))?.to_bytes();
        let text =
            String::from_utf8(body.to_vec()).map_err(|_| odd("its response is not text".to_owned()))?;
        Ok((status, text))
    }
}

impl fmt::Display for PodUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn page(text: &str) -> String {
        PodUrl::parse(text, "/health").map_or_else(|problem| problem, |page| page.to_string())
    }

    /// A server that answers one request with this, then closes.
    async fn server(answer: &'static str) -> PodUrl {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = PodUrl::parse(&listener.local_addr().unwrap().to_string(), "/health").unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        page
    }

    #[test]
    fn a_page_has_a_host_and_a_port_and_may_have_a_path() {
        assert_eq!(page("http://pod:8080/ready"), "http://pod:8080/ready");
        assert_eq!(page("pod:8080"), "http://pod:8080/health");
        assert_eq!(page("http://pod:8080/"), "http://pod:8080/health");
        assert_eq!(page("http://pod"), "http://pod:80/health");
        assert_eq!(page("[::1]:9090"), "http://[::1]:9090/health");
        assert_eq!(page("http://[::1]"), "http://[::1]:80/health");
        for wrong in [
            "",
            "pod",
            "pod:x",
            ":80",
            "https://pod:1",
            "http://",
            "http:///health",
            "a b:1",
            "http://u:p@pod",
        ] {
            assert_eq!(page(wrong), "expected HOST:PORT or http://HOST:PORT/health", "{wrong}");
        }
        assert!(PodUrl::parse("http://pod/\r\nX: y", "/").is_err(), "no header is slipped in");
    }

    #[test]
    fn a_pod_that_listens_everywhere_is_asked_here() {
        let at = |host: &str| {
            PodUrl::here(&ListenAddress { host: host.into(), port: 8080 }, "/health").to_string()
        };
        assert_eq!(at("0.0.0.0"), "http://127.0.0.1:8080/health");
        assert_eq!(at("::"), "http://[::1]:8080/health");
        assert_eq!(at("10.1.2.3"), "http://10.1.2.3:8080/health");
    }

    #[tokio::test]
    async fn what_is_said_is_told_and_what_is_no_http_is_an_error() {
        let well =
            server("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.get(None, SOON).await.unwrap();
        assert_eq!(well, (StatusCode::OK, "{}".to_owned()));
        let stuck =
            server("HTTP/1.1 503 Service Unavailable\r\n\r\nstuck").await.get(None, SOON).await.unwrap();
        assert_eq!(stuck, (StatusCode::SERVICE_UNAVAILABLE, "stuck".to_owned()));
        let other = server("220 an FTP server\r\n\r\n").await.get(None, SOON).await;
        assert_eq!(other.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_pod_that_says_nothing_is_not_waited_for_any_longer() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = PodUrl::parse(&silent.local_addr().unwrap().to_string(), "/health").unwrap();
        let asked = page.get(None, Duration::from_millis(50)).await;
        assert_eq!(asked.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}

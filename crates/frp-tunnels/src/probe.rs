//! The proof that something comes through: a connection, a greeting, an answer.

use std::time::Duration;

use hyper::Method;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::{Failure, FailureClass};
use crate::http_request::{HttpQuestion, ask};
use crate::spec::Probe;

/// For the whole probe.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(10);
/// A connection that leads nowhere is closed by frp after two round trips at most.
const OPEN_HOLD: Duration = Duration::from_millis(500);
/// More of a greeting is not read.
const MAX_GREETING_BYTES: usize = 512;
/// What frps writes under its own page for a path that leads nowhere, also while the service is down.
const FRPS_PAGE: &[u8] = b"Faithfully yours, frp";

/// Where a probe goes, each `host:port`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeTarget {
    /// Through the tunnel: the visitor's address, or frps' port.
    pub through: Option<String>,
    /// The service itself.
    pub local: Option<String>,
    /// The `Host` of an HTTP probe.
    pub host: Option<String>,
}

/// Makes the probe once.
pub async fn run_probe(probe: &Probe, target: &ProbeTarget) -> Result<(), Failure> {
    let made = async {
        match probe {
            Probe::Accepted => Ok(()),
            Probe::LocalService => local_service(target).await,
            Probe::Open => open(target).await,
            Probe::Greeting(expected) => greeting(target, expected).await,
            Probe::Http { path, status } => http(target, path, *status).await,
        }
    };
    let late = || failed(format!("the probe got no answer within {} s", PROBE_DEADLINE.as_secs()));
    timeout(PROBE_DEADLINE, made).await.unwrap_or_else(|_| Err(late()))
}

fn failed(message: String) -> Failure {
    Failure::new(FailureClass::ProbeFailed, message)
}

fn through(target: &ProbeTarget) -> Result<&str, Failure> {
    target
        .through
        .as_deref()
        .ok_or_else(|| failed("frps has not said yet where the tunnel begins".to_owned()))
}

async fn local_service(target: &ProbeTarget) -> Result<(), Failure> {
    // a plugin is frpc itself
    let Some(local) = &target.local else { return Ok(()) };
    let connected = TcpStream::connect(local).await.map(drop);
    connected.map_err(|error| Failure::new(FailureClass::LocalServiceDown, format!("{local}: {error}")))
}

async fn connect(address: &str) -> Result<TcpStream, Failure> {
    TcpStream::connect(address).await.map_err(|error| failed(format!("{address}: {error}")))
}

async fn open(target: &ProbeTarget) -> Result<(), Failure> {
    let address = through(target)?;
    let mut stream = connect(address).await?;
    let mut byte = [0];
    match timeout(OPEN_HOLD, stream.read(&mut byte)).await {
        Ok(Ok(0)) => Err(failed(format!("{address}: the connection was closed at once"))),
        Ok(Err(error)) => Err(failed(format!("{address}: {error}"))),
        // it spoke, or it waits for the client to speak
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

async fn greeting(target: &ProbeTarget, expected: &str) -> Result<(), Failure> {
    let address = through(target)?;
    let mut stream = connect(address).await?;
    let mut got = Vec::new();
    let enough = expected.len().max(1);
    while got.len() < enough && !got.contains(&b'\n') && got.len() < MAX_GREETING_BYTES {
        match stream.read_buf(&mut got).await {
            Ok(0) => return Err(failed(format!("{address}: closed before a greeting came"))),
            Ok(_) => {}
            Err(error) => return Err(failed(format!("{address}: {error}"))),
        }
    }
    if got.starts_with(expected.as_bytes()) {
        return Ok(());
    }
    let line = String::from_utf8_lossy(&got);
    let line: String =
        line.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(80).collect();
    Err(failed(format!("{address}: greeted with {line:?} instead of {expected:?}")))
}

async fn http(target: &ProbeTarget, path: &str, status: Option<u16>) -> Result<(), Failure> {
    let address = through(target)?;
    let host = target.host.as_deref();
    let deadline = PROBE_DEADLINE;
    let question = HttpQuestion { address, method: Method::GET, path, host, credentials: None, deadline };
    let answer = ask(question).await.map_err(|error| failed(error.to_string()))?;
    let is_from_frps = answer.body.windows(FRPS_PAGE.len()).any(|part| part == FRPS_PAGE);
    if is_from_frps {
        return Err(failed(format!(
            "{address}: frps answered itself: no such route, or the service is down"
        )));
    }
    match status {
        Some(expected) if answer.status.as_u16() != expected => {
            Err(failed(format!("{address}{path}: {} instead of {expected}", answer.status.as_u16())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    /// A service that says this to each connection; then closes it, or holds it.
    async fn service(says: &'static str, holds: bool) -> ProbeTarget {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if says.starts_with("HTTP") {
                    let _ = stream.read(&mut [0; 1024]).await;
                }
                let _ = stream.write_all(says.as_bytes()).await;
                if holds {
                    held.push(stream);
                }
            }
        });
        ProbeTarget { through: Some(address.clone()), local: Some(address), host: None }
    }

    #[tokio::test]
    async fn an_open_connection_is_one_that_speaks_or_waits() {
        assert_eq!(run_probe(&Probe::Open, &service("", true).await).await, Ok(()));
        assert_eq!(run_probe(&Probe::Open, &service("220 hello\r\n", true).await).await, Ok(()));
        let closed = run_probe(&Probe::Open, &service("", false).await).await.unwrap_err();
        assert!(closed.message.contains("closed at once"), "{closed}");
    }

    #[tokio::test]
    async fn a_greeting_is_compared() {
        let probe = Probe::Greeting("220".into());
        assert_eq!(run_probe(&probe, &service("220 FTP\r\n", true).await).await, Ok(()));
        let busy = run_probe(&probe, &service("421 too many\r\n", true).await).await.unwrap_err();
        assert!(busy.message.contains("greeted with \"421 too many\" instead of \"220\""), "{busy}");
        let silent = run_probe(&probe, &service("", false).await).await.unwrap_err();
        assert!(silent.message.contains("before a greeting came"), "{silent}");
    }

    #[tokio::test]
    async fn frps_own_page_is_no_answer_of_the_service() {
        let probe = Probe::Http { path: "/".into(), status: None };
        let own = "HTTP/1.1 404 Not Found\r\ncontent-length: 22\r\n\r\nFaithfully yours, frp.";
        let error = run_probe(&probe, &service(own, true).await).await.unwrap_err();
        assert!(error.message.contains("frps answered itself"), "{error}");
        let other = "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(run_probe(&probe, &service(other, true).await).await, Ok(()));
        let strict = Probe::Http { path: "/".into(), status: Some(200) };
        assert!(run_probe(&strict, &service(other, true).await).await.is_err());
    }

    #[tokio::test]
    async fn a_service_that_is_away_has_its_own_class() {
        let target = ProbeTarget { local: Some("127.0.0.1:1".into()), ..ProbeTarget::default() };
        let error = run_probe(&Probe::LocalService, &target).await.unwrap_err();
        assert_eq!(error.class, FailureClass::LocalServiceDown);
    }
}

//! What runs next to an FTP server without a public address: the tunnels that make this one server reachable, and
//! nothing else.
//!
//! With the server's passive ports, each port is a secret tunnel: `ftp` for the control connection, `d50000` … for
//! data. Without them, one secret tunnel `px` leads to our own proxy, which accepts HTTP CONNECT to the FTP server
//! only. frp's `http_proxy` plugin would reach every host that this machine reaches.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::loopback_server::{ConnectionSlot, LoopbackServer};
use crate::spec::{LocalService, Probe, SecretTunnel, TunnelKind, TunnelSpec};

/// The tunnel of the control connection.
pub const CONTROL_TUNNEL: &str = "ftp";
/// The tunnel of the CONNECT proxy.
pub const PROXY_TUNNEL: &str = "px";
/// More passive ports than this are a mistake: each is a proxy at frps, and a file handle at each visitor.
pub const MAX_PASSIVE_PORTS: usize = 1000;
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// The tunnel of a data connection's port.
pub fn data_tunnel(port: u16) -> String {
    format!("d{port}")
}

/// The FTP server that is made reachable.
#[derive(Debug, Clone)]
pub struct FtpFarSide {
    /// As this machine reaches it.
    pub host: String,
    pub port: u16,
    pub secret_key: SecretString,
    /// Users whose visitors may come in; `*`: all that know the key.
    pub allow_users: Vec<String>,
}

impl FtpFarSide {
    /// One tunnel for the control connection, and one for each passive port.
    pub fn tunnels(&self, passive: RangeInclusive<u16>) -> Vec<TunnelSpec> {
        let control = self.tunnel(CONTROL_TUNNEL, LocalService::address(&self.host, self.port));
        let control = control.probed_by(Probe::LocalService);
        // nothing listens at a passive port until the server is asked for one
        let data = |port| {
            self.tunnel(&data_tunnel(port), LocalService::address(&self.host, port))
                .probed_by(Probe::Accepted)
        };
        std::iter::once(control).chain(passive.map(data)).collect()
    }

    /// The one tunnel to the proxy that listens here.
    pub fn proxy_tunnel(&self, proxy: SocketAddr) -> TunnelSpec {
        self.tunnel(PROXY_TUNNEL, LocalService::port(proxy.port())).probed_by(Probe::LocalService)
    }

    fn tunnel(&self, name: &str, local: LocalService) -> TunnelSpec {
        let (secret_key, allow_users) = (self.secret_key.clone(), self.allow_users.clone());
        TunnelSpec::new(TunnelKind::Stcp(SecretTunnel { local, secret_key, allow_users })).named(name)
    }
}

/// Accepts HTTP CONNECT (RFC 9110, section 9.3.6) to one server, and refuses every other target. Serves until it is
/// dropped.
#[derive(Debug)]
pub struct FtpConnectProxy {
    server: LoopbackServer,
}

#[derive(Debug)]
struct ConnectRules {
    host: String,
    control_port: u16,
    /// Further names under which the far side may know the server.
    names: Vec<String>,
    data_ports: RangeInclusive<u16>,
}

impl ConnectRules {
    /// The address to connect to, where the target is the FTP server.
    fn resolve(&self, target: &str) -> Option<String> {
        let (host, port) = target.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_known =
            std::iter::once(&self.host).chain(&self.names).any(|name| name.eq_ignore_ascii_case(host));
        let is_port = port == self.control_port || self.data_ports.contains(&port);
        let bracketed = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        (is_known && is_port).then(|| format!("{bracketed}:{port}"))
    }
}

impl FtpConnectProxy {
    /// Listens on loopback. `names` are names of the server besides its host; `data_ports` those that it may use for
    /// data connections.
    pub async fn start(
        server: &FtpFarSide,
        names: Vec<String>,
        data_ports: RangeInclusive<u16>,
    ) -> std::io::Result<Self> {
        let rules = ConnectRules { host: server.host.clone(), control_port: server.port, names, data_ports };
        let rules = Arc::new(rules);
        let server = LoopbackServer::start("CONNECT proxy", move |request, slot| {
            let rules = rules.clone();
            async move { answer(request, &rules, slot).await }
        });
        Ok(Self { server: server.await? })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

async fn answer(
    request: Request<Incoming>,
    rules: &ConnectRules,
    slot: ConnectionSlot,
) -> Response<Empty<Bytes>> {
    if request.method() != Method::CONNECT {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let target = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let Some(address) = rules.resolve(&target) else {
        tracing::warn!(
            event = "destination_denied",
            target = target.as_str(),
            "refused a connection to an address other than the FTP server's"
        );
        return status(StatusCode::FORBIDDEN);
    };
    let stream = match timeout(CONNECT_DEADLINE, TcpStream::connect(&address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::warn!(event = "ftp_server_unreachable", address, %error, "the FTP server cannot be reached");
            return status(StatusCode::BAD_GATEWAY);
        }
        Err(_) => return status(StatusCode::GATEWAY_TIMEOUT),
    };
    let _ = stream.set_nodelay(true);
    tokio::spawn(async move {
        let mut stream = stream;
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await;
        }
        drop(slot);
    });
    status(StatusCode::OK)
}

fn status(code: StatusCode) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = code;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn server(port: u16) -> FtpFarSide {
        FtpFarSide {
            host: "127.0.0.1".into(),
            port,
            secret_key: "k".into(),
            allow_users: vec!["pool".into()],
        }
    }

    #[test]
    fn each_passive_port_is_a_tunnel() {
        let tunnels = server(21).tunnels(50_000..=50_002);
        let names: Vec<_> = tunnels.iter().filter_map(|tunnel| tunnel.name.as_deref()).collect();
        assert_eq!(names, ["ftp", "d50000", "d50001", "d50002"]);
        assert!(crate::spec::mistakes_of_all(&tunnels).is_empty());
    }

    #[tokio::test]
    async fn only_the_ftp_server_is_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(b"220 ready\r\n").await.unwrap();
            }
        });
        let proxy = FtpConnectProxy::start(&server(port), vec!["ftp.plant.local".into()], 50_000..=50_009)
            .await
            .unwrap();
        for (request, expected) in [
            (format!("CONNECT 127.0.0.1:{port}"), "HTTP/1.1 200"),
            (format!("CONNECT FTP.plant.local:{port}"), "HTTP/1.1 200"),
            ("CONNECT 127.0.0.1:22".to_owned(), "HTTP/1.1 403"),
            (format!("CONNECT localhost:{port}"), "HTTP/1.1 403"),
            ("CONNECT 127.0.0.1:50001".to_owned(), "HTTP/1.1 502"),
            ("GET http://127.0.0.1/".to_owned(), "HTTP/1.1 405"),
        ] {
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(expected), "{request}: {answer}");
            assert_eq!(answer.contains("220 ready"), expected.ends_with("200"), "{answer}");
        }
    }
}

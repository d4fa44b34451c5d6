//! Through a proxy: SOCKS5 (RFC 1928, 1929) or HTTP's CONNECT (RFC 9110, 9.3.6).

use std::io;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::{ProxyKind, ProxyServer};

/// How long a proxy's answer to CONNECT may be.
const MAX_ANSWER_BYTES: usize = 8192;

/// Asks the proxy at the other end of `stream` for a connection to `host`; afterwards `stream` is that connection.
pub(super) async fn tunnel(
    stream: &mut TcpStream,
    proxy: &ProxyServer,
    host: &str,
    port: u16,
) -> io::Result<()> {
    match proxy.kind {
        ProxyKind::Socks5 => socks5(stream, proxy, host, port).await,
        ProxyKind::Http => connect(stream, proxy, host, port).await,
    }
}

async fn socks5(stream: &mut TcpStream, proxy: &ProxyServer, host: &str, port: u16) -> io::Result<()> {
    const PASSWORD: u8 = 2;
    // Version 5; either no authentication, or a password too.
    let hello: &[u8] = if proxy.user.is_some() { &[5, 2, 0, PASSWORD] } else { &[5, 1, 0] };
    stream.write_all(hello).await?;
    match (read::<2>(stream).await?, &proxy.user) {
        ([5, 0], _) => {}
        ([5, PASSWORD], Some((user, pass))) => {
            let (user, pass) = (user.as_bytes(), pass.expose_secret().as_bytes());
            let login = [&[1, length(user)?], user, &[length(pass)?], pass].concat();
            stream.write_all(&login).await?;
            let [_, refused] = read::<2>(stream).await?;
            if refused != 0 {
                return Err(said("refused its user or password"));
            }
        }
        ([5, _], _) => return Err(said("wants another way of authentication")),
        _ => return Err(said("does not speak SOCKS5")),
    }
    let address = match host.parse() {
        Ok(IpAddr::V4(address)) => [&[1][..], &address.octets()].concat(),
        Ok(IpAddr::V6(address)) => [&[4][..], &address.octets()].concat(),
        Err(_) => [&[3, length(host.as_bytes())?][..], host.as_bytes()].concat(),
    };
    let request = [&[5, 1, 0][..], &address, &port.to_be_bytes()].concat();
    stream.write_all(&request).await?;
    let [version, refused, _, kind] = read::<4>(stream).await?;
    match (version, refused) {
        (5, 0) => {}
        (5, 1) => return Err(said("failed")),
        (5, 2) => return Err(said("forbids the connection")),
        (5, 3 | 4) => return Err(said("cannot reach the server")),
        (5, 5) => return Err(said("was refused by the server")),
        _ => return Err(said("refused the connection")),
    }
    // The address from which it connects.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(read::<1>(stream).await?[0]),
        _ => return Err(said("does not speak SOCKS5")),
    };
    let mut bound = vec![0; length + 2];
    stream.read_exact(&mut bound).await.map(|_| ())
}

async fn connect(stream: &mut TcpStream, proxy: &ProxyServer, host: &str, port: u16) -> io::Result<()> {
    let at = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let authorization = proxy.user.as_ref().map_or(String::new(), |(user, pass)| {
        let credentials = STANDARD.encode(format!("{user}:{}", pass.expose_secret()));
        format!("Proxy-Authorization: Basic {credentials}\r\n")
    });
    let request = format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes()).await?;
    // Byte by byte: what follows belongs to the server.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.extend(read::<1>(stream).await?);
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(said("does not speak HTTP"));
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    match status.split_ascii_whitespace().nth(1) {
        Some(code) if status.starts_with("HTTP/1.") && code.starts_with('2') => Ok(()),
        Some(_) if status.starts_with("HTTP/1.") => {
            let shown: String = status.chars().filter(|c| !c.is_control()).take(100).collect();
            Err(io::Error::other(format!("the proxy said {shown}")))
        }
        _ => Err(said("does not speak HTTP")),
    }
}

async fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn length(text: &[u8]) -> io::Result<u8> {
    u8::try_from(text.len()).map_err(|_| said("takes no name of more than 255 bytes"))
}

fn said(what: &str) -> io::Error {
    io::Error::other(format!("the proxy {what}"))
}

//! A proxy on a free port that wants a password: SOCKS5 or HTTP's CONNECT, for IPv4 addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ftp_pooler::config::ProxyKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

pub const PROXY_PASSWORD: &str = "open sesame";

/// Runs until it is dropped.
pub struct RunningProxy {
    addr: SocketAddr,
    tunnels: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl RunningProxy {
    pub async fn start(kind: ProxyKind) -> RunningProxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (addr, tunnels) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&tunnels);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(kind, stream, Arc::clone(&count)));
            }
        });
        RunningProxy { addr, tunnels, task }
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Connections that went through it.
    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(kind: ProxyKind, mut client: TcpStream, tunnels: Arc<AtomicUsize>) {
    let to = match kind {
        ProxyKind::Socks5 => socks5(&mut client).await,
        ProxyKind::Http => http(&mut client).await,
    };
    let mut server = TcpStream::connect(to).await.unwrap();
    let done: &[u8] = match kind {
        ProxyKind::Socks5 => &[5, 0, 0, 1, 127, 0, 0, 1, 0, 0],
        ProxyKind::Http => b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n",
    };
    client.write_all(done).await.unwrap();
    tunnels.fetch_add(1, Ordering::Relaxed);
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

async fn socks5(client: &mut TcpStream) -> SocketAddr {
    let mut hello = [0; 4];
    client.read_exact(&mut hello).await.unwrap();
    assert_eq!(hello, [5, 2, 0, 2]);
    client.write_all(&[5, 2]).await.unwrap();
    let mut login = vec![0; 2 + 4 + 1 + PROXY_PASSWORD.len()];
    client.read_exact(&mut login).await.unwrap();
    assert!(login.starts_with(b"\x01\x04anna") && login.ends_with(PROXY_PASSWORD.as_bytes()));
    client.write_all(&[1, 0]).await.unwrap();
    let mut request = [0; 10];
    client.read_exact(&mut request).await.unwrap();
    let [5, 1, 0, 1, a, b, c, d, high, low] = request else { panic!("{request:?}") };
    SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))
}

async fn http(client: &mut TcpStream) -> SocketAddr {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(client.read_u8().await.unwrap());
    }
    let request = String::from_utf8(request).unwrap();
    // anna:open sesame
    assert!(request.contains("Proxy-Authorization: Basic YW5uYTpvcGVuIHNlc2FtZQ==\r\n"), "{request}");
    request.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().parse().unwrap()
}

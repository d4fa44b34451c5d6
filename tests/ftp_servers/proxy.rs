//! A proxy on a free port that wants a password: SOCKS5 or HTTP's CONNECT, for IPv4 addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ftp_pooler::config::ProxyKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub const PROXY_PASSWORD: &str = "open sesame";

/// Runs until it is dropped.
pub struct RunningProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    tunnels: AtomicUsize,
    /// The server's port for control connections, to which the first tunnel leads.
    control: OnceLock<u16>,
    /// The next data connection that brings so many bytes is closed at both ends then; 0 is never.
    cut_after: AtomicU64,
    /// The address that data connections come from.
    data_from: Mutex<Option<Ipv4Addr>>,
}

impl RunningProxy {
    pub async fn start(kind: ProxyKind) -> RunningProxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (addr, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let served = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(kind, stream, Arc::clone(&served)));
            }
        });
        RunningProxy { addr, shared, task }
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Connections that went through it.
    pub fn tunnels(&self) -> usize {
        self.shared.tunnels.load(Ordering::Relaxed)
    }

    /// Closes a data connection at both ends once so many bytes have gone through it: the next one that has them.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// Data connections come to the server from another address than control connections.
    pub fn send_data_from(&self, address: Ipv4Addr) {
        *self.shared.data_from.lock().unwrap() = Some(address);
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(kind: ProxyKind, mut client: TcpStream, shared: Arc<Shared>) {
    let to = match kind {
        ProxyKind::Socks5 => socks5(&mut client).await,
        ProxyKind::Http => http(&mut client).await,
    };
    let is_data = *shared.control.get_or_init(|| to.port()) != to.port();
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(address) = shared.data_from.lock().unwrap().filter(|_| is_data) {
        socket.bind((address, 0).into()).unwrap();
    }
    let mut server = socket.connect(to).await.unwrap();
    let done: &[u8] = match kind {
        ProxyKind::Socks5 => &[5, 0, 0, 1, 127, 0, 0, 1, 0, 0],
        ProxyKind::Http => b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n",
    };
    client.write_all(done).await.unwrap();
    shared.tunnels.fetch_add(1, Ordering::Relaxed);
    match is_data.then(|| shared.cut_after.swap(0, Ordering::SeqCst)) {
        Some(bytes @ 1..) => {
            if some_bytes(&mut client, &mut server, bytes).await > 0 {
                // It is for a longer one.
                shared.cut_after.store(bytes, Ordering::SeqCst);
            }
        }
        _ => drop(copy_bidirectional(&mut client, &mut server).await),
    }
}

/// Passes so many bytes on, whichever way they go, and no more. Returns how many were missing.
async fn some_bytes(client: &mut TcpStream, server: &mut TcpStream, mut bytes: u64) -> u64 {
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let passed = tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(read @ 1..) => server.write_all(&up[..read]).await.map(|()| read),
                _ => return bytes,
            },
            read = server.read(&mut down) => match read {
                Ok(read @ 1..) => client.write_all(&down[..read]).await.map(|()| read),
                _ => return bytes,
            },
        };
        let Ok(passed) = passed else { return bytes };
        bytes = bytes.saturating_sub(passed as u64);
        if bytes == 0 {
            return 0;
        }
    }
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

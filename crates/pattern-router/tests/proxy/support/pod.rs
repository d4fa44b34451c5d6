//! Pods: servers whose every byte a test decides.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A server on 127.0.0.1; gone when it is dropped.
pub struct Pod {
    pub port: u16,
    task: JoinHandle<()>,
    /// What came over each connection, in order of their begin.
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Pod {
    /// Serves each connection with `serve`.
    pub async fn start<F, S>(serve: S) -> Pod
    where
        S: Fn(PodConnection) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Pod::start_at(([127, 0, 0, 1], 0).into(), serve).await
    }

    pub async fn start_at<F, S>(address: SocketAddr, serve: S) -> Pod
    where
        S: Fn(PodConnection) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&received);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let index = {
                    let mut all = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                connections.spawn(serve(PodConnection { socket, index, received: Arc::clone(&all) }));
            }
        });
        Pod { port, task, received }
    }

    /// Answers every request with its own head as the body.
    pub async fn echo() -> Pod {
        Pod::start(|mut connection| async move {
            while let Some(head) = connection.head().await {
                connection.body(&head).await;
                connection.answer("200 OK", "X-Pod: yes\r\n", &head).await;
            }
        })
        .await
    }

    /// Answers every request with these bytes, and closes.
    pub async fn fixed(answer: impl Into<Vec<u8>>) -> Pod {
        let answer = answer.into();
        Pod::start(move |mut connection| {
            let answer = answer.clone();
            async move {
                if connection.head().await.is_some() {
                    let _ = connection.socket.write_all(&answer).await;
                }
            }
        })
        .await
    }

    pub fn host(&self) -> String {
        self.host_of("ws1")
    }

    pub fn host_of(&self, id: &str) -> String {
        format!("{}-{id}.pool.test", self.port)
    }

    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The pod's side of a connection.
pub struct PodConnection {
    pub socket: TcpStream,
    pub index: usize,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl PodConnection {
    /// A request's head with its empty line; none at the end.
    pub async fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.byte().await?);
        }
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    pub async fn byte(&mut self) -> Option<u8> {
        let byte = self.socket.read_u8().await.ok()?;
        self.received.lock().unwrap()[self.index].push(byte);
        Some(byte)
    }

    /// The body that a head announces.
    pub async fn body(&mut self, head: &str) -> Vec<u8> {
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let mut body = Vec::new();
        if let Some(length) = field("content-length") {
            for _ in 0..length.parse::<usize>().unwrap() {
                body.extend(self.byte().await);
            }
        } else if field("transfer-encoding").is_some() {
            // A line that says 0 begins the end, which is an empty line; trailers may stand between.
            let (mut line, mut last) = (Vec::new(), false);
            while let Some(byte) = self.byte().await {
                body.push(byte);
                line.push(byte);
                if byte == b'\n' {
                    if last && line == b"\r\n" {
                        break;
                    }
                    last |= line == b"0\r\n";
                    line.clear();
                }
            }
        }
        body
    }

    pub async fn answer(&mut self, status: &str, fields: &str, body: &str) {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len());
        let _ = self.socket.write_all(answer.as_bytes()).await;
    }

    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).await.is_ok()
    }
}

//! A client that writes raw bytes and reads one answer at a time.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::router::PATIENCE;

/// A connection to the router.
pub struct Client {
    pub socket: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, with its body read to the end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<String> {
        self.fields(name).into_iter().next()
    }

    pub fn fields(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `X-Router-Error`.
    pub fn error(&self) -> String {
        self.field("x-router-error").unwrap_or_default()
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Client { socket, buffer: Vec::new() }
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(bytes.as_ref()).await;
    }

    /// A GET with these further lines, each ending in CRLF.
    pub async fn get(&mut self, host: &str, path: &str, fields: &str) -> Answer {
        self.write(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")).await;
        self.answer().await
    }

    pub async fn request(&mut self, line: &str, host: &str, fields: &str, body: &str) -> Answer {
        self.write(format!("{line} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{body}")).await;
        self.answer().await
    }

    pub async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("the router closed the connection instead of answering")
    }

    /// None if the connection ends first.
    pub async fn try_answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read_answer()).await.expect("the router answers")
    }

    /// Bytes until `end` has come, which is included; none if the connection ends first.
    pub async fn read_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    pub async fn read_exact(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// Whether the router closes the connection without another byte.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill().await
    }

    async fn fill(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        let read =
            tokio::time::timeout(PATIENCE, self.socket.read(&mut chunk)).await.expect("bytes or an end");
        let read = read.unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..read]);
        read > 0
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let head = String::from_utf8_lossy(&self.read_until(b"\r\n\r\n").await?).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Answer { status, head, body: Vec::new() };
        if status < 200 || status == 204 || status == 304 {
            return Some(answer);
        }
        if let Some(length) = answer.field("content-length") {
            answer.body = self.read_exact(length.parse().unwrap()).await?;
        } else if answer.field("transfer-encoding").is_some() {
            loop {
                let size = self.read_until(b"\r\n").await?;
                let size = usize::from_str_radix(String::from_utf8_lossy(&size).trim(), 16).unwrap();
                if size == 0 {
                    let trailers = self.read_until(b"\r\n").await?;
                    if trailers != b"\r\n" {
                        answer.head.push_str(&String::from_utf8_lossy(&trailers));
                        self.read_until(b"\r\n").await?;
                    }
                    return Some(answer);
                }
                answer.body.extend(self.read_exact(size).await?);
                self.read_exact(2).await?;
            }
        } else {
            while self.fill().await {}
            answer.body = std::mem::take(&mut self.buffer);
        }
        Some(answer)
    }

    /// Sends the head of a WebSocket's opening and returns the answer's.
    pub async fn open_websocket(&mut self, host: &str, fields: &str) -> Answer {
        self.write(format!(
            "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        ))
        .await;
        self.answer().await
    }
}

/// One GET over a connection of its own.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Answer {
    Client::connect(address).await.get(host, path, "").await
}

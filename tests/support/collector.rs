//! A collector of traces that keeps what it is sent.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// It runs until its test ends.
#[derive(Debug)]
pub struct Collector {
    addr: SocketAddr,
    requests: mpsc::Receiver<(String, Vec<u8>)>,
}

impl Collector {
    /// # Panics
    /// Where the system has no port.
    pub fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || {
            let taken = listener.incoming().map_while(Result::ok).filter_map(take);
            taken.map(|request| sender.send(request)).take_while(Result::is_ok).for_each(drop);
        });
        Collector { addr, requests }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Head and body of the next request.
    ///
    /// # Panics
    /// Where none comes in time.
    pub fn next(&self, within: Duration) -> (String, Vec<u8>) {
        self.requests.recv_timeout(within).expect("a request of the exporter's")
    }

    /// Nothing has come that was not taken.
    pub fn is_idle(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

/// Reads one request and says that all is well.
fn take(mut stream: TcpStream) -> Option<(String, Vec<u8>)> {
    let mut request = Vec::new();
    let (head, length) = loop {
        read(&mut stream, &mut request)?;
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let named = head.lines().filter_map(|line| line.split_once(": "));
            let mut length = named.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            break (head.to_owned(), length.next()?.1.parse::<usize>().ok()?);
        }
    };
    let begin = head.len() + 4;
    while request.len() < begin + length {
        read(&mut stream, &mut request)?;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    Some((head, request.split_off(begin)))
}

/// Some more bytes; none where there are no more.
fn read(stream: &mut TcpStream, into: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
    into.extend(chunk.iter().take(read));
    Some(())
}

/// Whether `part` stands anywhere in `body`: identifiers and texts stand in protobuf as they are.
pub fn holds(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

/// The bytes of hex digits.
///
/// # Panics
/// Where they are none.
pub fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: char| u8::try_from(c.to_digit(16).expect("a hex digit")).expect("a digit");
    let digits: Vec<u8> = hex.chars().map(digit).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

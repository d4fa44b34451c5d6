//! The load of `make bench-router` that wrk and h2load do not have:
//!
//! - `load echo ADDRESS`: a WebSocket echo server
//! - `load trips ADDRESS HOST CONNECTIONS SECONDS SIZE`: each connection sends a frame and waits for its echo
//! - `load churn ADDRESS HOST TASKS SECONDS`: upgrade, one echo, close
//! - `load rate ADDRESS HOST CONNECTIONS SECONDS RATE PATH`: GETs at a fixed rate; latency counts from when each was due

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a tool for measuring, not a product"
)]

use std::io;
use std::time::{Duration, Instant};

use base64::Engine as _;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match words.as_slice() {
            ["echo", address] => serve_echo(address).await,
            ["trips", address, host, connections, seconds, size] => {
                trips(address, host, number(connections), number(seconds) as u64, number(size)).await;
            }
            ["churn", address, host, tasks, seconds] => {
                churn(address, host, number(tasks), number(seconds) as u64).await;
            }
            ["rate", address, host, connections, seconds, rate, path] => {
                let load = RateLoad { address, host, path, seconds: number(seconds) as u64 };
                load.run(number(connections), number(rate) as f64).await;
            }
            _ => println!("see the head of load.rs"),
        }
    });
}

fn number(text: &str) -> usize {
    text.parse().unwrap()
}

/// Times in microseconds, and how many requests failed.
#[derive(Default)]
struct Measured {
    times: Vec<u32>,
    failed: u64,
}

fn report(all: Vec<Measured>, seconds: u64) {
    let failed: u64 = all.iter().map(|one| one.failed).sum();
    let mut times: Vec<u32> = all.into_iter().flat_map(|one| one.times).collect();
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    let (p50, p99) = (at(0.5), at(0.99));
    println!(
        "trips {} per_s {} p50_us {p50} p99_us {p99} bad {failed}",
        times.len(),
        times.len() as u64 / seconds
    );
}

async fn serve_echo(address: &str) {
    let listener = TcpListener::bind(address).await.unwrap();
    loop {
        if let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(echo(socket));
        }
    }
}

async fn head(socket: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
        if head.len() > 16 * 1024 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn echo(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let head = head(&mut socket).await?;
    let key = head.lines().filter_map(|line| line.split_once(':'));
    let key = key
        .filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map(|(_, key)| key.trim())
        .next();
    let Some(key) = key else { return Ok(()) };
    let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n";
    socket.write_all(format!("{switch}sec-websocket-accept: {accept}\r\n\r\n").as_bytes()).await?;
    let mut frame = vec![0u8; 70_000];
    loop {
        // Small frames alone: two bytes of head (four with a 16-bit length), the mask, the payload.
        socket.read_exact(&mut frame[..2]).await?;
        let (mut length, mut at) = (usize::from(frame[1] & 127), 2);
        if length == 126 {
            socket.read_exact(&mut frame[2..4]).await?;
            (length, at) = (usize::from(u16::from_be_bytes([frame[2], frame[3]])), 4);
        }
        socket.read_exact(&mut frame[at..at + 4 + length]).await?;
        let mask = [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]];
        let mut answer = vec![frame[0], frame[1] & 127];
        answer.extend_from_slice(&frame[2..at]);
        answer.extend(
            frame[at + 4..at + 4 + length].iter().enumerate().map(|(index, byte)| byte ^ mask[index & 3]),
        );
        socket.write_all(&answer).await?;
    }
}

async fn open(address: &str, host: &str) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://{host}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let head = head(&mut socket).await?;
    if head.starts_with("HTTP/1.1 101") { Ok(socket) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn frame(size: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    if size < 126 {
        frame.push(0x80 | size as u8);
    } else {
        frame.push(0x80 + 126);
        frame.extend((size as u16).to_be_bytes());
    }
    frame.extend([1, 2, 3, 4]);
    frame.extend(std::iter::repeat_n(7, size));
    frame
}

async fn trip(socket: &mut TcpStream, frame: &[u8], answer: &mut [u8]) -> io::Result<()> {
    socket.write_all(frame).await?;
    // The echo is as long, without the mask.
    socket.read_exact(&mut answer[..frame.len() - 4]).await.map(|_| ())
}

async fn trips(address: &str, host: &str, connections: usize, seconds: u64, size: usize) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (address, host) = (address.to_owned(), host.to_owned());
        tasks.spawn(async move {
            let mut measured = Measured::default();
            let Ok(mut socket) = open(&address, &host).await else {
                return Measured { failed: 1, ..measured };
            };
            let (frame, mut answer) = (frame(size), vec![0; size + 16]);
            while Instant::now() < end {
                let begin = Instant::now();
                if trip(&mut socket, &frame, &mut answer).await.is_err() {
                    measured.failed += 1;
                    break;
                }
                measured.times.push(begin.elapsed().as_micros() as u32);
            }
            measured
        });
    }
    report(tasks.join_all().await, seconds);
}

async fn churn(address: &str, host: &str, tasks: usize, seconds: u64) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let (address, host) = (address.to_owned(), host.to_owned());
        set.spawn(async move {
            let mut measured = Measured::default();
            let (frame, mut answer) = (frame(64), vec![0; 80]);
            while Instant::now() < end {
                let begin = Instant::now();
                let done = match open(&address, &host).await {
                    Ok(mut socket) => trip(&mut socket, &frame, &mut answer).await,
                    Err(error) => Err(error),
                };
                match done {
                    Ok(()) => measured.times.push(begin.elapsed().as_micros() as u32),
                    Err(_) => measured.failed += 1,
                }
            }
            measured
        });
    }
    report(set.join_all().await, seconds);
}

struct RateLoad<'a> {
    address: &'a str,
    host: &'a str,
    path: &'a str,
    seconds: u64,
}

impl RateLoad<'_> {
    async fn run(&self, connections: usize, rate: f64) {
        let gap = Duration::from_secs_f64(connections as f64 / rate);
        let start = Instant::now() + Duration::from_secs(2);
        let end = start + Duration::from_secs(self.seconds);
        let request = format!("GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n", self.path, self.host);
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..connections {
            let (address, request) = (self.address.to_owned(), request.clone());
            let first = start + gap.mul_f64(index as f64 / connections as f64);
            tasks.spawn(async move {
                let mut measured = Measured::default();
                if one_connection(&address, &request, first, gap, end, &mut measured).await.is_err() {
                    measured.failed += 1;
                }
                measured
            });
        }
        report(tasks.join_all().await, self.seconds);
    }
}

async fn one_connection(
    address: &str,
    request: &str,
    first: Instant,
    gap: Duration,
    end: Instant,
    measured: &mut Measured,
) -> io::Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let mut due = first;
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        socket.write_all(request.as_bytes()).await?;
        let head = head(&mut socket).await?.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize =
            length.and_then(|length| length.trim().parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await?;
        measured.failed += u64::from(!head.starts_with("http/1.1 200"));
        measured.times.push(due.elapsed().as_micros() as u32);
        due += gap;
    }
    Ok(())
}

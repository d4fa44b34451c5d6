//! One GET, as much of HTTP as asking the sidecar takes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Connect, write, and each read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Status and body of `GET path`.
///
/// # Errors
/// Where nobody listens, or what is said is no HTTP.
pub fn get(addr: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    get_with(addr, path, "")
}

/// The same with more lines in the request's head, each with its line break.
///
/// # Errors
/// As [`get`].
pub fn get_with(addr: SocketAddr, path: &str, more: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // 1.0: the answer is never chunked, and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {addr}\r\n{more}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let no_http = || io::Error::other(format!("no HTTP: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_http)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(no_http)?;
    Ok((status, body.to_owned()))
}

//! Binds a socket, with an error that names the configuration key to change.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;

/// A host's name may have to be resolved.
const BIND_DEADLINE: Duration = Duration::from_secs(10);

/// `api.port 8080: cannot listen on 0.0.0.0:8080: address already in use`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {port}: cannot listen on {address}: {reason}")]
pub struct BindError {
    /// The key in the configuration, as `api.port`.
    pub key: String,
    pub port: u16,
    /// Host and port, an IPv6 address in brackets.
    pub address: String,
    /// The system's reason, in words.
    pub reason: String,
}

/// Binds and listens; port 0 lets the system choose. `key` is the configuration key of the port.
///
/// # Errors
/// Names the key, the address and the system's reason.
pub async fn bind(key: &str, host: &str, port: u16) -> Result<TcpListener, BindError> {
    let bound = match timeout(BIND_DEADLINE, TcpListener::bind((bare(host), port))).await {
        Ok(bound) => bound,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "host name not resolved within 10 s")),
    };
    bound.map_err(|error| BindError {
        key: key.to_owned(),
        port,
        address: address(host, port),
        reason: words(&error),
    })
}

/// Removes the brackets that may surround an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn address(host: &str, port: u16) -> String {
    let host = bare(host);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// `Address already in use (os error 98)` without its number and capital.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_is_put_in_brackets() {
        assert_eq!(address("::1", 80), "[::1]:80");
        assert_eq!(address("[::1]", 80), "[::1]:80");
        assert_eq!(address("0.0.0.0", 80), "0.0.0.0:80");
    }

    #[test]
    fn the_reason_has_no_number() {
        assert_eq!(words(&io::Error::from_raw_os_error(98)), "address already in use");
        assert_eq!(words(&io::Error::from_raw_os_error(13)), "permission denied");
    }
}

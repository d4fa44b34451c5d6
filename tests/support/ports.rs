//! Ports for servers that must be told theirs before they start.

use std::net::{Ipv4Addr, TcpListener};

/// Below Linux's ephemeral range (32768 and up), so that no outgoing connection takes the port between our
/// look and the server's bind, nor while a server that is to come back on it is down.
const RANGE: std::ops::Range<u16> = 18_000..32_000;

/// A port on which nothing listens now. Somebody may still be quicker: callers try again.
///
/// # Panics
/// Where 1,000 random ports are all taken.
pub fn free_port() -> u16 {
    (0..1_000)
        .map(|_| rand::random_range(RANGE))
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("1,000 random ports are all taken")
}

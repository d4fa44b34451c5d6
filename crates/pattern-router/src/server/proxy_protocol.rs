//! PROXY protocol, versions 1 and 2 (`HAProxy`'s proxy-protocol.txt): a trusted load balancer states who the client is.

use std::net::IpAddr;

use ppp::{HeaderResult, PartialResult as _};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// A version 1 header has at most 107 bytes; one of version 2 also has its TLVs.
const MAX_HEADER: usize = 4096;

/// Why a connection from a trusted proxy is not served.
#[derive(Debug, thiserror::Error)]
pub enum ProxyHeaderError {
    #[error("the connection does not begin with one")]
    Missing,
    #[error("longer than {MAX_HEADER} bytes")]
    TooLong,
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// The client's address; none for the proxy's own checks (LOCAL) and for anything but TCP. Reads exactly the header.
pub async fn read(socket: &mut TcpStream) -> Result<Option<IpAddr>, ProxyHeaderError> {
    let mut seen = vec![0; MAX_HEADER];
    let mut length = 0;
    loop {
        // Peeked first, so that what follows the header remains in the socket.
        let peeked = socket.peek(&mut seen).await?;
        if peeked == 0 {
            return Err(ProxyHeaderError::Missing);
        }
        let parsed = HeaderResult::parse(seen.get(..peeked).unwrap_or_default());
        if parsed.is_complete() {
            let (address, header) = client_of(&parsed)?;
            let mut header = vec![0; header];
            socket.read_exact(&mut header).await?;
            return Ok(address);
        }
        if peeked == MAX_HEADER {
            return Err(ProxyHeaderError::TooLong);
        }
        if peeked == length {
            // Nothing new: peek returns at once while bytes are available.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        length = peeked;
    }
}

fn client_of(parsed: &HeaderResult<'_>) -> Result<(Option<IpAddr>, usize), ProxyHeaderError> {
    match parsed {
        HeaderResult::V1(Ok(header)) => {
            let address = match header.addresses {
                ppp::v1::Addresses::Tcp4(tcp) => Some(IpAddr::V4(tcp.source_address)),
                ppp::v1::Addresses::Tcp6(tcp) => Some(IpAddr::V6(tcp.source_address)),
                ppp::v1::Addresses::Unknown => None,
            };
            Ok((address.map(|address| address.to_canonical()), header.header.len()))
        }
        HeaderResult::V2(Ok(header)) => {
            let local = header.command == ppp::v2::Command::Local;
            let address = match header.addresses {
                ppp::v2::Addresses::IPv4(v4) => Some(IpAddr::V4(v4.source_address)),
                ppp::v2::Addresses::IPv6(v6) => Some(IpAddr::V6(v6.source_address)),
                _ => None,
            };
            Ok((address.filter(|_| !local).map(|address| address.to_canonical()), header.len()))
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(ProxyHeaderError::Missing),
    }
}

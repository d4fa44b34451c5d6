//! What the kernel may hold for a client, and for how long.

use std::io;
use std::os::fd::AsFd;

use rustix::net::sockopt;

use super::feed::SLOWEST;

/// A socket's send buffer, in bytes; Linux doubles it for what it keeps beside them. Left to itself it grows to
/// megabytes, which a stream of small events takes minutes to fill.
const SEND_BUFFER: usize = 64 * 1_024;

/// Bounds what waits for a client that does not read, and how long it waits: a client that has let no byte in for
/// [`SLOWEST`] (its window is closed, or nothing of it comes any more) loses its connection.
pub(super) fn bound(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(socket, u32::try_from(SLOWEST.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_socket_has_its_bounds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        bound(&socket).unwrap();
        let size = sockopt::socket_send_buffer_size(&socket).unwrap();
        assert!((SEND_BUFFER..=2 * SEND_BUFFER).contains(&size), "{size}");
        #[cfg(target_os = "linux")]
        assert_eq!(u128::from(sockopt::tcp_user_timeout(&socket).unwrap()), SLOWEST.as_millis());
    }
}

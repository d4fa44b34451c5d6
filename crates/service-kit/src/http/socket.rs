//! How much the kernel may buffer for a client, and for how long.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// A client whose system accepts no data for this long (its receive buffer is full, or it is unreachable) loses its
/// connection.
pub const CLIENT_STALL: Duration = Duration::from_secs(10);

/// A socket's send buffer, in bytes; Linux doubles it for its own overhead. Without a limit it grows to megabytes,
/// which a stream of small events takes minutes to fill.
const SEND_BUFFER: usize = 64 * 1_024;

/// Limits how much is buffered for a client that does not read, and how long: see [`CLIENT_STALL`].
pub(super) fn limit_buffers(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(socket, u32::try_from(CLIENT_STALL.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_socket_has_its_limits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        limit_buffers(&socket).unwrap();
        let size = sockopt::socket_send_buffer_size(&socket).unwrap();
        assert!((SEND_BUFFER..=2 * SEND_BUFFER).contains(&size), "{size}");
        #[cfg(target_os = "linux")]
        assert_eq!(u128::from(sockopt::tcp_user_timeout(&socket).unwrap()), CLIENT_STALL.as_millis());
    }
}

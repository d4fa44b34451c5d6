//! Clients that ask for events and never read them.

use tokio::net::TcpSocket;

use super::*;

/// The kernel's part: the events that fill a client's own buffer, ten seconds, and its timers' steps. What it would be
/// without is the life of a stream, twice as long.
const DROPPED: Duration = Duration::from_secs(120);

/// A client whose own buffer is as small as the system allows, or as large as it gives to everybody.
async fn silent(pod: &Pod, buffer: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(buffer) = buffer {
        socket.set_recv_buffer_size(buffer).unwrap();
    }
    let mut socket = socket.connect(pod.api).await.unwrap();
    socket.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: pod\r\n\r\n").await.unwrap();
    socket
}

/// The status with which a stream begins.
async fn status(pod: &Pod) -> String {
    let mut socket = silent(pod, None).await;
    let mut head = [0; 12];
    timeout(LONG, socket.read_exact(&mut head)).await.expect("it answers").unwrap();
    String::from_utf8_lossy(&head).into_owned()
}

/// Waits until a stream begins so.
async fn until(pod: &Pod, wanted: &str) {
    let begins = async {
        while status(pod).await != wanted {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(DROPPED, begins).await.unwrap_or_else(|_| panic!("no {wanted} in {DROPPED:?}"));
}

#[tokio::test]
async fn who_never_reads_is_dropped_and_its_place_is_free_again() {
    let pod = Pod::start().await;
    let mut sockets = Vec::new();
    for _ in 0..MAX_STREAMS {
        sockets.push(silent(&pod, Some(1)).await);
    }
    until(&pod, "HTTP/1.1 503").await;
    until(&pod, "HTTP/1.1 200").await;
    assert_eq!(sockets.len(), MAX_STREAMS, "none of them went by itself");
}

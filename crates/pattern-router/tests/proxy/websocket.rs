//! `WebSocket` connections over HTTP/1.1 and HTTP/2 (RFC 8441), and their end.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Client, Pod, PodConnection, RouterProcess, until};

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Switches and sends back every byte.
async fn echo_websocket(mut connection: PodConnection) {
    connection.head().await;
    connection.write(SWITCH).await;
    while let Some(byte) = connection.byte().await {
        connection.write(&[byte]).await;
    }
}

/// A text frame with a mask of zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    [&[0x81, 0x80 | length, 0, 0, 0, 0][..], text.as_bytes()].concat()
}

#[tokio::test]
async fn a_websocket_opens_and_carries_bytes_both_ways() {
    let (router, pod) = (RouterProcess::start(""), Pod::start(echo_websocket).await);
    let mut client = Client::connect(router.address).await;
    let answer = client.open_websocket(&pod.host(), "Sec-WebSocket-Protocol: vite-hmr\r\n").await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.field("upgrade").as_deref(), Some("websocket"));
    assert_eq!(answer.field("sec-websocket-accept").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.write(frame("hello")).await;
    assert_eq!(client.read_exact(11).await.unwrap(), frame("hello"));
    let head = String::from_utf8_lossy(&pod.received()[0]).into_owned();
    assert!(head.contains("Upgrade: websocket") && head.contains("Connection: Upgrade"), "{head}");
    assert!(head.to_lowercase().contains("sec-websocket-protocol: vite-hmr"), "{head}");
}

#[tokio::test]
async fn a_large_message_passes_a_slow_reader() {
    let (router, pod) = (RouterProcess::start(""), Pod::start(echo_websocket).await);
    let mut client = Client::connect(router.address).await;
    client.open_websocket(&pod.host(), "").await;
    let message: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let (mut read, mut write) = client.socket.split();
    let mut back = vec![0; message.len()];
    let (sent, received) = tokio::join!(write.write_all(&message), read.read_exact(&mut back));
    sent.unwrap();
    received.unwrap();
    assert!(back == message);
}

#[tokio::test]
async fn a_websocket_over_http2_is_one_of_http11_to_the_pod() {
    let (router, pod) = (RouterProcess::start(""), Pod::start(echo_websocket).await);
    let socket = tokio::net::TcpStream::connect(router.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = format!("http://{}/ws", pod.host()).parse().unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(&frame("over h2")).await.unwrap();
    let mut back = vec![0; 13];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, frame("over h2"));
    let head = String::from_utf8_lossy(&pod.received()[0]).into_owned();
    assert!(
        head.starts_with("GET /ws HTTP/1.1") && head.to_lowercase().contains("sec-websocket-key: "),
        "{head}"
    );
}

#[tokio::test]
async fn http2_requests_of_several_names_share_a_connection_and_cookies_are_joined() {
    let (router, first, second) = (RouterProcess::start(""), Pod::echo().await, Pod::echo().await);
    let socket = tokio::net::TcpStream::connect(router.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    for pod in [&first, &second, &first] {
        let request = Request::builder()
            .uri(format!("http://{}/x", pod.host()))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let seen = String::from_utf8_lossy(&body).to_lowercase();
        assert!(seen.contains("cookie: a=1; b=2\r\n"), "{seen}");
        assert!(seen.contains(&format!("host: {}\r\n", pod.host())), "{seen}");
    }
    let request = Request::builder()
        .uri(format!("http://{}/x", first.host()))
        .header("host", second.host())
        .body(Empty::<Bytes>::new())
        .unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 400, "host and :authority differ");
}

#[tokio::test]
async fn failed_upgrades_and_dead_peers_leave_no_socket() {
    let router = RouterProcess::start("");
    let refusing = Pod::fixed("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    let silent = Pod::fixed("").await;
    let echo = Pod::start(echo_websocket).await;
    let before = router.sockets();
    for _ in 0..30 {
        let mut client = Client::connect(router.address).await;
        assert_eq!(client.open_websocket(&refusing.host(), "").await.status, 403);
        let mut client = Client::connect(router.address).await;
        assert_eq!(client.open_websocket(&silent.host(), "").await.status, 502);
        let mut client = Client::connect(router.address).await;
        assert_eq!(client.open_websocket(&echo.host(), "").await.status, 101);
        client.write(&frame("x")[..3]).await;
    }
    until("all sockets are closed", async || router.sockets() <= before).await;
}

#[tokio::test]
async fn a_pod_that_switches_unasked_is_refused() {
    let (router, pod) = (RouterProcess::start(""), Pod::start(echo_websocket).await);
    let answer = Client::connect(router.address).await.get(&pod.host(), "/", "").await;
    assert_eq!((answer.status, answer.error().as_str()), (502, "pod_hung_up"));
}

#[tokio::test]
async fn a_drain_closes_websockets_with_1001_and_lets_requests_end() {
    let mut router = RouterProcess::start("drain: 1s\n");
    let websocket = Pod::start(echo_websocket).await;
    let (finish, finished) = tokio::sync::watch::channel(false);
    let slow = Pod::start(move |mut connection| {
        let mut finished = finished.clone();
        async move {
            connection.head().await;
            finished.wait_for(|done| *done).await.unwrap();
            connection.answer("200 OK", "", "late").await;
        }
    })
    .await;
    let mut open = Client::connect(router.address).await;
    open.open_websocket(&websocket.host(), "").await;
    let mut waiting = Client::connect(router.address).await;
    waiting.write(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", slow.host())).await;
    until("the slow pod is asked", async || slow.connections() == 1).await;
    router.signal("-TERM");
    until("nothing is accepted", async || tokio::net::TcpStream::connect(router.address).await.is_err())
        .await;
    finish.send(true).unwrap();
    let answer = waiting.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
    assert!(waiting.is_closed().await);
    assert_eq!(open.read_exact(4).await.unwrap(), [0x88, 2, 0x03, 0xe9], "Close, 1001");
    assert!(open.is_closed().await);
    assert!(router.wait().success());
    until("the pod gets a Close as well", async || {
        websocket.received()[0].ends_with(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9])
    })
    .await;
}

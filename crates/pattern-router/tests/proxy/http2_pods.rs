//! Pods that speak HTTP/2 (by the list of ports, or by ALPN), gRPC through them, TLS to pods, and HTTP/2's ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Frame;
use hyper::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::support::http2::{grpc_echo, seen, tls_of};
use crate::support::{Client, Http2Pod, Pod, RouterProcess, get, http2_client, until};

#[tokio::test]
async fn a_port_of_h2_ports_is_spoken_to_in_http2_over_one_connection() {
    let pod = Http2Pod::start(None, seen).await;
    let router = RouterProcess::start(&format!("h2_ports: {}\n", pod.port));
    let mut client = Client::connect(router.address).await;
    let fields = "Cookie: a=1\r\nConnection: close, Hop\r\nHop: 1\r\nTE: trailers, gzip\r\n";
    let text = client.get(&pod.host(), "/a?b", fields).await.text();
    assert!(text.starts_with(&format!("GET http://{}/a?b HTTP/2.0\n", pod.host())), "{text}");
    for line in ["cookie: a=1\n", "te: trailers\n", "x-forwarded-for: 127.0.0.1\n"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    for field in ["\nconnection:", "\nhop:", "\nhost:", "gzip"] {
        assert!(!text.contains(field), "{field} in {text}");
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (address, host) = (router.address, pod.host());
        tasks.spawn(async move { get(address, &host, "/").await.status });
    }
    assert!(tasks.join_all().await.iter().all(|status| *status == 200));
    assert_eq!(pod.connections(), 1, "all requests share it");
}

/// A gRPC message: uncompressed, its length, its bytes.
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0][..], &length, text.as_bytes()].concat().into()
}

#[tokio::test]
async fn grpc_streams_both_ways_message_by_message_and_ends_with_its_trailers() {
    let pod = Http2Pod::start(None, grpc_echo).await;
    let router = RouterProcess::start(&format!("h2_ports: {}\n", pod.port));
    let (tell, told) = mpsc::channel::<Bytes>(1);
    let (mut client, _connection) = http2_client(router.address).await;
    let request = Request::post(format!("http://{}/echo.Echo/Chat", pod.host()))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(ChannelBody(told))
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-te"], "trailers", "gRPC servers insist on it");
    let mut body = response.into_body();
    for text in ["one", "two", "three"] {
        // The next message is sent once this one has come back.
        tell.send(message(text)).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message(text));
    }
    drop(tell);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

/// A body of what comes over a channel.
struct ChannelBody(mpsc::Receiver<Bytes>);

impl hyper::body::Body for ChannelBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test]
async fn behind_tls_alpn_decides_and_an_authority_may_be_asked_for() {
    let (_, both, _) = tls_of(&["*.pool.test"], &[b"h2", b"http/1.1"]);
    let (_, old, pem) = tls_of(&["*.pool.test"], &[b"http/1.1"]);
    let (_, other, _) = tls_of(&["*.other.test"], &[b"h2"]);
    let (h2, h1) = (Http2Pod::start(Some(both), seen).await, Http2Pod::start(Some(old), seen).await);
    let wrong = Http2Pod::start(Some(other), seen).await;
    let ports = format!("https_ports: {}, {}, {}\n", h2.port, h1.port, wrong.port);
    let router = RouterProcess::start(&ports);
    let text = get(router.address, &h2.host(), "/").await.text();
    assert!(text.starts_with(&format!("GET https://{}/ HTTP/2.0\n", h2.host())), "{text}");
    let text = get(router.address, &h1.host(), "/").await.text();
    assert!(
        text.starts_with("GET / HTTP/1.1\n") && text.contains(&format!("host: {}\n", h1.host())),
        "{text}"
    );
    assert_eq!(
        get(router.address, &wrong.host(), "/").await.status,
        200,
        "any certificate, encryption alone"
    );
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), pem).unwrap();
    let checked =
        format!("{ports}pod_ca_file: {}/ca.pem\nconnect_timeout: 200ms\n", directory.path().display());
    let router = RouterProcess::start(&checked);
    assert_eq!(get(router.address, &h1.host(), "/").await.status, 200);
    for pod in [&h2, &wrong] {
        let answer = get(router.address, &pod.host(), "/").await;
        assert_eq!((answer.status, answer.error().as_str()), (502, "nothing_listens"));
    }
}

#[tokio::test]
async fn a_body_passes_to_http2_with_backpressure_and_its_length() {
    let pod = Http2Pod::start(None, |request| {
        let length = request.headers().get("content-length").cloned();
        let mut response = hyper::Response::new(request.into_body().boxed());
        response
            .headers_mut()
            .extend(length.map(|l| (hyper::header::HeaderName::from_static("x-length"), l)));
        response
    })
    .await;
    let router = RouterProcess::start(&format!("h2_ports: {}\n", pod.port));
    let body = "0123456789abcdef".repeat(20_000);
    let mut client = Client::connect(router.address).await;
    let fields = format!("Content-Length: {}\r\n", body.len());
    let answer = client.request("POST /", &pod.host(), &fields, &body).await;
    assert_eq!(answer.field("x-length"), Some(body.len().to_string()));
    assert!(answer.text() == body);
}

#[tokio::test]
async fn a_pod_that_sends_goaway_is_connected_to_again_without_a_502() {
    let pod = Http2Pod::start(None, seen).await;
    let router = RouterProcess::start(&format!("h2_ports: {}\n", pod.port));
    for round in 1..=5 {
        for _ in 0..3 {
            assert_eq!(get(router.address, &pod.host(), "/").await.status, 200, "round {round}");
        }
        pod.goaway.send(round).unwrap();
    }
    assert_eq!(get(router.address, &pod.host(), "/").await.status, 200);
    assert!(pod.connections() > 1);
}

#[tokio::test]
async fn a_websocket_to_a_port_of_http2_or_tls_is_one_of_http11() {
    let (_, tls, _) = tls_of(&["*.pool.test"], &[b"h2", b"http/1.1"]);
    let pod = Http2Pod::start(Some(tls), |request| {
        let mut response = seen(request);
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    })
    .await;
    let router = RouterProcess::start(&format!("https_ports: {}\n", pod.port));
    let answer = Client::connect(router.address).await.open_websocket(&pod.host(), "").await;
    assert_eq!(answer.status, 418);
    assert!(answer.text().starts_with("GET /ws HTTP/1.1\n"), "{}", answer.text());
    assert!(answer.text().contains("upgrade: websocket\n"), "{}", answer.text());
}

/// One frame of HTTP/2: kind, stream, payload.
async fn frame(socket: &mut tokio::net::TcpStream) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    socket.read_exact(&mut payload).await.ok()?;
    Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// HEADERS that end a stream: a GET, each field a literal that is not indexed (RFC 7541, section 6.2.2).
fn get_frame(host: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84, 0x01];
    block.push(u8::try_from(host.len()).unwrap());
    block.extend(host.as_bytes());
    let mut frame = vec![0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1];
    frame.extend(block);
    frame
}

#[tokio::test]
async fn a_drain_sends_goaway_and_lets_the_open_stream_end() {
    const GOAWAY: u8 = 7;
    let (finish, finished) = tokio::sync::watch::channel(false);
    let pod = Pod::start(move |mut connection| {
        let mut finished = finished.clone();
        async move {
            connection.head().await;
            finished.wait_for(|done| *done).await.unwrap();
            connection.answer("200 OK", "", "late").await;
        }
    })
    .await;
    let mut router = RouterProcess::start("drain: 20s\n");
    let mut socket = tokio::net::TcpStream::connect(router.address).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    socket.write_all(&get_frame(&pod.host())).await.unwrap();
    until("the pod is asked", async || pod.connections() == 1).await;
    router.signal("-TERM");
    let mut frames: Vec<(u8, u32, Vec<u8>)> = Vec::new();
    while let Some((kind, stream, payload)) = frame(&mut socket).await {
        if kind == GOAWAY && frames.iter().all(|(kind, ..)| *kind != GOAWAY) {
            finish.send(true).unwrap();
        }
        // A ping of the router's, which asks how far its GOAWAY has come.
        if kind == 6 && stream == 0 {
            let pong = [&[0, 0, 8, 6, 1, 0, 0, 0, 0][..], &payload].concat();
            socket.write_all(&pong).await.unwrap();
        }
        frames.push((kind, stream, payload));
    }
    let goaway = frames.iter().position(|(kind, ..)| *kind == GOAWAY).expect("GOAWAY");
    let data =
        frames.iter().position(|(kind, stream, payload)| *kind == 0 && *stream == 1 && payload == b"late");
    assert!(data.is_some_and(|data| data > goaway), "{frames:?}");
    assert!(router.wait().success());
}

#[tokio::test]
async fn an_http2_client_of_the_router_may_send_many_streams_at_once() {
    let pod = Pod::echo().await;
    let router = RouterProcess::start("");
    let (client, _connection) = http2_client::<Empty<Bytes>>(router.address).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (mut client, host) = (client.clone(), pod.host());
        tasks.spawn(async move {
            let request = Request::get(format!("http://{host}/{number}")).body(Empty::new()).unwrap();
            client.ready().await.unwrap();
            let body = client.send_request(request).await.unwrap().into_body().collect().await.unwrap();
            String::from_utf8_lossy(&body.to_bytes()).starts_with(&format!("GET /{number} "))
        });
    }
    assert!(tasks.join_all().await.into_iter().all(|right| right));
}

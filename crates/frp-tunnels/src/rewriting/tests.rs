use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A service that answers each connection with this, and says what it was sent.
async fn service(answer: &'static str) -> (u16, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut got = Vec::new();
                while !got.windows(4).any(|part| part == b"\r\n\r\n") {
                    if stream.read_buf(&mut got).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                sender.send(String::from_utf8_lossy(&got).into_owned()).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                // what is upgraded is echoed
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    (port, receiver)
}

async fn proxy(port: u16, paths: &[&str], strip_path: bool) -> RewritingProxy {
    let mut tunnel = HttpTunnel::new(LocalService::port(port), vec!["a.test".into()]);
    tunnel.paths = paths.iter().map(|&path| path.to_owned()).collect();
    tunnel.strip_path = strip_path;
    RewritingProxy::start(&tunnel).await.unwrap()
}

async fn sent(proxy: &RewritingProxy, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn get(proxy: &RewritingProxy, path: &str) -> String {
    let mut stream =
        sent(proxy, &format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

const OK: &str = "HTTP/1.1 302 Found\r\nlocation: /login\r\nset-cookie: id=1; Path=/\r\nset-cookie: b=2\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn the_prefix_is_stripped_told_and_given_back() {
    let (port, mut seen) = service(OK).await;
    let proxy = proxy(port, &["/app"], true).await;
    let answer = get(&proxy, "/app/x?y=1").await;
    let request = seen.recv().await.unwrap().to_lowercase();
    assert!(request.starts_with("get /x?y=1 http/1.1\r\n"), "{request}");
    assert!(
        request.contains("x-forwarded-prefix: /app\r\n") && request.contains("host: a.test\r\n"),
        "{request}"
    );
    assert!(!request.contains("connection:"), "{request}");
    let answer = answer.to_lowercase();
    assert!(answer.contains("location: /app/login\r\n"), "{answer}");
    assert!(
        answer.contains("set-cookie: id=1; path=/app/\r\n") && answer.contains("set-cookie: b=2\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn only_whole_segments_of_the_patterns_are_taken() {
    let (port, mut seen) = service(OK).await;
    let proxy = proxy(port, &["/app", "/api/*/users"], false).await;
    assert!(get(&proxy, "/application").await.starts_with("HTTP/1.1 404"));
    assert!(get(&proxy, "/api/users").await.starts_with("HTTP/1.1 404"));
    assert!(get(&proxy, "/api/7/users/9").await.starts_with("HTTP/1.1 302"));
    assert!(seen.recv().await.unwrap().starts_with("GET /api/7/users/9 HTTP/1.1"));
}

#[tokio::test]
async fn a_bare_prefix_is_sent_to_its_directory() {
    let (port, _seen) = service(OK).await;
    let proxy = proxy(port, &["/app"], true).await;
    let answer = get(&proxy, "/app?x=1").await.to_lowercase();
    assert!(answer.starts_with("http/1.1 308") && answer.contains("location: /app/?x=1\r\n"), "{answer}");
}

#[tokio::test]
async fn a_service_that_is_away_is_a_502() {
    let proxy = proxy(1, &["/app"], true).await;
    assert!(get(&proxy, "/app/").await.starts_with("HTTP/1.1 502"));
}

#[tokio::test]
async fn an_upgrade_becomes_a_relay() {
    let (port, mut seen) =
        service("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .await;
    let proxy = proxy(port, &["/ws"], true).await;
    let mut stream = sent(
        &proxy,
        "GET /ws/chat HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
    )
    .await;
    let mut got = Vec::new();
    while !got.windows(4).any(|part| part == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut got).await.unwrap() > 0, "{}", String::from_utf8_lossy(&got));
    }
    assert!(got.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&got));
    assert!(seen.recv().await.unwrap().to_lowercase().contains("upgrade: websocket"));
    stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"hello");
}

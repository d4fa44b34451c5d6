//! Web services through http tunnels: paths, stripping, wildcards, WebSocket, groups.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

mod support;

use frp_tunnels::http_request::{HttpQuestion, ask};
use frp_tunnels::spec::{BalancingGroup, HealthCheck, HealthCheckKind, LocalService, TunnelKind, TunnelSpec};
use support::{Frps, PATIENCE, free_port, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A web service that answers with its name and the request's target; a WebSocket handshake becomes an echo.
async fn web(name: &'static str) -> u16 {
    web_at(0, name).await
}

async fn web_at(port: u16, name: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, name));
        }
    });
    port
}

async fn answer(mut stream: TcpStream, name: &str) {
    let mut got = Vec::new();
    while !got.windows(4).any(|part| part == b"\r\n\r\n") {
        if stream.read_buf(&mut got).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&got).to_lowercase();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let prefix =
        head.lines().find_map(|line| line.strip_prefix("x-forwarded-prefix: ")).unwrap_or("-").to_owned();
    if head.contains("upgrade: websocket") {
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            )
            .await
            .unwrap();
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        return;
    }
    let body = format!("{name} {target} {prefix}");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

fn http(port: u16, name: &str, paths: &[&str], strip_path: bool) -> TunnelSpec {
    let mut spec = TunnelSpec::http(LocalService::port(port), vec!["w.test".into()]).named(name);
    if let TunnelKind::Http(http) = &mut spec.kind {
        http.paths = paths.iter().map(|&path| path.to_owned()).collect();
        http.strip_path = strip_path;
    }
    spec
}

async fn get(frps: &Frps, path: &str) -> (u16, String) {
    let address = format!("127.0.0.1:{}", frps.vhost_port);
    let question = HttpQuestion {
        address: &address,
        method: hyper::Method::GET,
        path,
        host: Some("w.test"),
        credentials: None,
        deadline: PATIENCE,
    };
    let answer = ask(question).await.unwrap();
    (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn paths_are_shared_out_stripped_and_matched_by_segments() {
    let frps = Frps::start().await;
    let client = frps.client("alice").await;
    let _root = client.open(http(web("root").await, "root", &[], false)).await.unwrap();
    let app = client.open(http(web("app").await, "app", &["/app"], true)).await.unwrap();
    let _users = client.open(http(web("users").await, "users", &["/api/*/users"], false)).await.unwrap();
    assert_eq!(app.address().unwrap(), format!("http://w.test:{}/app", frps.vhost_port));
    assert_eq!(get(&frps, "/x").await, (200, "root /x -".into()));
    assert_eq!(get(&frps, "/app/x?y=1").await, (200, "app /x?y=1 /app".into()));
    assert_eq!(get(&frps, "/app").await.0, 308);
    assert_eq!(get(&frps, "/api/7/users/9").await, (200, "users /api/7/users/9 -".into()));
    // frps alone would have given these to the app and to the users
    assert_eq!(get(&frps, "/application").await.0, 404);
    assert_eq!(get(&frps, "/api/7/orders").await.0, 404);
    let error = client.open(http(1, "again", &["/app/"], false)).await.unwrap_err().to_string();
    assert!(error.contains("w.test/app is taken already by app"), "{error}");
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn a_web_socket_passes_the_rewriting_proxy_and_outlives_the_tunnel() {
    let frps = Frps::start().await;
    let client = frps.client("alice").await;
    let tunnel = client.open(http(web("chat").await, "chat", &["/chat"], true)).await.unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", frps.vhost_port)).await.unwrap();
    stream
        .write_all(
            b"GET /chat/room HTTP/1.1\r\nhost: w.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
        )
        .await
        .unwrap();
    let mut got = Vec::new();
    while !got.windows(4).any(|part| part == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut got).await.unwrap() > 0);
    }
    assert!(got.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&got));
    for text in [b"before", b"after!"] {
        stream.write_all(text).await.unwrap();
        let mut echo = [0; 6];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut echo)).await.unwrap().unwrap();
        assert_eq!(&echo, text);
        if text == b"before" {
            client.tunnels().await;
        }
    }
    tunnel.close().await;
    stream.write_all(b"closed").await.unwrap();
    let mut echo = [0; 6];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut echo)).await.unwrap().unwrap();
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs frps and frpc: make test"]
async fn a_group_is_balanced_and_leaves_out_what_is_not_healthy() {
    let frps = Frps::start().await;
    let client = frps.client("alice").await;
    let second_port = free_port();
    let member = |name: &str, port: u16| {
        let mut spec = http(port, name, &[], false);
        spec.group = Some(BalancingGroup { name: "web".into(), key: "group-key".into() });
        let second = std::time::Duration::from_secs(1);
        spec.health_check = Some(HealthCheck {
            kind: HealthCheckKind::Tcp,
            timeout: second,
            interval: second,
            max_failed: 1,
        });
        spec
    };
    let _first = client.open(member("first", web("first").await)).await.unwrap();
    let mut second = client.add(member("second", second_port)).await.unwrap();
    for _ in 0..4 {
        assert!(get(&frps, "/").await.1.starts_with("first "));
    }
    web_at(second_port, "second").await;
    while second.status().state.label() != "connected" {
        second.changed().await;
    }
    until("both answer", async || {
        let answers = [get(&frps, "/").await.1, get(&frps, "/").await.1];
        answers.iter().any(|answer| answer.starts_with("first"))
            && answers.iter().any(|answer| answer.starts_with("second"))
    })
    .await;
    client.shutdown().await;
}

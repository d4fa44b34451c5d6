//! Mixed traffic with pods that come and go: afterwards no socket is left, and memory is what it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Client, Http2Pod, Pod, PodConnection, RouterProcess, http2, http2_client, until};

/// Answers with what it is asked for: a body, a stream, an upgrade, or a broken answer.
async fn everything(mut connection: PodConnection) {
    while let Some(head) = connection.head().await {
        let body = connection.body(&head).await;
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        match path.as_str() {
            "/large" => connection.answer("200 OK", "", &"x".repeat(200_000)).await,
            "/stream" => {
                connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                for _ in 0..20 {
                    connection.write(b"5\r\nhello\r\n").await;
                }
                connection.write(b"0\r\n\r\n").await;
            }
            "/ws" => {
                connection.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").await;
                while let Some(byte) = connection.byte().await {
                    connection.write(&[byte]).await;
                }
                return;
            }
            "/broken" => {
                connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
                return;
            }
            _ => {
                connection
                    .answer("200 OK", "Set-Cookie: a=1; Domain=pool.test\r\n", &format!("{}", body.len()))
                    .await;
            }
        }
    }
}

/// One client's round of all kinds; what it meets while pods restart is its own business.
async fn round(router: std::net::SocketAddr, host: String, ended: Arc<AtomicBool>) -> u64 {
    let mut answers = 0;
    while !ended.load(Ordering::Relaxed) {
        let mut client = Client::connect(router).await;
        for path in ["/", "/large", "/stream", "/", "/"] {
            client.write(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: a=1\r\n\r\n")).await;
            let Some(answer) = client.try_answer().await else { break };
            answers += u64::from(answer.status == 200);
        }
        client.write(format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello")).await;
        let _ = client.try_answer().await;
        // Left in the middle, in three ways.
        let mut left = Client::connect(router).await;
        left.write(format!("GET /large HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        drop(left);
        let mut broken = Client::connect(router).await;
        broken.write(format!("GET /broken HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let _ = broken.try_answer().await;
        let mut websocket = Client::connect(router).await;
        websocket
            .write(format!(
                "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            ))
            .await;
        let _ = websocket.read_until(b"\r\n\r\n").await;
        websocket.write(b"\x81\x80\0\0\0\0").await;
    }
    answers
}

/// The same over HTTP/2, to a pod that speaks it.
async fn http2_round(router: std::net::SocketAddr, host: String, ended: Arc<AtomicBool>) -> u64 {
    use http_body_util::BodyExt as _;
    let mut answers = 0;
    while !ended.load(Ordering::Relaxed) {
        let (mut client, connection) = http2_client::<http_body_util::Empty<bytes::Bytes>>(router).await;
        for _ in 0..10 {
            let request =
                hyper::Request::get(format!("http://{host}/")).body(http_body_util::Empty::new()).unwrap();
            let Ok(answer) = client.send_request(request).await else { break };
            answers += u64::from(answer.status() == 200);
            let _ = answer.into_body().collect().await;
        }
        connection.abort();
    }
    answers
}

/// Resident memory in KiB.
fn memory(router: &RouterProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", router.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Traffic for a while, with a pod that restarts meanwhile; the answers that came whole.
async fn traffic(router: &RouterProcess, shared: &Http2Pod, restarts: usize) -> u64 {
    let ended = Arc::new(AtomicBool::new(false));
    let steady = Pod::start(everything).await;
    let mut shaky = Pod::start(everything).await;
    let address = ([127, 0, 0, 1], shaky.port).into();
    let mut clients = tokio::task::JoinSet::new();
    for host in [steady.host(), shaky.host(), steady.host_of("ws2"), shaky.host_of("ws2")] {
        for _ in 0..2 {
            clients.spawn(round(router.address, host.clone(), Arc::clone(&ended)));
        }
    }
    clients.spawn(http2_round(router.address, shared.host(), Arc::clone(&ended)));
    clients.spawn(http2_round(router.address, steady.host(), Arc::clone(&ended)));
    for restart in 0..restarts {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(shaky);
        tokio::time::sleep(Duration::from_millis(100)).await;
        shaky = Pod::start_at(address, everything).await;
        shared.goaway.send(u32::try_from(restart).unwrap() + 1).unwrap();
    }
    ended.store(true, Ordering::Relaxed);
    clients.join_all().await.into_iter().sum()
}

/// `SOAK_RESTARTS=9000` is an hour of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_leaves_no_socket_and_takes_no_memory() {
    let restarts = std::env::var("SOAK_RESTARTS").map_or(12, |text| text.parse().unwrap());
    let shared = Http2Pod::start(None, http2::seen).await;
    let limits = "pod_idle_timeout: 1s\nlookup_for: 1s\nrate: 100000\nmax_connections_per_client: 8192\n";
    let router = RouterProcess::start(&format!("{limits}h2_ports: {}\n", shared.port));
    let idle = router.sockets();
    assert!(traffic(&router, &shared, restarts / 2).await > 100, "it was served");
    until("the first half's sockets are closed", async || router.sockets() <= idle).await;
    let warm = memory(&router);
    let answers = traffic(&router, &shared, restarts).await;
    assert!(answers > 100, "it was served");
    until("every socket is closed", async || router.sockets() <= idle).await;
    let after = memory(&router);
    // What the allocator keeps differs by some pages; a leak of a hundred bytes a request would be more.
    assert!(after < warm + 2048 + answers / 10, "{warm} KiB, and {after} KiB {answers} answers later");
}

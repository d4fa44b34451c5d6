//! Sockets: clients that are bad, slow or too many, ports that are taken, and what becomes of all at the end.

use super::*;

#[tokio::test]
async fn a_body_is_not_waited_for() {
    let pod = Pod::start().await;
    let text = "GET /health HTTP/1.1\r\nHost: pod\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n";
    assert_eq!(send(pod.api, text).await.status, 200);
}

#[tokio::test]
async fn a_head_that_is_too_long_or_no_http_is_refused() {
    let pod = Pod::start().await;
    let long = format!("GET /health HTTP/1.1\r\nHost: pod\r\nX: {}\r\n\r\n", "x".repeat(60_000));
    let mut socket = TcpStream::connect(pod.api).await.unwrap();
    let _ = timeout(LONG, socket.write_all(long.as_bytes())).await.expect("the sidecar ends it");
    let mut reply = Vec::new();
    let _ = timeout(LONG, socket.read_to_end(&mut reply)).await.expect("the sidecar ends it");
    assert!(!reply.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&reply));

    assert_eq!(send(pod.api, "\u{16}\u{3}\u{1} this is no HTTP\r\n\r\n").await.status, 400);
    assert_eq!(pod.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_connection_serves_several_requests() {
    let pod = Pod::start().await;
    let mut socket = TcpStream::connect(pod.api).await.unwrap();
    for _ in 0..3 {
        socket.write_all(b"GET /health HTTP/1.1\r\nHost: pod\r\n\r\n").await.unwrap();
        let reply = read_reply(&mut socket).await;
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn clients_that_say_nothing_do_not_keep_a_probe_waiting() {
    let pod = Pod::start().await;
    let mut silent = Vec::new();
    for _ in 0..3 * MAX_CONNECTIONS {
        silent.push(TcpStream::connect(pod.api).await.expect("the backlog has room"));
        if silent.len() % 64 == 0 {
            assert_eq!(pod.get("/health").await.status, 200, "after {} silent clients", silent.len());
        }
    }
    assert_eq!(pod.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn more_clients_than_allowed_end_the_oldest() {
    let pod = Pod::start().await;
    let begun = Instant::now();
    let mut oldest = TcpStream::connect(pod.api).await.unwrap();
    oldest.write_all(b"GET /health HTTP/1.1\r\nHost: pod\r\n\r\n").await.unwrap();
    assert_eq!(read_reply(&mut oldest).await.status, 200);

    let mut others = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        others.push(TcpStream::connect(pod.api).await.unwrap());
    }
    let ended = timeout(LONG, oldest.read(&mut [0; 1])).await.expect("it is ended");
    assert!(matches!(ended, Ok(0) | Err(_)));
    assert!(begun.elapsed() < HEAD_DEADLINE, "and not because it was idle for too long");
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let pod = Pod::start().await;
    let mut slow = TcpStream::connect(pod.api).await.unwrap();
    slow.write_all(b"GET /health HT").await.unwrap();
    let mut rest = Vec::new();
    let ended = timeout(LONG, slow.read_to_end(&mut rest)).await.expect("within the head's deadline");
    assert!(ended.is_err() || !rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_key_address_and_reason() {
    let taken = bind("api.port", "127.0.0.1", 0).await.unwrap();
    let port = taken.local_addr().unwrap().port();

    let error = Sidecar::bind(&listen(port), &listen(0)).await.expect_err("the port is in use");
    let text = format!("api.port {port}: cannot listen on 127.0.0.1:{port}: address already in use");
    assert_eq!(error.to_string(), text);

    let error = Sidecar::bind(&listen(0), &listen(port)).await.expect_err("the port is in use");
    assert_eq!((error.key.as_str(), error.port), ("metrics.port", port));
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_an_error_that_names_it() {
    let elsewhere = ListenAddress { host: "192.0.2.1".to_owned(), port: 0 };
    let error = Sidecar::bind(&elsewhere, &listen(0)).await.expect_err("the address is another's");
    assert!(error.to_string().starts_with("api.port 0: cannot listen on 192.0.2.1:0: "), "{error}");
}

#[tokio::test]
async fn one_address_for_both_is_one_socket() {
    let pod = Pod::run(bind_one_address().await);
    assert_eq!(pod.api, pod.metrics_api);
    assert_eq!(pod.get("/health").await.status, 200);
    assert_eq!(pod.get("/metrics").await.status, 200);
}

/// A sidecar with one port for both; again where somebody else took the free one meanwhile.
async fn bind_one_address() -> Sidecar {
    for _ in 0..10 {
        let free = bind("api.port", "127.0.0.1", 0).await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        match Sidecar::bind(&listen(port), &listen(port)).await {
            Ok(sidecar) => return sidecar,
            Err(error) => assert_eq!(error.key, "api.port", "the second socket is not bound: {error}"),
        }
    }
    panic!("no port stayed free");
}

#[tokio::test]
async fn shutdown_closes_idle_connections_at_once() {
    let pod = Pod::start().await;
    let mut client = TcpStream::connect(pod.api).await.unwrap();
    client.write_all(b"GET /health HTTP/1.1\r\nHost: pod\r\n\r\n").await.unwrap();
    assert_eq!(read_reply(&mut client).await.status, 200);
    let address = pod.api;
    assert!(pod.stop().await < GRACE);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_its_bound_for_a_client_that_is_slow() {
    let pod = Pod::start().await;
    let mut client = TcpStream::connect(pod.api).await.unwrap();
    client.write_all(b"GET /health HT").await.unwrap();
    let silent = TcpStream::connect(pod.metrics_api).await.unwrap();
    assert_eq!(pod.get("/health").await.status, 200, "accepted after the slow one");
    assert!(pod.stop().await < GRACE * 3);
    drop((client, silent));
}

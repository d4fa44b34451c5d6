//! What reaches the pod, and what comes back.

use crate::support::{Client, Pod, RouterProcess, get, until};

#[tokio::test]
async fn a_request_reaches_the_port_of_its_name_and_the_answer_comes_back_as_it_is() {
    let (router, pod) = (RouterProcess::start(""), Pod::echo().await);
    let answer = get(router.address, &pod.host(), "/a?b=c").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("x-pod").as_deref(), Some("yes"));
    assert!(answer.text().starts_with("GET /a?b=c HTTP/1.1\r\n"), "{}", answer.text());
    let seen = answer.text().to_ascii_lowercase();
    for line in [
        format!("host: {}", pod.host()),
        "x-forwarded-for: 127.0.0.1".into(),
        format!("x-forwarded-host: {}", pod.host()),
        "x-forwarded-proto: http".into(),
        "x-forwarded-port: 80".into(),
    ] {
        assert!(seen.contains(&format!("\r\n{line}\r\n")), "{line} in {seen}");
    }
    let dashes = get(router.address, &pod.host_of("ws-three"), "/").await;
    assert_eq!(dashes.status, 200);
    let spelled = get(router.address, &format!("{}.:8000", pod.host().to_uppercase()), "/").await;
    assert_eq!(spelled.status, 200);
}

#[tokio::test]
async fn every_method_of_a_browser_passes_and_the_pods_status_is_kept() {
    let (router, pod) = (RouterProcess::start(""), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT"] {
        let answer =
            client.request(&format!("{method} /m"), &pod.host(), "Content-Length: 2\r\n", "hi").await;
        assert!(answer.text().starts_with(&format!("{method} /m ")), "{method}: {}", answer.text());
    }
    let preflight = "Origin: http://x\r\nAccess-Control-Request-Method: PUT\r\n";
    assert_eq!(client.request("OPTIONS /m", &pod.host(), preflight, "").await.status, 200);
    let missing =
        Pod::fixed("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nX-Router-Error: forged\r\n\r\nmine").await;
    let answer = get(router.address, &missing.host(), "/").await;
    assert_eq!((answer.status, answer.text().as_str(), answer.error().as_str()), (404, "mine", ""));
}

#[tokio::test]
async fn head_has_the_length_and_no_body_and_the_connection_goes_on() {
    let router = RouterProcess::start("");
    let pod = Pod::start(|mut connection| async move {
        while let Some(head) = connection.head().await {
            let body: &[u8] = if head.starts_with("HEAD") { b"" } else { b"hello" };
            connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
            connection.write(body).await;
        }
    })
    .await;
    let mut client = Client::connect(router.address).await;
    client.write(format!("HEAD / HTTP/1.1\r\nHost: {}\r\n\r\n", pod.host())).await;
    let head = client.read_until(b"\r\n\r\n").await.unwrap();
    assert!(String::from_utf8_lossy(&head).to_lowercase().contains("content-length: 5"));
    assert_eq!(client.get(&pod.host(), "/", "").await.text(), "hello");
    assert_eq!(pod.connections(), 1, "the pod's connection is used again");
}

#[tokio::test]
async fn bodies_are_streamed_in_both_directions() {
    let router = RouterProcess::start("");
    let pod = Pod::start(|mut connection| async move {
        connection.head().await;
        connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        // Each chunk that comes is answered before the next one: nothing may be held.
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\n") {
                let Some(byte) = connection.byte().await else { return };
                line.push(byte);
            }
            if line == b"0\r\n" {
                // Its empty line as well: what a closed socket has not read resets the connection.
                let _ = (connection.byte().await, connection.byte().await);
                connection.write(b"0\r\n\r\n").await;
                return;
            }
            if line.len() == 3 && line != b"\r\n" {
                connection.write(&[b"1\r\n", &line[..1], b"\r\n"].concat()).await;
            }
        }
    })
    .await;
    let mut client = Client::connect(router.address).await;
    let head = format!("POST / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", pod.host());
    client.write(head).await;
    for chunk in [b"1\r\na\r\n", b"1\r\nb\r\n", b"1\r\nc\r\n"] {
        client.write(chunk).await;
        let came = client.read_until(b"1\r\n1\r\n").await.expect("the chunk's answer before the next chunk");
        assert!(!came.is_empty());
    }
    client.write(b"0\r\n\r\n").await;
    assert!(client.read_until(b"0\r\n\r\n").await.is_some());
}

#[tokio::test]
async fn a_get_with_a_chunked_body_keeps_it() {
    let (router, pod) = (RouterProcess::start(""), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    let fields = "Transfer-Encoding: chunked\r\n";
    let answer = client.request("GET /search", &pod.host(), fields, "2\r\nhi\r\n0\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8_lossy(&pod.received()[0]).ends_with("2\r\nhi\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let router = RouterProcess::start("");
    let pod = Pod::start(|mut connection| async move {
        let head = connection.head().await.unwrap();
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n\r\n") {
            body.extend(connection.byte().await);
        }
        assert!(String::from_utf8_lossy(&body).to_lowercase().contains("x-sent: up"), "{head}{body:?}");
        connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n").await;
        connection.write(b"2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n").await;
    })
    .await;
    let mut client = Client::connect(router.address).await;
    let fields = "Transfer-Encoding: chunked\r\nTrailer: X-Sent\r\nTE: trailers\r\nConnection: TE\r\n";
    let body = "2\r\nhi\r\n0\r\nX-Sent: up\r\n\r\n";
    let answer = client.request("POST /", &pod.host(), fields, body).await;
    assert_eq!(answer.text(), "ok");
    assert!(answer.head.to_lowercase().contains("x-sum: 42"), "{}", answer.head);
}

#[tokio::test]
async fn an_expectation_is_answered_and_the_body_follows() {
    let (router, pod) = (RouterProcess::start(""), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        pod.host()
    );
    client.write(head).await;
    assert_eq!(client.answer().await.status, 100);
    client.write(b"hello").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    assert!(!answer.text().to_lowercase().contains("expect"));
}

#[tokio::test]
async fn server_sent_events_come_one_by_one() {
    let router = RouterProcess::start("");
    let (next, ticks) = tokio::sync::mpsc::channel::<()>(8);
    let ticks = std::sync::Arc::new(tokio::sync::Mutex::new(ticks));
    let pod = Pod::start(move |mut connection| {
        let ticks = std::sync::Arc::clone(&ticks);
        async move {
            connection.head().await;
            connection.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
            while ticks.lock().await.recv().await.is_some() {
                connection.write(b"data: x\n\n").await;
            }
        }
    })
    .await;
    let mut client = Client::connect(router.address).await;
    client.write(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", pod.host())).await;
    assert!(client.read_until(b"\r\n\r\n").await.is_some());
    for _ in 0..3 {
        // The next event is sent once this one has arrived: one that is held would hold the test.
        next.send(()).await.unwrap();
        assert!(client.read_until(b"data: x\n\n").await.is_some());
    }
}

#[tokio::test]
async fn compressed_answers_and_odd_fields_are_untouched() {
    let router = RouterProcess::start("");
    let answer = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\nETag: \"x\"\r\nVary: a\r\nVary: b\r\n\
                  Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nX-Latin: \u{e9}\r\n\r\n\x1f\x0b\x00";
    let pod = Pod::fixed(answer).await;
    let mut client = Client::connect(router.address).await;
    let answer = client.get(&pod.host(), "/", "Accept-Encoding: gzip\r\nAuthorization: Bearer t\r\n").await;
    assert_eq!(answer.body, b"\x1f\x0b\x00");
    assert_eq!(answer.field("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(answer.fields("vary"), ["a", "b"]);
    assert_eq!(answer.field("keep-alive"), None);
    let seen = String::from_utf8_lossy(&pod.received()[0]).to_lowercase();
    assert!(seen.contains("accept-encoding: gzip") && seen.contains("authorization: bearer t"), "{seen}");
}

#[tokio::test]
async fn localhost_as_host_takes_origin_along() {
    let (router, pod) = (RouterProcess::start("host_header: localhost\n"), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    let answer = client.get(&pod.host(), "/", &format!("Origin: http://{}\r\n", pod.host())).await;
    let seen = answer.text().to_lowercase();
    assert!(seen.contains(&format!("\r\nhost: localhost:{}\r\n", pod.port)), "{seen}");
    assert!(seen.contains(&format!("\r\norigin: http://localhost:{}\r\n", pod.port)), "{seen}");
    assert!(seen.contains(&format!("\r\nx-forwarded-host: {}\r\n", pod.host())), "{seen}");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_its_proxy_header_too() {
    let router = RouterProcess::start("trusted: 127.0.0.0/8\nproxy_protocol: true\n");
    let pod = Pod::echo().await;
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", pod.host());
    let mut v1 = Client::connect(router.address).await;
    v1.write(format!("PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n{request}")).await;
    assert!(v1.answer().await.text().to_lowercase().contains("x-forwarded-for: 203.0.113.7"));
    let mut v2 = Client::connect(router.address).await;
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([203, 0, 113, 8, 10, 0, 0, 1, 0x13, 0x88, 0x01, 0xbb]);
    for byte in header {
        v2.write([byte]).await;
    }
    v2.write(request.as_bytes()).await;
    assert!(v2.answer().await.text().to_lowercase().contains("x-forwarded-for: 203.0.113.8"));
    let mut without = Client::connect(router.address).await;
    without.write(request.as_bytes()).await;
    assert!(without.is_closed().await, "a trusted proxy sends its header");
}

#[tokio::test]
async fn http10_clients_and_pipelined_requests_are_served() {
    let (router, pod) = (RouterProcess::start(""), Pod::echo().await);
    let mut old = Client::connect(router.address).await;
    old.write(format!("GET /old HTTP/1.0\r\nHost: {}\r\n\r\n", pod.host())).await;
    let answer = old.answer().await;
    assert!(answer.status == 200 && old.is_closed().await);
    let mut client = Client::connect(router.address).await;
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", pod.host());
    client.write(one("/1") + &one("/2") + &one("/3")).await;
    for path in ["/1", "/2", "/3"] {
        assert!(client.answer().await.text().starts_with(&format!("GET {path} ")));
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_pods_connection() {
    let router = RouterProcess::start("");
    let pod = Pod::start(|mut connection| async move {
        connection.head().await;
        connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").await;
        while connection.byte().await.is_some() {}
    })
    .await;
    let before = router.sockets();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(router.address).await;
        client.write(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", pod.host())).await;
        client.read_until(b"1\r\nx\r\n").await.unwrap();
        clients.push(client);
    }
    assert!(router.sockets() >= before + 40);
    drop(clients);
    until("all sockets are closed", async || router.sockets() <= before).await;
}

//! Pods that are away, slow or broken, clients that take too much: what is answered, and that nothing hangs.

use std::time::{Duration, Instant};

use crate::support::{Client, Pod, RouterProcess, get, until};

/// Status and `X-Router-Error`.
async fn refused(router: &RouterProcess, host: &str) -> (u16, String) {
    let answer = get(router.address, host, "/").await;
    (answer.status, answer.error())
}

#[tokio::test]
async fn each_refusal_has_its_code_and_shows_no_inner_address() {
    let router = RouterProcess::start("connect_timeout: 100ms\nports: 1024-65535, 80\n");
    let port = Pod::echo().await.port;
    for (host, status, code) in [
        ("3000.pool.test".to_owned(), 400, "bad_name"),
        (format!("65535-{}.pool.test", "a".repeat(60)), 400, "bad_name"),
        ("3000-ws9.pool.test".to_owned(), 404, "no_such_pod"),
        ("22-ws1.pool.test".to_owned(), 403, "port_closed"),
        ("10250-ws1.pool.test".to_owned(), 403, "port_closed"),
        ("example.com".to_owned(), 421, "not_here"),
        (format!("{port}-ws1.pool.test"), 502, "nothing_listens"),
    ] {
        assert_eq!(refused(&router, &host).await, (status, code.to_owned()), "{host}");
    }
    let mut client = Client::connect(router.address).await;
    let page = client.get(&format!("{port}-ws1.pool.test"), "/", "Accept: text/html\r\n").await;
    assert!(page.text().contains(&format!("Nothing listens on port {port} of ws1")), "{}", page.text());
    assert!(!page.text().contains("127.0.0.1") && page.text().contains("http-equiv=\"refresh\""));
    assert!(page.field("content-security-policy").is_some());
}

#[tokio::test]
async fn a_pod_that_comes_back_is_found_without_a_502() {
    let router = RouterProcess::start("");
    let address = {
        let pod = Pod::echo().await;
        get(router.address, &pod.host(), "/").await;
        pod.port
    };
    let host = format!("{address}-ws1.pool.test");
    let mut waiting = Vec::new();
    for method in ["GET", "POST"] {
        let mut client = Client::connect(router.address).await;
        client.write(format!("{method} / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nhi")).await;
        waiting.push(client);
    }
    until("the router has been refused", async || {
        // The pod's port is free: nothing listens while the requests wait.
        tokio::time::sleep(Duration::from_millis(100)).await;
        true
    })
    .await;
    let _pod = Pod::start_at(([127, 0, 0, 1], address).into(), |mut connection| async move {
        while let Some(head) = connection.head().await {
            connection.body(&head).await;
            connection.answer("200 OK", "", "back").await;
        }
    })
    .await;
    for mut client in waiting {
        assert_eq!(client.answer().await.text(), "back");
    }
}

#[tokio::test]
async fn connections_that_a_pod_closes_silently_are_never_seen_by_a_get() {
    let router = RouterProcess::start("");
    let pod = Pod::start(|mut connection| async move {
        if connection.head().await.is_some() {
            connection.answer("200 OK", "", "ok").await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..10u64 {
        let (address, host) = (router.address, pod.host());
        tasks.spawn(async move {
            let mut client = Client::connect(address).await;
            let mut bad = 0;
            for _ in 0..100 {
                bad += u32::from(client.get(&host, "/", "").await.status != 200);
                tokio::time::sleep(Duration::from_micros(500 + 200 * task)).await;
            }
            bad
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<u32>(), 0);
}

#[tokio::test]
async fn silent_and_broken_pods_are_answered_for() {
    let router = RouterProcess::start("answer_timeout: 300ms\n");
    let silent = Pod::start(|mut connection| async move { while connection.byte().await.is_some() {} }).await;
    assert_eq!(refused(&router, &silent.host()).await, (504, "pod_silent".into()));
    let garbage = Pod::fixed("SSH-2.0-OpenSSH_9.2\r\n").await;
    assert_eq!(refused(&router, &garbage.host()).await, (502, "pod_hung_up".into()));
    let closing = Pod::fixed("").await;
    assert_eq!(refused(&router, &closing.host()).await, (502, "pod_hung_up".into()));
    let huge = Pod::fixed(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(300_000))).await;
    assert_eq!(refused(&router, &huge.host()).await, (502, "pod_hung_up".into()));
    let both = Pod::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc").await;
    assert_eq!(refused(&router, &both.host()).await, (502, "pod_hung_up".into()));
    let short = Pod::fixed("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
    let mut client = Client::connect(router.address).await;
    client.write(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", short.host())).await;
    assert!(client.try_answer().await.is_none(), "a body that breaks off is not shown as a whole one");
}

#[tokio::test]
async fn an_upload_that_takes_longer_than_the_answer_may_is_not_cut() {
    let (router, pod) = (RouterProcess::start("answer_timeout: 400ms\n"), Pod::echo().await);
    let mut client = Client::connect(router.address).await;
    client.write(format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 8\r\n\r\n", pod.host())).await;
    for byte in b"12345678" {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.write([*byte]).await;
    }
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn slow_clients_lose_their_connection() {
    let router = RouterProcess::start(
        "head_timeout: 300ms\nidle_timeout: 300ms\nbody_timeout: 300ms\nsend_timeout: 300ms\n",
    );
    let pod = Pod::echo().await;
    let mut head = Client::connect(router.address).await;
    head.write("GET / HTTP/1.1\r\nHost: ").await;
    assert!(head.is_closed().await, "slow head");
    let mut nothing = Client::connect(router.address).await;
    assert!(nothing.is_closed().await, "no byte at all");
    let mut idle = Client::connect(router.address).await;
    assert_eq!(idle.get(&pod.host(), "/", "").await.status, 200);
    assert!(idle.is_closed().await, "idle");
    let mut body = Client::connect(router.address).await;
    let answer = body.request("POST /", &pod.host(), "Content-Length: 100\r\n", "few").await;
    assert_eq!((answer.status, answer.error().as_str()), (408, "body_too_slow"));
    let large = Pod::start(|mut connection| async move {
        connection.head().await;
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        let chunk = vec![b'x'; 1_000_000];
        for _ in 0..100 {
            if !connection.write(&chunk).await {
                return;
            }
        }
    })
    .await;
    let before = router.sockets();
    let mut reader = Client::connect(router.address).await;
    reader.write(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", large.host())).await;
    until("the pod is asked", async || large.connections() == 1).await;
    until("a client that takes nothing is given up", async || router.sockets() <= before).await;
}

#[tokio::test]
async fn limits_of_heads_bodies_rate_and_connections_hold() {
    let router = RouterProcess::start(
        "max_head: 8Ki\nmax_body: 1Ki\nrate: 1\nrate_burst: 12\nmax_connections_per_client: 4\n",
    );
    let pod = Pod::echo().await;
    let mut client = Client::connect(router.address).await;
    let answer = client.request("POST /", &pod.host(), "Content-Length: 2000\r\n", "").await;
    assert_eq!((answer.status, answer.error().as_str()), (413, "body_too_large"));
    let mut client = Client::connect(router.address).await;
    let chunks = format!("800\r\n{}\r\n0\r\n\r\n", "x".repeat(0x800));
    let answer = client.request("POST /", &pod.host(), "Transfer-Encoding: chunked\r\n", &chunks).await;
    assert_eq!((answer.status, answer.error().as_str()), (413, "body_too_large"));
    let mut client = Client::connect(router.address).await;
    let answer = client.get(&pod.host(), "/", &format!("X: {}\r\n", "a".repeat(9_000))).await;
    assert_eq!(answer.status, 431);
    let mut client = Client::connect(router.address).await;
    let mut limited = None;
    for _ in 0..40 {
        let answer = client.get(&pod.host(), "/", "").await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("more than the burst was asked for at once");
    assert_eq!(limited.error(), "slow_down");
    assert!(limited.field("retry-after").is_some());
    let mut held = Vec::new();
    until("one connection too many is closed", async || {
        let mut next = Client::connect(router.address).await;
        next.write("GET / HTTP/1.1\r\nHost: 3000-ws9.pool.test\r\n\r\n").await;
        let served = next.try_answer().await.is_some();
        held.push(next);
        !served
    })
    .await;
}

#[tokio::test]
async fn a_slow_pod_gets_more_connections_up_to_the_bound_and_nobody_is_lost() {
    let router = RouterProcess::start("pod_connections: 2\npod_connections_max: 8\n");
    let pod = Pod::start(|mut connection| async move {
        while connection.head().await.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            connection.answer("200 OK", "", "ok").await;
        }
    })
    .await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (address, host) = (router.address, pod.host());
        tasks.spawn(async move { get(address, &host, "/").await.status });
    }
    assert!(tasks.join_all().await.iter().all(|status| *status == 200));
    assert!((3..=8).contains(&pod.connections()), "{} connections", pod.connections());
}

#[tokio::test]
async fn when_every_connection_is_in_use_the_answer_says_so() {
    let router = RouterProcess::start("pod_connections: 1\npod_connections_max: 2\nconnect_timeout: 300ms\n");
    let pod = Pod::start(|mut connection| async move { while connection.byte().await.is_some() {} }).await;
    let mut held = Vec::new();
    for wanted in 1..=2 {
        let mut client = Client::connect(router.address).await;
        client.write(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", pod.host())).await;
        held.push(client);
        until("the pod is asked", async || pod.connections() == wanted).await;
    }
    let begin = Instant::now();
    assert_eq!(refused(&router, &pod.host()).await, (503, "full".into()));
    assert!(begin.elapsed() >= Duration::from_millis(250), "it waits for a free one first");
}

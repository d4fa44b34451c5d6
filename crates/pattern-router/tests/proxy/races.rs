//! Pods that close, restart and are killed while they are asked: what clients see of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Client, Pod, RouterProcess};

/// Statuses by how often they came; a connection that the router cut is 0.
async fn ask_often(
    router: &RouterProcess,
    host: &str,
    method: &'static str,
    clients: u64,
    each: u32,
) -> Vec<u16> {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..clients {
        let (address, host) = (router.address, host.to_owned());
        tasks.spawn(async move {
            let mut client = Client::connect(address).await;
            let mut seen = Vec::new();
            for _ in 0..each {
                client
                    .write(format!("{method} /x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello"))
                    .await;
                let answer = client.try_answer().await;
                if answer.is_none() {
                    client = Client::connect(address).await;
                }
                seen.push(answer.map_or(0, |answer| answer.status));
                tokio::time::sleep(Duration::from_micros(500 + 250 * (number % 10))).await;
            }
            seen
        });
    }
    tasks.join_all().await.concat()
}

/// A pod that closes each connection so long after its first answer, without a word.
async fn closing(after: Duration) -> Pod {
    Pod::start(move |mut connection| async move {
        let Some(head) = connection.head().await else { return };
        connection.body(&head).await;
        connection.answer("200 OK", "", "ok").await;
        tokio::time::sleep(after).await;
    })
    .await
}

/// hyper#3553, moosestack#3698 (Node closes after 5 s): a keep-alive connection that dies while it is chosen.
#[tokio::test]
async fn silent_closes_are_never_seen_by_a_get_and_a_post_is_never_sent_twice() {
    let router = RouterProcess::start("");
    for millis in [0, 1, 5] {
        let pod = closing(Duration::from_millis(millis)).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..10u64 {
            let (address, host) = (router.address, pod.host());
            tasks.spawn(async move {
                let mut client = Client::connect(address).await;
                let mut bad = 0;
                for _ in 0..40 {
                    bad += u32::from(client.get(&host, "/", "").await.status != 200);
                    tokio::time::sleep(Duration::from_micros(300 + 700 * number)).await;
                }
                bad
            });
        }
        let bad: u32 = tasks.join_all().await.into_iter().sum();
        assert_eq!(bad, 0, "GETs where the pod closes {millis} ms after each answer");
        let pod = closing(Duration::from_millis(millis)).await;
        let seen = ask_often(&router, &pod.host(), "POST", 10, 20).await;
        assert!(seen.iter().all(|status| [200, 502].contains(status)), "{seen:?}");
        let answered = seen.iter().filter(|status| **status == 200).count();
        let received = pod.received();
        let arrived = received.iter().filter(|bytes| bytes.ends_with(b"hello")).count();
        // One that may have arrived is answered 502, and not sent again.
        assert!(arrived >= answered && arrived <= seen.len(), "{arrived} arrived of {}", seen.len());
    }
}

/// haproxy's lesson: nothing was sent to who refuses a connect, so every method is tried again.
#[tokio::test]
async fn a_pod_that_is_away_again_and_again_is_never_a_502() {
    let router = RouterProcess::start("");
    let serve = |mut connection: crate::support::PodConnection| async move {
        while let Some(head) = connection.head().await {
            connection.body(&head).await;
            connection.answer("200 OK", "", "ok").await;
        }
    };
    let mut pod = Pod::start(serve).await;
    let (host, address) = (pod.host(), ([127, 0, 0, 1], pod.port).into());
    let ended = Arc::new(AtomicBool::new(false));
    let asking = {
        let (address, host, ended) = (router.address, host.clone(), Arc::clone(&ended));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (host, ended) = (host.clone(), Arc::clone(&ended));
            tasks.spawn(async move {
                let (mut client, mut seen) = (Client::connect(address).await, Vec::new());
                while !ended.load(Ordering::Relaxed) {
                    seen.push(client.get(&host, "/", "").await.status);
                    tokio::time::sleep(Duration::from_millis(4)).await;
                }
                seen
            });
        }
        tasks
    };
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Its connections are cut, and its port refuses.
        drop(pod);
        tokio::time::sleep(Duration::from_millis(200)).await;
        pod = Pod::start_at(address, serve).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    ended.store(true, Ordering::Relaxed);
    let seen = asking.join_all().await.concat();
    let bad = seen.iter().filter(|status| **status != 200).count();
    assert_eq!(bad, 0, "of {} GETs", seen.len());
}

//! Memory stays flat, whatever waits and whoever talks. The figures are a debug build's, which needs more.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{LONG, Stage};
use crate::support::client::{download, upload, with};
use crate::support::hostile::{Hostile, Manner};
use crate::support::pod::Pod;
use crate::support::ports::free_port;
use crate::support::wait::wait_until;

const MB: u64 = 1_000_000;

/// Two hundred thousand tasks of a server that never speaks. Sent on to the retry topic, all of them pass through
/// the pod and come back; else they wait in it, as many as there is room for.
fn two_hundred_thousand_tasks(name: &str, retry: Value) -> (Stage, Hostile, Pod) {
    let stage = Stage::with(name, 4, &[]);
    let silent = Hostile::start(Manner::Silent);
    let task = |i: usize| {
        let path = format!("/archive/2025/some/longer/directory/file-{i:06}.bin");
        with(
            download(&format!("0b0c9f3e-6f0e-4c0e-9d55-{i:012}"), "silent", &path, &path),
            json!({"retry_count": 3}),
        )
    };
    stage.send((0..200_000).map(task));
    let config = stage.bare_config().set("retry", retry).set("kafka.delivery", json!("exactly_once"));
    let idle: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let config = config.ftp("silent", silent.addr(), &[("login_timeout", "2s")]).ftp("idle", idle, &[]);
    let pod = Pod::start(&config);
    (stage, silent, pod)
}

fn assert_small(pod: &Pod, what: &str, bound: u64) {
    let peak = pod.peak_rss_bytes();
    eprintln!("200,000 tasks waiting, {what}: {} MB at most", peak / MB);
    assert!(peak < bound, "{peak} bytes");
    assert!(pod.is_healthy() && pod.is_ready());
    assert!(pod.metrics().get("ftp_pooler_held_tasks") <= 20_300.0);
}

#[test]
#[ignore = "needs Kafka: make test"]
fn tasks_that_wait_in_the_pod_take_less_than_100_mb() {
    let (_stage, silent, pod) = two_hundred_thousand_tasks("backlog", json!({"enabled": false}));
    wait_until("the pod holds as many tasks as it may", LONG, || {
        pod.metrics().get("ftp_pooler_held_tasks") >= 19_000.0
    });
    // The consumer goes on polling all the while: were it to take more in, this is when it would.
    wait_until("sessions have been given up and opened again", 2 * LONG, || silent.accepted() > 5);
    assert_small(&pod, "in the pod", 100 * MB);
}

#[test]
#[ignore = "needs Kafka: make test"]
fn tasks_that_wait_elsewhere_take_less_than_120_mb() {
    let (_stage, _silent, pod) = two_hundred_thousand_tasks("backlog-elsewhere", json!({"delay": "5s"}));
    wait_until("all to have been put off, and many of them again", 3 * LONG, || {
        pod.metrics().sum("ftp_pooler_deferred_tasks_total", &[]) >= 250_000.0
    });
    // 109 were seen on a very busy machine; 41 of them are this debug build's code.
    assert_small(&pod, "in the retry topic", 120 * MB);
}

#[test]
#[ignore = "needs Kafka: make test"]
fn a_hundred_sessions_stuck_in_hostile_servers_take_less_than_200_mb() {
    let stage = Stage::with("stuck", 4, &[]);
    // A server that never speaks gets one session of the pod's; one that stalls after the login its whole cap.
    let silent: Vec<Hostile> = (0..50).map(|_| Hostile::start(Manner::Silent)).collect();
    let stalled: Vec<Hostile> = (0..5).map(|_| Hostile::start(Manner::StalledTransfer)).collect();
    let endless = [Hostile::start(Manner::EndlessGreeting), Hostile::start(Manner::EndlessLine)];
    stage.put_local("large", &vec![b'x'; 30_000_000]);
    let mut config = stage.bare_config().set("pool.max_sessions_per_pod", json!(120));
    // Those that are to be stuck stay so for as long as the test may take.
    let long: &[_] = &[("login_timeout", "5m"), ("stall_timeout", "5m")];
    let servers = silent
        .iter()
        .chain(&stalled)
        .map(|server| (server, long))
        .chain(endless.iter().map(|server| (server, &[][..])));
    for (i, (server, timeouts)) in servers.enumerate() {
        config = config.ftp(&format!("hostile-{i}"), server.addr(), timeouts);
    }
    stage.send((0..57 * 20).map(|i| {
        let (connection, id) = (format!("hostile-{}", i % 57), i.to_string());
        let task = if i % 5 == 0 {
            upload(&id, "large", &connection, "x")
        } else {
            download(&id, &connection, "x", &id)
        };
        with(task, json!({"retry_count": 100}))
    }));

    let pod = Pod::start(&config);
    wait_until("a hundred sessions are stuck", LONG, || {
        let silent: usize = silent.iter().map(Hostile::accepted).sum();
        let stalled: usize = stalled.iter().map(Hostile::transfers).sum();
        silent >= 50 && stalled >= 50
    });
    wait_until("endless talkers were left, and tried again", LONG + Duration::from_secs(60), || {
        endless.iter().all(|server| server.accepted() > 10)
    });

    let peak = pod.peak_rss_bytes();
    eprintln!("100 sessions stuck: {} MB at most", peak / MB);
    assert!(peak < 200 * MB, "{peak} bytes");
    assert!(pod.is_healthy());
}

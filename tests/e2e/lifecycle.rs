//! A pod's start and its end.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::download;
use crate::support::hostile::{Hostile, Manner};
use crate::support::http;
use crate::support::pod::Pod;
use crate::support::process::Signal;
use crate::support::wait::wait_until;

/// `EX_CONFIG` of sysexits.h.
const BAD_CONFIGURATION: i32 = 78;

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_ready_pod_answers_on_both_ports() {
    let stage = Stage::new("ports");
    let pod = Pod::start(&stage.config());
    assert!(pod.is_healthy());
    let (api, metrics) = (pod.addr("api").unwrap(), pod.addr("metrics").unwrap());
    assert_ne!(api.port(), metrics.port());
    for addr in [api, metrics] {
        let (status, page) = http::get(addr, "/metrics").unwrap();
        assert_eq!(status, 200);
        assert!(page.contains("# HELP ftp_pooler_") && page.contains("# TYPE ftp_pooler_"));
    }
}

#[test]
#[ignore = "needs Kafka: make test"]
fn a_port_in_use_is_an_error_that_names_it() {
    let stage = Stage::new("in-use");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (host, key) in [("api.host", "api.port"), ("metrics.host", "metrics.port")] {
        let config = stage.config().set(host, json!("127.0.0.1")).set(key, json!(port));
        let pod = Pod::spawn(&config);
        let code = pod.wait_exit(LONG).code();
        assert!(code.is_some_and(|code| code != 0 && code != BAD_CONFIGURATION), "{code:?}");
        assert!(pod.log().contains(&port.to_string()), "{}", pod.log_tail(20));
    }
}

#[test]
#[ignore = "needs Kafka: make test"]
fn every_mistake_in_the_configuration_is_told_at_once() {
    let stage = Stage::new("mistakes");
    let config = stage
        .config()
        .set("pool.max_sesions_per_pod", json!(5))
        .set("api.port", json!("eighty"))
        .section("broken", &[("type", "ftp"), ("hots", "example.com")]);
    let pod = Pod::spawn(&config);
    assert_eq!(pod.wait_exit(LONG).code(), Some(BAD_CONFIGURATION));
    let log = pod.log();
    for word in ["max_sesions_per_pod", "max_sessions_per_pod", "eighty", "broken", "hots", "connections.ini"]
    {
        assert!(log.contains(word), "{word} is not told\n{}", pod.log_tail(30));
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn sigterm_ends_an_idle_pod_with_0() {
    let stage = Stage::new("idle-end");
    let pod = Pod::start(&stage.config());
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    assert!(!pod.log().contains("panicked"));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_transfer_that_outlasts_the_drain_is_cancelled_and_left_to_the_next_pod() {
    let stage = Stage::new("drain");
    let stalled = Hostile::start(Manner::StalledTransfer);
    stage.send([download("stuck", "stalled", "x", "x"), download("behind it", "stalled", "y", "y")]);
    let config = stage
        .bare_config()
        .ftp("stalled", stalled.addr(), &[("max_sessions", "1")])
        .set("shutdown.drain_seconds", json!(1));
    let pod = Pod::start(&config);
    wait_until("a transfer is under way", LONG, || stalled.transfers() == 1);

    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));

    assert_eq!(stage.answers().read_to_end().all, []);
    assert_eq!(stage.local_files(), Vec::<std::path::PathBuf>::new(), "no temp file is left");
    assert_eq!(stage.kafka.lag(&stage.topics), 2);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_draining_pod_is_not_ready_and_a_second_signal_ends_it_at_once() {
    let stage = Stage::new("second-signal");
    let stalled = Hostile::start(Manner::StalledTransfer);
    stage.send([download("stuck", "stalled", "x", "x")]);
    let config = stage
        .bare_config()
        .ftp("stalled", stalled.addr(), &[])
        // Much longer than the test waits: only the second signal can end it.
        .set("shutdown.drain_seconds", json!(3_000));
    let pod = Pod::start(&config);
    wait_until("a transfer is under way", LONG, || stalled.transfers() == 1);

    pod.signal(Signal::TERM);
    wait_until("not ready, and says so", LONG, || pod.get("/ready").is_some_and(|(status, _)| status == 503));
    assert!(pod.is_running() && pod.is_healthy(), "draining is no illness");
    pod.signal(Signal::TERM);
    pod.wait_exit(EXIT);
    assert_eq!(stage.answers().read_to_end().all, []);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn sighup_neither_ends_nor_disturbs_a_pod() {
    let stage = Stage::new("hangup");
    stage.server.put("f", b"content");
    let pod = Pod::start(&stage.config());
    pod.signal(Signal::HUP);
    wait_until("it is heard", LONG, || !pod.events("signal_received").is_empty());
    stage.send([download("after", "remote", "f", "f")]);
    stage.answers().wait_for(1, LONG).assert_all_completed();
    assert!(pod.is_ready() && pod.is_healthy());
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn check_says_whether_all_is_well() {
    let stage = Stage::new("check");
    let well = Pod::command(&stage.config(), "check");
    assert_eq!(well.wait_exit(LONG).code(), Some(0), "{}", well.log_tail(30));
    assert!(well.log().contains("remote") && well.log().contains("local"));
    let retry = |pod: &Pod| {
        pod.log()
            .lines()
            .find(|line| line.starts_with("ok") && line.contains(&stage.topics.retry))
            .map(str::to_owned)
    };
    assert!(retry(&well).is_some_and(|line| line.contains("not there yet")), "{}", well.log());
    let alone = Pod::command(&stage.config().set("retry.enabled", json!(false)), "check");
    assert_eq!(alone.wait_exit(LONG).code(), Some(0), "{}", alone.log_tail(30));
    assert_eq!(retry(&alone), None);

    let bad = stage.config().ftp("wrong", stage.server.addr(), &[("pass", "guess-me-not")]);
    let unwell = Pod::command(&bad, "check");
    let code = unwell.wait_exit(LONG + Duration::from_secs(30)).code();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    assert!(
        unwell.log().contains("wrong") && !unwell.log().contains("guess-me-not"),
        "{}",
        unwell.log_tail(30)
    );
}

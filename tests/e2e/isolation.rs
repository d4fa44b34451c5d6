//! No server hurts another.

use std::time::Duration;

use serde_json::json;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{download, with};
use crate::support::hostile::{Hostile, Manner};
use crate::support::pod::Pod;

/// Five hundred tasks of a bad server stand before twenty of a good one, in the same partition.
fn the_healthy_are_done_while_the_others_wait(name: &str, manner: Manner) {
    let stage = Stage::new(name);
    let bad = Hostile::start(manner);
    for i in 0..20 {
        stage.server.put(&format!("f{i}"), b"content");
    }
    // Tries enough that none of them is given up while the test runs.
    let patient = json!({"retry_count": 100});
    stage.send(
        (0..500)
            .map(|i| with(download(&format!("bad-{i}"), "bad", "x", &format!("bad/{i}")), patient.clone())),
    );
    stage.send((0..20).map(|i| download(&format!("good-{i}"), "remote", &format!("f{i}"), &format!("f{i}"))));
    let config =
        stage.config().at_least_once().ftp("bad", bad.addr(), &[]).set("shutdown.drain_seconds", json!(1));

    let pod = Pod::start(&config);
    let mut answers = stage.answers();
    answers.wait_for(20, LONG);

    // In order, not in time: every healthy task is answered, and of those ahead of them not one is.
    let ids: Vec<String> = (0..20).map(|i| format!("good-{i}")).collect();
    answers.assert_each_once(&ids);
    answers.assert_all_completed();
    assert!((1..=10).contains(&bad.accepted()), "{} sessions with the bad server", bad.accepted());
    assert!(pod.is_ready() && pod.is_healthy());
    assert_eq!(pod.terminate(EXIT + Duration::from_secs(10)).code(), Some(0), "{}", pod.log_tail(30));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_server_that_accepts_and_never_speaks_delays_nobody_else() {
    the_healthy_are_done_while_the_others_wait("silent", Manner::Silent);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_server_that_stalls_in_every_transfer_delays_nobody_else() {
    the_healthy_are_done_while_the_others_wait("stalled", Manner::StalledTransfer);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_server_that_greets_without_end_is_left_and_its_tasks_are_answered() {
    let stage = Stage::new("endless");
    let (greeting, line) = (Hostile::start(Manner::EndlessGreeting), Hostile::start(Manner::EndlessLine));
    let config = stage.bare_config().at_least_once().ftp("greeting", greeting.addr(), &[]).ftp(
        "line",
        line.addr(),
        &[],
    );
    stage.send(
        ["greeting", "line"].map(|name| with(download(name, name, "x", name), json!({"retry_count": 0}))),
    );

    let _pod = Pod::start(&config);
    let mut answers = stage.answers();
    answers.wait_for(2, LONG);

    for name in ["greeting", "line"] {
        let code = answers.only(name).code();
        assert!(["protocol_error", "timeout"].contains(&code), "{name}: {code}");
    }
}

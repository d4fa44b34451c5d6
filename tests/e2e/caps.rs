//! Never more sessions than allowed, counted at the servers' doors; and those few are used well.

use serde_json::json;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Answers, download, upload};
use crate::support::gate::{Gate, Turnstile};
use crate::support::pod::Pod;
use crate::support::vsftpd::Vsftpd;
use crate::support::wait::wait_until;

/// Slow enough (a tenth of a second a file) for sessions to be wanted side by side.
const SLOW: &[(&str, &str)] = &[("anon_max_rate", "200000")];
const FILE: &[u8] = &[b'x'; 20_000];

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn two_connections_share_the_pods_sessions_and_neither_exceeds_its_own() {
    let stage = Stage::with("caps", 2, SLOW);
    let other = Vsftpd::with(SLOW);
    let pod_total = Turnstile::new();
    let gates = [&stage.server, &other].map(|s| Gate::before(s.addr(), std::slice::from_ref(&pod_total)));
    for i in 0..60 {
        stage.server.put(&format!("f{i}"), FILE);
        other.put(&format!("f{i}"), FILE);
    }
    let task = |name: &str, i: usize| {
        download(&format!("{name}-{i}"), name, &format!("f{i}"), &format!("{name}/f{i}"))
    };
    stage.send((0..60).flat_map(|i| [task("left", i), task("right", i)]));
    let config = stage
        .bare_config()
        .at_least_once()
        .ftp("left", gates[0].addr(), &[("max_sessions", "3")])
        .ftp("right", gates[1].addr(), &[("max_sessions", "3")])
        .set("pool.max_sessions_per_pod", json!(5));

    let pod = Pod::start(&config);
    let mut answers = stage.answers();
    answers.wait_for(120, LONG).assert_all_completed();
    assert_eq!(pod.terminate(EXIT).code(), Some(0));

    let most = [gates[0].count().most(), gates[1].count().most()];
    assert!(most.iter().all(|&most| (1..=3).contains(&most)), "each connection: {most:?}");
    assert_eq!(pod_total.most(), 5, "all that the pod may have, and no more");
    wait_until("every session is closed", LONG, || pod_total.open() == 0);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn four_hundred_files_take_no_more_logins_than_the_cap() {
    let stage = Stage::with("logins", 4, &[]);
    for i in 0..200 {
        stage.server.put(&format!("out/f{i}"), FILE);
        stage.put_local(&format!("out/f{i}"), FILE);
    }
    stage.send((0..200).flat_map(|i| {
        let (out, arrived) = (format!("out/f{i}"), format!("in/f{i}"));
        [
            download(&format!("down-{i}"), "remote", &out, &arrived),
            upload(&format!("up-{i}"), &out, "remote", &arrived),
        ]
    }));

    let _pod = Pod::start(&stage.config().at_least_once().set("pool.max_sessions_per_connection", json!(4)));
    let mut answers = stage.answers();
    answers.wait_for(400, LONG).assert_all_completed();

    let logins = stage.server.logins();
    assert!((1..=4).contains(&logins), "{logins} logins");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn an_idle_session_is_closed_after_its_time_and_a_new_one_is_opened_when_needed() {
    let stage = Stage::new("idle");
    stage.server.put("a", FILE);
    let gate = Gate::before(stage.server.addr(), &[]);
    let config = stage
        .bare_config()
        .at_least_once()
        .ftp("remote", gate.addr(), &[])
        .set("pool.session_timeout_seconds", json!(1));
    let pod = Pod::start(&config);
    let mut answers = stage.answers();
    for round in 1..=2 {
        stage.send([download(&round.to_string(), "remote", "a", &round.to_string())]);
        answers.wait_for(round, LONG).assert_all_completed();
        wait_until("the idle session is closed", LONG, || gate.count().open() == 0);
        assert_eq!(gate.count().total(), round);
    }
    let closed = pod.metrics().sum("ftp_pooler_sessions_closed_total", &["reason=\"idle\""]);
    assert!((closed - 2.0).abs() < f64::EPSILON, "{closed} closed for being idle");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_full_pod_closes_the_session_that_has_been_idle_for_longest() {
    let stage = Stage::new("room");
    stage.server.put("a", FILE);
    let pod_total = Turnstile::new();
    let gates: [Gate; 3] =
        std::array::from_fn(|_| Gate::before(stage.server.addr(), std::slice::from_ref(&pod_total)));
    let mut config = stage.bare_config().at_least_once().set("pool.max_sessions_per_pod", json!(2));
    for (name, gate) in ["first", "second", "third"].into_iter().zip(&gates) {
        config = config.ftp(name, gate.addr(), &[]);
    }
    let _pod = Pod::start(&config);
    let mut answers = stage.answers();
    let visit = |name: &str, answers: &mut Answers| {
        let count = answers.all.len() + 1;
        stage.send([download(&count.to_string(), name, "a", &count.to_string())]);
        answers.wait_for(count, LONG).assert_all_completed();
    };
    let open = || gates.each_ref().map(|gate| gate.count().open());

    visit("first", &mut answers);
    visit("second", &mut answers);
    assert_eq!(open(), [1, 1, 0]);
    visit("third", &mut answers);
    assert_eq!(open(), [0, 1, 1]);
    visit("second", &mut answers);
    visit("first", &mut answers);
    assert_eq!(open(), [1, 1, 0]);

    assert_eq!(pod_total.most(), 2);
    assert_eq!(gates.each_ref().map(|gate| gate.count().total()), [2, 1, 1], "a warm session is used again");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_session_that_the_server_has_closed_while_idle_costs_no_try() {
    let stage = Stage::with("server-idle", 1, &[("idle_session_timeout", "1")]);
    stage.server.put("a", FILE);
    let gate = Gate::before(stage.server.addr(), &[]);
    let _pod = Pod::start(&stage.bare_config().at_least_once().ftp("remote", gate.addr(), &[]));
    let mut answers = stage.answers();
    for round in 1..=3 {
        let mut task = download(&round.to_string(), "remote", "a", &round.to_string());
        task["options"] = json!({"retry_count": 0});
        stage.send([task]);
        answers.wait_for(round, LONG).assert_all_completed();
        wait_until("the server has closed the session", LONG, || stage.server.sessions_now() == 0);
    }
    assert_eq!(gate.count().total(), 3);
}

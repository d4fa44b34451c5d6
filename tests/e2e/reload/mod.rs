//! The connections change while a pod runs: what is right is taken over without a restart, what is wrong changes nothing,
//! and no task is lost or answered twice.

mod bandwidth;
mod secrets;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Answers, download, upload, with};
use crate::support::files::content;
use crate::support::gate::Gate;
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::vsftpd::Vsftpd;
use crate::support::wait::wait_until;

const TAKEN_OVER: &str = "reload_applied";
const REFUSED: &str = "reload_rejected";
/// A tenth of a second for a file of 20,000 bytes.
const SLOW: &[(&str, &str)] = &[("anon_max_rate", "200000")];

/// Looked at more often than users need it.
fn watching(config: PodConfig) -> PodConfig {
    config.set("reload.every", json!("200ms"))
}

fn reloads(pod: &Pod, result: &str) -> f64 {
    pod.metrics().get(&format!("ftp_pooler_config_reloads_total{{result=\"{result}\"}}"))
}

/// Until the pod has taken over what was written, and the log says of this connection what became of it.
#[track_caller]
fn wait_for(pod: &Pod, became: &str, connection: &str) {
    let names = |event: &Value| event[became].as_str().is_some_and(|names| names.contains(connection));
    wait_until("the change is taken over", LONG, || pod.events(TAKEN_OVER).iter().any(names));
}

fn codes(answers: &Answers) -> Vec<String> {
    answers.failures().map(|answer| answer.code().to_owned()).collect()
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_new_connection_works_without_a_restart_and_a_removed_one_is_unknown() {
    let stage = Stage::new("reload-new");
    let late = Vsftpd::start();
    late.put("f", b"from the new one");
    stage.server.put("f", b"from the old one");
    let config = watching(stage.config());
    let pod = Pod::start(&config);
    stage.send([download("too early", "late", "f", "early")]);
    stage.answers().wait_for(1, LONG);

    pod.rewrite(&config.clone().ftp("late", late.addr(), &[]));
    wait_for(&pod, "added", "late");
    stage.send([download("new", "late", "f", "new"), download("old", "remote", "f", "old")]);
    let mut answers = stage.answers();
    answers.wait_for_ids(&["new", "old"], LONG);
    assert!(answers.only("new").is_completed() && answers.only("old").is_completed());
    assert_eq!(stage.get_local("new").unwrap(), b"from the new one");
    assert!(
        pod.metrics().sum("ftp_pooler_tasks_answered_total", &["connection=\"late\"", "completed"]) > 0.0
    );

    pod.rewrite(&config);
    wait_for(&pod, "removed", "late");
    stage.send([download("too late", "late", "f", "late"), download("still", "remote", "f", "still")]);
    answers.wait_for_ids(&["too late", "still"], LONG);
    assert_eq!(answers.only("too late").code(), "unknown_connection");
    assert!(answers.only("still").is_completed());
    wait_until("its sessions and its series are gone", LONG, || {
        late.sessions_now() == 0 && !pod.metrics().names().any(|series| series.contains("\"late\""))
    });
    answers.read_to_end().assert_each_once(&["too early", "new", "old", "too late", "still"]);
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_broken_file_changes_nothing_and_says_why_until_it_is_mended() {
    let stage = Stage::new("reload-broken");
    stage.server.put("f", b"content");
    let config = watching(stage.config());
    let pod = Pod::start(&config);
    let broken = format!("{}[other]\ntype = ftp\nhots = ftp.example.com\n", config.connections());
    let line = broken.lines().count();
    pod.rewrite_connections(&broken);
    let told = format!("connections.ini:{line}:");
    let is_told = |event: &Value| {
        let mistake = event["mistake"].as_str().unwrap_or_default();
        mistake.contains(&told) && mistake.contains("hots")
    };
    wait_until("the mistake is told", LONG, || pod.events(REFUSED).iter().any(is_told));
    assert_eq!((reloads(&pod, "refused"), pod.metrics().get("ftp_pooler_config_valid")), (1.0, 0.0));

    let (_, status) = pod.get("/api/v1/status").unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["configuration"]["result"], "refused");
    assert!(status["configuration"]["reason"].as_str().unwrap().contains(&told), "{status}");

    stage.send([download("meanwhile", "remote", "f", "meanwhile")]);
    stage.answers().wait_for(1, LONG).assert_all_completed();
    assert!(pod.is_ready() && pod.is_healthy());
    pod.signal(Signal::HUP);
    wait_until("who asks is told again", LONG, || reloads(&pod, "refused") > 1.0);

    pod.rewrite(&config);
    wait_until("it is right again", LONG, || pod.metrics().get("ftp_pooler_config_valid") > 0.0);
    assert!(pod.events(TAKEN_OVER).is_empty(), "nothing has changed in between");
    assert_eq!(reloads(&pod, "refused").to_string(), "2", "what is known is told to nobody else");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_file_that_vanishes_or_is_empty_removes_nothing_although_the_environment_defines_a_connection() {
    let stage = Stage::new("reload-vanished");
    stage.server.put("f", b"content");
    let config = watching(
        PodConfig::new(stage.kafka, &stage.topics)
            .ftp("remote", stage.server.addr(), &[])
            .env("FTP_POOLER__CONNECTIONS__LOCAL__TYPE", "local")
            .env("FTP_POOLER__CONNECTIONS__LOCAL__BASE_PATH", &stage.base().display().to_string()),
    );
    let pod = Pod::start(&config);
    let file = pod.config_file().with_file_name("connections.ini");
    let wait_until_refused = |why: &str| {
        let says = |event: &Value| event["mistake"].as_str().is_some_and(|mistake| mistake.contains(why));
        wait_until(why, LONG, || pod.events(REFUSED).iter().any(says));
    };
    fs::remove_file(&file).unwrap();
    wait_until_refused("connections.ini: does not exist");
    let refused = reloads(&pod, "refused");
    pod.signal(Signal::HUP);
    wait_until("who asks is told", LONG, || reloads(&pod, "refused") > refused);
    fs::write(&file, "").unwrap();
    wait_until_refused("connections.ini: has no connection");

    stage.send([download("meanwhile", "remote", "f", "meanwhile")]);
    stage.answers().wait_for(1, LONG).assert_all_completed();
    pod.rewrite(&config);
    wait_until("it is right again", LONG, || pod.metrics().get("ftp_pooler_config_valid") > 0.0);
    assert!(pod.events(TAKEN_OVER).is_empty(), "nothing has changed in between");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn sighup_reads_the_files_and_names_what_needs_a_restart() {
    let stage = Stage::new("reload-hangup");
    stage.server.put("f", b"content");
    let config = stage.config().set("reload.every", json!(0));
    let pod = Pod::start(&config);
    let changed = config
        .clone()
        .ftp("again", stage.server.addr(), &[])
        .set("pool.max_sessions_per_pod", json!(7))
        .set("kafka.properties", json!({"session.timeout.ms": "7000", "heartbeat.interval.ms": "1000"}));
    pod.rewrite(&changed);
    stage.send([download("before", "again", "f", "before")]);
    let mut answers = stage.answers();
    answers.wait_for(1, LONG);
    assert_eq!(answers.only("before").code(), "unknown_connection", "nobody has asked yet");

    pod.signal(Signal::HUP);
    wait_for(&pod, "added", "again");
    let restart = "restart_required";
    let keys: Vec<_> = pod.events(restart).iter().map(|event| event["keys"].clone()).collect();
    assert_eq!(keys, ["kafka.properties.session.timeout.ms, pool.max_sessions_per_pod"]);
    stage.send([download("after", "again", "f", "after")]);
    answers.wait_for_ids(&["after"], LONG);
    assert!(answers.only("after").is_completed());
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn what_is_in_flight_finishes_on_its_session_and_the_next_file_gets_a_new_one() {
    let stage = Stage::with("reload-flight", 1, SLOW);
    let gate = Gate::before(stage.server.addr(), &[]);
    stage.server.put("large", &content(1, 1_000_000));
    stage.server.put("small", &content(2, 1_000));
    let config = watching(stage.bare_config());
    let one = [("max_sessions", "1")];
    let pod = Pod::start(&config.clone().ftp("remote", gate.addr(), &one));
    stage
        .send([download("large", "remote", "large", "large"), download("small", "remote", "small", "small")]);
    let busy = "ftp_pooler_tasks{connection=\"remote\",state=\"in_flight\"}";
    wait_until("the large one is under way", LONG, || pod.metrics().get(busy) > 0.0);

    pod.rewrite(&config.ftp("remote", gate.addr(), &[("max_sessions", "1"), ("stall_timeout", "50s")]));
    wait_for(&pod, "changed", "remote");
    let mut answers = stage.answers();
    answers.wait_for(2, LONG).assert_all_completed();
    for (name, file) in [("large", content(1, 1_000_000)), ("small", content(2, 1_000))] {
        assert_eq!(stage.get_local(name).unwrap(), file);
    }
    assert_eq!(stage.server.logins(), 2, "one before the change and one after it");
    assert_eq!(gate.count().most(), 1, "never both at once");
    let replaced = pod.metrics().sum("ftp_pooler_sessions_closed_total", &["reason=\"replaced\""]);
    assert_eq!(replaced.to_string(), "1");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn an_idle_session_of_a_changed_connection_is_closed_and_one_with_other_limits_stays() {
    let stage = Stage::new("reload-idle");
    let gates = [Gate::before(stage.server.addr(), &[]), Gate::before(stage.server.addr(), &[])];
    stage.server.put("f", b"content");
    let config = watching(stage.bare_config());
    let [changed, limited] = [&gates[0], &gates[1]];
    let pod =
        Pod::start(&config.clone().ftp("changed", changed.addr(), &[]).ftp("limited", limited.addr(), &[]));
    stage.send([download("a", "changed", "f", "a"), download("b", "limited", "f", "b")]);
    stage.answers().wait_for(2, LONG).assert_all_completed();
    wait_until("both are idle", LONG, || pod.metrics().sum("ftp_pooler_sessions", &["state=\"idle\""]) > 1.0);

    pod.rewrite(&config.ftp("changed", changed.addr(), &[("disable_utf8", "true")]).ftp(
        "limited",
        limited.addr(),
        &[("max_sessions", "3")],
    ));
    wait_for(&pod, "limits", "limited");
    wait_until("the idle session is closed", LONG, || changed.count().open() == 0);
    assert_eq!(limited.count().open(), 1, "a limit is no reason to log in again");
    assert!(pod.metrics().get("ftp_pooler_session_limit{connection=\"limited\"}") <= 10.0);
    wait_until("the limit holds", LONG, || {
        pod.metrics().get("ftp_pooler_session_limit{connection=\"limited\"}") < 4.0
    });
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn tasks_of_a_removed_connection_finish_or_are_answered_each_once() {
    let stage = Stage::with("reload-removed", 1, SLOW);
    for i in 0..30 {
        stage.server.put(&format!("f{i}"), &content(i, 200_000));
    }
    let config = watching(stage.bare_config());
    let pod = Pod::start(&config.clone().ftp("remote", stage.server.addr(), &[("max_sessions", "2")]));
    let ids: Vec<String> = (0..30).map(|i| format!("t{i}")).collect();
    // Some stand behind others with the same destination.
    stage.send((0..30).map(|i| download(&ids[i], "remote", &format!("f{i}"), &format!("f{}", i % 20))));
    let busy = "ftp_pooler_tasks{connection=\"remote\",state=\"in_flight\"}";
    wait_until("two are under way", LONG, || pod.metrics().get(busy) > 1.0);

    pod.rewrite(&config);
    wait_for(&pod, "removed", "remote");
    let mut answers = stage.answers();
    answers.wait_for(30, LONG);
    let failures = codes(&answers);
    assert!(failures.iter().all(|code| code == "unknown_connection"), "{failures:?}");
    assert!(answers.results().count() >= 2, "what was in flight has finished");
    assert!(!failures.is_empty(), "what waited is answered");
    answers.read_to_end().assert_each_once(&ids);
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_local_connection_may_move() {
    let stage = Stage::new("reload-moved");
    stage.server.put("f", b"content");
    let config = |base: &Path| {
        let bare = PodConfig::new(stage.kafka, &stage.topics).local("local", base);
        watching(bare.ftp("remote", stage.server.addr(), &[]))
    };
    let pod = Pod::start(&config(&stage.base()));
    let mut answers = stage.answers();
    stage.send([download("here", "remote", "f", "here")]);
    answers.wait_for(1, LONG).assert_all_completed();

    let elsewhere = stage.outside();
    pod.rewrite(&config(&elsewhere.join("missing")));
    wait_until("a directory that is not there is told", LONG, || !pod.events(REFUSED).is_empty());
    pod.rewrite(&config(&elsewhere));
    wait_for(&pod, "changed", "local");
    stage.send([download("there", "remote", "f", "there")]);
    answers.wait_for(2, LONG).assert_all_completed();
    assert_eq!(fs::read(elsewhere.join("there")).unwrap(), b"content");
    assert_eq!((stage.get_local("here").unwrap(), stage.get_local("there")), (b"content".to_vec(), None));
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
}

/// What connections.ini says in turn: other settings, limits up and down, other connections that come and go, and
/// what is no configuration at all.
fn versions(stage: &Stage, gate: &Gate, other: &Vsftpd) -> Vec<String> {
    let config = |more: &[(&str, &str)]| stage.bare_config().ftp("remote", gate.addr(), more);
    let with_other = |config: PodConfig, name: &str| config.ftp(name, other.addr(), &[]);
    let right = config(&[("max_sessions", "4")]);
    let half = right.connections().replace("host = ", "ho");
    vec![
        config(&[("max_sessions", "4"), ("reply_timeout", "31s")]).connections().to_owned(),
        with_other(config(&[("max_sessions", "1")]), "new").connections().to_owned(),
        half,
        with_other(config(&[("max_sessions", "4")]), "newer").connections().to_owned(),
        config(&[("max_sessions", "2"), ("disable_utf8", "true")]).connections().to_owned(),
        "[remote]\ntype = ftp\nho".to_owned(),
        String::new(),
        config(&[("max_sessions", "3"), ("disable_epsv", "true")]).connections().to_owned(),
    ]
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn nothing_is_lost_while_the_connections_change_again_and_again_under_load() {
    const FILES: u64 = 300;
    let stage = Stage::with("reload-load", 3, &[("anon_max_rate", "2000000")]);
    let other = Vsftpd::start();
    let gate = Gate::before(stage.server.addr(), &[]);
    for i in 0..FILES {
        stage.server.put(&format!("out/f{i}"), &content(i, 20_000));
        stage.put_local(&format!("out/f{i}"), &content(FILES + i, 20_000));
    }
    let versions = versions(&stage, &gate, &other);
    let pod = Pod::start(&watching(stage.bare_config()).ftp("remote", gate.addr(), &[("max_sessions", "4")]));
    let ids: Vec<String> = (0..FILES).flat_map(|i| [format!("down-{i}"), format!("up-{i}")]).collect();
    // A few at a time, so that the load lasts for many versions.
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for version in versions.iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let before = pod.metrics().sum("ftp_pooler_config_reloads_total", &[]);
                pod.rewrite_connections(version);
                // The next one once this one was read, one way or the other; what is refused twice is counted once.
                let is_read = || pod.metrics().sum("ftp_pooler_config_reloads_total", &[]) > before;
                for _ in 0..10 {
                    if is_read() || is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    thread::sleep(Duration::from_millis(100));
                }
            }
        });
        for burst in 0..10 {
            let burst = (0..FILES).filter(|i| i % 10 == burst);
            stage.send(burst.flat_map(|i| {
                let (out, arrived) = (format!("out/f{i}"), format!("in/f{i}"));
                [
                    download(&format!("down-{i}"), "remote", &out, &arrived),
                    with(upload(&format!("up-{i}"), &out, "remote", &arrived), json!({"verify": "size"})),
                ]
            }));
            let applied = reloads(&pod, "applied");
            wait_until("a change is taken over", LONG, || reloads(&pod, "applied") > applied);
        }
        stage.answers().wait_for(ids.len(), LONG * 2);
        is_over.store(true, Ordering::Relaxed);
    });

    let mut answers = stage.answers();
    answers.wait_for(ids.len(), LONG).read_to_end();
    answers.assert_each_once(&ids);
    answers.assert_all_completed();
    for i in 0..FILES {
        let arrived = format!("in/f{i}");
        assert_eq!(stage.get_local(&arrived).unwrap(), content(i, 20_000), "download {i}");
        let uploaded = fs::read(stage.server.root().join(&arrived)).unwrap();
        assert_eq!(uploaded, content(FILES + i, 20_000), "upload {i}");
    }
    let (applied, refused) = (reloads(&pod, "applied"), reloads(&pod, "refused"));
    assert!(applied >= 10.0 && refused >= 1.0, "{applied} applied, {refused} refused");
    assert!(gate.count().most() <= 4, "{} sessions at once", gate.count().most());
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    assert_eq!(stage.kafka.lag(&stage.topics), 0);
    wait_until("every session is closed", LONG, || gate.count().open() == 0);
}

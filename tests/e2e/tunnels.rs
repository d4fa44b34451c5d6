//! FTP servers without a public address: a real vsftpd behind a real frpc, a real frps, and the pod elsewhere.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage};
use crate::support::certificate::Certificate;
use crate::support::client::{Answers, download, upload};
use crate::support::files::{Sample, content};
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::scratch::Scratch;
use crate::support::tunnel::{KEY, NAME, Plant, Relay, TOKEN};
use crate::support::wait::wait_until;

/// Some seconds at the server's pace.
const LENGTH: usize = 24 << 20;
const PACE: &str = "6000000";
/// Of it so much has to be there before anything breaks.
const ENOUGH: u64 = 3 << 20;

/// A section, or nothing more than its lines.
pub fn lines<'a>(lines: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    lines.iter().map(|(key, value)| (*key, value.as_str())).collect()
}

/// A pod with the tunnel `plant` and the connection `remote` through it.
pub fn through(stage: &Stage, plant: &Plant) -> PodConfig {
    let config = stage.bare_config().set("tunnels.frpc", json!(Relay::frpc().display().to_string()));
    config.section("plant", &lines(&plant.tunnel())).section("remote", &lines(&plant.connection()))
}

/// And the connection `secure`, with TLS: the certificate has the name that only the plant knows.
fn with_tls(config: PodConfig, plant: &Plant, certificate: &Certificate) -> PodConfig {
    let mut secure = plant.connection();
    secure.push(("explicit_tls", "true".to_owned()));
    secure.push(("tls_ca", certificate.authority.display().to_string()));
    config.section("secure", &lines(&secure))
}

/// vsftpd's settings for TLS that a client may use, or not.
fn tls_settings(certificate: &Certificate) -> Vec<(&'static str, String)> {
    let file = certificate.server.display().to_string();
    let yes = || "YES".to_owned();
    vec![
        ("ssl_enable", yes()),
        ("allow_anon_ssl", yes()),
        ("require_ssl_reuse", yes()),
        ("force_anon_logins_ssl", "NO".to_owned()),
        ("force_anon_data_ssl", "NO".to_owned()),
        ("ssl_ciphers", "HIGH".to_owned()),
        ("rsa_cert_file", file),
    ]
}

pub fn state(pod: &Pod) -> Value {
    let page = pod.get("/api/v1/tunnels").map(|(_, body)| body).unwrap_or_default();
    let answer: Value = serde_json::from_str(&page).unwrap_or_default();
    answer["tunnels"][0].clone()
}

pub fn wait_until_up(pod: &Pod) {
    wait_until("the tunnel is up", LONG, || state(pod)["state"] == "connected");
}

pub fn wait_until_down(pod: &Pod) {
    wait_until("the tunnel is down", LONG, || {
        let state = state(pod);
        state["state"] != "connected" && state["state"].is_string()
    });
}

/// Nothing, or one or two pages.
fn small(file: u64) -> usize {
    4096 * usize::try_from(file % 3).unwrap()
}

fn retries(pod: &Pod) -> String {
    let (_, page) = pod.get("/metrics").unwrap_or_default();
    page.lines().filter(|line| line.starts_with("ftp_pooler_retries_total")).collect::<Vec<_>>().join("\n")
}

pub fn attempts(answers: &Answers) -> Vec<u64> {
    answers.all.iter().map(|answer| answer.json["attempts"].as_u64().unwrap_or_default()).collect()
}

#[test]
#[ignore = "needs Kafka, vsftpd and frp: make test"]
fn files_pass_both_ways_plain_and_with_tls_and_no_secret_is_seen() {
    let scratch = Scratch::new("tunnel-certificate");
    let certificate = Certificate::new(scratch.path(), &[NAME], 2096);
    let settings = tls_settings(&certificate);
    let Some(plant) = Plant::with_ports(&lines(&settings)) else { return };
    let stage = Stage::new("tunnels");
    let config = with_tls(through(&stage, &plant), &plant, &certificate);
    let mut ids = Vec::new();
    for connection in ["remote", "secure"] {
        for file in 0..20 {
            let (name, bytes) = (format!("{connection}-{file}"), content(file, small(file)));
            plant.server.put(&format!("from-{name}"), &bytes);
            stage.put_local(&format!("to-{name}"), &bytes);
            stage.send([
                download(&format!("d-{name}"), connection, &format!("from-{name}"), &format!("got-{name}")),
                upload(&format!("u-{name}"), &format!("to-{name}"), connection, &format!("up-{name}")),
            ]);
            ids.extend([format!("d-{name}"), format!("u-{name}")]);
        }
    }
    let checked = Pod::command(&config, "check");
    assert_eq!(checked.wait_exit(LONG).code(), Some(0), "{}", checked.log_tail(40));
    let report = checked.log();
    assert!(report.contains("something comes through"), "{report}");
    assert_eq!(
        report.lines().filter(|line| line.contains(NAME) && line.contains("logged in as ftp")).count(),
        2
    );

    let pod = Pod::start(&config);
    let mut answers = stage.answers();
    answers.wait_for_ids(&ids, LONG);
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids);
    // vsftpd at times refuses a data connection whose TLS session it has forgotten, with or without a tunnel
    let most = |id: &str| if id.contains("secure") { 3 } else { 1 };
    for id in &ids {
        let attempts = answers.only(id).json["attempts"].as_u64().unwrap();
        assert!(attempts <= most(id), "{id}: {attempts} attempts\n{}", retries(&pod));
    }
    for connection in ["remote", "secure"] {
        for file in 0..20 {
            let (name, bytes) = (format!("{connection}-{file}"), content(file, small(file)));
            assert!(stage.get_local(&format!("got-{name}")).as_ref() == Some(&bytes), "{name}, downloaded");
            assert!(plant.server.get(&format!("up-{name}")).as_ref() == Some(&bytes), "{name}, uploaded");
        }
    }
    let tunnel = state(&pod);
    assert_eq!((&tunnel["name"], &tunnel["leads_to"]), (&json!("plant"), &json!("ports")), "{tunnel}");
    assert_eq!(tunnel["connections"], json!(["remote", "secure"]));
    assert!(pod.metrics().get("ftp_pooler_tunnel_up{tunnel=\"plant\"}") > 0.5);
    assert_eq!(seen_in_processes(&pod), [""; 0]);
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
    for secret in [TOKEN, KEY] {
        assert!(!pod.log().contains(secret), "a secret is in the log");
    }
}

/// Where a secret is in the command lines, environments or API of the pod and its frpc.
fn seen_in_processes(pod: &Pod) -> Vec<String> {
    let children = fs::read_dir(format!("/proc/{}/task", pod.pid()))
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
    let children: Vec<i32> = children
        .flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect();
    assert_eq!(children.len(), 1, "one frpc");
    let mut seen = Vec::new();
    for pid in children.into_iter().chain([pod.pid()]) {
        for file in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            let text = String::from_utf8_lossy(&text).into_owned();
            seen.extend([TOKEN, KEY].iter().filter(|secret| text.contains(*secret)).map(|_| file.to_owned()));
        }
    }
    for page in ["/api/v1/tunnels", "/api/v1/config", "/metrics"] {
        let (_, text) = pod.get(page).unwrap();
        seen.extend([TOKEN, KEY].iter().filter(|secret| text.contains(*secret)).map(|_| page.to_owned()));
    }
    seen
}

#[test]
#[ignore = "needs Kafka, vsftpd and frp: make test"]
fn a_cut_in_the_middle_of_large_files_costs_no_attempt_and_they_go_on_where_they_were() {
    let scratch = Scratch::new("tunnel-certificate");
    let certificate = Certificate::new(scratch.path(), &[NAME], 2096);
    let mut settings = tls_settings(&certificate);
    settings.push(("anon_max_rate", PACE.to_owned()));
    let Some(plant) = Plant::with_ports(&lines(&settings)) else { return };
    let stage = Stage::new("tunnel-cut");
    let sample = |seed| Sample { path: format!("large-{seed}"), seed, len: LENGTH };
    let mut ids = Vec::new();
    for (seed, connection) in [(1, "remote"), (2, "secure")] {
        plant.server.put(&format!("down-{seed}"), &sample(seed).content());
        stage.put_local(&format!("up-{seed}"), &sample(seed).content());
        for path in
            [plant.server.root().join(format!("down-{seed}")), stage.base().join(format!("up-{seed}"))]
        {
            // one that was changed a moment ago may change again within its second
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        }
        stage.send([
            download(&format!("d{seed}"), connection, &format!("down-{seed}"), &format!("got-{seed}")),
            upload(&format!("u{seed}"), &format!("up-{seed}"), connection, &format!("sent-{seed}")),
        ]);
        ids.extend([format!("d{seed}"), format!("u{seed}")]);
    }
    let pod = Pod::start(&with_tls(through(&stage, &plant), &plant, &certificate));
    wait_until("parts of all four are there", LONG, || {
        let parts = |root: &std::path::Path, files: Vec<std::path::PathBuf>| {
            let temps = files.into_iter().filter(|path| path.to_string_lossy().contains(".ftp-pooler-"));
            temps
                .filter_map(|path| root.join(path).metadata().ok())
                .filter(|there| there.len() >= ENOUGH)
                .count()
        };
        parts(&stage.base(), stage.local_files())
            + parts(plant.server.root(), crate::support::files::list(plant.server.root()))
            == 4
    });
    plant.kill_frps();
    wait_until_down(&pod);
    // those that come meanwhile wait, and nothing is tried
    stage.send([upload("meanwhile", "up-1", "remote", "meanwhile")]);
    ids.push("meanwhile".to_owned());
    plant.start_frps();
    let mut answers = stage.answers();
    answers.wait_for_ids(&ids, LONG);
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids);
    assert!(attempts(&answers).iter().all(|attempts| *attempts == 1), "{}", retries(&pod));
    for seed in [1, 2] {
        sample(seed).assert_is(stage.get_local(&format!("got-{seed}")).as_deref());
        sample(seed).assert_is(plant.server.get(&format!("sent-{seed}")).as_deref());
        let resumed = &answers.only(&format!("d{seed}")).json["resumed_from"];
        assert!(resumed.as_u64().is_some_and(|from| from >= ENOUGH), "begun anew: {resumed}");
    }
    assert!(pod.events("tunnel_down").iter().any(|event| event["tunnel"] == "plant"), "{}", pod.log_tail(30));
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
}

#[test]
#[ignore = "needs Kafka, vsftpd and frp: make test"]
fn whichever_part_is_killed_or_frozen_each_task_is_answered_once() {
    let Some(plant) = Plant::with_ports(&[("anon_max_rate", "50000")]) else { return };
    let stage = Stage::new("tunnel-parts");
    let bytes = content(7, 20_000);
    plant.server.put("source", &bytes);
    stage.put_local("source", &bytes);
    let tasks = |range: std::ops::Range<usize>| {
        range.map(|n| match n % 2 {
            0 => download(&n.to_string(), "remote", "source", &format!("down-{n}")),
            _ => upload(&n.to_string(), "source", "remote", &format!("up-{n}")),
        })
    };
    stage.send(tasks(0..60));
    let pod = Pod::start(&through(&stage, &plant).set("retry.delay", json!("30s")));
    let mut answers = stage.answers();
    answers.wait_for(5, LONG);

    stage.send(tasks(60..90));
    plant.kill_far();
    wait_until_down(&pod);
    plant.start_far();
    wait_until_up(&pod);
    answers.wait_for(65, LONG);

    stage.send(tasks(90..120));
    answers.wait_for(91, LONG);
    plant.signal_frps(Signal::STOP);
    wait_until_down(&pod);
    plant.signal_frps(Signal::CONT);
    wait_until_up(&pod);
    let ids: Vec<String> = (0..120).map(|n| n.to_string()).collect();
    answers.wait_for_ids(&ids, LONG);

    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids);
    assert!(attempts(&answers).iter().all(|attempts| *attempts == 1), "{}", retries(&pod));
    for n in 0..120 {
        let found = match n % 2 {
            0 => stage.get_local(&format!("down-{n}")),
            _ => plant.server.get(&format!("up-{n}")),
        };
        assert!(found.as_ref() == Some(&bytes), "{n} differs");
    }
    let metrics = pod.metrics();
    assert!(metrics.sum("ftp_pooler_tunnel_errors_total", &["tunnel=\"plant\""]) >= 2.0);
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
}

/// 20 MB of an upload lie in the tunnel when its last byte has been written.
#[test]
#[ignore = "needs Kafka, vsftpd and frp: make test"]
fn a_server_that_is_slow_to_read_gets_a_file_in_one_try() {
    let Some(plant) = Plant::with_ports(&[("anon_max_rate", "2000000")]) else { return };
    let stage = Stage::new("tunnel-slow");
    let sample = Sample { path: "large".into(), seed: 3, len: LENGTH };
    stage.put_local("large", &sample.content());
    stage.send([upload("slow", "large", "remote", "copy")]);
    let pod = Pod::start(&through(&stage, &plant));
    let mut answers = stage.answers();
    answers.wait_for(1, LONG).assert_all_completed();
    assert_eq!(attempts(&answers), [1]);
    sample.assert_is(plant.server.get("copy").as_deref());
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
}

/// Also without root: the one tunnel leads to the far frpc's own HTTP proxy.
#[test]
#[ignore = "needs Kafka, vsftpd and frp: make test"]
fn without_passive_ports_the_way_leads_through_a_proxy_and_changes_while_the_pod_runs() {
    let (plant, other) = (Plant::with_proxy(&[]), Plant::with_proxy(&[]));
    let stage = Stage::new("tunnel-proxy");
    let bytes = content(9, 100_000);
    plant.server.put("source", &bytes);
    other.server.put("source", &bytes);
    stage.send([
        download("first", "remote", "source", "first"),
        download("second", "remote", "source", "second"),
    ]);
    let pod = Pod::start(&through(&stage, &plant));
    let mut answers = stage.answers();
    answers.wait_for(2, LONG).assert_all_completed();
    let before = state(&pod);
    assert_eq!(before["leads_to"], "proxy", "{before}");

    // another server, another frps: the pod takes it over without a restart
    pod.rewrite(&through(&stage, &other));
    wait_until("the change is taken over", LONG, || !pod.events("reload_applied").is_empty());
    wait_until_up(&pod);
    stage.send([download("third", "remote", "source", "third")]);
    answers.wait_for(3, LONG).assert_all_completed();
    assert_eq!(other.server.logins(), 1);
    wait_until("the frpc of before has ended", LONG, || {
        let children = fs::read_dir(format!("/proc/{}/task", pod.pid())).unwrap();
        let children =
            children.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
        children.map(|text| text.split_whitespace().count()).sum::<usize>() == 1
    });

    // one that is gone: its task is answered, since no connection has the name any more
    pod.rewrite(&stage.bare_config());
    wait_until("the change is taken over", LONG, || pod.events("reload_applied").len() == 2);
    wait_until("there is no tunnel", LONG, || state(&pod).is_null());
    stage.send([download("fourth", "remote", "source", "fourth")]);
    answers.wait_for(4, LONG);
    assert_eq!(answers.only("fourth").code(), "unknown_connection");
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
}

#[test]
#[ignore = "needs Kafka, vsftpd and frp: make test"]
fn a_tunnel_that_cannot_be_made_is_explained_and_its_tasks_wait() {
    let plant = Plant::with_proxy(&[]);
    let stage = Stage::new("tunnel-refused");
    plant.server.put("source", b"content");
    let scratch = Scratch::new("tunnel-token");
    let token = scratch.path().join("token");
    fs::write(&token, "wrong").unwrap();
    let mut section = plant.tunnel();
    section.retain(|(key, _)| *key != "token_file");
    section.push(("token_file", token.display().to_string()));
    let config = stage.bare_config().set("tunnels.frpc", json!(Relay::frpc().display().to_string()));
    let config = config.section("plant", &lines(&section)).section("remote", &lines(&plant.connection()));
    stage.send([download("one", "remote", "source", "one")]);
    let pod = Pod::start(&config);
    wait_until("the reason is known", LONG, || state(&pod)["error"]["class"] == "authentication_failed");
    let checked = Pod::command(&config, "check");
    assert_eq!(checked.wait_exit(LONG).code(), Some(69), "{}", checked.log_tail(40));
    assert!(checked.log().contains("authentication_failed"), "{}", checked.log());
    assert!(pod.is_ready(), "a tunnel that is down is not the pod's fault");

    // the right token, in the same file: it is read again
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let mut answers = stage.answers();
    answers.wait_for(1, LONG).assert_all_completed();
    assert_eq!(attempts(&answers), [1], "nothing was tried while the tunnel was down");
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
}

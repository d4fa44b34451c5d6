//! Any pod's page shows all pods: those that are up, stopped and gone, and the sessions that they share.

use serde_json::{Value, json};

use super::Shell;
use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::download;
use crate::support::pod::{Pod, PodConfig};
use crate::support::wait::wait_until;

fn pool(pod: &Pod) -> Option<Value> {
    let (status, body) = pod.get("/api/v1/pool")?;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).ok()
}

/// The states of these pods, as that one shows them.
fn states(seen_by: &Pod, names: &[&str]) -> Vec<String> {
    let Some(pool) = pool(seen_by) else { return Vec::new() };
    let pods = pool["pods"].as_array().unwrap();
    let state =
        |name: &&str| pods.iter().find(|pod| pod["pod"] == json!(name)).map(|pod| pod["state"].to_string());
    names.iter().filter_map(state).map(|state| state.trim_matches('"').to_owned()).collect()
}

fn named(config: &PodConfig, name: &str) -> PodConfig {
    config.clone().set("pod.name", json!(name))
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn any_pod_shows_all_pods_and_watch_does_so_without_being_told_where_they_are() {
    const ALL: [&str; 3] = ["pod-0", "pod-1", "pod-2"];
    let stage = Stage::with("pool-view", 3, &[]);
    stage.server.put("f", b"content");
    let config = stage.bare_config().ftp("remote", stage.server.addr(), &[("max_sessions_total", "3")]);
    let config = config.set("kafka.coordination_topic", json!(format!("{}-sessions", stage.topics.group)));
    let [first, second, third] = ALL.map(|name| Pod::start(&named(&config, name)));
    for pod in [&first, &third] {
        wait_until("each to show all", LONG, || states(pod, &ALL) == ["up", "up", "up"]);
    }
    let (shown, address) = (pool(&first).unwrap(), third.addr("api").unwrap().to_string());
    let of_third = shown["pods"].as_array().unwrap().iter().find(|pod| pod["pod"] == json!("pod-2")).unwrap();
    assert_eq!((&of_third["api"], &of_third["is_this_pod"]), (&json!(address), &json!(false)));
    assert_eq!((&shown["unavailable"], &shown["session_sharing"]["state"]), (&Value::Null, &json!("live")));

    let mut answers = stage.answers();
    stage.send((0..40).map(|n| download(&n.to_string(), "remote", "f", &n.to_string())));
    answers.wait_for(40, LONG);
    let remote = || {
        let connections = pool(&first)?["connections"].clone();
        connections.as_array().unwrap().iter().find(|one| one["name"] == json!("remote")).cloned()
    };
    wait_until("the sessions that are granted", LONG, || {
        remote().is_some_and(|remote| {
            remote["granted"].as_u64() > Some(0) && !remote["holders"].as_array().unwrap().is_empty()
        })
    });
    assert_eq!(remote().unwrap()["max_sessions_total"], json!(3));

    assert!(second.terminate(EXIT).success());
    third.kill9();
    wait_until("what became of them", LONG, || states(&first, &ALL) == ["up", "stopped", "gone"]);

    let shell = Shell::new(&config);
    let watched = shell.run(&["watch", "--for", "1s", "--output", "json"]);
    let look: Value = serde_json::from_str(watched.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(look["pods"]["asked"], json!(2), "{look}");
    assert!(look["pods"]["silent"][0].as_str().unwrap().starts_with("pod-2: gone, last heard of "), "{look}");
    assert_eq!(look["connections"]["remote"]["max_sessions_total"].as_f64(), Some(3.0), "{look}");
    let plain = shell.run(&["watch", "--for", "1s"]);
    assert!(plain.stdout.contains("pods 1/2 (pod-2: gone"), "{plain:?}");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn pods_without_transactions_show_each_other_and_say_that_they_share_no_sessions() {
    let stage = Stage::with("pool-plain", 2, &[]);
    let config = stage.config().at_least_once();
    let pods = ["a", "b"].map(|name| Pod::start(&named(&config, name)));
    for pod in &pods {
        wait_until("both", LONG, || states(pod, &["a", "b"]) == ["up", "up"]);
    }
    let sharing = pool(&pods[0]).unwrap()["session_sharing"].clone();
    assert_eq!(sharing["state"], json!("needs_transactions"));
    assert!(sharing["reason"].as_str().unwrap().contains("at_least_once"), "{sharing}");
}

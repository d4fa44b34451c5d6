//! Feeds: new files become tasks by themselves, each version once, whoever dies.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::Answers;
use crate::support::pod::{Pod, PodConfig, binary};
use crate::support::process::Signal;
use crate::support::wait::wait_until;

/// From `from` to `to`, every second.
fn feed(name: &str, from: &str, to: &str) -> Value {
    json!({"name": name, "from": from, "to": to, "every": "1s", "settle": "1s", "recursive": true})
}

fn with_feeds(stage: &Stage, config: PodConfig, feeds: &[Value]) -> PodConfig {
    config
        .set("kafka.feeds_topic", json!(format!("{}-feeds", stage.topics.group)))
        .set("kafka.coordination_topic", json!(format!("{}-sessions", stage.topics.group)))
        .set("feeds", json!(feeds))
}

/// How many tasks each source had.
fn by_source(answers: &Answers) -> BTreeMap<String, usize> {
    let mut by_source = BTreeMap::new();
    for answer in &answers.all {
        let path = answer.json["source"].as_str().unwrap_or_default().to_owned();
        *by_source.entry(path).or_default() += 1;
    }
    by_source
}

/// Listings of this feed that came to their end.
fn listings(pod: &Pod, feed: &str) -> f64 {
    pod.metrics()
        .sum("ftp_pooler_feed_listings_total", &[&format!("feed=\"{feed}\""), "result=\"completed\""])
}

/// All that is there has been looked at as often as it takes.
fn wait_for_listings(pods: &[&Pod], feed: &str) {
    let all = || pods.iter().map(|pod| listings(pod, feed)).sum::<f64>();
    let before = all();
    wait_until("it is listed again", LONG, || all() >= before + 4.0);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn new_files_are_moved_both_ways_each_version_once() {
    let stage = Stage::new("feeds");
    let feeds = [feed("in", "remote:out/", "local:in/"), feed("out", "local:out/", "remote:in/")];
    stage.server.put("out/a.csv", b"first");
    stage.server.put("out/deep/b.csv", b"b");
    stage.put_local("out/up.csv", b"up");
    let config = with_feeds(&stage, stage.config(), &feeds);
    let pod = Pod::start(&config);
    let mut answers = stage.answers();
    answers.wait_for(3, LONG);
    assert_eq!(stage.get_local("in/a.csv").as_deref(), Some(&b"first"[..]));
    assert_eq!(stage.get_local("in/deep/b.csv").as_deref(), Some(&b"b"[..]));
    assert_eq!(stage.server.get("in/up.csv").as_deref(), Some(&b"up"[..]));

    // replaced by one of the same size, maybe within the same minute
    stage.server.put("out/a.csv", b"again");
    stage.put_local("out/up.csv", b"larger");
    answers.wait_for(5, LONG);
    assert_eq!(stage.get_local("in/a.csv").as_deref(), Some(&b"again"[..]));
    assert_eq!(stage.server.get("in/up.csv").as_deref(), Some(&b"larger"[..]));

    // gone, and back as it was
    let (path, moved) = (stage.server.root().join("out/a.csv"), stage.server.root().join("a.away"));
    fs::rename(&path, &moved).unwrap();
    wait_for_listings(&[&pod], "in");
    fs::rename(&moved, &path).unwrap();
    wait_for_listings(&[&pod], "in");

    commands(&pod, &stage);
    answers.wait_for(6, LONG);

    // and nothing is new to another pod
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    let next = Pod::start(&config.set("pod.name", json!("pod-1")));
    wait_for_listings(&[&next], "in");
    wait_for_listings(&[&next], "out");
    assert_eq!(next.terminate(EXIT).code(), Some(0), "{}", next.log_tail(30));
    answers.read_to_end().assert_all_completed();
    let expected = [("local:out/up.csv", 2), ("remote:out/a.csv", 2), ("remote:out/deep/b.csv", 2)];
    assert_eq!(by_source(&answers), expected.map(|(path, count)| (path.to_owned(), count)).into());
}

/// What the commands and the API say of the first feed, and what they have done.
fn commands(pod: &Pod, stage: &Stage) {
    let feeds = |args: &[&str]| {
        let config = pod.config_file();
        let run = std::process::Command::new(binary())
            .args([&["feeds"], args, &["--output", "json", "--config", config.to_str().unwrap()]].concat())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        (run.status.code(), serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    let of_feed = || feeds(&["show", "in"]).1;
    wait_until("its owner has told of it", LONG, || of_feed()["known"] == json!(2));
    let (code, all) = feeds(&["ls"]);
    assert_eq!((code, all["feeds"].as_array().map(Vec::len)), (Some(0), Some(2)), "{all}");
    assert_eq!(all["feeds"][0]["pod"], json!("pod-0"));
    let (status, shown) = pod.get("/api/v1/feeds").unwrap();
    assert!(status == 200 && shown.contains("\"from\":\"remote:out/\""), "{shown}");
    assert_eq!(feeds(&["show", "on"]).0, Some(65));

    assert_eq!(feeds(&["pause", "in"]).0, Some(0));
    wait_until("it is paused", LONG, || of_feed()["state"] == json!("paused"));
    let before = listings(pod, "in");
    assert_eq!(feeds(&["forget", "in", "deep/nope.csv", "deep/b.csv"]).0, Some(65), "all or none");
    assert_eq!(feeds(&["forget", "in", "deep/b.csv"]).0, Some(0));
    wait_until("it is forgotten", LONG, || of_feed()["known"] == json!(1));
    assert!(listings(pod, "in") <= before + 1.0, "no more than the one that was under way");
    assert_eq!(feeds(&["run", "in"]).0, Some(0));
    wait_until("it is listed all the same", LONG, || of_feed()["settling"] == json!(1));
    assert_eq!(feeds(&["resume", "in"]).0, Some(0));
    wait_until("it is new", LONG, || of_feed()["known"] == json!(2));
    assert_eq!(stage.get_local("in/deep/b.csv").as_deref(), Some(&b"b"[..]));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn an_owner_that_is_killed_leaves_no_file_twice_and_none_behind() {
    const FILES: usize = 120;
    let stage = Stage::new("feeds-killed");
    let config = with_feeds(&stage, stage.config(), &[feed("in", "remote:out/", "local:in/")]);
    let put = |numbers: std::ops::Range<usize>| {
        for n in numbers {
            stage.server.put(&format!("out/{n}"), format!("file {n}").as_bytes());
        }
    };
    put(0..FILES / 3);
    let mut answers = stage.answers();
    for (n, part) in [(1, FILES / 3), (2, 2 * FILES / 3)] {
        let pod = Pod::start(&config.clone().set("pod.name", json!(format!("pod-{n}"))));
        answers.wait_for(part - FILES / 6, LONG);
        put(part..part + FILES / 3);
        pod.kill9();
    }
    let last = Pod::start(&config);
    answers.wait_for(FILES, LONG);
    wait_for_listings(&[&last], "in");
    assert_eq!(last.terminate(EXIT).code(), Some(0), "{}", last.log_tail(30));
    answers.read_to_end().assert_all_completed();
    let expected: BTreeMap<String, usize> = (0..FILES).map(|n| (format!("remote:out/{n}"), 1)).collect();
    assert_eq!(by_source(&answers), expected);
    for n in 0..FILES {
        assert_eq!(stage.get_local(&format!("in/{n}")), Some(format!("file {n}").into_bytes()));
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_file_that_is_written_waits_and_a_dead_server_delays_its_own_feed_only() {
    let stage = Stage::new("feeds-settle");
    let dead = stage.config().ftp("dead", "127.0.0.1:9".parse().unwrap(), &[]);
    let feeds = [feed("dead", "dead:out/", "local:dead/"), feed("in", "remote:out/", "local:in/")];
    let pod = Pod::start(&with_feeds(&stage, dead, &feeds));
    let mut answers = stage.answers();
    // every quarter of a second some more: it never stands still for a second
    let mut content = Vec::new();
    for n in 0..20 {
        content.extend_from_slice(format!("line {n}\n").as_bytes());
        stage.server.put("out/growing", &content);
        std::thread::sleep(Duration::from_millis(250));
    }
    answers.wait_for(1, LONG);
    assert_eq!(stage.get_local("in/growing"), Some(content));
    wait_for_listings(&[&pod], "in");
    let failed = pod.events("feed_listing_failed");
    assert!(failed.iter().all(|line| line["feed"] == json!("dead")) && !failed.is_empty(), "{failed:?}");

    // a reload takes a feed away, and brings another one
    stage.put_local("out/up", b"up");
    let other = [feed("out", "local:out/", "remote:in/")];
    pod.rewrite(&with_feeds(&stage, stage.config(), &other));
    pod.signal(Signal::HUP);
    answers.wait_for(2, LONG);
    assert_eq!(stage.server.get("in/up").as_deref(), Some(&b"up"[..]));
    assert!(listings(&pod, "in") < 0.5, "its series have ended");
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    answers.read_to_end().assert_all_completed();
    assert_eq!(
        by_source(&answers),
        [("remote:out/growing".to_owned(), 1), ("local:out/up".to_owned(), 1)].into()
    );
}

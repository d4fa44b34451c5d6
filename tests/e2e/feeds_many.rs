//! A feed over a directory with very many files: how long its listings take, and what they cost in memory. `make feeds`.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stage::{EXIT, Stage};
use crate::support::pod::Pod;
use crate::support::wait::wait_until;

/// Files that are made, and tasks of them, on a slow machine.
const WITHIN: Duration = Duration::from_secs(900);

fn status(pod: &Pod) -> Value {
    let (_, body) = pod.get("/api/v1/feeds").unwrap_or_default();
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    answer["feeds"][0].clone()
}

fn number(pod: &Pod, field: &str) -> u64 {
    status(pod)[field].as_u64().unwrap_or_default()
}

/// Seconds from one moment to another one.
fn seconds(from: &Value, until: &Value) -> f64 {
    let at = |text: &Value| text.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let (Some(from), Some(until)) = (at(from), at(until)) else { return 0.0 };
    until.duration_since(from).as_secs_f64()
}

#[test]
#[ignore = "figures: make feeds"]
fn a_directory_with_very_many_files_is_listed_in_bounded_memory() {
    let Some(entries) =
        std::env::var("FTP_POOLER_FEED_ENTRIES").ok().and_then(|text| text.parse::<u64>().ok())
    else {
        eprintln!("skipped: make feeds");
        return;
    };
    let stage = Stage::new("feeds-many");
    fs::create_dir_all(stage.server.root().join("out")).unwrap();
    for n in 0..entries {
        fs::File::create(stage.server.root().join(format!("out/a-file-with-a-usual-name-{n:07}.csv")))
            .unwrap();
    }
    // old, so that no file's exact time is asked for
    let feed =
        json!({"name": "many", "from": "remote:out/", "to": "local:in/", "every": "30s", "settle": "1s"});
    let config = stage
        .config()
        .set("kafka.feeds_topic", json!(format!("{}-feeds", stage.topics.group)))
        .set("kafka.coordination_topic", json!(format!("{}-sessions", stage.topics.group)))
        // the figures are about listings: few tasks are held, and done
        .set("pool.max_waiting_tasks", json!(1))
        .set("feeds", json!([feed]));
    let pod = Pod::start(&config);
    let idle = pod.rss_bytes();
    let begun = Instant::now();
    wait_until("all files are settling or known", WITHIN, || {
        number(&pod, "settling") + number(&pod, "known") == entries
    });
    let first = status(&pod);
    wait_until("all are tasks", WITHIN, || number(&pod, "known") == entries);
    let all = begun.elapsed();
    wait_until("a listing in which nothing is new", WITHIN, || {
        let now = status(&pod);
        now["known"] == json!(entries) && now["new"] == json!(0) && now["is_listing"] == json!(false)
    });
    let quiet = status(&pod);
    let mib = |bytes: u64| bytes / (1 << 20);
    eprintln!(
        "feeds: {entries} entries: the first listing {:.1} s, all are tasks after {:.1} s, a listing with nothing new {:.1} s; \
         {} MiB before, {} MiB after, {} MiB at most",
        seconds(&first["listed_at"], &first["listed_until"]),
        all.as_secs_f64(),
        seconds(&quiet["listed_at"], &quiet["listed_until"]),
        mib(idle),
        mib(pod.rss_bytes()),
        mib(pod.peak_rss_bytes()),
    );
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    // known again by the next owner, from the log alone
    let begun = Instant::now();
    let next = Pod::start(&config.set("pod.name", json!("pod-1")));
    wait_until("the next owner knows them", WITHIN, || number(&next, "known") == entries);
    eprintln!(
        "feeds: the next owner knows them after {:.1} s, {} MiB at most",
        begun.elapsed().as_secs_f64(),
        mib(next.peak_rss_bytes())
    );
    next.kill9();
}

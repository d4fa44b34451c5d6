//! docs/PRODUCING.md: its programs, in Python, Java and Go, send tasks and read the answers; and `reply_to`, by which they
//! get those on a topic of their own.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::stage::{LONG, Stage};
use crate::support::client::{Answer, Answers, Outgoing, download};
use crate::support::deps_dir;
use crate::support::kafka::Topics;
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Process;
use crate::support::scratch::Scratch;
use crate::support::wait::wait_until;

/// Replies may go to topics that begin with this.
fn prefix(stage: &Stage) -> String {
    format!("{}-replies-", stage.topics.results)
}

fn config(stage: &Stage) -> PodConfig {
    let pod = stage.bare_config().ftp("remote-ftp", stage.server.addr(), &[]);
    pod.set("kafka.reply_topics", json!([format!("{}*", prefix(stage))]))
}

/// What stands on a topic that has both kinds of answers.
fn replies_on(stage: &Stage, topic: &str) -> Answers {
    // both kinds of answers are on one
    let none = format!("{topic}-none");
    stage.kafka.create_topic(&none, 1, &[]);
    let topics = Topics { results: topic.to_owned(), failures: none, ..stage.topics.clone() };
    Answers::of(stage.kafka, &topics)
}

/// Those of docs/PRODUCING.md, as `make deps` has built them: a name, what runs it, and its first arguments.
fn programs() -> [(&'static str, PathBuf, Vec<String>); 3] {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let deps = deps_dir();
    let java = std::env::var_os("JAVA_HOME")
        .map_or_else(|| "java".into(), |home| PathBuf::from(home).join("bin/java"));
    let classes = format!("{}:{}/*", deps.join("producing/java").display(), deps.join("kafka").display());
    let script = root.join("examples/producing/python/orders.py").display().to_string();
    [
        ("python", deps.join("producing-python/bin/python3"), vec![script]),
        ("java", java, vec!["-cp".to_owned(), classes, "Orders".to_owned()]),
        ("go", deps.join("producing/orders"), Vec::new()),
    ]
}

#[test]
#[ignore = "needs Kafka, vsftpd and docs/PRODUCING.md's programs: make test"]
fn the_programs_of_the_document_send_tasks_and_get_their_answers() {
    let stage = Stage::with("producing", 3, &[]);
    let scratch = Scratch::new("producing");
    let _pod = Pod::start(&config(&stage));
    let running = programs().map(|(name, program, mut arguments)| {
        stage.server.put(&format!("{name}.csv"), b"a,b\n1,2\n");
        let replies = format!("{}{name}", prefix(&stage));
        stage.kafka.create_topic(&replies, 2, &[]);
        arguments.extend(["ok", "gone"].map(|what| {
            let file = if what == "ok" { name } else { "nowhere" };
            format!("{name}-{what}={}/{file}.csv", stage.server.root().display())
        }));
        let log = scratch.path().join(format!("{name}.log"));
        let process = Process::start(&program, &arguments, &log, |command: &mut Command| {
            command.env("KAFKA", stage.kafka.bootstrap());
            command.env("TASKS", &stage.topics.tasks).env("REPLIES", &replies);
        });
        (name, replies, process, log)
    });
    for (name, replies, process, log) in running {
        wait_until("the program has ended", LONG, || process.status().is_some());
        let printed = std::fs::read_to_string(log).unwrap();
        assert!(process.status().is_some_and(|status| status.success()), "{name}: {printed}");
        let line =
            |id: String| printed.lines().find(|line| line.starts_with(&id)).unwrap_or_default().to_owned();
        assert_eq!(
            line(format!("{name}-ok")),
            format!("{name}-ok completed local:/in/{name}.csv 8"),
            "{printed}"
        );
        assert!(line(format!("{name}-gone")).contains("failed source_not_found"), "{name}: {printed}");
        assert_eq!(stage.get_local(&format!("in/{name}.csv")).unwrap(), b"a,b\n1,2\n");

        let ids = [format!("{name}-ok"), format!("{name}-gone")];
        let (mut there, mut everywhere) = (replies_on(&stage, &replies), stage.answers());
        there.wait_for_ids(&ids, LONG).read_to_end().assert_each_once(&ids);
        everywhere.wait_for_ids(&ids, LONG);
        for id in &ids {
            let (reply, answer) = (there.only(id), everywhere.only(id));
            assert_eq!(
                (&reply.json, &reply.key, &reply.headers),
                (&answer.json, &answer.key, &answer.headers)
            );
            assert!(
                answer.headers.iter().any(|(key, _)| key == "traceparent"),
                "{name}: {:?}",
                answer.headers
            );
        }
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_reply_that_cannot_be_sent_costs_no_answer_and_makes_no_topic() {
    let stage = Stage::new("replies");
    stage.server.put("f", b"content");
    let small = format!("{}small", prefix(&stage));
    stage.kafka.create_topic(&small, 1, &[("max.message.bytes", "300")]);
    let missing = format!("{}missing", prefix(&stage));
    let _pod = Pod::start(&config(&stage));
    let task = |id: &str, reply_to: &str| {
        let task = download(id, "remote-ftp", &format!("{}/f", stage.server.root().display()), id);
        let headers = vec![("reply_to".to_owned(), Some(reply_to.as_bytes().to_vec()))];
        Outgoing { headers, ..Outgoing::from(task) }
    };
    let not_json = Outgoing {
        payload: Some(b"no json".to_vec()),
        key: Some(b"no-json".to_vec()),
        ..task("x", &missing)
    };
    let own = stage.topics.tasks.clone();
    stage.send([
        task("missing", &missing),
        task("own", &own),
        task("elsewhere", "elsewhere"),
        task("small", &small),
        not_json,
    ]);
    let mut answers = stage.answers();
    let ids = ["missing", "own", "elsewhere", "small"];
    answers.wait_for(5, LONG).read_to_end().assert_each_once(&[&ids[..], &[""]].concat());
    let note = |id: &str| answers.only(id).json["notes"][0].as_str().unwrap_or_default().to_owned();
    for (id, why) in [
        ("missing", "does not exist"),
        ("own", "of the pool's own"),
        ("elsewhere", "not among kafka.reply_topics"),
        ("small", "does not take records of this size"),
    ] {
        assert!(answers.only(id).is_completed() && note(id).contains(why), "{id}: {}", answers.only(id).json);
    }
    let rejected: Vec<&Answer> = answers.failures().collect();
    assert!(rejected.len() == 1 && rejected[0].message().contains("does not exist"), "{rejected:?}");
    assert!(stage.kafka.topics_named(&missing).is_empty(), "no topic was made");
}

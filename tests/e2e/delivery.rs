//! How answers and offsets are tied together: in both modes, and where a topic refuses answers.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Answers, download};
use crate::support::kafka::Topics;
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::wait::wait_until;

const MODES: [&str; 2] = ["at_least_once", "exactly_once"];

fn in_mode(config: PodConfig, mode: &str) -> PodConfig {
    config.set("kafka.delivery", json!(mode))
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn two_pods_answer_each_record_in_one_transaction_with_its_offset() {
    let stage = Stage::with("transactions", 6, &[]);
    stage.server.put("f", b"content");
    let ids: Vec<String> = (0..300).map(|i| i.to_string()).collect();
    let config = |pod: &str| in_mode(stage.config().set("pod.name", json!(pod)), "exactly_once");
    let first = Pod::start(&config("first"));
    stage.send(ids.iter().map(|id| {
        let remote = if id.ends_with('7') { "missing" } else { "f" };
        download(id, "remote", remote, &format!("out/{id}"))
    }));
    let second = Pod::start(&config("second"));

    let mut answers = stage.answers();
    answers.wait_for_ids(&ids, LONG);
    for pod in [&first, &second] {
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    }
    answers.read_to_end().assert_each_once(&ids);
    assert_eq!(answers.failures().count(), 30);
    assert_eq!(stage.kafka.lag(&stage.topics), 0, "every offset is committed");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_topic_that_is_missing_holds_up_its_own_answers_only() {
    for mode in MODES {
        let stage = Stage::new("held");
        stage.server.put("f", b"content");
        let missing = format!("{}-later", stage.topics.results);
        stage.send((0..20).map(|i| {
            let remote = if i % 2 == 0 { "f" } else { "missing" };
            download(&i.to_string(), "remote", remote, &format!("out/{i}"))
        }));
        let config = in_mode(stage.config(), mode).set("kafka.result_topic", json!(missing));
        let pod = Pod::spawn(&config); // without a topic for its results it is not ready

        let mut answers = stage.answers();
        answers.wait_for(10, LONG);
        assert_eq!(answers.failures().count(), 10, "{mode}");
        assert!(!pod.is_ready(), "{mode}");
        wait_until("it is said", LONG, || !pod.events("topic_rejects").is_empty());
        assert!(pod.is_healthy(), "{mode}");

        stage.kafka.create_topic(&missing, 1, &[]);
        let mut late = Answers::of(stage.kafka, &Topics { results: missing, ..stage.topics.clone() });
        late.wait_for(20, LONG);
        wait_until("it to be ready", LONG, || pod.is_ready());
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
        let ids: Vec<String> = (0..20).map(|i| i.to_string()).collect();
        late.read_to_end().assert_each_once(&ids);
    }
}

#[test]
#[ignore = "needs Kafka: make test"]
fn an_answer_too_large_for_its_topic_is_cut_and_the_rest_goes_on() {
    for mode in MODES {
        let stage = Stage::new("narrow");
        let narrow = format!("{}-narrow", stage.topics.failures);
        stage.kafka.create_topic(&narrow, 1, &[("max.message.bytes", "6000")]);
        stage.send([vec![b'x'; 900_000].as_slice(), b"short"]);
        let config = in_mode(stage.bare_config(), mode).set("kafka.fail_topic", json!(narrow));
        let pod = Pod::start(&config.ftp("nowhere", "127.0.0.1:1".parse().unwrap(), &[]));

        let mut answers = Answers::of(stage.kafka, &Topics { failures: narrow, ..stage.topics.clone() });
        answers.wait_for(2, LONG);
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
        answers.read_to_end();
        assert_eq!(answers.all.len(), 2, "{mode}");
        assert_eq!(answers.all.iter().filter(|answer| answer.json["truncated"] == true).count(), 1, "{mode}");
        assert!(answers.all.iter().all(|answer| answer.code() == "invalid_task"), "{mode}");
        assert_eq!(stage.kafka.lag(&stage.topics), 0, "{mode}");
    }
}

#[test]
#[ignore = "needs Kafka: make test"]
fn a_topic_that_takes_next_to_nothing_gets_what_cannot_be_left_out() {
    for mode in MODES {
        let stage = Stage::new("tiny");
        let tiny = format!("{}-tiny", stage.topics.failures);
        stage.kafka.create_topic(&tiny, 1, &[("max.message.bytes", "700")]);
        // Valid tasks of 3 KB, garbage, and a task_id that leaves no room at all.
        let long = "x".repeat(3_000);
        let id = |i: usize| format!("0f8fad5b-d9cb-469f-a165-7086772895{i:02}");
        stage.send((0..6).map(|i| download(&id(i), "nobody", &long, "a")));
        stage.send([vec![b'x'; 50_000].as_slice(), b"short"]);
        stage.send([download(&"\u{1}".repeat(256), "nobody", "a", "a")]);
        let config = in_mode(stage.bare_config(), mode).set("kafka.fail_topic", json!(tiny));
        let pod = Pod::start(&config.ftp("nowhere", "127.0.0.1:1".parse().unwrap(), &[]));

        let topics = Topics { failures: tiny, ..stage.topics.clone() };
        let mut answers = Answers::of(stage.kafka, &topics);
        answers.wait_for(8, LONG);
        wait_until("the one that never fits to be told of", LONG, || {
            !pod.events("answer_set_aside").is_empty()
        });
        assert!(pod.is_healthy(), "{mode}");
        // It holds up nothing that comes after it.
        stage.send([download(&id(6), "nobody", "a", "a")]);
        answers.wait_for(9, LONG);
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
        answers.read_to_end();
        assert_eq!(answers.all.len(), 9, "{mode}");
        for answer in answers.all.iter().filter(|answer| answer.task_id().is_some()) {
            assert_eq!(answer.code(), "unknown_connection", "{mode}");
        }
        assert!(stage.kafka.lag(&topics) > 0, "the answer that is kept is not committed: {mode}");
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_whose_name_another_one_takes_ends_and_says_why_and_each_task_is_answered_once() {
    let stage = Stage::with("fenced", 2, &[]);
    stage.server.put("f", b"content");
    let ids: Vec<String> = (0..40).map(|i| i.to_string()).collect();
    let task = |id: &String| download(id, "remote", "f", &format!("out/{id}"));
    let first = Pod::start(&stage.config());
    stage.send(ids[..20].iter().map(task));
    let mut answers = stage.answers();
    answers.wait_for_ids(&ids[..20], LONG);

    // Two pods have one name: the later one has the identity, and the earlier one finds out when it has to publish.
    let second = Pod::start(&stage.config());
    let assigned = |pod: &Pod| pod.metrics().sum("ftp_pooler_assigned_partitions", &[]);
    wait_until("a partition each", LONG, || assigned(&first).min(assigned(&second)) >= 1.0);
    stage.send(ids[20..].iter().map(task));
    assert_eq!(first.wait_exit(LONG).code(), Some(1), "{}", first.log_tail(30));
    assert!(first.log().contains("another process publishes as this pod"), "{}", first.log_tail(30));
    answers.wait_for_ids(&ids, LONG);
    assert_eq!(second.terminate(EXIT).code(), Some(0), "{}", second.log_tail(30));
    answers.read_to_end().assert_each_once(&ids);
}

/// It stood still for longer than its transaction may be open: what its producer is told then, one without a rival is
/// told as well, and goes on with another producer.
#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_that_wakes_after_its_transaction_leaves_its_place_to_the_one_that_has_taken_it() {
    let stage = Stage::with("woken", 2, &[]);
    // So many that one transaction follows the other when it is stopped.
    let ids: Vec<String> = (0..12_000).map(|i| i.to_string()).collect();
    let (many, more) = ids.split_at(11_000);
    let config = stage.config().set("kafka.transaction_timeout", json!("5s"));
    let mut answers = stage.answers();
    let first = Pod::start(&config);
    let task = |id: &String| download(id, "nobody", "f", &format!("out/{id}"));
    stage.send(many.iter().map(task));
    answers.wait_for(1, LONG);
    first.signal(Signal::STOP);
    let frozen = Instant::now();
    let second = Pod::start(&config);
    let assigned = |pod: &Pod| pod.metrics().sum("ftp_pooler_assigned_partitions", &[]);
    wait_until("the partitions to have another owner, and the transaction to be too old", LONG, || {
        assigned(&second) >= 2.0 && frozen.elapsed() > Duration::from_secs(6)
    });
    first.signal(Signal::CONT);
    // Where no transaction was open it finds out when it has to publish again.
    wait_until("a partition each, or its end", LONG, || {
        first.exit_status().is_some() || first.events("partitions_assigned").len() > 1
    });
    stage.send(more.iter().map(task));
    assert_eq!(first.wait_exit(LONG).code(), Some(1), "{}", first.log_tail(30));
    assert!(first.log().contains("another process publishes as this pod"), "{}", first.log_tail(30));
    answers.wait_for_ids(&ids, LONG);
    assert_eq!(second.terminate(EXIT).code(), Some(0), "{}", second.log_tail(30));
    answers.read_to_end().assert_each_once(&ids);
}

//! Ready means that tasks can be read and answered: each right that is missing is named by `/ready`, the log and `check`.

use std::path::Path;
use std::process::Command;

use rdkafka::bindings::rd_kafka_AclOperation_t as Operation;
use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Answers, Outgoing, send};
use crate::support::kafka::{Kafka, Topics};
use crate::support::kafka_secured::{Grant, Resource, SecuredKafka};
use crate::support::pod::{Pod, PodConfig, binary};
use crate::support::ports::free_port;
use crate::support::scratch::Scratch;
use crate::support::wait::{try_wait_for, wait_until};

const READ: Operation = Operation::RD_KAFKA_ACL_OPERATION_READ;
const WRITE: Operation = Operation::RD_KAFKA_ACL_OPERATION_WRITE;

#[test]
#[ignore = "needs Kafka: make test"]
fn each_right_that_is_taken_away_is_named_until_it_is_granted_again() {
    let secured = SecuredKafka::start();
    let topics = secured.kafka.topics("rights", 1);
    secured.kafka.create_topic(&topics.retry, 1, &[]);
    let base = Scratch::new("rights");
    for topic in [&topics.tasks, &topics.retry, &topics.results, &topics.failures] {
        secured.grant(&of(Resource::Topic, topic, Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE));
        secured.grant(&of(Resource::Topic, topic, Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS));
    }
    let id = format!("{}-pod-0", topics.group);
    let on_topic = |right: &str, topic: &str| format!("{right} on topic {topic}");
    let needed = [
        (of(Resource::Topic, &topics.tasks, READ), on_topic("Read", &topics.tasks)),
        (of(Resource::Topic, &topics.retry, READ), on_topic("Read", &topics.retry)),
        (of(Resource::Topic, &topics.retry, WRITE), on_topic("Write", &topics.retry)),
        (of(Resource::Topic, &topics.results, WRITE), on_topic("Write", &topics.results)),
        (of(Resource::Topic, &topics.failures, WRITE), on_topic("Write", &topics.failures)),
        (of(Resource::Group, &topics.group, READ), format!("Read on group {}", topics.group)),
        (of(Resource::TransactionalId, &id, WRITE), format!("Write and Describe on transactional id {id}")),
    ];
    for (grant, _) in &needed {
        secured.grant(grant);
    }
    let config = PodConfig::new(&secured.kafka, &topics)
        .set("kafka.bootstrap_servers", json!([secured.bootstrap()]))
        .set("kafka.properties", SecuredKafka::properties())
        .local("local", base.path());
    let pod = Pod::start(&config);
    let plain = config.clone().set("kafka.properties", json!({}));
    let check = Pod::command(&plain, "check");
    assert_ne!(check.wait_exit(LONG).code(), Some(0));
    assert!(check.log().contains("expects TLS or SASL"), "{}", check.log());

    for (grant, name) in &needed {
        secured.take_away(grant);
        let garbage = Outgoing { payload: Some(b"no task".to_vec()), ..Outgoing::default() };
        send(&secured.kafka, &topics.tasks, [garbage]);
        let denied = format!("Kafka denies this pod: {name}");
        let told = try_wait_for(LONG, || {
            let (status, page) = pod.get("/ready")?;
            (status == 503 && page.contains(&denied)).then_some(())
        });
        assert!(told.is_some(), "{grant}: {:?}\n{}", pod.get("/ready"), pod.log_tail(40));
        let is_logged = || pod.events("kafka_rights_missing").iter().any(|event| event["rights"] == **name);
        wait_until(&format!("the log to say: {denied}"), LONG, is_logged);
        let check = Pod::command(&config, "check");
        assert_ne!(check.wait_exit(LONG).code(), Some(0), "{grant}");
        let page = check.log();
        let line = page.lines().find(|line| line.contains("denies this user") && !line.contains("warning: "));
        let right = name.split(' ').next().expect("a right");
        assert!(line.is_some_and(|line| line.starts_with("FAIL") && line.contains(right)), "{grant}: {page}");
        secured.grant(grant);
        let ready = try_wait_for(LONG, || pod.is_ready().then_some(()));
        assert!(ready.is_some(), "{grant}: {:?}\n{}", pod.get("/ready"), pod.log_tail(40));
    }

    let mut answers = Answers::of(&secured.kafka, &topics);
    answers.wait_for(needed.len(), LONG);
    wait_until("all to be committed", LONG, || secured.kafka.lag(&topics) == 0);
    assert!(pod.is_running() && pod.is_healthy(), "no check has fenced it");
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    assert_eq!(answers.read_to_end().all.len(), needed.len(), "each has one answer");
}

fn of(resource: Resource, name: &str, operation: Operation) -> Grant {
    Grant { resource, name: name.to_owned(), operation }
}

/// What `check` finds of Kafka that is not `ok`, or warned of, as it says it.
fn complaints(config: &Path) -> Vec<String> {
    let run = Command::new(binary())
        .args(["check", "--output", "json", "--config", &config.display().to_string()])
        .output()
        .expect("check runs");
    let report: Value = serde_json::from_slice(&run.stdout).unwrap_or_default();
    let findings = report["findings"].as_array().unwrap_or_else(|| panic!("{run:?}"));
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    findings
        .iter()
        .filter(|of| of["kind"] != "ftp")
        .filter(|of| of["ok"] == false || text(of, "found").contains("warning"))
        .map(|of| {
            format!("{} {} {}: {}", text(of, "state"), text(of, "kind"), text(of, "name"), text(of, "found"))
        })
        .collect()
}

/// Topics of a pool with feeds, shared sessions and a topic for replies, beside those for tasks and answers.
struct SharedTopics {
    feeds: String,
    sessions: String,
    control: String,
    replies: String,
}

const COMPACTED: &[(&str, &str)] = &[("cleanup.policy", "compact")];

impl SharedTopics {
    fn create(kafka: &Kafka, topics: &Topics) -> SharedTopics {
        let named = |what: &str| format!("{}-{what}", topics.group);
        let (feeds, sessions, replies) = (named("feeds"), named("sessions"), named("replies"));
        let control = format!("{}-control", topics.tasks);
        for (name, partitions) in [(&feeds, 5), (&sessions, 1), (&control, 1)] {
            kafka.create_topic(name, partitions, COMPACTED);
        }
        kafka.create_topic(&replies, 1, &[]);
        SharedTopics { feeds, sessions, control, replies }
    }

    /// With a server where nobody listens.
    fn config(&self, secured: &SecuredKafka, topics: &Topics, base: &Scratch) -> PodConfig {
        let port = free_port().to_string();
        let account = [("type", "ftp"), ("host", "127.0.0.1"), ("user", "u"), ("pass", "p")];
        let remote = [&account[..], &[("port", port.as_str()), ("max_sessions_total", "5")]].concat();
        PodConfig::new(&secured.kafka, topics)
            .set("kafka.bootstrap_servers", json!([secured.bootstrap()]))
            .set("kafka.properties", SecuredKafka::properties())
            .set("kafka.feeds_topic", json!(self.feeds))
            .set("kafka.coordination_topic", json!(self.sessions))
            .set("kafka.reply_topics", json!([self.replies, "others-*"]))
            .set("feeds", json!([{"name": "in", "from": "remote:/out/", "to": "local:/in/", "every": "1m"}]))
            .section("remote", &remote)
            .local("local", base.path())
    }

    /// What a pool without any of them needs as well, and what is needed to look at the topics.
    fn granted_for_good(&self, topics: &Topics) -> Vec<Grant> {
        let group = &topics.group;
        let tasks = [&topics.tasks, &topics.retry, &topics.results, &topics.failures];
        let all = tasks.into_iter().chain([&self.feeds, &self.sessions, &self.control, &self.replies]);
        let see =
            [Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS];
        let seen = all.flat_map(|topic| see.map(|operation| of(Resource::Topic, topic, operation)));
        let mut granted: Vec<Grant> = seen.collect();
        granted.extend([
            of(Resource::Topic, &topics.tasks, READ),
            of(Resource::Topic, &topics.retry, READ),
            of(Resource::Topic, &topics.retry, WRITE),
            of(Resource::Topic, &topics.results, WRITE),
            of(Resource::Topic, &topics.failures, WRITE),
            of(Resource::Group, group, READ),
            of(Resource::TransactionalId, &format!("{group}-pod-0"), WRITE),
        ]);
        let ids = (0..5).map(|n| of(Resource::TransactionalId, &format!("{group}.feeds.{n}"), WRITE));
        granted.extend(ids);
        granted
    }

    /// Each right that they need, and how the complaint without it begins and ends.
    fn rights(&self, topics: &Topics) -> Vec<(Grant, String, String)> {
        let group = &topics.group;
        let on_topic = |state: &str, topic: &str, operation| {
            let right = if operation == READ { "Read" } else { "Write" };
            let denied = format!("Kafka denies this user {right} on topic {topic}");
            (of(Resource::Topic, topic, operation), format!("{state} topic {topic}: "), denied)
        };
        let on_group = |purpose: &str| {
            let name = format!("{group}.{purpose}");
            let denied = "Kafka denies this user Read on the group".to_owned();
            (of(Resource::Group, &name, READ), format!("failed group {name}: "), denied)
        };
        let on_id = |id: &str, name: &str, which: &str| {
            let denied = format!("Kafka denies this user Write and Describe on {which}");
            (of(Resource::TransactionalId, id, WRITE), format!("failed id {name}: "), denied)
        };
        let (sessions_id, feeds_id) = (format!("{group}.sessions.0"), format!("{group}.feeds.3"));
        vec![
            on_topic("failed", &topics.tasks, WRITE),
            on_topic("failed", &self.feeds, READ),
            on_topic("failed", &self.feeds, WRITE),
            on_topic("failed", &self.sessions, READ),
            on_topic("failed", &self.sessions, WRITE),
            on_topic("ok", &self.control, READ),
            on_topic("failed", &self.replies, WRITE),
            on_group("feeds"),
            on_group("sessions"),
            on_id(&sessions_id, &sessions_id, "this transactional id"),
            on_id(&feeds_id, &format!("{group}.feeds.0-4"), &format!("transactional id {feeds_id}")),
        ]
    }
}

#[test]
#[ignore = "needs Kafka: make test"]
fn check_names_each_right_that_feeds_and_shared_sessions_need() {
    let secured = SecuredKafka::start();
    let topics = secured.kafka.topics("rights-shared", 1);
    secured.kafka.create_topic(&topics.retry, 1, &[]);
    let shared = SharedTopics::create(&secured.kafka, &topics);
    let rights = shared.rights(&topics);
    for grant in shared.granted_for_good(&topics).iter().chain(rights.iter().map(|(grant, ..)| grant)) {
        secured.grant(grant);
    }
    let base = Scratch::new("rights-shared");
    let file = shared.config(&secured, &topics, &base).write(base.path());
    assert_eq!(complaints(&file), [""; 0], "all is granted");
    for (grant, what, denied) in &rights {
        secured.take_away(grant);
        let told = try_wait_for(LONG, || Some(complaints(&file)).filter(|told| !told.is_empty()));
        let told = told.unwrap_or_default();
        assert!(
            told.len() == 1 && told[0].starts_with(what) && told[0].contains(denied),
            "{grant}: {told:#?}"
        );
        secured.grant(grant);
        wait_until("it to be granted again", LONG, || complaints(&file).is_empty());
    }

    let gone = |topic: &str| {
        secured.kafka.delete_topic(topic);
        wait_until("it to be gone", LONG, || secured.kafka.topics_named(topic).is_empty());
    };
    gone(&shared.feeds);
    assert_eq!(complaints(&file), [""; 0], "a pod makes it");
    secured.kafka.create_topic(&shared.feeds, 1, COMPACTED);
    let told = complaints(&file);
    assert!(told.len() == 1 && told[0].contains("has 1 partition, and needs 5"), "{told:#?}");
    gone(&shared.sessions);
    secured.kafka.create_topic(&shared.sessions, 1, &[]);
    let told = complaints(&file);
    assert!(told.len() == 2 && told[0].contains("its cleanup.policy is delete"), "{told:#?}");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_topic_that_vanishes_is_named_until_it_is_there_again() {
    let stage = Stage::new("vanished");
    let pod = Pod::start(&stage.bare_config());
    for topic in [&stage.topics.failures, &stage.topics.tasks] {
        stage.kafka.delete_topic(topic);
        let gone = format!("topic {topic} does not exist");
        let told = try_wait_for(LONG, || {
            let (status, page) = pod.get("/ready")?;
            (status == 503 && page.contains(&gone)).then_some(())
        });
        assert!(told.is_some(), "{:?}\n{}", pod.get("/ready"), pod.log_tail(40));
        assert!(!pod.events("topics_missing").is_empty());
        stage.kafka.create_topic(topic, 1, &[]);
        wait_until("it to be ready again", LONG, || pod.is_ready());
    }
    stage.send([b"no task".as_slice()]);
    stage.answers().wait_for(1, LONG);
    assert!(pod.is_healthy());
}

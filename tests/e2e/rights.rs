//! Ready means that tasks can be read and answered: each right that is missing is named by `/ready`, the log and `check`.

use rdkafka::bindings::rd_kafka_AclOperation_t as Operation;
use serde_json::json;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{Answers, Outgoing, send};
use crate::support::kafka_secured::{Grant, Resource, SecuredKafka};
use crate::support::pod::{Pod, PodConfig};
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
    let of = |resource, name: &str, operation| Grant { resource, name: name.to_owned(), operation };
    for topic in [&topics.tasks, &topics.retry, &topics.results, &topics.failures] {
        secured.grant(&of(Resource::Topic, topic, Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE));
        secured.grant(&of(Resource::Topic, topic, Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS));
    }
    let id = format!("{}-pod-0", topics.group);
    let on_topic = |right: &str, topic: &str| format!("{right} on topic {topic}");
    let needed = [
        (of(Resource::Topic, &topics.tasks, READ), on_topic("Read", &topics.tasks), true),
        (of(Resource::Topic, &topics.retry, READ), on_topic("Read", &topics.retry), true),
        (of(Resource::Topic, &topics.retry, WRITE), on_topic("Write", &topics.retry), true),
        (of(Resource::Topic, &topics.results, WRITE), on_topic("Write", &topics.results), true),
        (of(Resource::Topic, &topics.failures, WRITE), on_topic("Write", &topics.failures), true),
        (of(Resource::Group, &topics.group, READ), format!("Read on group {}", topics.group), true),
        (
            of(Resource::TransactionalId, &id, WRITE),
            format!("Write and Describe on transactional id {id}"),
            false, // asking would fence the pod
        ),
    ];
    for (grant, _, _) in &needed {
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

    for (grant, name, is_checked) in &needed {
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
        if *is_checked {
            let check = Pod::command(&config, "check");
            assert_ne!(check.wait_exit(LONG).code(), Some(0), "{grant}");
            let page = check.log();
            let line = page.lines().find(|line| line.contains("denies this user"));
            let right = name.split(' ').next().expect("a right");
            assert!(
                line.is_some_and(|line| line.starts_with("FAIL") && line.contains(right)),
                "{grant}: {page}"
            );
        }
        secured.grant(grant);
        let ready = try_wait_for(LONG, || pod.is_ready().then_some(()));
        assert!(ready.is_some(), "{grant}: {:?}\n{}", pod.get("/ready"), pod.log_tail(40));
    }

    let mut answers = Answers::of(&secured.kafka, &topics);
    answers.wait_for(needed.len(), LONG);
    wait_until("all to be committed", LONG, || secured.kafka.lag(&topics) == 0);
    assert!(pod.is_running() && pod.is_healthy());
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    assert_eq!(answers.read_to_end().all.len(), needed.len(), "each has one answer");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_topic_that_vanishes_is_named_until_it_is_there_again() {
    let stage = Stage::new("vanished");
    let pod = Pod::start(&stage.bare_config());
    for topic in [&stage.topics.failures, &stage.topics.tasks] {
        stage.kafka.delete_topic(topic);
        let gone = format!("topic {topic} is not there");
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

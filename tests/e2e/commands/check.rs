//! `check` says what a pod would find wrong with Kafka.

use serde_json::json;

use crate::stage::{LONG, Stage};
use crate::support::kafka_proxy::KafkaProxy;
use crate::support::pod::Pod;
use crate::support::scratch::unique;

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn check_warns_of_compacted_topics() {
    let stage = Stage::new("compacted");
    let compacted = unique("compacted-tasks");
    stage.kafka.create_topic(&compacted, 1, &[("cleanup.policy", "compact")]);
    let check = Pod::command(&stage.bare_config().set("kafka.input_topic", json!(compacted)), "check");
    assert_eq!(check.wait_exit(LONG).code(), Some(0), "{}", check.log());
    let page = check.log();
    let lines: Vec<_> = page.lines().filter(|line| line.contains("it is compacted")).collect();
    assert!(matches!(&lines[..], [line] if line.contains(&compacted)), "{page}");
    assert!(page.lines().any(|line| line.starts_with("ok") && line.contains("0 members")), "{page}");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn check_connects_to_each_broker_at_its_advertised_address() {
    let stage = Stage::new("advertised");
    let proxy = KafkaProxy::before(stage.kafka.bootstrap());
    let config = stage.bare_config().set("kafka.bootstrap_servers", json!([proxy.bootstrap()]));
    let check = Pod::command(&config, "check");
    assert_eq!(check.wait_exit(LONG).code(), Some(0), "{}", check.log());

    proxy.close_advertised();
    let check = Pod::command(&config, "check");
    assert_ne!(check.wait_exit(LONG).code(), Some(0));
    let page = check.log();
    let line = page.lines().find(|line| line.contains("advertised.listeners")).unwrap_or_default();
    assert!(line.starts_with("FAIL") && line.contains("broker 1") && line.contains("refused"), "{page}");
}

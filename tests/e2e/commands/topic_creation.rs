//! No topic comes into being by accident, though the brokers would create any that they are asked about (Kafka's own
//! default): it would have one partition, and one pod would have all the work.

use serde_json::{Value, json};

use super::Shell;
use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::download;
use crate::support::pod::{Pod, PodConfig};
use crate::support::scratch::unique;
use crate::support::wait::wait_until;

/// A pod whose topics do not exist; their names begin with the string returned.
fn without_topics(stage: &Stage) -> (PodConfig, String) {
    let prefix = unique("by-accident");
    let config = ["input", "result", "fail", "retry"].iter().fold(stage.config(), |config, topic| {
        config.set(&format!("kafka.{topic}_topic"), json!(format!("{prefix}-{topic}")))
    });
    // What is missing is looked for again soon.
    let properties = json!({"session.timeout.ms": "6000", "topic.metadata.refresh.interval.ms": "1000"});
    (config.set("kafka.properties", properties), prefix)
}

fn assigned(pod: &Pod) -> f64 {
    pod.metrics().get("ftp_pooler_assigned_partitions")
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn no_pod_and_no_command_creates_a_topic_by_accident() {
    let stage = Stage::new("by-accident");
    let (config, prefix) = without_topics(&stage);
    let shell = Shell::new(&config);
    let pods = [Pod::spawn(&config.clone().set("pod.name", json!("a"))), Pod::spawn(&config.at_least_once())];
    let task = shell.lines("tasks", [download("1", "remote", "f", "f")]);
    for command in [
        &["check"][..],
        &["lag"],
        &["watch", "--for", "1s"],
        &["failures"],
        &["failures", "retry", "--all"],
        &["submit", &task],
    ] {
        let ran = shell.run(command);
        assert_eq!(stage.kafka.topics_named(&prefix), [], "{command:?} {ran:?}");
    }
    for pod in &pods {
        let missing = || pod.events("topic_missing");
        wait_until("the pod to miss its topics", LONG, || !missing().is_empty());
    }
    assert_eq!(stage.kafka.topics_named(&prefix), []);

    let made = shell.run(&["topics", "--partitions", "5", "--output", "json"]).json();
    let by = |topic: &Value| (topic["topic"].as_str().unwrap().to_owned(), topic["made"].clone());
    let made: Vec<_> = made["topics"].as_array().unwrap().iter().map(by).collect();
    assert_eq!(made[0], (format!("{prefix}-input"), json!(true)), "{made:?}");
    for (topic, partitions) in stage.kafka.topics_named(&prefix) {
        assert_eq!(partitions, 5, "{topic}");
    }
    for pod in pods {
        wait_until("the pod to have partitions", LONG, || pod.is_ready() && assigned(&pod) > 0.0);
        assert!(pod.terminate(EXIT).success(), "{}", pod.log_tail(20));
    }
}

#[test]
#[ignore = "needs Kafka: make test"]
fn check_warns_of_a_group_with_more_pods_than_the_topic_has_partitions() {
    let stage = Stage::new("too-few");
    let shell = Shell::new(&stage.config());
    let warning = "1 partition: fewer than the 2 pods of the group";
    let pods = ["a", "b"].map(|pod| Pod::start(&stage.config().set("pod.name", json!(pod))));
    wait_until("check to warn", LONG, || shell.run(&["check"]).stdout.contains(warning));
    drop(pods);
    let alone = Pod::start(&stage.config());
    wait_until("check to be content", LONG, || !shell.run(&["check"]).stdout.contains(warning));
    drop(alone);
}

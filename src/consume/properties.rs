//! The consumer's librdkafka properties: what delivery rests on, and defaults that a user may override.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use secrecy::ExposeSecret as _;

use crate::config::Kafka;

/// Defaults that `kafka.properties` may override. librdkafka would prefetch 100,000 messages or 64 MB a
/// partition; the pod holds its backlog itself, decoded, so that one connection cannot hide the others.
/// A partition's first batch is fetched whatever its size, and a well-compressed one of 64 kB may hold
/// 10,000 tasks.
const DEFAULTS: &[(&str, &str)] = &[
    ("queued.min.messages", "500"),
    ("queued.max.messages.kbytes", "512"),
    ("fetch.message.max.bytes", "65536"),
    ("fetch.max.bytes", "1048576"),
    ("fetch.wait.max.ms", "100"),
    ("session.timeout.ms", "15000"),
    ("socket.timeout.ms", "20000"),
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// What delivery rests on: the configuration refuses these in `kafka.properties`.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // A new group begins at the earliest record by an explicit position; an offset out of range is an error.
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("allow.auto.create.topics", "false"),
    ("statistics.interval.ms", "5000"),
];

/// An error without the value that caused it, which may be a secret under a misspelt name.
pub fn without_value(error: KafkaError) -> KafkaError {
    match error {
        KafkaError::ClientConfig(result, reason, key, _) => {
            KafkaError::ClientConfig(result, reason, format!("kafka.properties: {key}"), "…".into())
        }
        other => other,
    }
}

/// Properties that every client of this pod shares.
pub fn client_properties(kafka: &Kafka, pod: &str, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set_log_level(RDKafkaLogLevel::Info);
    client.set("client.id", format!("ftp-pooler-{pod}"));
    for (key, value) in defaults {
        client.set(*key, *value);
    }
    for (key, value) in &kafka.properties {
        client.set(key, value.expose_secret());
    }
    client.set("bootstrap.servers", kafka.bootstrap_servers.join(","));
    client
}

/// librdkafka wants `fetch.max.bytes` to hold the largest message: who allows larger ones need not know.
fn allow_large_messages(client: &mut ClientConfig) {
    let number = |key| client.get(key).and_then(|value| value.parse::<u64>().ok());
    if let (Some(message), Some(fetch)) = (number("message.max.bytes"), number("fetch.max.bytes"))
        && fetch < message
    {
        client.set("fetch.max.bytes", message.to_string());
    }
}

/// The consumer's properties. Holds secrets: never to be logged.
pub fn consumer_properties(kafka: &Kafka, pod: &str) -> ClientConfig {
    let mut client = client_properties(kafka, pod, DEFAULTS);
    client.set("group.id", &kafka.consumer_group);
    allow_large_messages(&mut client);
    for (key, value) in FIXED {
        client.set(*key, *value);
    }
    if client.get("group.protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer")) {
        // KIP-848: the coordinator assigns, and owns the session's timeout.
        client.remove("partition.assignment.strategy").remove("session.timeout.ms");
    }
    client
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rdkafka::consumer::BaseConsumer;

    use super::*;
    use crate::config::Delivery;

    fn kafka(properties: &[(&str, &str)]) -> Kafka {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).into());
        Kafka {
            bootstrap_servers: vec!["127.0.0.1:1".into()],
            consumer_group: "g".into(),
            input_topic: "i".into(),
            result_topic: "r".into(),
            fail_topic: "f".into(),
            delivery: Delivery::AtLeastOnce,
            properties: properties.iter().map(own).collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn librdkafka_takes_the_defaults_and_what_users_commonly_set() {
        for properties in [&[][..], &[("message.max.bytes", "20000000")], &[("group.protocol", "consumer")]] {
            let made: Result<BaseConsumer, _> = consumer_properties(&kafka(properties), "pod").create();
            assert!(made.is_ok(), "{properties:?}: {:?}", made.err());
        }
    }

    #[test]
    fn a_wrong_property_is_named_without_its_value() {
        let kafka = kafka(&[("sasl.pasword", "hunter2")]);
        let made: Result<BaseConsumer, _> = consumer_properties(&kafka, "pod").create();
        let error = without_value(made.err().unwrap());
        let told = format!("{error} {error:?}");
        assert!(told.contains("sasl.pasword") && !told.contains("hunter2"), "{told}");
    }
}

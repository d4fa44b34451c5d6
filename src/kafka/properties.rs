//! The consumer's librdkafka properties: what delivery rests on, and defaults that a user may override.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use secrecy::ExposeSecret as _;

use super::client_kind::ClientKind;
use crate::config::KafkaConfig;

/// Defaults that `kafka.properties` may override. librdkafka would prefetch 100,000 messages or 64 MB a
/// partition; the pod holds its backlog itself, decoded, so that one connection cannot hide the others.
/// A partition's first batch is fetched whatever its size, and a well-compressed one of 64 kB may hold
/// 10,000 tasks. A partition whose prefetch is full is checked again after `fetch.queue.backoff.ms`: after
/// librdkafka's own second a pod that is quick would have had nothing to do for most of it.
const DEFAULTS: &[(&str, &str)] = &[
    ("queued.min.messages", "500"),
    ("queued.max.messages.kbytes", "512"),
    ("fetch.message.max.bytes", "65536"),
    ("fetch.max.bytes", "1048576"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.queue.backoff.ms", "20"),
    ("session.timeout.ms", "15000"),
    ("socket.timeout.ms", "10000"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// Defaults of every client. A broker that moved leaves its old address without an answer: librdkafka would wait 30 s
/// for it. One that is frozen keeps its connections, and what was sent to it is waited for until `socket.timeout.ms` is over,
/// or metadata come that do not name it any more: librdkafka asks the broker that it has used last, the frozen one as well.
const SHARED_DEFAULTS: &[(&str, &str)] =
    &[("socket.connection.setup.timeout.ms", "5000"), ("topic.metadata.refresh.interval.ms", "5000")];

/// KIP-848 leaves a session's timeout to the brokers. Until it is known: theirs is 45 s, unless configured otherwise, and
/// to assume less costs little.
const ASSUMED_SESSION_TIMEOUT: Duration = Duration::from_secs(15);

/// What delivery rests on: the configuration refuses these in `kafka.properties`.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // A new group begins at the earliest record by an explicit position; an offset out of range is an error.
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("statistics.interval.ms", "5000"),
];

/// With KIP-848 the statistics tell when the coordinator was heard of last, of which a session of some seconds is counted.
const NEW_PROTOCOL_STATISTICS_MS: &str = "1000";

/// An error without the value that caused it, which may be a secret under a misspelt name.
pub fn without_value(error: KafkaError) -> KafkaError {
    match error {
        KafkaError::ClientConfig(result, reason, key, value) => {
            let reason = if reason.contains(&value) { "is not taken by librdkafka".into() } else { reason };
            KafkaError::ClientConfig(result, reason, format!("kafka.properties: {key}"), "…".into())
        }
        other => other,
    }
}

/// What librdkafka finds wrong with a property, by itself.
pub fn property_problem(name: &str, value: &str) -> Option<String> {
    let reason = match refused(name, value)? {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..) => {
            return Some("is not a librdkafka property; expected one such as sasl.password".to_owned());
        }
        KafkaError::ClientConfig(_, reason, ..) => Some(reason),
        _ => None,
    };
    let told = reason.and_then(|reason| words_without_value(name, value, reason.trim()));
    Some(told.map_or_else(
        || "has a value that librdkafka does not take; expected one as its CONFIGURATION.md says".to_owned(),
        |words| format!("has a value that librdkafka does not take: {words}"),
    ))
}

fn refused(name: &str, value: &str) -> Option<KafkaError> {
    ClientConfig::new().set(name, value).create_native_config().err()
}

/// librdkafka's own words for a value that it does not take, where nothing of the value is in them: it may be a secret
/// in the wrong place. They are told if they are the same for another value.
fn words_without_value(name: &str, value: &str, reason: &str) -> Option<String> {
    const OUTSIDE: &str = "is outside allowed range ";
    if let Some((_, range)) = reason.split_once(OUTSIDE) {
        return Some(format!("it {OUTSIDE}{range}"));
    }
    let other = match refused(name, "?") {
        Some(KafkaError::ClientConfig(_, other, ..)) => Some(other),
        _ => None,
    };
    let is_of_any = value.is_empty() || (value != "?" && other.is_some_and(|other| other.trim() == reason));
    is_of_any.then(|| reason.to_owned())
}

/// What every client of this pod shares, and those of `kafka.properties` that a client of this kind takes.
pub fn client_properties(
    kafka: &KafkaConfig,
    pod: &str,
    kind: ClientKind,
    defaults: &[(&str, &str)],
) -> ClientConfig {
    let mut client = ClientConfig::new();
    // What `debug` asks for is told at this level only.
    let wants_debug = kafka.properties.contains_key("debug");
    client.set_log_level(if wants_debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    client.set("client.id", format!("ftp-pooler-{pod}"));
    for (key, value) in SHARED_DEFAULTS.iter().chain(defaults) {
        client.set(*key, *value);
    }
    for (key, value) in kafka.properties.iter().filter(|(key, _)| kind.takes(key)) {
        client.set(key, value.expose_secret());
    }
    client.set("bootstrap.servers", kafka.bootstrap_servers.join(","));
    // For producers and admin clients librdkafka's default is true: any question about a topic would create it, with
    // the brokers' number of partitions and retention.
    client.set("allow.auto.create.topics", "false");
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
pub fn consumer_properties(kafka: &KafkaConfig, pod: &str) -> ClientConfig {
    let mut client = client_properties(kafka, pod, ClientKind::Consumer, DEFAULTS);
    client.set("group.id", &kafka.consumer_group);
    if kafka.static_membership {
        client.set("group.instance.id", format!("{}-{pod}", kafka.consumer_group));
    }
    allow_large_messages(&mut client);
    for (key, value) in FIXED {
        client.set(*key, *value);
    }
    if uses_new_protocol(&client) {
        // KIP-848: the coordinator assigns, and owns the session's timeout.
        client.remove("partition.assignment.strategy").remove("session.timeout.ms");
        client.set("statistics.interval.ms", NEW_PROTOCOL_STATISTICS_MS);
        if client.get("group.remote.assignor").is_none() {
            // Spreads each topic by itself; its default, `uniform`, spreads the sum of all topics' partitions.
            client.set("group.remote.assignor", "range");
        }
    }
    client
}

/// Whether a member of the group has its partitions from the coordinator (KIP-848), not from another member.
pub fn uses_new_protocol(member: &ClientConfig) -> bool {
    member.get("group.protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"))
}

/// The same for a reader that is not a member of the group. It keeps the group's name, without which librdkafka assigns
/// nothing; who does not subscribe does not join.
pub fn reader_properties(members: &ClientConfig) -> ClientConfig {
    let mut client = members.clone();
    for of_members in
        ["group.instance.id", "group.protocol", "group.remote.assignor", "statistics.interval.ms"]
    {
        client.remove(of_members);
    }
    client
}

/// How long the group's coordinator waits for a heartbeat, as far as it is configured here. With KIP-848 the brokers have
/// that timeout; `session.timeout.ms`, which librdkafka does not take then, says what theirs is.
pub fn session_timeout(kafka: &KafkaConfig) -> Duration {
    let properties = consumer_properties(kafka, "");
    let told = kafka.properties.get("session.timeout.ms").map(secrecy::ExposeSecret::expose_secret);
    let configured = properties.get("session.timeout.ms").or(told).and_then(|timeout| timeout.parse().ok());
    configured.map_or(ASSUMED_SESSION_TIMEOUT, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rdkafka::consumer::BaseConsumer;

    use super::*;
    use crate::config::DeliveryGuarantee;

    fn kafka(properties: &[(&str, &str)]) -> KafkaConfig {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).into());
        KafkaConfig {
            bootstrap_servers: vec!["127.0.0.1:1".into()],
            consumer_group: "g".into(),
            input_topic: "i".into(),
            result_topic: "r".into(),
            fail_topic: "f".into(),
            retry_topic: String::new(),
            coordination_topic: String::new(),
            feeds_topic: String::new(),
            control_topic: String::new(),
            reply_topics: Vec::new(),
            delivery: DeliveryGuarantee::AtLeastOnce,
            static_membership: false,
            recreate_after: Duration::from_secs(60),
            transaction_timeout: Duration::from_secs(10),
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
    fn a_static_member_is_known_by_its_group_and_its_pod() {
        let static_one = KafkaConfig { static_membership: true, ..kafka(&[]) };
        assert_eq!(consumer_properties(&static_one, "pod-3").get("group.instance.id"), Some("g-pod-3"));
        assert_eq!(consumer_properties(&kafka(&[]), "pod-3").get("group.instance.id"), None);
    }

    #[test]
    fn a_property_or_a_value_that_librdkafka_does_not_know_is_a_problem() {
        assert!(
            property_problem("sasl.pasword", "x")
                .is_some_and(|text| text.contains("not a librdkafka property"))
        );
        assert!(property_problem("session.timeout.ms", "soon").is_some_and(|text| text.contains("value")));
        for (name, value) in
            [("session.timeout.ms", "6000"), ("security.protocol", "sasl_ssl"), ("sasl.password", "hunter2")]
        {
            assert_eq!(property_problem(name, value), None, "{name}");
        }
    }

    #[test]
    fn librdkafkas_own_words_for_a_value_are_told_where_the_value_is_not_in_them() {
        let told = |name, value| property_problem(name, value).unwrap();
        for (name, value, expected) in [
            ("session.timeout.ms", "4000000", "it is outside allowed range 1..3600000"),
            ("enable.ssl.certificate.verification", "hunter2", "true or false"),
            ("socket.timeout.ms", "", "cannot be set to empty value"),
            ("sasl.jaas.config", "password=hunter2;", "Java JAAS configuration is not supported"),
        ] {
            let problem = told(name, value);
            assert!(problem.contains(expected) && !problem.contains("hunter2"), "{name}: {problem}");
        }
        // These repeat the value, or a part of it.
        for (name, value) in
            [("security.protocol", "hunter2"), ("debug", "broker,hunter2"), ("compression.type", "hunter2")]
        {
            let problem = told(name, value);
            assert!(!problem.contains("hunter2"), "{name}: {problem}");
        }
    }

    /// What docs/CONFIGURATION.md says of kafka.properties.
    #[test]
    fn the_mechanisms_and_codecs_that_are_documented_are_built_in_and_no_others_are() {
        let features = ClientConfig::new().create_native_config().unwrap().get("builtin.features").unwrap();
        let has = |feature| features.split(',').any(|one| one.trim() == feature);
        for feature in ["gzip", "snappy", "lz4", "zstd", "ssl", "sasl_plain", "sasl_scram"] {
            assert!(has(feature), "{feature}: {features}");
        }
        assert!(
            !has("sasl_gssapi") && !has("oidc"),
            "{features}: then the documents and the configuration may say so"
        );
    }

    #[test]
    fn a_value_that_librdkafka_repeats_is_not_told() {
        let kafka = kafka(&[("security.protocol", "hunter2")]);
        let made: Result<BaseConsumer, _> = consumer_properties(&kafka, "pod").create();
        let error = without_value(made.err().unwrap());
        let told = format!("{error} {error:?}");
        assert!(told.contains("security.protocol") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn a_session_lasts_as_long_as_is_configured_or_is_assumed() {
        let of = |properties: &[_]| session_timeout(&kafka(properties)).as_millis();
        assert_eq!(of(&[]), 15_000);
        assert_eq!(of(&[("session.timeout.ms", "6000")]), 6_000);
        assert_eq!(of(&[("group.protocol", "consumer")]), 15_000);
        assert_eq!(of(&[("group.protocol", "consumer"), ("session.timeout.ms", "6000")]), 6_000);
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

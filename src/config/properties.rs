//! `kafka.properties`: any property of librdkafka is passed on, except those that would break delivery.

use std::collections::BTreeMap;

use ::config::{Value, ValueKind};
use secrecy::SecretString;

use super::kind::line_break_at_end;
use super::section_reader::SectionReader;
use super::settings::PROPERTIES;
use super::tree::ValueOrigin;

/// Properties that may not be set, with the reason. Names as in librdkafka's CONFIGURATION.md.
pub const REFUSED: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "kafka.bootstrap_servers says it"),
    (&["group.id"], "kafka.consumer_group says it"),
    (
        &["group.instance.id"],
        "all pods read the same value, and would throw each other out of the group; kafka.static_membership makes one for each",
    ),
    (&["group.protocol.type"], "the pods would be no group of consumers"),
    (
        &["partition.assignment.strategy"],
        "partitions move between pods one by one (cooperative-sticky); another strategy revokes all at once",
    ),
    (
        &["enable.auto.commit", "auto.commit.enable", "enable.auto.offset.store"],
        "an offset is committed when its task is answered, and not before",
    ),
    (&["offset.store.method"], "offsets are kept by the broker, where the next pod finds them"),
    (
        &["auto.offset.reset"],
        "a new group starts at the earliest record, and an offset out of range is never jumped over",
    ),
    (&["isolation.level"], "tasks of aborted transactions would be carried out"),
    (
        &["allow.auto.create.topics"],
        "`ftp-pooler topics` creates them; one that is created by accident has the brokers' number of partitions",
    ),
    (&["enable.partition.eof"], "the end of a partition is no error here"),
    (&["acks", "request.required.acks"], "an answer counts when every in-sync replica has it"),
    (
        &["enable.idempotence", "enable.gapless.guarantee"],
        "the producer is idempotent, so that an answer that is sent again is written once",
    ),
    (
        &["max.in.flight", "max.in.flight.requests.per.connection", "queuing.strategy"],
        "the idempotent producer needs its own order of requests",
    ),
    (
        &["retries", "message.send.max.retries"],
        "an answer is sent until it is acknowledged or its time is over",
    ),
    (&["message.timeout.ms", "delivery.timeout.ms"], "publish gives an answer its own deadline"),
    (&["delivery.report.only.error"], "an offset is committed when the answer's delivery is reported"),
    (
        &["transactional.id", "transaction.timeout.ms"],
        "pod.name and kafka.transaction_timeout make them: two pods with one id would fence each other",
    ),
    (&["enabled_events"], "rebalances and deliveries are reported by events that are enabled already"),
];

/// Properties of Java clients that librdkafka does not know, and what they are called here.
pub(super) const JAVA: &[(&[&str], &str)] = &[
    (
        &["ssl.truststore.location"],
        "ssl.ca.location, a PEM file (`keytool -exportcert -rfc` writes one from a truststore)",
    ),
    (
        &["ssl.truststore.password", "ssl.truststore.type"],
        "not needed: the PEM file of ssl.ca.location has no password",
    ),
    (&["ssl.truststore.certificates"], "ssl.ca.pem"),
    (&["ssl.keystore.type"], "not needed: ssl.keystore.location is PKCS#12, ssl.certificate.location is PEM"),
    (&["ssl.keystore.certificate.chain"], "ssl.certificate.pem"),
    (&["ssl.keystore.key"], "ssl.key.pem"),
    (&["sasl.jaas.config"], "sasl.username and sasl.password"),
    (
        &["ssl.protocol", "ssl.enabled.protocols", "ssl.provider"],
        "not needed: OpenSSL negotiates the TLS version",
    ),
    (&["request.timeout.ms", "default.api.timeout.ms"], "socket.timeout.ms"),
    (&["buffer.memory"], "queue.buffering.max.kbytes"),
    (&["max.poll.records"], "not needed: pool.max_waiting_tasks limits what a pod holds"),
    (
        &[
            "key.serializer",
            "value.serializer",
            "key.deserializer",
            "value.deserializer",
            "interceptor.classes",
            "sasl.client.callback.handler.class",
            "sasl.login.callback.handler.class",
            "sasl.login.class",
        ],
        "not needed: it names a Java class",
    ),
];

/// The equivalent of a Java client's property.
fn java(name: &str, value: &str) -> Option<String> {
    if name == "ssl.endpoint.identification.algorithm" && value.is_empty() {
        let problem = "is empty, which disables the check in Java clients; here that is `none`, and `https` checks \
                       the broker's name";
        return Some(problem.to_owned());
    }
    let (_, here) = JAVA.iter().find(|(names, _)| names.contains(&name))?;
    Some(format!("is a property of Java clients; here: {here}"))
}

/// SASL mechanisms that are built into this program's Kafka client.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// Values that librdkafka knows but that are not built in: every connection would fail.
fn not_built_in(name: &str, value: &str) -> Option<String> {
    let built_in = MECHANISMS.join(", ");
    match name {
        "sasl.mechanism" | "sasl.mechanisms" => {
            let known = MECHANISMS.iter().any(|mechanism| mechanism.eq_ignore_ascii_case(value));
            let mechanism = value.to_ascii_uppercase();
            let named = ["GSSAPI", "OAUTHBEARER"].contains(&mechanism.as_str());
            if known {
                return None;
            }
            // Another value may be a secret in the wrong place.
            let what = if named {
                format!("{mechanism} is not built in")
            } else {
                "is no SASL mechanism of this program's".into()
            };
            Some(format!("{what}; expected one of {built_in}"))
        }
        _ if name.starts_with("sasl.oauthbearer.") || name.starts_with("sasl.kerberos.") => Some(format!(
            "is of a SASL mechanism that is not built in; expected one of {built_in} as sasl.mechanism"
        )),
        _ => None,
    }
}

/// Without a mechanism librdkafka uses GSSAPI.
fn lacks_mechanism(properties: &BTreeMap<String, SecretString>, protocol: Option<&str>) -> Option<String> {
    let uses_sasl = protocol.is_some_and(|protocol| protocol.to_ascii_lowercase().starts_with("sasl"));
    let has_one = ["sasl.mechanism", "sasl.mechanisms"].iter().any(|name| properties.contains_key(*name));
    (uses_sasl && !has_one)
        .then(|| format!("needs sasl.mechanism, which is not set; expected one of {}", MECHANISMS.join(", ")))
}

/// Why a property is refused, if it is.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    // librdkafka also accepts a topic's properties with this prefix (rd_kafka_topic_conf_set).
    let bare = name.strip_prefix("topic.").unwrap_or(name);
    let refused = |names: &[&str]| names.contains(&name) || names.contains(&bare);
    REFUSED.iter().find(|(names, _)| refused(names)).map(|(_, reason)| *reason)
}

/// Extracts the properties from the values of config.yaml.
pub(super) fn take(
    reader: &mut SectionReader<'_>,
    wrong: fn(&str, &str) -> Option<String>,
) -> BTreeMap<String, SecretString> {
    let mut properties = BTreeMap::new();
    let mut protocol = None;
    for (name, value) in reader.take_beneath(PROPERTIES) {
        let origin = ValueOrigin::of(&value);
        let checked = property(&name, value).and_then(|value| match wrong(&name, &value) {
            None => Ok(value),
            Some(problem) => Err(problem),
        });
        match checked {
            Ok(value) => {
                if name == PROTOCOL {
                    protocol = Some((value.clone(), origin));
                }
                properties.insert(name, SecretString::from(value));
            }
            Err(problem) => reader.wrong(&format!("{PROPERTIES}.{name}"), Some(&origin), problem),
        }
    }
    let problem = lacks_mechanism(&properties, protocol.as_ref().map(|(value, _)| value.as_str()));
    if let (Some(problem), Some((_, origin))) = (problem, protocol) {
        reader.wrong(&format!("{PROPERTIES}.{PROTOCOL}"), Some(&origin), problem);
    }
    properties
}

/// Determines whether connections use TLS and SASL.
const PROTOCOL: &str = "security.protocol";

fn property(name: &str, value: Value) -> Result<String, String> {
    if let Some(reason) = refusal(name) {
        return Err(format!("may not be set: {reason}"));
    }
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(
            "is not the name of a property; expected one of librdkafka's, such as sasl.password".to_owned()
        );
    }
    let value = match value.kind {
        ValueKind::String(value) => value,
        ValueKind::Array(items) => items.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        _ => return Err("has no value; expected text".to_owned()),
    };
    if value.contains('\0') {
        return Err("holds a NUL".to_owned());
    }
    if let Some(problem) = java(name, &value).or_else(|| not_built_in(name, &value)) {
        return Err(problem);
    }
    // keys and certificates in PEM have many lines
    match line_break_at_end(&value).filter(|_| name.rsplit('.').next() != Some("pem")) {
        Some(problem) => Err(problem),
        None => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_delivery_is_refused_and_the_rest_passes() {
        for name in
            ["isolation.level", "acks", "topic.acks", "topic.request.required.acks", "transactional.id"]
        {
            assert!(refusal(name).is_some(), "{name}");
        }
        for name in
            ["sasl.password", "ssl.ca.pem", "client.rack", "group.protocol", "message.max.bytes", "debug"]
        {
            assert!(refusal(name).is_none(), "{name}");
        }
    }

    fn checked(name: &str, value: &str) -> Result<String, String> {
        property(name, ValueOrigin::Line(1).value(value))
    }

    #[test]
    fn a_java_clients_property_is_told_its_name_here() {
        for (name, value, expected) in [
            ("ssl.truststore.location", "/etc/kafka/client.truststore.jks", "ssl.ca.location"),
            ("ssl.truststore.password", "hunter2", "has no password"),
            ("ssl.endpoint.identification.algorithm", "", "here that is `none`"),
            (
                "sasl.jaas.config",
                "ScramLoginModule required password=hunter2;",
                "sasl.username and sasl.password",
            ),
        ] {
            let problem = checked(name, value).unwrap_err();
            assert!(problem.contains(expected) && !problem.contains("hunter2"), "{name}: {problem}");
        }
        assert!(checked("ssl.endpoint.identification.algorithm", "none").is_ok());
        assert!(JAVA.iter().all(|(names, _)| names.iter().all(|name| refusal(name).is_none())));
    }

    #[test]
    fn a_mechanism_that_is_not_built_in_is_refused_and_so_is_none_at_all() {
        for value in ["PLAIN", "scram-sha-256", "SCRAM-SHA-512"] {
            assert!(checked("sasl.mechanism", value).is_ok() && checked("sasl.mechanisms", value).is_ok());
        }
        let refused = |name, value| checked(name, value).unwrap_err();
        assert!(
            refused("sasl.mechanism", "GSSAPI").starts_with("GSSAPI is not built in; expected one of PLAIN")
        );
        assert!(refused("sasl.mechanisms", "oauthbearer").starts_with("OAUTHBEARER is not built in"));
        assert!(!refused("sasl.mechanism", "hunter2").contains("hunter2"));
        assert!(refused("sasl.oauthbearer.method", "oidc").contains("not built in"));

        let mut properties = BTreeMap::new();
        assert_eq!(lacks_mechanism(&properties, Some("ssl")), None);
        assert!(lacks_mechanism(&properties, Some("SASL_SSL")).unwrap().starts_with("needs sasl.mechanism"));
        properties.insert("sasl.mechanisms".to_owned(), SecretString::from("PLAIN"));
        assert_eq!(lacks_mechanism(&properties, Some("sasl_ssl")), None);
    }

    #[test]
    fn a_secret_with_a_line_break_at_its_end_is_refused_and_a_key_in_pem_is_not() {
        for value in ["hunter2\n", "hunter2\r\n"] {
            let problem = checked("sasl.password", value).unwrap_err();
            assert!(
                problem.starts_with("ends with a line break") && !problem.contains("hunter2"),
                "{problem}"
            );
        }
        assert!(
            checked("ssl.key.pem", "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n").is_ok()
        );
        assert!(checked("ssl.ca.pem", "one line\n").is_ok());
    }
}

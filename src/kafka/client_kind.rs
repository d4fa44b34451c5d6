//! Which client accepts which of librdkafka's properties: `kafka.properties` contains those of all clients, and each
//! would warn about the others' (CONFWARN).

/// Properties that only a consumer accepts (`C` in librdkafka's CONFIGURATION.md), except those that are refused.
const CONSUMERS: &[&str] = &[
    "auto.commit.interval.ms",
    "check.crcs",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// Properties that only a producer accepts (`P` there).
const PRODUCERS: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "linger.ms",
    "partitioner",
    "produce.offset.report",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "request.timeout.ms",
    "sticky.partitioning.linger.ms",
];

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    Consumer,
    Producer,
}

impl ClientKind {
    /// Whether this client accepts the property, as far as is known: it does if both accept it, or it is unknown.
    pub fn takes(self, property: &str) -> bool {
        // librdkafka also accepts a topic's properties with this prefix.
        let name = property.strip_prefix("topic.").unwrap_or(property);
        let others = match self {
            ClientKind::Consumer => PRODUCERS,
            ClientKind::Producer => CONSUMERS,
        };
        !others.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::properties::property_problem;
    use super::*;

    #[test]
    fn each_client_takes_its_own_and_what_all_share() {
        for kind in [ClientKind::Consumer, ClientKind::Producer] {
            assert!(kind.takes("sasl.password") && kind.takes("message.max.bytes") && kind.takes("debug"));
        }
        assert!(
            ClientKind::Consumer.takes("session.timeout.ms")
                && !ClientKind::Producer.takes("session.timeout.ms")
        );
        assert!(
            ClientKind::Producer.takes("compression.type")
                && !ClientKind::Consumer.takes("topic.compression.type")
        );
    }

    #[test]
    fn librdkafka_knows_each_of_them() {
        for name in CONSUMERS.iter().chain(PRODUCERS) {
            assert_ne!(
                property_problem(name, "?").as_deref(),
                Some("is not a librdkafka property; expected one such as sasl.password"),
                "{name}"
            );
        }
    }
}

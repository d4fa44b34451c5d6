//! The Kafka client of the commands that send tasks and read answers.
//!
//! ```text
//! error     why a command got no answer from Kafka
//! cluster   partitions, their first and last offsets, what the group has committed
//! members   which pods are in the group
//! offsets   sets the group's offsets
//! probe     what `check` reports about the topics
//! reader    records from given offsets, read_committed; it never joins a group and never commits
//! topics    creates missing topics
//! sender    an idempotent producer whose delivery is known for each record; or a transactional one
//! ```
//!
//! A pod's own clients are in `consume` and `publish`; they share only the configuration with these
//! (`kafka.properties`, including SASL and TLS). Nothing here needs a running pod, and nothing here disturbs one.

mod cluster;
mod error;
mod members;
mod offsets;
mod probe;
mod reader;
mod sender;
mod topics;

pub use cluster::{Cluster, CommittedOffset, Ends, Since};
pub use error::ClientError;
pub use members::pool_members;
pub use offsets::commit_offsets;
pub use probe::{KafkaFinding, KafkaProbe, probe};
pub use reader::{Message, Range, Reader};
pub use sender::{Outgoing, Sender};
pub use topics::{Made, NewTopic, TopicAdmin};

use rdkafka::ClientConfig;

use crate::config::KafkaConfig;
use crate::kafka::{ClientKind, client_properties};

/// What these clients are called at the brokers, behind `ftp-pooler-`.
const NAME: &str = "tools";

/// The configuration's properties for a client that reads and never joins. Holds secrets: never to be logged.
fn reading(kafka: &KafkaConfig, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut properties = client_properties(kafka, NAME, ClientKind::Consumer, defaults);
    // What is only about being a member, and may not fit together without the rest of it.
    for member in ["group.protocol", "group.remote.assignor", "session.timeout.ms", "heartbeat.interval.ms"] {
        properties.remove(member);
    }
    // librdkafka requires a group name even without a group; the cluster is asked for this one's offsets.
    properties.set("group.id", &kafka.consumer_group);
    properties.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    properties
}

/// The same for a client that sends.
fn sending(kafka: &KafkaConfig, defaults: &[(&str, &str)]) -> ClientConfig {
    client_properties(kafka, NAME, ClientKind::Producer, defaults)
}

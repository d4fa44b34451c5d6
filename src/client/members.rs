//! Which pods are in the pool's group, for commands that ask them.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;

use super::{ClientError, reading};
use crate::config::KafkaConfig;
use crate::kafka::{GroupDescription, GroupMember, LastConnectionError, without_value};

const REQUEST: Duration = Duration::from_secs(10);
const DEFAULTS: &[(&str, &str)] = &[("socket.timeout.ms", "10000"), ("reconnect.backoff.max.ms", "2000")];

/// The group's members, as its coordinator knows them. Blocks, for [`REQUEST`] at most; joins nothing.
///
/// # Errors
/// The coordinator does not answer, or this user may not see the group.
pub fn pool_members(kafka: &KafkaConfig) -> Result<Vec<GroupMember>, ClientError> {
    let client: BaseConsumer<LastConnectionError> = reading(kafka, DEFAULTS)
        .create_with_context(LastConnectionError::default())
        .map_err(without_value)
        .map_err(ClientError::at("kafka.properties"))?;
    let client = Arc::new(client);
    let brokers = kafka.bootstrap_servers.join(",");
    let doing = format!("asking {brokers} for the members of {}", kafka.consumer_group);
    match GroupDescription::fetch(&client, &kafka.consumer_group, REQUEST) {
        Ok(group) => Ok(group.members),
        Err(error) => Err(ClientError::unanswered(doing, error, &LastConnectionError::of(&client))),
    }
}

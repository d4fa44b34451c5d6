//! What a client learns of the cluster that was just made: whether clients that have lost it could have it.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::properties::{reader_properties, without_value};
use super::{LastConnectionError, is_unanswered};

/// What a new client reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The group's members are being assigned their partitions: one that is none yet may only have to wait.
    pub is_rebalancing: bool,
}

/// Asks for the topic, and for the group's state, with a new client. Blocks at most `deadline` for each, plus the time of
/// the system's resolver.
///
/// # Errors
/// Why a new client would not have the cluster: no broker answers, or a response contains no broker, or no such topic.
pub(crate) fn reach(members: &ClientConfig, topic: &str, deadline: Duration) -> Result<Reached, String> {
    let mut properties = reader_properties(members);
    let group = properties.get("group.id").unwrap_or_default().to_owned();
    properties.remove("group.id"); // it asks, and never joins
    let client: BaseConsumer<LastConnectionError> = properties
        .create_with_context(LastConnectionError::default())
        .map_err(|error| without_value(error).to_string())?;
    let metadata = client.client().fetch_metadata(Some(topic), deadline).map_err(|error| {
        let why = LastConnectionError::of(&client);
        if is_unanswered(&error) { format!("no broker answers{why}") } else { format!("{error}{why}") }
    })?;
    if metadata.brokers().is_empty() {
        return Err("the answer names no broker".to_owned());
    }
    let is_there =
        |found: &&rdkafka::metadata::MetadataTopic| found.name() == topic && found.error().is_none();
    if metadata.topics().iter().find(is_there).is_none_or(|found| found.partitions().is_empty()) {
        return Err(format!("topic {topic} does not exist"));
    }
    // Not by the coordinator's request: one that is overdue would end the process (see `group_description`).
    let groups = client.client().fetch_group_list(Some(&group), deadline);
    let is_rebalancing = groups.is_ok_and(|groups| {
        let found = groups.groups().iter().find(|found| found.name() == group);
        found.is_some_and(|found| found.state().ends_with("Rebalance"))
    });
    Ok(Reached { is_rebalancing })
}

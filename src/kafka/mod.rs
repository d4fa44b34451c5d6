//! What every client of Kafka's has in common, beneath `consume`, `publish` and `client`.
//!
//! ```text
//! properties        librdkafka's properties: what each client shares, the group's members, readers without a group
//! client_kind       which client takes which property
//! logging           librdkafka's log lines and error events, as ours
//! log_throttle      the same line once in a while
//! connection_error  why no broker answers, for people at a terminal
//! commit_error      what it means that a commit failed
//! reader            a consumer without a group, which reads partitions from given offsets
//! headers           a record's headers, to and from librdkafka's
//! topics            how many partitions a topic has
//! topic_ids         a topic's id, which tells it from another one of the same name
//! topic_rights      what this user may do with each topic, and what is missing
//! session_timeout_query how long a group's coordinator waits for a member's heartbeat
//! group_description who is in a group, and what each member is assigned
//! member            a member's id and generation, committed metadata as bytes, and its rebalances while it leaves
//! retry_topic       creates the retry topic, and checks how long it keeps its records
//! compacted_topic   creates topics that hold state
//! owned_partition   partitions that hold state, worked on by one pod at a time
//! transactional_ids what the pods' transactions are called
//! follower          one partition, from its beginning or its end on, without a group
//! admin_query       a question to the brokers that rdkafka does not offer
//! bounded_call      calls that ignore their timeouts, or have none, with a deadline of ours
//! fresh_client      what a client that was just created learns of the cluster
//! client_renewal    which of the pod's clients are to be recreated
//! ```

mod admin_query;
mod bounded_call;
mod client_kind;
mod client_renewal;
mod commit_error;
mod compacted_topic;
mod connection_error;
mod follower;
mod fresh_client;
mod group_description;
mod headers;
mod log_throttle;
mod logging;
mod member;
mod owned_partition;
mod properties;
mod reader;
mod retry_topic;
mod session_timeout_query;
mod topic_ids;
mod topic_rights;
mod topics;
mod transactional_ids;

pub use rdkafka::error::KafkaError;

pub(crate) use bounded_call::{AbandonedCalls, BoundedCalls, CallThread};
pub use client_kind::ClientKind;
pub use client_renewal::ClientRenewal;
pub use commit_error::CommitError;
pub use compacted_topic::{
    compacted_topic_settings, prepare_compacted_topic, state_topic_partitions_problem,
    state_topic_policy_problem,
};
pub use connection_error::{LastConnectionError, is_unanswered};
pub use follower::{FollowFrom, PartitionFollower};
pub(crate) use fresh_client::{Reached, reach};
pub use group_description::{GroupDescription, GroupMember, GroupQuery};
pub(crate) use headers::{headers_of, to_headers};
pub use log_throttle::LogThrottle;
pub(crate) use logging::{log_error, log_line};
pub(crate) use member::{generation_of, member_id_of, metadata_of, rebalance_while_closing};
pub use owned_partition::{OwnedRecord, OwnedState, OwnedTopic, OwnedTopicHandle, spawn_owned_topic};
pub use properties::{
    client_properties, consumer_properties, property_problem, reader_properties, session_timeout,
    uses_new_protocol, without_value,
};
pub use reader::{PartitionReader, assign_reader, open_reader};
pub use retry_topic::{Unprepared, prepare_retry_topic, retry_topic_settings};
pub(crate) use session_timeout_query::SessionTimeoutQuery;
pub(crate) use topic_ids::{TopicIdQuery, TopicIds};
pub(crate) use topic_rights::TopicRightsQuery;
pub use topic_rights::{AllowedRights, NeededRights, TopicRight, missing_rights, needed_rights};
pub use topics::{partition_count, too_few_partitions};
pub use transactional_ids::{FEEDS, SESSIONS, owned_transactional_id, owners_group, pod_transactional_id};

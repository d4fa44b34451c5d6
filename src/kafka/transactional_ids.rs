//! What pods' transactions are called at the brokers: rules for the group's name as a prefix cover all of them.

/// The purpose of the partition whose owner grants sessions.
pub const SESSIONS: &str = "sessions";
/// The purpose of the partitions whose owners list for feeds.
pub const FEEDS: &str = "feeds";

/// A pod's own, for its answers: its next process fences this one.
#[must_use]
pub fn pod_transactional_id(group: &str, pod: &str) -> String {
    format!("{group}-{pod}")
}

/// The group that assigns the partitions of this purpose to pods. Behind the dot nothing is a pod's own id.
#[must_use]
pub fn owners_group(group: &str, purpose: &str) -> String {
    format!("{group}.{purpose}")
}

/// An owned partition's, whoever owns it: the next owner fences this one.
#[must_use]
pub fn owned_transactional_id(group: &str, purpose: &str, partition: i32) -> String {
    format!("{}.{partition}", owners_group(group, purpose))
}

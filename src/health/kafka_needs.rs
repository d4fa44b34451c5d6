//! What the pod needs from Kafka and is currently missing: reported by the loops, read by the watchdog and the health
//! report.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{OFFSETS_UNREADABLE, PodHealth};

/// For how long the pod has been without each of these; zero if it has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KafkaSigns {
    /// A connected broker.
    pub broker: Duration,
    /// Its membership of the group.
    pub member: Duration,
    /// An answer about the group, if it has asked.
    pub group: Duration,
    /// Answers that Kafka accepts, if it has any to send.
    pub published: Duration,
}

impl PodHealth {
    /// The median round trip to the most distant connected broker, since the last report.
    pub fn round_trip_seen(&self, took: Duration) {
        let mut round_trips = self.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
        let [_, last] = *round_trips;
        *round_trips = [last, took];
    }

    /// The minimum round trip to Kafka; a single slow moment does not count.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        let [a, b] = *self.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
        a.min(b)
    }

    /// Reports the consuming thread's state in the group.
    pub fn group_seen(&self, is_member: bool, is_answered: bool) {
        let now = Instant::now();
        if is_member {
            self.member_seen.mark(now);
        }
        if is_answered {
            self.group_answered.mark(now);
        }
    }

    /// For how long the pod has been without what it needs from Kafka.
    #[must_use]
    pub fn kafka_signs(&self, now: Instant) -> KafkaSigns {
        KafkaSigns {
            broker: self.kafka_seen.elapsed(now),
            member: self.member_seen.elapsed(now),
            group: self.group_answered.elapsed(now),
            published: self.answers_accepted.elapsed(now),
        }
    }

    /// Permissions that Kafka denies this pod (`Read on topic ftp-tasks`): it is not ready until they are granted.
    /// Logged when they change.
    pub fn set_missing_rights(&self, about: &'static str, missing: Vec<String>) {
        let mut rights = self.missing_rights.lock().unwrap_or_else(PoisonError::into_inner);
        let before = rights.get(about).map_or(&[][..], Vec::as_slice);
        if *before == *missing {
            return;
        }
        if missing.is_empty() {
            tracing::info!(
                event = "kafka_rights_granted",
                about,
                rights = before.join(", "),
                "Kafka permissions restored"
            );
            rights.remove(about);
        } else {
            let denied = missing.join(", ");
            tracing::error!(
                event = "kafka_rights_missing",
                about,
                rights = denied,
                "Kafka denies this pod: {denied}"
            );
            rights.insert(about, missing);
        }
    }

    /// Missing topics without which tasks cannot be read or answered. Logged when that changes.
    pub fn set_missing_topics(&self, mut missing: Vec<String>) {
        missing.sort();
        let mut topics = self.missing_topics.lock().unwrap_or_else(PoisonError::into_inner);
        if *topics == missing {
            return;
        }
        let (gone, back) = (missing.join(", "), topics.join(", "));
        if missing.is_empty() {
            tracing::info!(event = "topics_back", topics = back, "missing topics found");
        } else {
            tracing::error!(
                event = "topics_missing",
                topics = gone,
                "topics are missing (`ftp-pooler topics` creates them): {gone}"
            );
        }
        *topics = missing;
    }

    /// Since when this pod's partitions have not been read because the group's committed offsets cannot be fetched.
    pub fn set_offsets_unreadable(&self, unreadable: Option<(Instant, String)>) {
        *self.offsets_unreadable.lock().unwrap_or_else(PoisonError::into_inner) = unreadable;
    }

    pub(super) fn waits_for_offsets(&self, now: Instant) -> Option<String> {
        let unreadable = self.offsets_unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, why) = unreadable.as_ref()?;
        let waited = now.saturating_duration_since(*since);
        (waited > OFFSETS_UNREADABLE).then(|| {
            format!("the group's committed offsets have not been readable for {} s: {why}", waited.as_secs())
        })
    }

    pub(super) fn gone(&self) -> Vec<String> {
        let topics = self.missing_topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics
            .iter()
            .map(|topic| format!("topic {topic} does not exist: `ftp-pooler topics` creates it"))
            .collect()
    }

    /// Kafka denies the pod something that it needs.
    #[must_use]
    pub fn lacks_rights(&self) -> bool {
        !self.missing_rights.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether another client would be missing the same.
    #[must_use]
    pub fn has_external_fault(&self) -> bool {
        self.lacks_rights() || !self.gone().is_empty()
    }

    pub(super) fn denied(&self) -> Vec<String> {
        let rights = self.missing_rights.lock().unwrap_or_else(PoisonError::into_inner);
        rights.values().flatten().map(|right| format!("Kafka denies this pod: {right}")).collect()
    }

    /// This process cannot regain Kafka by itself: it must be restarted. Returns true if that is new.
    pub fn set_unrecoverable(&self, why: Option<String>) -> bool {
        let mut unrecoverable = self.unrecoverable.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = why.is_some() && unrecoverable.is_none();
        *unrecoverable = why;
        is_new
    }
}

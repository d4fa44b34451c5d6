//! A pod's part, on a thread of its own: follows the coordination topic, applies what it is granted, and reports.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::holder::{Holder, LeasePhase, SessionUse};
use super::message::{CapRecord, PodIncarnation};
use super::owner::COORDINATION_PARTITION;
use crate::config::KafkaConfig;
use crate::coordination::follower_thread::{self, FollowerHandle, StopFlag, TopicFollower};
use crate::kafka::{FollowFrom, KafkaError, PartitionFollower};

/// Waiting for a record; so often the lease is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Records that are taken in between two looks at the lease.
const BURST: usize = 1_000;
/// For the last report.
const FAREWELL: Duration = Duration::from_secs(1);

/// The pod's sessions, as this part sees them.
pub trait SharedSessions: Send {
    /// By connection, all that have or had `max_sessions_total`.
    fn uses(&self) -> BTreeMap<String, SessionUse>;

    /// How many sessions the pod may have of a connection from now on.
    fn set_grant(&self, connection: &str, grant: usize);

    /// No session of the connection may be open any longer.
    fn interrupt(&self, connection: &str);

    /// What the grants are worth from now on.
    fn set_lease(&self, lease: LeaseStatus);
}

/// Whether a pod may use what it is granted, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseStatus {
    /// Sessions are opened as they are granted.
    Live,
    /// No report has come through for some time: idle sessions are closed.
    Ending,
    /// For longer, or not yet: none is open.
    Over,
    /// The coordination topic cannot be followed.
    Unavailable(String),
}

/// What an agent is made of.
pub struct SessionCapsAgent {
    pub kafka: KafkaConfig,
    pub pod: String,
    pub clock: fn() -> Duration,
    /// A name for this process, which no other process of this pod had.
    pub incarnation: fn() -> String,
    pub sessions: Box<dyn SharedSessions>,
}

impl std::fmt::Debug for SessionCapsAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionCapsAgent").field("pod", &self.pod).finish_non_exhaustive()
    }
}

impl SessionCapsAgent {
    /// Runs on a thread of its own until it is stopped.
    ///
    /// # Errors
    /// There is no thread.
    pub fn spawn(self) -> io::Result<FollowerHandle> {
        follower_thread::spawn(self)
    }

    /// As one incarnation, from the topic's end on: what was granted to an earlier one does not count.
    fn follow_as_one(&self, stop: &StopFlag) -> Result<(), KafkaError> {
        let topic = &self.kafka.coordination_topic;
        let follower =
            PartitionFollower::open(&self.kafka, &self.pod, topic, COORDINATION_PARTITION, FollowFrom::End)?;
        let pod = PodIncarnation::new(&self.pod, &(self.incarnation)());
        let mut holder = Holder::new(pod.clone());
        let mut phase = LeasePhase::Over;
        while !stop.is_set() {
            // Whatever was missed while this process stood still, its lease comes first.
            phase = self.apply(&holder, phase);
            let mut wait = POLL;
            for _ in 0..BURST {
                let Some((key, value)) = follower.next(wait)? else { break };
                match CapRecord::decode(&key, value.as_deref()) {
                    Some(CapRecord::Report(pod, report)) => holder.read_report(&pod, report.number),
                    Some(CapRecord::Grants(connection, grants)) => holder.read_grants(&connection, &grants),
                    Some(CapRecord::Forgotten(_)) | None => {}
                }
                wait = Duration::ZERO;
            }
            phase = self.apply(&holder, phase);
            if let Some(report) = holder.report(&self.sessions.uses(), (self.clock)()) {
                let record = CapRecord::Report(pod.clone(), report);
                follower.append(&record.key(), record.value().as_deref());
            }
        }
        let record = CapRecord::Report(pod, holder.farewell((self.clock)()));
        follower.append(&record.key(), record.value().as_deref());
        follower.flush(FAREWELL);
        Ok(())
    }

    fn apply(&self, holder: &Holder, before: LeasePhase) -> LeasePhase {
        let now = (self.clock)();
        let phase = holder.phase(now);
        for connection in self.sessions.uses().keys() {
            self.sessions.set_grant(connection, holder.limit(connection, now));
            if phase == LeasePhase::Over {
                self.sessions.interrupt(connection);
            }
        }
        if phase != before {
            log_phase(phase, before);
            self.sessions.set_lease(match phase {
                LeasePhase::Live => LeaseStatus::Live,
                LeasePhase::Ending => LeaseStatus::Ending,
                LeasePhase::Over => LeaseStatus::Over,
            });
        }
        phase
    }

    /// Nothing is known of what is granted any more.
    fn close_all(&self) {
        for connection in self.sessions.uses().keys() {
            self.sessions.set_grant(connection, 0);
            self.sessions.interrupt(connection);
        }
    }
}

impl TopicFollower for SessionCapsAgent {
    const THREAD: &'static str = "session-caps";
    const AGAIN: Duration = Duration::from_secs(1);

    fn follow(&self, stop: &StopFlag) -> Result<(), KafkaError> {
        let ended = self.follow_as_one(stop);
        self.close_all();
        ended
    }

    fn set_unavailable(&self, error: &KafkaError) {
        self.sessions.set_lease(LeaseStatus::Unavailable(error.to_string()));
    }

    fn log_unavailable(&self, error: &KafkaError, untold: u64) {
        let topic = self.kafka.coordination_topic.as_str();
        tracing::warn!(
            event = "coordination_unavailable", topic, %error, untold,
            "no sessions of connections with max_sessions_total; trying again"
        );
    }
}

fn log_phase(phase: LeasePhase, before: LeasePhase) {
    match (phase, before) {
        (LeasePhase::Live, _) => tracing::info!(
            event = "session_lease_live",
            "sessions of connections with max_sessions_total are opened as they are granted"
        ),
        (LeasePhase::Ending, _) => tracing::warn!(
            event = "session_lease_ending",
            "no report has come through for some time: sessions of connections with max_sessions_total are closed"
        ),
        (LeasePhase::Over, _) => tracing::warn!(
            event = "session_lease_over",
            "no report has come through for too long: transfers on connections with max_sessions_total are interrupted"
        ),
    }
}

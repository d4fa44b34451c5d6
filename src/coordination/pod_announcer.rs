//! Announces this pod to the others on the coordination topic, and reads their announcements; on a separate thread.
//!
//! No decision depends on an announcement, so there are no transactions, and none of the rules that session caps need:
//! a lost record is followed by the next one.

use std::io;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::follower_thread::{self, FollowerHandle, StopFlag, TopicFollower};
use super::session_caps::COORDINATION_PARTITION;
use crate::config::KafkaConfig;
use crate::kafka::{FollowFrom, KafkaError, PartitionFollower};
use crate::pods::{ANNOUNCE_EVERY, PodAnnouncement, PoolBoard, RecordAge};

/// Waiting for a record.
const POLL: Duration = Duration::from_millis(250);
/// How many records are processed between two checks of the time.
const BURST: usize = 1_000;
/// The time limit for reading the topic to its end before the first announcement.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// The time limit of the last announcement.
const FAREWELL: Duration = Duration::from_secs(1);

/// The pod that is announced.
pub trait AnnouncedPod: Send {
    /// Its present state. Called every [`ANNOUNCE_EVERY`]: rates are those since the previous call.
    fn announcement(&self) -> PodAnnouncement;

    /// What was announced last under its name; called once, before it announces itself.
    fn take_over(&self, last: &PodAnnouncement);
}

/// The parts of an announcer.
pub struct PodAnnouncer {
    pub kafka: KafkaConfig,
    pub pod: String,
    pub board: PoolBoard,
    pub announced: Box<dyn AnnouncedPod>,
}

impl std::fmt::Debug for PodAnnouncer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodAnnouncer").field("pod", &self.pod).finish_non_exhaustive()
    }
}

impl PodAnnouncer {
    /// Runs until it is stopped.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn spawn(self) -> io::Result<FollowerHandle> {
        follower_thread::spawn(self)
    }

    fn append(follower: &PartitionFollower, said: &PodAnnouncement) {
        follower.append(&said.key(), Some(&said.encode()));
    }
}

impl TopicFollower for PodAnnouncer {
    const THREAD: &'static str = "pod-announcer";
    const AGAIN: Duration = Duration::from_secs(5);

    fn follow(&self, stop: &StopFlag) -> Result<(), KafkaError> {
        let topic = &self.kafka.coordination_topic;
        let from = FollowFrom::Beginning;
        let follower = PartitionFollower::open(&self.kafka, &self.pod, topic, COORDINATION_PARTITION, from)?;
        self.board.set_unavailable(None);
        let (begun, mut announced_at) = (Instant::now(), None::<Instant>);
        while !stop.is_set() {
            let mut wait = POLL;
            for _ in 0..BURST {
                let Some((key, value)) = follower.next(wait)? else { break };
                let age = if follower.is_caught_up() {
                    RecordAge::New
                } else {
                    RecordAge::Replayed { now_ms: Timestamp::now().as_millisecond() }
                };
                self.board.take(&key, value.as_deref(), age, Instant::now());
                wait = Duration::ZERO;
            }
            if announced_at.is_none() {
                if !follower.is_caught_up() && begun.elapsed() < READ_WITHIN {
                    continue; // this pod's last announcement is not to be overwritten unread
                }
                if let Some(last) = self.board.own() {
                    self.announced.take_over(&last);
                }
            }
            if announced_at.is_none_or(|at| at.elapsed() >= ANNOUNCE_EVERY) {
                announced_at = Some(Instant::now());
                Self::append(&follower, &self.announced.announcement());
                for key in self.board.to_delete(Instant::now()) {
                    follower.append(&key, None);
                }
            }
        }
        if announced_at.is_some() {
            Self::append(&follower, &PodAnnouncement { leaves: true, ..self.announced.announcement() });
            follower.flush(FAREWELL);
        }
        Ok(())
    }

    fn set_unavailable(&self, error: &KafkaError) {
        self.board.set_unavailable(Some(error.to_string()));
    }

    fn log_unavailable(&self, error: &KafkaError, untold: u64) {
        let topic = self.kafka.coordination_topic.as_str();
        tracing::info!(
            event = "pool_status_unavailable", topic, %error, untold,
            "the other pods are not known: {error}; trying again"
        );
    }
}

//! The pod's health: service-kit's, with the conditions of a pod's readiness.
//!
//! ```text
//! kafka_needs   what the pod needs from Kafka and is missing: brokers, its group membership, permissions, topics
//! ```

mod kafka_needs;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use kafka_needs::KafkaSigns;
use service_kit::health::{Health, HealthReport, Heartbeat, LastSeen, ReportHealth};

/// The consume loop polls, and thus beats, at least once a second.
pub const CONSUME_SILENCE: Duration = Duration::from_secs(30);
/// The publish loop beats while it waits for unavailable brokers; one call of librdkafka may block for some seconds. So
/// a pod that waits for an outage to end does not count as stuck.
pub const PUBLISH_SILENCE: Duration = Duration::from_secs(60);
/// Without a connected broker, or with answers that Kafka does not accept, for longer than this the pod is not ready.
pub const KAFKA_AWAY: Duration = Duration::from_secs(30);
/// Assigned partitions whose committed offsets cannot be read for longer than this make the pod not ready. A dead pod's
/// transaction can block them until its timeout, 10 s.
pub const OFFSETS_UNREADABLE: Duration = Duration::from_secs(30);
/// If a broker is connected but has accepted no answers for longer than this, the publisher is stuck, although its loop
/// runs: a new process may help.
pub const PUBLISH_STALLED: Duration = Duration::from_secs(180);
/// How many halted partitions a report lists; it counts the others.
const MAX_HALTS_NAMED: usize = 20;

/// Written by the loops, read by the sidecar.
#[derive(Debug)]
pub struct PodHealth {
    pub consume: Arc<Heartbeat>,
    pub publish: Arc<Heartbeat>,
    process: Health,
    /// The consumer is a member of the group (partitions assigned, or joined and none left for it).
    joined: AtomicBool,
    /// The producer is working: with transactions, it has its producer id.
    publishing: AtomicBool,
    kafka_seen: LastSeen,
    /// When a broker was connected again after an outage.
    kafka_back: LastSeen,
    /// When Kafka last accepted answers, or there were none to send.
    answers_accepted: LastSeen,
    /// From the consumer's last two statistics.
    round_trips: Mutex<[Duration; 2]>,
    /// When the pod was last a member of the group.
    member_seen: LastSeen,
    /// When no query about the group was pending.
    group_answered: LastSeen,
    /// Kafka is reachable, but this pod's clients cannot recover: only a new process may.
    unrecoverable: Mutex<Option<String>>,
    /// Permissions that Kafka denies this pod, by subject; each is written by one part.
    missing_rights: Mutex<BTreeMap<&'static str, Vec<String>>>,
    missing_topics: Mutex<Vec<String>>,
    /// Since when partitions wait for their committed offsets, and why these cannot be read.
    offsets_unreadable: Mutex<Option<(Instant, String)>>,
    /// What is halted, and why; at most one entry per partition.
    halts: Mutex<BTreeMap<String, String>>,
    /// What a user should know although the pod is healthy, by subject.
    notes: Mutex<BTreeMap<&'static str, String>>,
}

impl PodHealth {
    #[must_use]
    pub fn new() -> Arc<Self> {
        let process = Health::default();
        Arc::new(PodHealth {
            consume: process.register_loop("consume", CONSUME_SILENCE),
            publish: process.register_loop("publish", PUBLISH_SILENCE),
            process,
            joined: AtomicBool::new(false),
            publishing: AtomicBool::new(true),
            kafka_seen: LastSeen::default(),
            kafka_back: LastSeen::default(),
            answers_accepted: LastSeen::default(),
            round_trips: Mutex::default(),
            member_seen: LastSeen::default(),
            group_answered: LastSeen::default(),
            unrecoverable: Mutex::default(),
            missing_rights: Mutex::default(),
            missing_topics: Mutex::default(),
            offsets_unreadable: Mutex::default(),
            halts: Mutex::default(),
            notes: Mutex::default(),
        })
    }

    pub fn set_joined(&self, joined: bool) {
        self.joined.store(joined, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// From now on the pod accepts no new tasks.
    pub fn set_draining(&self) {
        self.process.set_draining();
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.process.is_draining()
    }

    /// Whether the producer is working; false while it is being created.
    pub fn set_publishing(&self, publishing: bool) {
        self.publishing.store(publishing, Ordering::Relaxed);
    }

    /// A broker is connected.
    pub fn kafka_connected(&self) {
        self.kafka_connected_at(Instant::now());
    }

    fn kafka_connected_at(&self, now: Instant) {
        if self.kafka_seen.elapsed(now) > KAFKA_AWAY {
            self.kafka_back.mark(now);
        }
        self.kafka_seen.mark(now);
    }

    /// For how long no broker has been connected.
    #[must_use]
    pub fn kafka_unseen_for(&self, now: Instant) -> Duration {
        self.kafka_seen.elapsed(now)
    }

    /// There are answers to send, and a broker has been connected for long without accepting any.
    fn is_publishing_stalled(&self, now: Instant) -> bool {
        let stalled = self.answers_accepted.elapsed(now).min(self.kafka_back.elapsed(now));
        stalled > PUBLISH_STALLED && self.kafka_seen.elapsed(now) <= KAFKA_AWAY
    }

    /// Kafka has accepted a batch of answers, or there are none to send.
    pub fn report_answers_accepted(&self) {
        self.answers_accepted.mark(Instant::now());
    }

    /// Something (`partition ftp-tasks[3]`) is halted until an operator has intervened: the pod is not ready.
    pub fn halt(&self, what: impl Into<String>, why: impl Into<String>) {
        self.halts.lock().unwrap_or_else(PoisonError::into_inner).insert(what.into(), why.into());
    }

    /// It continues, or no longer belongs to this pod.
    pub fn lift_halt(&self, what: &str) {
        self.halts.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }

    /// Something a user should know although the pod is healthy, such as that it has no partitions; `None` once it is
    /// over.
    pub fn note(&self, about: &'static str, note: Option<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        match note {
            Some(note) => drop(notes.insert(about, note)),
            None => drop(notes.remove(about)),
        }
    }

    fn halted(&self) -> Vec<String> {
        let halts = self.halts.lock().unwrap_or_else(PoisonError::into_inner);
        let named = halts.iter().take(MAX_HALTS_NAMED).map(|(what, why)| format!("{what} halted: {why}"));
        let more = halts.len().saturating_sub(MAX_HALTS_NAMED);
        named.chain((more > 0).then(|| format!("{more} more halted"))).collect()
    }

    fn trouble_with_kafka(&self, now: Instant) -> Option<String> {
        let (unseen, refused) = (self.kafka_seen.elapsed(now), self.answers_accepted.elapsed(now));
        if unseen > KAFKA_AWAY {
            return Some(format!("no Kafka broker has been connected for {} s", unseen.as_secs()));
        }
        if !self.publishing.load(Ordering::Relaxed) {
            return Some("the producer has not started".to_owned());
        }
        (refused > KAFKA_AWAY).then(|| format!("Kafka has accepted no answers for {} s", refused.as_secs()))
    }
}

impl ReportHealth for PodHealth {
    fn report(&self, now: Instant) -> HealthReport {
        let mut report = self.process.report(now);
        if !report.draining && !self.is_joined() {
            report.reasons.push("joining the group".to_owned());
        }
        report.reasons.extend(self.trouble_with_kafka(now));
        if !report.draining && self.is_publishing_stalled(now) {
            report
                .loops
                .iter_mut()
                .filter(|state| state.name == "publish")
                .for_each(|state| state.stuck = true);
        }
        report.reasons.extend(self.denied());
        report.reasons.extend(self.gone());
        report.reasons.extend(self.waits_for_offsets(now));
        report.reasons.extend(self.halted());
        let unrecoverable = self.unrecoverable.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(why) = unrecoverable.filter(|_| !report.draining) {
            report.reasons.push(why);
            report
                .loops
                .iter_mut()
                .filter(|state| state.name == "consume")
                .for_each(|state| state.stuck = true);
        }
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        report.notes.extend(notes.values().cloned());
        drop(notes);
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(50);

    #[test]
    fn a_publisher_that_gets_nothing_accepted_by_a_broker_that_is_there_is_stuck() {
        let (health, start) = health();
        let later = |seconds| start + Duration::from_secs(seconds);
        let stuck = |now: Instant| {
            for heartbeat in [&health.consume, &health.publish] {
                heartbeat.beat_at(now); // the loops run
            }
            health.report(now).stuck().len()
        };
        for seconds in 0..=200 {
            health.kafka_connected_at(later(seconds));
        }
        health.answers_accepted.mark(later(100));
        assert_eq!(stuck(later(200)), 0);
        assert_eq!(stuck(later(400)), 0, "no broker is connected");
        health.kafka_connected_at(later(400));
        assert_eq!(stuck(later(401)), 0, "it has only just come back");
        for seconds in 401..=700 {
            health.kafka_connected_at(later(seconds));
        }
        assert_eq!(stuck(later(700)), 1);
        health.answers_accepted.mark(later(700));
        assert_eq!(stuck(later(700)), 0);
    }

    #[test]
    fn committed_offsets_that_cannot_be_read_make_the_pod_not_ready_after_a_while() {
        let (health, start) = health();
        health.set_joined(true);
        health.set_offsets_unreadable(Some((start, "OperationTimedOut".to_owned())));
        let later = |seconds| {
            let now = start + Duration::from_secs(seconds);
            health.kafka_connected_at(now);
            health.answers_accepted.mark(now);
            health.report(now).reasons
        };
        assert!(later(20).is_empty(), "a dead pod's transaction may hold them up so long");
        let why = "the group's committed offsets have not been readable for 40 s: OperationTimedOut";
        assert_eq!(later(40), [why]);
        health.set_offsets_unreadable(None);
        assert!(later(41).is_empty());
    }

    #[test]
    fn a_right_that_is_missing_makes_the_pod_not_ready_until_it_is_granted() {
        let (health, start) = health();
        health.set_joined(true);
        health.set_missing_rights("topics", vec!["Read on topic a".into(), "Write on topic b".into()]);
        health.set_missing_rights("group", vec!["Read on group g".into()]);
        let denied = ["Read on group g", "Read on topic a", "Write on topic b"];
        let report = health.report(start);
        assert_eq!(report.reasons, denied.map(|right| format!("Kafka denies this pod: {right}")));
        assert!(report.is_healthy() && health.lacks_rights());
        health.set_missing_rights("topics", Vec::new());
        health.set_missing_rights("group", Vec::new());
        assert!(health.report(start).is_ready() && !health.lacks_rights());
    }

    #[test]
    fn a_pod_that_nothing_gives_kafka_back_is_to_be_restarted() {
        let (health, start) = health();
        health.set_joined(true);
        assert!(health.set_unrecoverable(Some("no Kafka broker is connected for 240 s".into())));
        assert!(!health.set_unrecoverable(Some("no Kafka broker is connected for 250 s".into())), "known");
        let report = health.report(start);
        assert_eq!(report.stuck(), ["consume"]);
        assert_eq!(report.reasons, ["no Kafka broker is connected for 250 s"]);
        health.set_unrecoverable(None);
        assert!(health.report(start).is_healthy() && health.report(start).is_ready());
    }

    /// A pod's health, and a time just after it was created.
    fn health() -> (Arc<PodHealth>, Instant) {
        let health = PodHealth::new();
        (health, Instant::now())
    }

    #[test]
    fn a_pod_that_has_just_started_is_healthy_and_not_ready() {
        let (health, start) = health();
        let report = health.report(start + MOMENT);
        assert!(report.is_healthy());
        assert_eq!(report.reasons, ["joining the group"]);
    }

    #[test]
    fn a_commit_may_take_longer_than_a_poll() {
        let (health, start) = health();
        health.consume.beat_at(start + PUBLISH_SILENCE);
        assert!(health.report(start + PUBLISH_SILENCE / 2).is_healthy());
        assert_eq!(health.report(start + PUBLISH_SILENCE + MOMENT).stuck(), ["publish"]);
        health.publish.beat_at(start + PUBLISH_SILENCE);
        assert_eq!(health.report(start + PUBLISH_SILENCE + CONSUME_SILENCE + MOMENT).stuck(), ["consume"]);
    }

    #[test]
    fn a_joined_pod_is_ready_until_it_drains() {
        let (health, start) = health();
        health.set_joined(true);
        assert!(health.report(start + MOMENT).is_ready());
        health.set_joined(false);
        assert!(!health.report(start + MOMENT).is_ready());
        health.set_joined(true);
        health.set_draining();
        assert_eq!(health.report(start + MOMENT).reasons, ["draining"]);
    }

    #[test]
    fn a_pod_without_kafka_or_that_cannot_publish_is_not_ready_and_is_healthy() {
        let (health, start) = health();
        health.set_joined(true);
        let reasons = |since| health.report(start + since).reasons;
        health.set_publishing(false);
        assert_eq!(reasons(MOMENT), ["the producer has not started"]);
        health.set_publishing(true);
        assert_eq!(reasons(MOMENT), [""; 0]);

        let later = KAFKA_AWAY + Duration::from_secs(10) + MOMENT; // the moments begin one after the other
        assert_eq!(reasons(later), ["no Kafka broker has been connected for 40 s"]);
        health.kafka_seen.mark(start + later);
        assert_eq!(reasons(later), ["Kafka has accepted no answers for 40 s"]);
        health.answers_accepted.mark(start + later);
        assert_eq!(reasons(later), [""; 0]);
        health.publish.beat_at(start + later);
        health.consume.beat_at(start + later);
        assert!(health.report(start + later).is_healthy());
    }

    #[test]
    fn a_halted_partition_makes_the_pod_not_ready_until_it_is_lifted() {
        let (health, start) = health();
        health.set_joined(true);
        health.halt("partition ftp-tasks[3]", "offset out of range");
        health.halt("partition ftp-tasks[3]", "offset 7 out of range");
        assert_eq!(health.report(start).reasons, ["partition ftp-tasks[3] halted: offset 7 out of range"]);
        health.lift_halt("partition ftp-tasks[3]");
        assert!(health.report(start).is_ready());
    }

    #[test]
    fn many_halts_are_listed_in_part_and_counted() {
        let (health, start) = health();
        health.set_joined(true);
        for partition in 0..25 {
            health.halt(format!("partition ftp-tasks[{partition}]"), "offset out of range");
        }
        let reasons = health.report(start).reasons;
        assert_eq!(reasons.len(), MAX_HALTS_NAMED + 1);
        assert_eq!(reasons.last().map(String::as_str), Some("5 more halted"));
    }
}

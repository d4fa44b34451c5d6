//! What the pod knows of its own state: are the loops alive, is it ready, is it draining?

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

/// The consume loop polls, and so beats, at least once a second.
pub const CONSUME_SILENCE: Duration = Duration::from_secs(30);
/// The publish loop beats while it waits for brokers that are away; one call of librdkafka's may block for some
/// seconds. So a pod that waits out an outage is not stuck.
pub const PUBLISH_SILENCE: Duration = Duration::from_secs(60);
/// Without a sign of Kafka, or with answers that it does not take, for longer than this the pod is not ready.
pub const KAFKA_AWAY: Duration = Duration::from_secs(30);
/// Halted partitions that a verdict names; it counts the others.
const MAX_HALTS_NAMED: usize = 20;

/// Shared by the loops, which write it, and the sidecar, which reads it.
#[derive(Debug)]
pub struct Health {
    pub consume: Pulse,
    pub publish: Pulse,
    /// The consumer is a member of the group (partitions assigned, or joined and none left for it).
    joined: AtomicBool,
    draining: AtomicBool,
    /// The producer is at work: where there are transactions, it has its identity.
    publishing: AtomicBool,
    kafka_seen: Moment,
    /// When Kafka took answers last, or there were none to take.
    answers_taken: Moment,
    /// What does not go on, and why; at most one entry a partition.
    halts: Mutex<BTreeMap<String, String>>,
    /// What a user should know though the pod is well, by what it is about.
    notes: Mutex<BTreeMap<&'static str, String>>,
}

impl Health {
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Health {
            consume: Pulse::new("consume", CONSUME_SILENCE),
            publish: Pulse::new("publish", PUBLISH_SILENCE),
            joined: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            publishing: AtomicBool::new(true),
            kafka_seen: Moment::now(),
            answers_taken: Moment::now(),
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

    /// From now on the pod takes no new tasks.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether the producer has begun, or has to begin anew.
    pub fn set_publishing(&self, publishing: bool) {
        self.publishing.store(publishing, Ordering::Relaxed);
    }

    /// A broker is connected.
    pub fn kafka_is_there(&self) {
        self.kafka_seen.set(Instant::now());
    }

    /// Kafka has taken a batch of answers, or there are none to take.
    pub fn answers_are_taken(&self) {
        self.answers_taken.set(Instant::now());
    }

    /// Something (`partition ftp-tasks[3]`) cannot go on until a human has looked: the pod is not ready.
    pub fn halt(&self, what: impl Into<String>, why: impl Into<String>) {
        self.halts.lock().unwrap_or_else(PoisonError::into_inner).insert(what.into(), why.into());
    }

    /// It goes on, or is this pod's no more.
    pub fn lift_halt(&self, what: &str) {
        self.halts.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }

    /// Something a user should know though the pod is well, such as that it has no partitions; `None` once it is over.
    pub fn note(&self, about: &'static str, note: Option<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        match note {
            Some(note) => drop(notes.insert(about, note)),
            None => drop(notes.remove(about)),
        }
    }

    /// What `/health` and `/ready` say at this time.
    #[must_use]
    pub fn verdict(&self, now: Instant) -> Verdict {
        let draining = self.is_draining();
        let loops = [&self.consume, &self.publish].map(|pulse| pulse.state(now, draining));
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        Verdict { loops: loops.to_vec(), draining, reasons: self.reasons_not_ready(now), notes }
    }

    fn reasons_not_ready(&self, now: Instant) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.is_draining() {
            reasons.push("draining".to_owned());
        } else if !self.is_joined() {
            reasons.push("joining the group".to_owned());
        }
        reasons.extend(self.trouble_with_kafka(now));
        let halts = self.halts.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.extend(halts.iter().take(MAX_HALTS_NAMED).map(|(what, why)| format!("{what} halted: {why}")));
        if halts.len() > MAX_HALTS_NAMED {
            reasons.push(format!("{} more halted", halts.len() - MAX_HALTS_NAMED));
        }
        reasons
    }

    fn trouble_with_kafka(&self, now: Instant) -> Option<String> {
        let (unseen, untaken) = (self.kafka_seen.ago(now), self.answers_taken.ago(now));
        if unseen > KAFKA_AWAY {
            return Some(format!("no Kafka broker has been connected for {} s", unseen.as_secs()));
        }
        if !self.publishing.load(Ordering::Relaxed) {
            return Some("the producer has not begun".to_owned());
        }
        (untaken > KAFKA_AWAY).then(|| format!("Kafka has taken no answers for {} s", untaken.as_secs()))
    }
}

/// When something was so last.
#[derive(Debug)]
struct Moment {
    born: Instant,
    last_ms: AtomicU64,
}

impl Moment {
    fn now() -> Self {
        Moment { born: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn set(&self, now: Instant) {
        let age = now.saturating_duration_since(self.born).as_millis();
        self.last_ms.store(u64::try_from(age).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Time since then, or since the start where it never was.
    fn ago(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.born).saturating_sub(last)
    }
}

/// A loop that beats regularly while it is alive.
#[derive(Debug)]
pub struct Pulse {
    name: &'static str,
    /// Silent for longer than this it is stuck.
    limit: Duration,
    last_beat: Moment,
    ended: AtomicBool,
}

impl Pulse {
    fn new(name: &'static str, limit: Duration) -> Self {
        Pulse { name, limit, last_beat: Moment::now(), ended: AtomicBool::new(false) }
    }

    /// Says that the loop is alive; call it at least once a second.
    pub fn beat(&self) {
        self.last_beat.set(Instant::now());
    }

    /// The loop has come to its regular end: while the pod drains its silence is no fault any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    fn state(&self, now: Instant, draining: bool) -> LoopState {
        let silence = self.last_beat.ago(now);
        let excused = draining && self.ended.load(Ordering::Relaxed);
        LoopState { name: self.name, silence, limit: self.limit, stuck: !excused && silence > self.limit }
    }
}

/// The pod's state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub loops: Vec<LoopState>,
    pub draining: bool,
    /// Why the pod is not ready; empty where it is.
    pub reasons: Vec<String>,
    /// What a user should know though the pod is well.
    pub notes: Vec<String>,
}

impl Verdict {
    /// Each loop is alive.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.loops.iter().any(|state| state.stuck)
    }

    /// The pod takes tasks.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }

    /// The loops that are silent for too long.
    #[must_use]
    pub fn stuck(&self) -> Vec<&'static str> {
        self.loops.iter().filter(|state| state.stuck).map(|state| state.name).collect()
    }
}

/// One loop at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoopState {
    pub name: &'static str,
    #[serde(rename = "silent_seconds", serialize_with = "seconds")]
    pub silence: Duration,
    #[serde(rename = "limit_seconds", serialize_with = "seconds")]
    pub limit: Duration,
    pub stuck: bool,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// This long after `health` was made.
    fn after(health: &Health, since: Duration) -> Instant {
        health.publish.last_beat.born + since
    }

    const MOMENT: Duration = Duration::from_millis(50);

    #[test]
    fn a_pod_that_has_just_begun_is_healthy_and_not_ready() {
        let health = Health::new();
        let verdict = health.verdict(after(&health, MOMENT));
        assert!(verdict.is_healthy());
        assert_eq!(verdict.reasons, ["joining the group"]);
    }

    #[test]
    fn a_loop_is_stuck_once_it_is_silent_for_longer_than_its_limit() {
        let health = Health::new();
        health.publish.last_beat.set(after(&health, Duration::from_secs(10)));
        assert!(health.verdict(health.consume.last_beat.born + CONSUME_SILENCE).is_healthy());

        let verdict = health.verdict(health.consume.last_beat.born + CONSUME_SILENCE + MOMENT);
        assert!(!verdict.is_healthy());
        assert_eq!(verdict.stuck(), ["consume"]);

        health.consume.last_beat.set(after(&health, CONSUME_SILENCE));
        assert!(health.verdict(after(&health, CONSUME_SILENCE + MOMENT)).is_healthy());
    }

    #[test]
    fn a_commit_may_take_longer_than_a_poll() {
        let health = Health::new();
        health.consume.last_beat.set(after(&health, PUBLISH_SILENCE));
        assert!(health.verdict(after(&health, PUBLISH_SILENCE)).is_healthy());
        assert_eq!(health.verdict(after(&health, PUBLISH_SILENCE + MOMENT)).stuck(), ["publish"]);
    }

    #[test]
    fn a_joined_pod_is_ready_until_it_drains() {
        let health = Health::new();
        health.set_joined(true);
        assert!(health.verdict(after(&health, MOMENT)).is_ready());
        health.set_joined(false);
        assert!(!health.verdict(after(&health, MOMENT)).is_ready());
        health.set_joined(true);
        health.set_draining();
        assert_eq!(health.verdict(after(&health, MOMENT)).reasons, ["draining"]);
    }

    #[test]
    fn a_pod_without_kafka_or_that_cannot_publish_is_not_ready_and_is_well() {
        let health = Health::new();
        health.set_joined(true);
        let reasons = |since| health.verdict(after(&health, since)).reasons;
        health.set_publishing(false);
        assert_eq!(reasons(MOMENT), ["the producer has not begun"]);
        health.set_publishing(true);
        assert_eq!(reasons(MOMENT), [""; 0]);

        let later = KAFKA_AWAY + Duration::from_secs(10) + MOMENT; // the moments begin one after the other
        assert_eq!(reasons(later), ["no Kafka broker has been connected for 40 s"]);
        health.kafka_seen.set(after(&health, later));
        assert_eq!(reasons(later), ["Kafka has taken no answers for 40 s"]);
        health.answers_taken.set(after(&health, later));
        assert_eq!(reasons(later), [""; 0]);
        health.publish.last_beat.set(after(&health, later));
        health.consume.last_beat.set(after(&health, later));
        assert!(health.verdict(after(&health, later)).is_healthy());
    }

    #[test]
    fn a_halted_partition_makes_the_pod_not_ready_until_it_is_lifted() {
        let health = Health::new();
        health.set_joined(true);
        health.halt("partition ftp-tasks[3]", "offset out of range");
        health.halt("partition ftp-tasks[3]", "offset 7 out of range");
        assert_eq!(
            health.verdict(after(&health, MOMENT)).reasons,
            ["partition ftp-tasks[3] halted: offset 7 out of range"]
        );
        health.lift_halt("partition ftp-tasks[3]");
        assert!(health.verdict(after(&health, MOMENT)).is_ready());
    }

    #[test]
    fn many_halts_are_named_in_part_and_counted() {
        let health = Health::new();
        health.set_joined(true);
        for partition in 0..25 {
            health.halt(format!("partition ftp-tasks[{partition}]"), "offset out of range");
        }
        let reasons = health.verdict(after(&health, MOMENT)).reasons;
        assert_eq!(reasons.len(), 21);
        assert_eq!(reasons.last().map(String::as_str), Some("5 more halted"));
    }

    #[test]
    fn a_loop_that_ended_regularly_is_not_stuck_while_the_pod_drains() {
        let health = Health::new();
        let long_after = after(&health, Duration::from_secs(600));
        health.consume.end();
        health.publish.last_beat.set(long_after);
        assert_eq!(health.verdict(long_after).stuck(), ["consume"], "it ended, though nobody said drain");
        health.set_draining();
        assert!(health.verdict(long_after).is_healthy());
    }

    proptest! {
        #[test]
        fn silence_counts_from_the_last_beat_to_now_and_never_less_than_nothing(
            beat_ms in 0_u64..100_000, now_ms in 0_u64..200_000,
        ) {
            let pulse = Pulse::new("any", Duration::from_secs(30));
            pulse.last_beat.set(pulse.last_beat.born + Duration::from_millis(beat_ms));
            let state = pulse.state(pulse.last_beat.born + Duration::from_millis(now_ms), false);
            prop_assert_eq!(state.silence, Duration::from_millis(now_ms.saturating_sub(beat_ms)));
            prop_assert_eq!(state.stuck, now_ms.saturating_sub(beat_ms) > 30_000);
        }
    }
}

//! Notices that the pod's clients have lost Kafka for good, and has them recreated.
//!
//! A single answer to a metadata request that names no broker makes librdkafka retire every broker that it knows (its
//! issue 5301): it never connects again, and reports nothing. So when a client has had no broker, no place in the group
//! or no answer for `kafka.recreate_after`, it is compared with a new client. If that one reaches Kafka, the pod's
//! clients are replaced without a restart, as if all partitions had been lost. If this does not help either, `/health`
//! fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::health::{KafkaSigns, PodHealth};
use crate::kafka::{ClientRenewal, Reached, reach};
use crate::metrics::Metrics;

use super::group::Group;

/// Between two checks.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A check that comes this much too late: the process, or the machine, was suspended.
const SUSPENDED_AFTER: Duration = Duration::from_secs(5);
/// One question of the new client's.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between two new clients.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Clients recreated this often in a row without success: a new process may have more luck.
const MAX_TRIES: u32 = 3;

/// What the pod does without, though it should have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Broker,
    Membership,
    /// The coordinator's answer about the group.
    Group,
    /// Answers are waiting, and none is accepted.
    Publishing,
}

impl Lost {
    const ALL: [Lost; 4] = [Lost::Broker, Lost::Membership, Lost::Group, Lost::Publishing];

    /// A word for metrics and log lines, of a closed list.
    fn as_str(self) -> &'static str {
        match self {
            Lost::Broker => "no_broker",
            Lost::Membership => "no_membership",
            Lost::Group => "no_group_answer",
            Lost::Publishing => "nothing_published",
        }
    }

    fn since(self, signs: &KafkaSigns) -> Duration {
        match self {
            Lost::Broker => signs.broker,
            Lost::Membership => signs.member,
            Lost::Group => signs.group,
            Lost::Publishing => signs.published,
        }
    }

    /// In the words of a sentence about the pod.
    fn sentence(self) -> &'static str {
        match self {
            Lost::Broker => "no Kafka broker is connected",
            Lost::Membership => "the pod is not a member of the group",
            Lost::Group => "the group's coordinator does not answer",
            Lost::Publishing => "Kafka accepts no answers",
        }
    }
}

/// What to do about a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecoveryAction {
    Recreate,
    /// Recreated clients have not helped.
    GiveUp,
}

/// Decides when which clients are recreated. Pure; the time is an argument.
#[derive(Debug)]
struct Recovery {
    after: Duration,
    /// Losses are counted from here on: clients that were just created, or have just been resumed, get as long as others.
    from: Instant,
    last_check: Instant,
    next_attempt: Instant,
    tries: u32,
}

impl Recovery {
    fn new(after: Duration, now: Instant) -> Recovery {
        Recovery { after, from: now, last_check: now, next_attempt: now, tries: 0 }
    }

    /// What is lost, if it is time to try a new client.
    fn lost(&mut self, signs: &KafkaSigns, now: Instant) -> Option<Lost> {
        if now.saturating_duration_since(self.last_check) > SUSPENDED_AFTER {
            self.from = now;
        }
        self.last_check = now;
        let known = now.saturating_duration_since(self.from);
        if Lost::ALL.iter().all(|lost| lost.since(signs) < self.after) {
            self.tries = 0;
            return None;
        }
        if known < self.after || now < self.next_attempt {
            return None;
        }
        Lost::ALL.into_iter().find(|lost| lost.since(signs) >= self.after)
    }

    /// A new client was tried. `None` if recreating the others would not help.
    fn decide(&mut self, reached: Option<Reached>, lost: Lost, now: Instant) -> Option<RecoveryAction> {
        self.last_check = now; // the attempt took its time
        self.next_attempt = now + RETRY_INTERVAL;
        let reached = reached?;
        if lost == Lost::Membership && reached.is_rebalancing {
            return None;
        }
        if self.tries >= MAX_TRIES {
            return Some(RecoveryAction::GiveUp);
        }
        self.tries += 1;
        self.from = now;
        Some(RecoveryAction::Recreate)
    }
}

/// What the thread needs.
pub struct Watchdog {
    pub group: Group,
    pub topic: String,
    /// How long the pod may be without.
    pub after: Duration,
    pub renewal: Arc<ClientRenewal>,
    pub health: Arc<PodHealth>,
    pub metrics: Metrics,
}

impl std::fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchdog").field("after", &self.after).finish_non_exhaustive()
    }
}

impl Watchdog {
    /// Starts the thread; it ends when the pod drains.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(self) -> std::io::Result<()> {
        // Holds no client: dropping the last reference waits until librdkafka has left the group.
        let Watchdog { group, topic, after, renewal, health, metrics } = self;
        let (clients, properties) = (Arc::downgrade(&group.clients), group.properties);
        let watch = move || {
            let mut recovery = Recovery::new(after, Instant::now());
            while !health.is_draining() {
                std::thread::sleep(POLL_INTERVAL);
                let signs = health.kafka_signs(Instant::now());
                let lost = recovery.lost(&signs, Instant::now());
                if recovery.tries == 0 {
                    health.set_unrecoverable(None);
                }
                let Some(lost) = lost.filter(|_| !health.has_external_fault()) else { continue };
                let reached = reach(&properties.0, &topic, DEADLINE);
                if let Err(why) = &reached {
                    tracing::debug!(
                        event = "kafka_unreached",
                        lost = lost.as_str(),
                        why,
                        "nor does a new client reach Kafka"
                    );
                }
                let action = recovery.decide(reached.ok(), lost, Instant::now());
                let is_stuck = clients.upgrade().is_none_or(|clients| clients.is_stuck());
                let seconds = lost.since(&signs).as_secs();
                match action {
                    Some(RecoveryAction::Recreate) if !is_stuck => {
                        tracing::warn!(
                            event = "kafka_clients_recreated",
                            reason = lost.as_str(),
                            seconds,
                            tries = recovery.tries,
                            "{} for {seconds} s, though a new client reaches Kafka: the pod's clients are recreated",
                            lost.sentence()
                        );
                        metrics.clients_recreated(lost.as_str());
                        request(&renewal, lost);
                    }
                    Some(_) => give_up(&health, lost, seconds),
                    None => {}
                }
            }
        };
        std::thread::Builder::new().name("kafka-watchdog".into()).spawn(watch).map(drop)
    }
}

/// The consumers' loss of the brokers is the producer's too, as a rule, and it would be noticed there later only.
fn request(renewal: &ClientRenewal, lost: Lost) {
    if lost != Lost::Publishing {
        renewal.want_consumers();
    }
    if matches!(lost, Lost::Broker | Lost::Publishing) {
        renewal.want_producer();
    }
}

fn give_up(health: &PodHealth, lost: Lost, seconds: u64) {
    let why = format!("{} for {seconds} s, and recreating the clients has not helped", lost.sentence());
    if health.set_unrecoverable(Some(why.clone())) {
        tracing::error!(event = "kafka_lost", reason = lost.as_str(), "{why}: /health fails");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(60);
    const REACHED: Option<Reached> = Some(Reached { is_rebalancing: false });

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Simulates the pod second by second; `signs` says what it lacks.
    fn watched(
        recovery: &mut Recovery,
        from: Instant,
        span: std::ops::Range<u64>,
        reached: Option<Reached>,
        signs: impl Fn(u64) -> KafkaSigns,
    ) -> Vec<(u64, RecoveryAction)> {
        let mut actions = Vec::new();
        for second in span {
            let now = from + seconds(second);
            if let Some(lost) = recovery.lost(&signs(second), now)
                && let Some(action) = recovery.decide(reached, lost, now)
            {
                actions.push((second, action));
            }
        }
        actions
    }

    fn without_broker(second: u64) -> KafkaSigns {
        KafkaSigns { broker: seconds(second), ..KafkaSigns::default() }
    }

    #[test]
    fn a_pod_that_has_what_it_needs_is_left_alone() {
        let (mut recovery, start) = (Recovery::new(AFTER, Instant::now()), Instant::now());
        let well = |_| KafkaSigns { broker: seconds(5), published: seconds(59), ..KafkaSigns::default() };
        assert_eq!(watched(&mut recovery, start, 0..1_000, REACHED, well), []);
    }

    #[test]
    fn clients_are_made_anew_some_times_and_then_it_gives_up_until_all_is_well() {
        let start = Instant::now();
        let mut recovery = Recovery::new(AFTER, start);
        let actions = watched(&mut recovery, start, 0..245, REACHED, without_broker);
        let recreated = |second| (second, RecoveryAction::Recreate);
        assert_eq!(actions, [recreated(60), recreated(120), recreated(180), (240, RecoveryAction::GiveUp)]);
        watched(&mut recovery, start, 245..250, REACHED, |_| KafkaSigns::default());
        let again = |second: u64| without_broker(second - 250);
        let actions = watched(&mut recovery, start, 250..315, REACHED, again);
        assert_eq!(actions, [recreated(310)]);
    }

    #[test]
    fn where_nobody_reaches_kafka_the_pod_waits() {
        let start = Instant::now();
        let mut recovery = Recovery::new(AFTER, start);
        assert_eq!(watched(&mut recovery, start, 0..1_000, None, without_broker), []);
        let back = watched(&mut recovery, start, 1_000..1_020, REACHED, without_broker);
        assert_eq!(back.len(), 1, "as soon as another client does");
    }

    #[test]
    fn a_group_that_assigns_its_partitions_is_waited_for() {
        let start = Instant::now();
        let mut recovery = Recovery::new(AFTER, start);
        let outside = |second| KafkaSigns { member: seconds(second), ..KafkaSigns::default() };
        let rebalancing = Some(Reached { is_rebalancing: true });
        assert_eq!(watched(&mut recovery, start, 0..300, rebalancing, outside), []);
        assert_eq!(watched(&mut recovery, start, 300..320, REACHED, outside).len(), 1);
    }

    #[test]
    fn clients_that_slept_with_the_process_get_their_time_to_come_back() {
        let start = Instant::now();
        let mut recovery = Recovery::new(AFTER, start);
        assert_eq!(watched(&mut recovery, start, 0..10, REACHED, without_broker), []);
        let actions = watched(&mut recovery, start, 1_000..1_065, REACHED, without_broker);
        assert_eq!(actions, [(1_060, RecoveryAction::Recreate)]);
    }

    #[test]
    fn only_what_is_lost_is_made_anew() {
        let asked = |lost| {
            let renewal = ClientRenewal::default();
            request(&renewal, lost);
            (renewal.take_consumers(), renewal.take_producer())
        };
        assert_eq!(Lost::ALL.map(asked), [(true, true), (true, false), (true, false), (false, true)]);
    }
}

//! What happens to a cluster of brokers.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::events::{Event, SESSION};
use crate::plan::PARTITIONS;
use crate::site::Site;
use crate::support::kafka_admin::Coordinated;
use crate::support::process::Signal;

const FROZEN: Duration = Duration::from_secs(20);
const FROZEN_LONG: Duration = Duration::from_secs(90);
const TWO_AWAY: Duration = Duration::from_secs(8);

/// An event, with what was chosen for it.
pub struct BrokerEvent {
    event: Event,
    broker: usize,
    partition: i32,
    absence: Duration,
    /// Whose transactions' coordinator is killed.
    transactional_id: String,
}

impl BrokerEvent {
    pub fn choose(event: Event, site: &Site, pod: Option<&str>, rng: &mut StdRng) -> BrokerEvent {
        let group = &site.topics.group;
        BrokerEvent {
            event,
            broker: rng.random_range(0..site.kafka.brokers()),
            partition: rng.random_range(0..PARTITIONS),
            absence: Duration::from_millis(rng.random_range(1_000..6_000)),
            transactional_id: format!("{group}-{}", pod.unwrap_or("pod-1")),
        }
    }

    /// Lets it happen; returns when it is over, and all replicas are in sync again.
    pub fn happen(&self, site: &Site) {
        let (kafka, group) = (&site.kafka, &site.topics.group);
        let or_any = |found: Option<usize>| found.unwrap_or(self.broker);
        match self.event {
            Event::KillLeader => {
                self.kill(site, or_any(kafka.leader(&site.topics.tasks, self.partition)), self.absence);
            }
            Event::KillCoordinator => {
                let coordinator = or_any(kafka.coordinator(Coordinated::Group, group));
                self.kill(site, coordinator, SESSION * 3 + self.absence);
            }
            Event::KillTransactionCoordinator => {
                let found = kafka.coordinator(Coordinated::Transaction, &self.transactional_id);
                self.kill(site, or_any(found), self.absence);
            }
            Event::RollingRestart => {
                for broker in 0..kafka.brokers() {
                    kafka.stop_broker(broker);
                    kafka.restart_broker(broker);
                }
            }
            Event::TwoAway => self.two_away(site),
            Event::FreezeBroker => self.freeze(site, FROZEN),
            Event::FreezeBrokerLong => self.freeze(site, FROZEN_LONG),
            Event::Reassign => self.reassign(site),
            Event::PreferredElection => {
                kafka.elect_preferred_leaders();
            }
            Event::AddPartition => kafka.add_partition(&site.topics.tasks),
            _ => unreachable!("{:?} is nothing that happens to brokers", self.event),
        }
        kafka.wait_until_in_sync();
    }

    fn kill(&self, site: &Site, broker: usize, absence: Duration) {
        site.kafka.kill_broker(broker);
        std::thread::sleep(absence);
        site.kafka.restart_broker(broker);
    }

    fn two_away(&self, site: &Site) {
        let kafka = &site.kafka;
        let others: Vec<usize> =
            (0..kafka.brokers()).filter(|broker| *broker != self.broker).take(2).collect();
        for broker in &others {
            kafka.kill_broker(*broker);
        }
        std::thread::sleep(TWO_AWAY);
        for broker in &others {
            kafka.launch_broker(*broker);
        }
        kafka.wait_until_in_sync();
    }

    fn freeze(&self, site: &Site, span: Duration) {
        site.kafka.signal_broker(self.broker, Signal::STOP);
        std::thread::sleep(span);
        site.kafka.signal_broker(self.broker, Signal::CONT);
    }

    fn reassign(&self, site: &Site) {
        let (kafka, topics) = (&site.kafka, &site.topics);
        let count = kafka.brokers();
        let order: Vec<usize> = (0..count).map(|n| (self.broker + n) % count).collect();
        let partitions = [(&topics.tasks, self.partition), (&topics.results, 0), (&topics.failures, 0)];
        for replicas in [&order[..count - 1], &order[..]] {
            for (topic, partition) in partitions {
                kafka.reassign(topic, partition, replicas);
            }
            std::thread::sleep(Duration::from_secs(2));
            kafka.wait_until_in_sync();
        }
    }
}

//! A cluster of brokers: each can be killed, stopped, frozen and started again.

use std::fs;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataTopic;

use super::kafka::{Kafka, REQUEST, block_on};
use super::kafka_node::KafkaNode;
use super::wait::try_wait_for;

/// From the start of a broker's process until its replicas have what they missed.
const IN_SYNC: Duration = Duration::from_secs(120);
impl Kafka {
    /// How many brokers of our own there are.
    pub fn brokers(&self) -> usize {
        self.nodes.len()
    }

    /// Kills a broker of the cluster (SIGKILL).
    ///
    /// # Panics
    /// Where there is none of that number.
    pub fn kill_broker(&self, index: usize) {
        self.own(index).kill();
    }

    /// Stops a broker of the cluster in good order (SIGTERM): it hands its partitions over.
    ///
    /// # Panics
    /// Where there is none of that number, or it does not end.
    pub fn stop_broker(&self, index: usize) {
        self.own(index).stop();
    }

    /// Starts a broker of the cluster again on its data and its ports, and waits until it is in sync everywhere.
    ///
    /// # Panics
    /// Where there is none of that number, or it does not come back.
    pub fn restart_broker(&self, index: usize) {
        self.launch_broker(index);
        self.wait_until_in_sync();
    }

    /// The same without the wait.
    ///
    /// # Panics
    /// Where there is none of that number.
    pub fn launch_broker(&self, index: usize) {
        self.own(index).launch();
    }

    /// Signals a broker's process.
    ///
    /// # Panics
    /// Where there is none of that number.
    pub fn signal_broker(&self, index: usize, signal: super::process::Signal) {
        let process = self.own(index).lock();
        process.as_ref().expect("the broker runs").signal(signal);
    }

    /// All replicas of all partitions are in sync.
    ///
    /// # Panics
    /// Where that takes too long.
    pub fn wait_until_in_sync(&self) {
        let in_sync = try_wait_for(IN_SYNC, || self.is_in_sync().then_some(()));
        let logs = || self.nodes.iter().map(KafkaNode::log_tail).collect::<Vec<_>>().join("\n");
        assert!(in_sync.is_some(), "replicas are not in sync\n{}", logs());
    }

    pub(super) fn is_in_sync(&self) -> bool {
        // A broker that was killed counts as in sync until its session with the controller ends.
        if !self.is_listening() {
            return false;
        }
        let Ok(consumer) = self.client().create::<BaseConsumer>() else { return false };
        let Ok(metadata) = consumer.fetch_metadata(None, REQUEST) else { return false };
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        metadata.brokers().len() == self.nodes.len()
            && partitions.into_iter().all(|p| p.leader() >= 0 && p.isr().len() == p.replicas().len())
    }

    /// The index of the broker that leads a partition.
    ///
    /// # Panics
    /// Where no broker answers.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let consumer: BaseConsumer = self.client().create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), REQUEST).expect("metadata");
        let partitions = metadata.topics().first().map_or(&[][..], |t| t.partitions());
        let leader = partitions.iter().find(|p| p.id() == partition)?.leader();
        usize::try_from(leader).ok()?.checked_sub(1)
    }

    /// Adds a partition to a topic.
    ///
    /// # Panics
    /// Where the brokers refuse.
    pub fn add_partition(&self, topic: &str) {
        let consumer: BaseConsumer = self.client().create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), REQUEST).expect("metadata");
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len()) + 1;
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let options = AdminOptions::new().operation_timeout(Some(REQUEST)).request_timeout(Some(REQUEST));
        let outcome = block_on(admin.create_partitions([&NewPartitions::new(topic, count)], &options));
        for result in outcome.expect("an answer to CreatePartitions") {
            result.unwrap_or_else(|(name, code)| panic!("a partition more of {name}: {code}"));
        }
    }

    /// What our own brokers have logged.
    pub fn logs(&self) -> String {
        let logs =
            self.nodes.iter().map(|node| fs::read(node.scratch.path().join("kafka.log")).unwrap_or_default());
        logs.map(|log| String::from_utf8_lossy(&log).into_owned()).collect()
    }
}

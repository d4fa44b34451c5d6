//! A real Apache Kafka: one node or several as child processes on free ports, or a broker that is given.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::kafka_node::KafkaNode;
use super::scratch::unique;
use super::wait::{try_wait_for, wait_until};

/// From the start of the process until the group coordinator answers.
pub(super) const START: Duration = Duration::from_secs(60);
/// Any single request to a broker that is up.
pub const REQUEST: Duration = Duration::from_secs(15);
/// Starts again on other ports when somebody was quicker.
const START_ATTEMPTS: usize = 3;

/// A broker, or several that form a cluster. Their data and logs lie in scratch directories that go with them.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    /// Each is broker and controller; none for a broker that was given.
    pub(super) nodes: Vec<KafkaNode>,
}

/// The topics of one test, and the names under which a pod is told them.
#[derive(Clone, Debug)]
pub struct Topics {
    pub tasks: String,
    pub results: String,
    pub failures: String,
    /// Not made yet: that is the pod's to do.
    pub retry: String,
    /// A consumer group that no other test uses.
    pub group: String,
}

impl Kafka {
    /// The broker that all tests of this process share: `FTP_POOLER_TEST_KAFKA=host:port`, or one of our own.
    ///
    /// # Panics
    /// Where it does not come up; the end of its log is in the message.
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("FTP_POOLER_TEST_KAFKA") {
            Ok(bootstrap) => Kafka { bootstrap, nodes: Vec::new() },
            Err(_) => Kafka::start(),
        })
    }

    /// A broker of the test's own, to stop, kill and restart.
    ///
    /// # Panics
    /// Where it does not come up; the end of its log is in the message.
    pub fn start() -> Kafka {
        Kafka::cluster(1, Ipv4Addr::LOCALHOST)
    }

    /// So many brokers at this address of this machine. Topics have a replica at each, of which all but one must be in
    /// sync.
    ///
    /// # Panics
    /// Where they do not come up; the end of a log is in the message.
    pub fn cluster(brokers: usize, address: Ipv4Addr) -> Kafka {
        Kafka::with_settings(brokers, address, &|_, _| String::new())
    }

    /// The same with more settings, a line each.
    ///
    /// # Panics
    /// Where they do not come up; the end of a log is in the message.
    pub fn cluster_with(brokers: usize, settings: &str) -> Kafka {
        Kafka::with_settings(brokers, Ipv4Addr::LOCALHOST, &|_, _| settings.to_owned())
    }

    /// The same with more settings, made of a node's ports (as a broker, as a controller): they take the place of others.
    pub(super) fn with_settings(
        brokers: usize,
        address: Ipv4Addr,
        settings: &dyn Fn(u16, u16) -> String,
    ) -> Kafka {
        let mut error = String::new();
        for _ in 0..START_ATTEMPTS {
            let nodes = KafkaNode::format(brokers, address, settings);
            let bootstrap: Vec<String> =
                nodes.iter().map(|node| format!("{address}:{}", node.port)).collect();
            let kafka = Kafka { bootstrap: bootstrap.join(","), nodes };
            kafka.nodes.iter().for_each(KafkaNode::launch);
            match kafka.wait_until_it_serves() {
                Ok(()) => return kafka,
                Err(e) => error = e,
            }
            if !error.contains("Address already in use") {
                break;
            }
        }
        panic!("Kafka did not start: {error}")
    }

    /// `host:port` of each broker, with commas.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The same without those of our own that are frozen, which would be waited for.
    pub fn awake(&self) -> String {
        let is_frozen = |index: usize| self.nodes.get(index).is_some_and(KafkaNode::is_frozen);
        let awake = self.bootstrap.split(',').enumerate().filter(|(index, _)| !is_frozen(*index));
        awake.map(|(_, broker)| broker).collect::<Vec<_>>().join(",")
    }

    /// Makes a topic and waits until its partitions have leaders.
    ///
    /// # Panics
    /// Where the broker refuses.
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let replicas = i32::try_from(self.nodes.len().max(1)).expect("a number of brokers");
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let options = AdminOptions::new().operation_timeout(Some(REQUEST)).request_timeout(Some(REQUEST));
        let outcome = block_on(admin.create_topics([&topic], &options)).expect("an answer to CreateTopics");
        for result in outcome {
            result.unwrap_or_else(|(name, code)| panic!("topic {name}: {code}"));
        }
        wait_until(&format!("leaders of {name}"), REQUEST, || {
            let metadata = admin.inner().fetch_metadata(Some(name), REQUEST);
            metadata.is_ok_and(|m| {
                let all = m.topics().first().map_or(&[][..], |t| t.partitions());
                all.len() == usize::try_from(partitions).unwrap_or(0) && all.iter().all(|p| p.leader() >= 0)
            })
        });
    }

    /// The names of all topics that begin with `prefix`, in their order, with how many partitions each has.
    ///
    /// # Panics
    /// Where the broker does not answer.
    pub fn topics_named(&self, prefix: &str) -> Vec<(String, usize)> {
        let consumer: BaseConsumer = self.client().create().expect("a consumer");
        let metadata = consumer.fetch_metadata(None, REQUEST).expect("metadata");
        let named = metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix));
        let mut named: Vec<_> =
            named.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect();
        named.sort();
        named
    }

    /// What retention does: the partition begins at `first` from now on.
    ///
    /// # Panics
    /// Where the broker refuses.
    #[track_caller]
    pub fn delete_records(&self, topic: &str, partition: i32, first: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(first)).expect("an offset");
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let options = AdminOptions::new().operation_timeout(Some(REQUEST)).request_timeout(Some(REQUEST));
        let deleted = block_on(admin.delete_records(&list, &options));
        let deleted = deleted.expect("an answer to DeleteRecords");
        deleted.elements().iter().for_each(|element| element.error().expect("the records are deleted"));
    }

    /// Deletes a topic and waits until it is gone.
    ///
    /// # Panics
    /// Where the broker refuses.
    pub fn delete_topic(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let options = AdminOptions::new().operation_timeout(Some(REQUEST)).request_timeout(Some(REQUEST));
        let outcome = block_on(admin.delete_topics(&[name], &options)).expect("an answer to DeleteTopics");
        for result in outcome {
            result.unwrap_or_else(|(name, code)| panic!("topic {name}: {code}"));
        }
        wait_until(&format!("{name} to be gone"), REQUEST, || {
            let metadata = admin.inner().fetch_metadata(Some(name), REQUEST);
            metadata.is_ok_and(|m| m.topics().first().is_none_or(|t| t.partitions().is_empty()))
        });
    }

    /// Three topics and a group for one test; their names begin with `prefix`.
    pub fn topics(&self, prefix: &str, partitions: i32) -> Topics {
        let name = unique(prefix);
        let topics = Topics {
            tasks: format!("{name}-tasks"),
            results: format!("{name}-results"),
            failures: format!("{name}-failures"),
            retry: format!("{name}-retry"),
            group: format!("{name}-group"),
        };
        self.create_topic(&topics.tasks, partitions, &[]);
        self.create_topic(&topics.results, 1, &[]);
        self.create_topic(&topics.failures, 1, &[]);
        topics
    }

    /// Offsets at which the partitions of a topic end.
    ///
    /// # Panics
    /// Where the broker does not answer.
    pub fn end_offsets(&self, topic: &str) -> HashMap<i32, i64> {
        let consumer: BaseConsumer = self.client().create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), REQUEST).expect("metadata");
        let partitions = metadata.topics().first().map_or(&[][..], |t| t.partitions());
        partitions
            .iter()
            .map(|p| {
                let (_, high) = consumer.fetch_watermarks(topic, p.id(), REQUEST).expect("watermarks");
                (p.id(), high)
            })
            .collect()
    }

    /// Both answer topics, each partition from its beginning: what a reader of all answers is assigned.
    ///
    /// # Panics
    /// Where the broker does not answer.
    pub fn answers_from_the_beginning(&self, topics: &Topics) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for topic in [&topics.results, &topics.failures] {
            for partition in self.end_offsets(topic).keys() {
                list.add_partition_offset(topic, *partition, Offset::Beginning).expect("an offset");
            }
        }
        list
    }

    /// What a group has committed, with its metadata; partitions without a commit are absent.
    ///
    /// # Panics
    /// Where the broker does not answer.
    pub fn committed(&self, group: &str, topic: &str) -> HashMap<i32, (i64, String)> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for &partition in self.end_offsets(topic).keys() {
            list.add_partition(topic, partition);
        }
        let committed = consumer.committed_offsets(list, REQUEST).expect("committed offsets");
        committed
            .elements()
            .iter()
            .filter_map(|e| match e.offset() {
                Offset::Offset(offset) => Some((e.partition(), (offset, e.metadata().to_owned()))),
                _ => None,
            })
            .collect()
    }

    /// Commits the begin of the tasks' topic, as if no answer had ever been committed. The group must be empty.
    ///
    /// # Panics
    /// Where the broker refuses.
    pub fn forget_commits(&self, topics: &Topics) {
        let consumer: BaseConsumer =
            self.client().set("group.id", &topics.group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for &partition in self.end_offsets(&topics.tasks).keys() {
            list.add_partition_offset(&topics.tasks, partition, Offset::Offset(0)).expect("an offset");
        }
        consumer.commit(&list, CommitMode::Sync).expect("a commit");
    }

    /// Commits an offset of the tasks' topic with this metadata, UTF-8 or not, as some other program would. The
    /// group must be empty.
    ///
    /// # Panics
    /// Where the broker refuses.
    #[allow(unsafe_code, reason = "rdkafka takes UTF-8 alone, Kafka takes anything")]
    pub fn commit_as_another(&self, topics: &Topics, partition: i32, offset: i64, metadata: &[u8]) {
        let consumer: BaseConsumer =
            self.client().set("group.id", &topics.group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(&topics.tasks, partition);
        element.set_offset(Offset::Offset(offset)).expect("an offset");
        element.set_metadata("x".repeat(metadata.len()));
        // SAFETY: the list has this one element, whose metadata are as many bytes as are written.
        unsafe {
            let element = &*(*list.ptr()).elems;
            assert_eq!(element.metadata_size, metadata.len());
            std::ptr::copy_nonoverlapping(metadata.as_ptr(), element.metadata.cast::<u8>(), metadata.len());
        }
        consumer.commit(&list, CommitMode::Sync).expect("a commit");
    }

    /// Records of a topic that its group has not committed.
    pub fn lag(&self, topics: &Topics) -> i64 {
        let committed = self.committed(&topics.group, &topics.tasks);
        let low = |partition: &i32| committed.get(partition).map_or(0, |(offset, _)| *offset);
        self.end_offsets(&topics.tasks).iter().map(|(partition, end)| end - low(partition)).sum()
    }

    /// Stops our own broker in good order (SIGTERM).
    ///
    /// # Panics
    /// Where the broker was given, or does not end.
    pub fn stop(&self) {
        self.own(0).stop();
    }

    /// Kills our own broker (SIGKILL).
    ///
    /// # Panics
    /// Where the broker was given.
    pub fn kill(&self) {
        self.own(0).kill();
    }

    /// Starts our own broker again on its data and its ports.
    ///
    /// # Panics
    /// Where the broker was given, or does not come up.
    pub fn restart(&self) {
        self.own(0).launch();
        self.wait_until_it_serves().unwrap_or_else(|e| panic!("Kafka did not come back: {e}"));
    }

    /// Where our own broker has its data (`data`) and its log (`kafka.log`).
    ///
    /// # Panics
    /// Where the broker was given.
    pub fn directory(&self) -> &Path {
        self.own(0).scratch.path()
    }

    pub(super) fn own(&self, index: usize) -> &KafkaNode {
        self.nodes.get(index).expect("a given broker is not ours to stop")
    }

    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.awake()).set("log_level", "2");
        config.set("allow.auto.create.topics", "false"); // the broker has Kafka's own defaults
        config
    }

    /// Waits until the processes that were launched really serve.
    fn wait_until_it_serves(&self) -> Result<(), String> {
        let served = try_wait_for(START, || {
            if !self.nodes.iter().all(KafkaNode::is_running) {
                return Some(false);
            }
            self.serves().then_some(true)
        });
        if served == Some(true) {
            return Ok(());
        }
        let why = if served.is_none() { "it does not serve in time" } else { "it ended" };
        let logs: Vec<_> = self.nodes.iter().map(KafkaNode::log_tail).collect();
        Err(format!("{why}\n{}", logs.join("\n")))
    }

    /// All brokers take connections.
    pub(super) fn is_listening(&self) -> bool {
        let is_open = |addr: &str| {
            addr.parse().is_ok_and(|addr| std::net::TcpStream::connect_timeout(&addr, REQUEST).is_ok())
        };
        self.bootstrap.split(',').all(is_open)
    }

    /// Metadata *and* the group coordinator: the first alone is there seconds earlier.
    fn serves(&self) -> bool {
        if !self.is_listening() {
            return false;
        }
        let mut config = self.client();
        let consumer: BaseConsumer = config.set("group.id", "is-it-up").create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition("is-it-up", 0);
        let is_there = consumer.committed_offsets(list, Duration::from_secs(5)).is_ok();
        is_there && (self.nodes.len() < 2 || self.is_in_sync())
    }
}

/// Drives a future of rdkafka's admin client, whose own thread does the work.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

//! A real Apache Kafka: one node or several as child processes on free ports, or a broker that is given.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::deps_dir;
use super::ports::free_port;
use super::process::Process;
use super::scratch::{Scratch, unique};
use super::wait::{try_wait_for, wait_until};

/// From the start of the process until the group coordinator answers.
const START: Duration = Duration::from_secs(60);
/// From the start of a broker's process until its replicas have what they missed.
const IN_SYNC: Duration = Duration::from_secs(120);
/// Any single request to a broker that is up.
pub const REQUEST: Duration = Duration::from_secs(15);
/// Starts again on other ports when somebody was quicker.
const START_ATTEMPTS: usize = 3;

/// A broker, or several that form a cluster. Their data and logs lie in scratch directories that go with them.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    /// Each is broker and controller; none for a broker that was given.
    nodes: Vec<Node>,
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
        let mut error = String::new();
        for _ in 0..START_ATTEMPTS {
            let nodes = Node::format(brokers, address);
            let bootstrap: Vec<String> =
                nodes.iter().map(|node| format!("{address}:{}", node.port)).collect();
            let kafka = Kafka { bootstrap: bootstrap.join(","), nodes };
            kafka.nodes.iter().for_each(Node::launch);
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
        let logs = || self.nodes.iter().map(Node::log_tail).collect::<Vec<_>>().join("\n");
        assert!(in_sync.is_some(), "replicas are not in sync\n{}", logs());
    }

    fn is_in_sync(&self) -> bool {
        let Ok(consumer) = self.client().create::<BaseConsumer>() else { return false };
        let Ok(metadata) = consumer.fetch_metadata(None, REQUEST) else { return false };
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
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
        let count = self.end_offsets(topic).len() + 1;
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("an admin client");
        let options = AdminOptions::new().operation_timeout(Some(REQUEST)).request_timeout(Some(REQUEST));
        let outcome = block_on(admin.create_partitions([&NewPartitions::new(topic, count)], &options));
        for result in outcome.expect("an answer to CreatePartitions") {
            result.unwrap_or_else(|(name, code)| panic!("a partition more of {name}: {code}"));
        }
    }

    /// Where our own broker has its data (`data`) and its log (`kafka.log`).
    ///
    /// # Panics
    /// Where the broker was given.
    pub fn directory(&self) -> &Path {
        self.own(0).scratch.path()
    }

    /// What our own brokers have logged.
    pub fn logs(&self) -> String {
        let logs =
            self.nodes.iter().map(|node| fs::read(node.scratch.path().join("kafka.log")).unwrap_or_default());
        logs.map(|log| String::from_utf8_lossy(&log).into_owned()).collect()
    }

    fn own(&self, index: usize) -> &Node {
        self.nodes.get(index).expect("a given broker is not ours to stop")
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("log_level", "2");
        config.set("allow.auto.create.topics", "false"); // the broker has Kafka's own defaults
        config
    }

    /// Waits until the processes that were launched really serve.
    fn wait_until_it_serves(&self) -> Result<(), String> {
        let served = try_wait_for(START, || {
            if !self.nodes.iter().all(Node::is_running) {
                return Some(false);
            }
            self.serves().then_some(true)
        });
        if served == Some(true) {
            return Ok(());
        }
        let why = if served.is_none() { "it does not serve in time" } else { "it ended" };
        let logs: Vec<_> = self.nodes.iter().map(Node::log_tail).collect();
        Err(format!("{why}\n{}", logs.join("\n")))
    }

    /// Metadata *and* the group coordinator: the first alone is there seconds earlier.
    fn serves(&self) -> bool {
        let is_open = |addr: &str| {
            addr.parse().is_ok_and(|addr| std::net::TcpStream::connect_timeout(&addr, REQUEST).is_ok())
        };
        if !self.bootstrap.split(',').all(is_open) {
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
fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// The process behind our own broker. The process comes first: it must end before its data goes.
#[derive(Debug)]
struct Node {
    process: std::sync::Mutex<Option<Process>>,
    port: u16,
    scratch: Scratch,
}

impl Node {
    /// New storage directories, formatted for a cluster of so many nodes on free ports.
    fn format(count: usize, address: Ipv4Addr) -> Vec<Node> {
        let ports: Vec<(u16, u16)> = (0..count).map(|_| (free_port(), free_port())).collect();
        (0..count).map(|index| Node::format_one(index, address, &ports)).collect()
    }

    fn format_one(index: usize, address: Ipv4Addr, ports: &[(u16, u16)]) -> Node {
        let scratch = Scratch::new("kafka");
        let properties = server_properties(index, address, ports, &scratch.dir("data"));
        let file = scratch.path().join("server.properties");
        fs::write(&file, properties).expect("server.properties");
        let log = scratch.path().join("format.log");
        let args = ["format", "-t", "ftp-pooler-test-node-AA", "-c"].map(str::to_owned);
        let args = [&args[..], &[file.display().to_string()]].concat();
        let format = java("kafka.tools.StorageTool", &args, &log);
        let status = format.wait_exit(START);
        assert!(status.is_some_and(|s| s.success()), "Kafka's format failed\n{}", format.log_tail(20));
        Node { process: std::sync::Mutex::default(), port: ports[index].0, scratch }
    }

    fn launch(&self) {
        let file = self.scratch.path().join("server.properties").display().to_string();
        let process = java("kafka.Kafka", &[file], &self.scratch.path().join("kafka.log"));
        *self.lock() = Some(process);
    }

    fn is_running(&self) -> bool {
        self.lock().as_ref().is_some_and(Process::is_running)
    }

    fn stop(&self) {
        let process = self.lock().take().expect("the broker runs");
        process.signal(super::process::Signal::TERM);
        assert!(process.wait_exit(START).is_some(), "Kafka does not stop\n{}", process.log_tail(40));
    }

    fn kill(&self) {
        drop(self.lock().take());
    }

    fn log_tail(&self) -> String {
        self.lock().as_ref().map(|p| p.log_tail(40)).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn java(class: &str, args: &[String], log: &Path) -> Process {
    let jars = deps_dir().join("kafka");
    assert!(jars.is_dir(), "Kafka's jars are not in {}: run `make deps`", jars.display());
    let java = std::env::var_os("JAVA_HOME")
        .map_or_else(|| "java".into(), |home| PathBuf::from(home).join("bin/java"));
    // 512 MB and the serial collector are plenty for a test's broker; C1 alone starts it a second earlier.
    let mut all: Vec<String> =
        ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-cp"]
            .map(str::to_owned)
            .to_vec();
    all.push(format!("{}/*", jars.display()));
    all.push(class.to_owned());
    all.extend_from_slice(args);
    Process::start(&java, &all, log, |_| ())
}

/// A node that is broker and controller. Few partitions in the internal topics: with the default 50 the
/// first commit, and the first transaction, take seconds. A cluster keeps a replica at each, all but one of which
/// must be in sync, and fences a broker that is silent for as long as Kafka's defaults say.
fn server_properties(index: usize, address: Ipv4Addr, ports: &[(u16, u16)], data: &Path) -> String {
    let (port, controller) = ports[index];
    let voters: Vec<String> =
        (1..).zip(ports).map(|(id, (_, port))| format!("{id}@{address}:{port}")).collect();
    let (replicas, in_sync) = (ports.len(), ports.len().saturating_sub(1).max(1));
    format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{address}:{port},CONTROLLER://{address}:{controller}
advertised.listeners=PLAINTEXT://{address}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
num.network.threads=2
num.io.threads=2
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
",
        id = index + 1,
        voters = voters.join(","),
        data = data.display()
    )
}

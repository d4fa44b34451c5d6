//! One of Kafka's processes: broker and controller, on free ports and a directory of its own.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::deps_dir;
use super::kafka::START;
use super::ports::free_port;
use super::process::Process;
use super::scratch::Scratch;

/// The process behind our own broker. The process comes first: it must end before its data goes.
#[derive(Debug)]
pub struct KafkaNode {
    process: std::sync::Mutex<Option<Process>>,
    pub(super) port: u16,
    pub(super) scratch: Scratch,
}

impl KafkaNode {
    /// New storage directories, formatted for a cluster of so many nodes on free ports.
    pub(super) fn format(
        count: usize,
        address: Ipv4Addr,
        settings: &dyn Fn(u16, u16) -> String,
    ) -> Vec<KafkaNode> {
        let ports: Vec<(u16, u16)> = (0..count).map(|_| (free_port(), free_port())).collect();
        let more = |index: usize| settings(ports[index].0, ports[index].1);
        (0..count).map(|index| KafkaNode::format_one(index, address, &ports, &more(index))).collect()
    }

    fn format_one(index: usize, address: Ipv4Addr, ports: &[(u16, u16)], settings: &str) -> KafkaNode {
        let scratch = Scratch::new("kafka");
        // Of two lines with one key Java reads the last one.
        let properties = server_properties(index, address, ports, &scratch.dir("data")) + settings;
        let file = scratch.path().join("server.properties");
        fs::write(&file, properties).expect("server.properties");
        let log = scratch.path().join("format.log");
        let args = ["format", "-t", "ftp-pooler-test-node-AA", "-c"].map(str::to_owned);
        let args = [&args[..], &[file.display().to_string()]].concat();
        let format = java("kafka.tools.StorageTool", &args, &log);
        let status = format.wait_exit(START);
        assert!(status.is_some_and(|s| s.success()), "Kafka's format failed\n{}", format.log_tail(20));
        KafkaNode { process: std::sync::Mutex::default(), port: ports[index].0, scratch }
    }

    pub(super) fn launch(&self) {
        let file = self.scratch.path().join("server.properties").display().to_string();
        let process = java("kafka.Kafka", &[file], &self.scratch.path().join("kafka.log"));
        *self.lock() = Some(process);
    }

    pub(super) fn is_running(&self) -> bool {
        self.lock().as_ref().is_some_and(Process::is_running)
    }

    /// It was sent SIGSTOP.
    pub(super) fn is_frozen(&self) -> bool {
        self.lock().as_ref().is_some_and(Process::is_frozen)
    }

    pub(super) fn stop(&self) {
        let process = self.lock().take().expect("the broker runs");
        process.signal(super::process::Signal::TERM);
        assert!(process.wait_exit(START).is_some(), "Kafka does not stop\n{}", process.log_tail(40));
    }

    pub(super) fn kill(&self) {
        drop(self.lock().take());
    }

    pub(super) fn log_tail(&self) -> String {
        self.lock().as_ref().map(|p| p.log_tail(40)).unwrap_or_default()
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
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
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
",
        id = index + 1,
        voters = voters.join(","),
        data = data.display()
    )
}

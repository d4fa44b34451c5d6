//! One node as a child process.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::deps_dir;
use super::super::ports::free_port;
use super::super::process::{Process, Signal};
use super::super::scratch::Scratch;
use super::START;

/// Where a node is, and what it is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodePorts {
    pub id: i32,
    pub broker: u16,
    pub controller: u16,
}

/// The process behind our own broker. The process comes first: it must end before its data goes.
#[derive(Debug)]
pub(super) struct Node {
    process: std::sync::Mutex<Option<Process>>,
    pub port: u16,
    pub scratch: Scratch,
}

impl Node {
    /// A new storage directory, formatted for a single node on free ports.
    pub fn format(settings: &dyn Fn(u16, u16) -> String) -> Node {
        let ports = NodePorts { id: 1, broker: free_port(), controller: free_port() };
        Node::format_as(ports, &[ports], &settings(ports.broker, ports.controller))
    }

    /// One of several nodes; `all` are the cluster's.
    pub fn format_as(ports: NodePorts, all: &[NodePorts], settings: &str) -> Node {
        let scratch = Scratch::new("kafka");
        let port = ports.broker;
        // Of two lines with one key Java reads the last one.
        let properties = server_properties(ports, all, &scratch.dir("data")) + settings;
        let file = scratch.path().join("server.properties");
        fs::write(&file, properties).expect("server.properties");
        let log = scratch.path().join("format.log");
        let args = ["format", "-t", "ftp-pooler-test-node-AA", "-c"].map(str::to_owned);
        let args = [&args[..], &[file.display().to_string()]].concat();
        let format = java("kafka.tools.StorageTool", &args, &log);
        let status = format.wait_exit(START);
        assert!(status.is_some_and(|s| s.success()), "Kafka's format failed\n{}", format.log_tail(20));
        Node { process: std::sync::Mutex::default(), port, scratch }
    }

    pub fn launch(&self) {
        let file = self.scratch.path().join("server.properties").display().to_string();
        let process = java("kafka.Kafka", &[file], &self.scratch.path().join("kafka.log"));
        *self.lock() = Some(process);
    }

    pub fn is_running(&self) -> bool {
        self.lock().as_ref().is_some_and(Process::is_running)
    }

    pub fn stop(&self) {
        let process = self.lock().take().expect("the broker runs");
        process.signal(Signal::TERM);
        assert!(process.wait_exit(START).is_some(), "Kafka does not stop\n{}", process.log_tail(40));
    }

    pub fn kill(&self) {
        drop(self.lock().take());
    }

    pub fn log_tail(&self) -> String {
        self.lock().as_ref().map(|p| p.log_tail(40)).unwrap_or_default()
    }

    pub fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
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
/// first commit, and the first transaction, take seconds.
fn server_properties(ports: NodePorts, all: &[NodePorts], data: &Path) -> String {
    let NodePorts { id, broker, controller } = ports;
    let voters: Vec<String> =
        all.iter().map(|node| format!("{}@127.0.0.1:{}", node.id, node.controller)).collect();
    let (replicas, in_sync) = (all.len().min(3), if all.len() >= 3 { 2 } else { 1 });
    format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
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
        voters = voters.join(","),
        data = data.display()
    )
}

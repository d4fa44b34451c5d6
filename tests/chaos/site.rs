//! The broker, the FTP servers and the directories of a run.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::audit::{Files, is_temp};
use crate::events::{HEARTBEAT, SESSION};
use crate::plan::{CONNECTIONS, PARTITIONS, Plan, Side};
use crate::support::far_network::FarNetwork;
use crate::support::files::list;
use crate::support::gate::Gate;
use crate::support::kafka::{Kafka, Topics};
use crate::support::pod::PodConfig;
use crate::support::scratch::Scratch;
use crate::support::tunnel::Relay;
use crate::support::vsftpd::{Host, Vsftpd};

/// What the server of `narrow` grants over all pods: some are turned away with 421.
const NARROW: &str = "10";
/// Sessions with the first server over all pods, where it is reached directly and pods have transactions: counted at its
/// door. Nobody is frozen for as long as a lease, so there is no exception to it.
pub const TOTAL: usize = 6;
/// Sessions of one pod with one connection: enough to keep a small machine busy.
const SESSIONS: usize = 4;
/// The names of the servers in a network of the pods' own.
const NAMES: [&str; 3] = ["left.test", "right.test", "narrow.test"];
/// How often directories are looked at for temp files: a run is to end soon after its last answer.
const SWEEP: &str = "2s";

/// Everything that is not a pod.
pub struct Site {
    pub kafka: Kafka,
    pub topics: Topics,
    /// In the order of [`CONNECTIONS`]: quick, slow, and slow with little room.
    pub servers: [Vsftpd; 3],
    /// Where the pods are, if not here.
    pub network: Option<FarNetwork>,
    /// At the first server's door, if it is reached directly.
    pub gate: Option<Gate>,
    /// The way to the first server, if it is reached through one.
    pub tunnel: Option<Relay>,
    /// `group.protocol`.
    pub protocol: String,
    scratch: Scratch,
}

impl Site {
    /// Starts the servers, makes the topics and lays the plan's files out. `server_rate` is in bytes a second, for
    /// each transfer with one of the slower servers.
    ///
    /// # Panics
    /// Where there is to be a network of the pods' own, and it cannot be laid.
    pub fn new(plan: &Plan, server_rate: usize, brokers: usize, network: bool) -> Site {
        let network = network.then(|| FarNetwork::lay().unwrap_or_else(|why| panic!("no network: {why}")));
        let host = |index: u8| network.as_ref().map_or(Ipv4Addr::LOCALHOST, |network| network.near(index));
        let kafka = Kafka::cluster(brokers, host(0));
        let topics = kafka.topics("chaos", PARTITIONS);
        let rate = server_rate.to_string();
        let server = |index: u8, settings: &[(&str, &str)]| {
            Vsftpd::at(&Host { address: host(index), enter: Vec::new() }, settings)
        };
        let servers = [
            server(1, &[]),
            server(2, &[("anon_max_rate", &rate)]),
            server(3, &[("anon_max_rate", &rate), ("max_clients", NARROW)]),
        ];
        if let Some(network) = &network {
            // One address; a dead one first; IPv6 first, where nobody is.
            network.name(NAMES[0], &[host(1).into()]);
            network.name(NAMES[1], &[network.nobody().into(), host(2).into()]);
            network.name(NAMES[2], &[FarNetwork::nobody6().into(), host(3).into()]);
        }
        let scratch = Scratch::new("chaos");
        scratch.dir("base");
        let (protocol, tunnel) = ("classic".to_owned(), None);
        let gate = network.is_none().then(|| Gate::before(servers[0].addr(), &[]));
        let site = Site { kafka, topics, servers, network, gate, tunnel, protocol, scratch };
        for side in site.sides() {
            for source in &plan.sources {
                put(&site.root(side).join(&source.path), &source.content);
            }
        }
        for task in &plan.tasks {
            if let Some(before) = task.before {
                put(&site.path_of(task.destination.0, &task.destination.1), before);
            }
        }
        site
    }

    pub fn pod_config(&self, pod: &str, delivery: &str) -> PodConfig {
        let properties = match &*self.protocol {
            "consumer" => json!({ "group.protocol": "consumer" }), // its times are the brokers' to set
            _ => json!({
                "session.timeout.ms": SESSION.as_millis().to_string(),
                "heartbeat.interval.ms": HEARTBEAT.as_millis().to_string(),
            }),
        };
        let config = PodConfig::new(&self.kafka, &self.topics)
            .local("local", &self.root(Side::Local))
            .set("pod.name", json!(pod))
            .set("kafka.delivery", json!(delivery))
            .set("kafka.properties", properties)
            .set("pool.max_sessions_per_connection", json!(SESSIONS))
            .set("sweep.every", json!(SWEEP));
        let connections = CONNECTIONS.iter().zip(&self.servers);
        if let Some(tunnel) = &self.tunnel {
            let (way, first) = (tunnel.tunnel(), tunnel.connection());
            let config = config.set("tunnels.frpc", json!(Relay::frpc().display().to_string()));
            let config = section(section(config, "plant", &way), CONNECTIONS[0], &first);
            return connections
                .skip(1)
                .fold(config, |config, (name, server)| config.ftp(name, server.addr(), &[]));
        }
        if let (Some(gate), "exactly_once") = (&self.gate, delivery) {
            let total = TOTAL.to_string();
            let config = config.ftp(CONNECTIONS[0], gate.addr(), &[("max_sessions_total", &total)]);
            return connections
                .skip(1)
                .fold(config, |config, (name, server)| config.ftp(name, server.addr(), &[]));
        }
        let Some(network) = &self.network else {
            return connections.fold(config, |config, (name, server)| config.ftp(name, server.addr(), &[]));
        };
        let config = config.set("api.host", json!(network.pods().to_string())).entering(network.enter());
        connections.zip(NAMES).fold(config, |config, ((name, server), host)| {
            config.ftp(name, server.addr(), &[("host", host), ("connect_timeout", "10s")])
        })
    }

    pub fn path_of(&self, side: Side, relative: &str) -> PathBuf {
        self.root(side).join(relative)
    }

    fn root(&self, side: Side) -> PathBuf {
        match side {
            Side::Local => self.scratch.path().join("base"),
            Side::Server(index) => self.servers[index].root().to_owned(),
        }
    }

    /// Temp files that stand now, on all sides.
    pub fn temp_files(&self) -> usize {
        let all = self.sides().into_iter().flat_map(|side| self.list(side));
        all.filter(|path| is_temp(path)).count()
    }

    /// How often the group has rebalanced, by the broker's log.
    pub fn rebalances(&self) -> usize {
        let stabilized = format!("Stabilized group {} ", self.topics.group);
        self.kafka.logs().lines().filter(|line| line.contains(&stabilized)).count()
    }

    /// Records in the input topic.
    pub fn records(&self) -> i64 {
        self.kafka.end_offsets(&self.topics.tasks).values().sum()
    }
}

impl Files for Site {
    fn read(&self, side: Side, path: &str) -> Option<Vec<u8>> {
        fs::read(self.path_of(side, path)).ok()
    }

    fn list(&self, side: Side) -> Vec<PathBuf> {
        list(&self.root(side))
    }

    fn sides(&self) -> Vec<Side> {
        [Side::Local].into_iter().chain((0..self.servers.len()).map(Side::Server)).collect()
    }
}

fn section(config: PodConfig, name: &str, lines: &[(&'static str, String)]) -> PodConfig {
    let lines: Vec<_> = lines.iter().map(|(key, value)| (*key, value.as_str())).collect();
    config.section(name, &lines)
}

fn put(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file has a directory")).expect("directories");
    fs::write(path, content).expect("a file");
}

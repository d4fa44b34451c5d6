//! Several nodes, each a broker and a controller, with as many replicas of each topic (three at most).

use std::io::{Read, Write};
use std::net::TcpStream;

use super::super::ports::free_port;
use super::super::wait::try_wait_for;
use super::node::{Node, NodePorts};
use super::{Kafka, REQUEST, START};

/// Nodes that run. Dropped, they end.
#[derive(Debug)]
pub struct KafkaCluster {
    kafka: Kafka,
    nodes: Vec<Node>,
}

impl KafkaCluster {
    /// Starts so many nodes and waits until all serve.
    ///
    /// # Panics
    /// Where they do not come up.
    pub fn start(nodes: usize) -> KafkaCluster {
        let ids = 1..=i32::try_from(nodes).expect("a few nodes");
        let ports: Vec<NodePorts> =
            ids.map(|id| NodePorts { id, broker: free_port(), controller: free_port() }).collect();
        let nodes: Vec<Node> = ports.iter().map(|node| Node::format_as(*node, &ports, "")).collect();
        nodes.iter().for_each(Node::launch);
        let bootstrap: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let replicas = i32::try_from(nodes.len().min(3)).expect("a few nodes");
        let kafka = Kafka { bootstrap: bootstrap.join(","), node: None, replicas };
        let cluster = KafkaCluster { kafka, nodes };
        let up = try_wait_for(2 * START, || cluster.serves().then_some(()));
        assert!(up.is_some(), "{}", cluster.nodes.iter().map(Node::log_tail).collect::<String>());
        cluster
    }

    /// All of it, as clients see it.
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// `host:port` of each node.
    pub fn bootstrap_servers(&self) -> Vec<&str> {
        self.kafka.bootstrap.split(',').collect()
    }

    /// Kills a node (SIGKILL), which stays dead.
    pub fn kill(&self, node: i32) {
        let at = usize::try_from(node - 1).expect("a node's id");
        self.nodes[at].kill();
    }

    /// The id of the node that coordinates a group, as a living node says.
    pub fn coordinator_of(&self, group: &str) -> Option<i32> {
        self.nodes
            .iter()
            .filter(|node| node.is_running())
            .find_map(|node| find_coordinator(node.port, group).ok())
    }

    fn serves(&self) -> bool {
        let all = i32::try_from(self.nodes.len()).unwrap_or(0);
        self.kafka.known_brokers() == all && self.coordinator_of("is-it-up").is_some()
    }
}

/// `FindCoordinator`, version 0: there is no client for it.
fn find_coordinator(port: u16, group: &str) -> std::io::Result<i32> {
    const FIND_COORDINATOR: i16 = 10;
    let length = i16::try_from(group.len()).expect("a group's name");
    let header = [&FIND_COORDINATOR.to_be_bytes()[..], &[0; 2], &[0; 4], &(-1_i16).to_be_bytes()].concat();
    let request = [&header[..], &length.to_be_bytes(), group.as_bytes()].concat();
    let mut broker = TcpStream::connect(("127.0.0.1", port))?;
    broker.set_read_timeout(Some(REQUEST))?;
    let size = u32::try_from(request.len()).expect("a short request");
    broker.write_all(&[&size.to_be_bytes()[..], &request].concat())?;
    // Size, correlation id, error code, node id; its host and port follow.
    let mut answer = [0; 4 + 4 + 2 + 4];
    broker.read_exact(&mut answer)?;
    match answer {
        [_, _, _, _, _, _, _, _, 0, 0, id @ ..] => Ok(i32::from_be_bytes(id)),
        _ => Err(std::io::ErrorKind::NotConnected.into()),
    }
}

//! What happens to a run, and in which order: follows from the seed.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// SIGKILL of a pod; one of the same name comes back soon.
    Kill,
    /// SIGKILL of a pod; one of another name takes its place.
    KillForAnother,
    /// SIGKILL of all pods at once.
    KillAll,
    /// SIGSTOP of a pod for longer than its session, then SIGCONT.
    Freeze,
    /// The same, and meanwhile a pod of the same name is started: the frozen one wakes as a zombie.
    FreezeAndReplace,
    /// SIGKILL of the broker, then a start on its data.
    KillBroker,
    /// SIGKILL of an FTP server with all its sessions, then a start.
    RestartServer,
    /// One pod more.
    Add,
    /// One pod fewer, by SIGTERM.
    Remove,
    /// Another connections.ini for a pod while it works: other settings, other limits, or a broken file.
    Reload,
    /// SIGKILL of the broker that leads a partition of the tasks; it comes back.
    KillLeader,
    /// SIGKILL of the broker that coordinates the pods' group, for longer than a session.
    KillCoordinator,
    /// SIGKILL of the broker that coordinates a pod's transactions, while it has answers to publish.
    KillTransactionCoordinator,
    /// Each broker in turn is stopped in good order and started again, when all replicas are in sync.
    RollingRestart,
    /// Two of three brokers are killed: there is no quorum, and nothing can be written, until they are back.
    TwoAway,
    /// SIGSTOP of a broker for 20 s: its partitions get other leaders, and it wakes without knowing.
    FreezeBroker,
    /// The same for 90 s.
    FreezeBrokerLong,
    /// Partitions of the tasks and answers lose a replica, and get it back elsewhere in the order.
    Reassign,
    /// Each partition's first replica leads it again.
    PreferredElection,
    /// A partition more of the tasks.
    AddPartition,
    /// No packet passes for 5 s between the pods and one host, or all.
    Blackhole5,
    Blackhole30,
    Blackhole120,
    /// What the pods send does not arrive for 10 s.
    CutOut,
    /// What is sent to the pods does not arrive for 10 s.
    CutIn,
    /// A fifth of the packets is lost for 15 s.
    Loss,
    /// A round trip takes 2 s more, for 20 s.
    Latency,
    /// The pods' connections are reset, of which the other end is not told.
    Reset,
    /// A server is restarted while no packet passes: the pods' ends of its connections stay.
    HalfOpen,
    /// The name server answers SERVFAIL for 10 s.
    NamesFail,
    /// The name server does not answer for 10 s.
    NamesSilent,
    /// SIGKILL of frps; it comes back soon.
    KillFrps,
    /// SIGKILL of the frpc beside the FTP server; it comes back soon.
    KillFarClient,
    /// SIGSTOP of frps for some seconds.
    FreezeFrps,
}

impl Event {
    /// Whether it happens to brokers of a cluster, and has to be over before the next of its kind.
    pub fn is_of_cluster(self) -> bool {
        BROKERS.contains(&self)
    }

    /// Whether it happens to the network.
    pub fn is_of_network(self) -> bool {
        NETWORK.contains(&self)
    }
}

/// What happens to three brokers.
const BROKERS: [Event; 10] = [
    Event::KillLeader,
    Event::KillCoordinator,
    Event::KillTransactionCoordinator,
    Event::RollingRestart,
    Event::TwoAway,
    Event::FreezeBroker,
    Event::FreezeBrokerLong,
    Event::Reassign,
    Event::PreferredElection,
    Event::AddPartition,
];

/// What happens to the pods meanwhile.
const PODS_OF_A_CLUSTER: [Event; 5] =
    [Event::Kill, Event::Freeze, Event::FreezeAndReplace, Event::Add, Event::Remove];

/// What happens to the network between the pods and everything else.
const NETWORK: [Event; 11] = [
    Event::Blackhole5,
    Event::Blackhole30,
    Event::Blackhole120,
    Event::CutOut,
    Event::CutIn,
    Event::Loss,
    Event::Latency,
    Event::Reset,
    Event::HalfOpen,
    Event::NamesFail,
    Event::NamesSilent,
];

/// What happens to the tunnel that leads to a server, and to pods meanwhile.
pub const TUNNEL: [Event; 7] = [
    Event::KillFrps,
    Event::KillFarClient,
    Event::FreezeFrps,
    Event::KillFrps,
    Event::RestartServer,
    Event::Kill,
    Event::Freeze,
];

/// The events of a run with this many brokers, or with a network that can be disturbed.
pub fn deck(brokers: usize, network: bool) -> Vec<Event> {
    match (network, brokers) {
        (true, _) => [&NETWORK[..], &PODS_OF_A_CLUSTER].concat(),
        (false, 2..) => [&BROKERS[..], &PODS_OF_A_CLUSTER].concat(),
        (false, _) => DECK.to_vec(),
    }
}

/// One of each; the more likely ones more than once.
const DECK: [Event; 14] = [
    Event::Kill,
    Event::Kill,
    Event::Kill,
    Event::KillForAnother,
    Event::KillAll,
    Event::Freeze,
    Event::FreezeAndReplace,
    Event::KillBroker,
    Event::RestartServer,
    Event::RestartServer,
    Event::Add,
    Event::Remove,
    Event::Reload,
    Event::Reload,
];

/// Deals events, deck after shuffled deck: within one each kind comes.
#[derive(Debug)]
pub struct Dealer {
    full: Vec<Event>,
    deck: Vec<Event>,
    dealt: usize,
}

impl Dealer {
    /// `only` are the names of the kinds that come, comma-separated; all where it is empty.
    ///
    /// # Panics
    /// Where it names none.
    pub fn new(only: &str, deck: &[Event]) -> Dealer {
        let named =
            |event: &Event| only.is_empty() || only.split(',').any(|name| name == format!("{event:?}"));
        let full: Vec<Event> = deck.iter().copied().filter(named).collect();
        assert!(!full.is_empty(), "{only:?} names no kind of event");
        Dealer { full, deck: Vec::new(), dealt: 0 }
    }

    pub fn deal(&mut self, rng: &mut StdRng) -> Event {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.full);
            self.deck.shuffle(rng);
        }
        self.dealt += 1;
        self.deck.pop().expect("a deck was just filled")
    }

    /// How many events there have been.
    pub fn dealt(&self) -> usize {
        self.dealt
    }
}

/// The pods' `session.timeout.ms`: what a dead pod held is taken over after it.
pub const SESSION: Duration = Duration::from_secs(4);
/// Their `heartbeat.interval.ms`.
pub const HEARTBEAT: Duration = Duration::from_millis(500);

/// Between two events.
pub fn gap(rng: &mut StdRng) -> Duration {
    Duration::from_millis(rng.random_range(2_000..5_000))
}

/// From a death to a new start.
pub fn absence(rng: &mut StdRng) -> Duration {
    Duration::from_millis(rng.random_range(100..3_000))
}

/// Longer than [`SESSION`]; every third time longer than a transaction may be open as well.
pub fn frozen(rng: &mut StdRng) -> Duration {
    let longest = rng.random_ratio(1, 3);
    Duration::from_millis(if longest {
        rng.random_range(11_000..17_000)
    } else {
        rng.random_range(5_000..8_000)
    })
}

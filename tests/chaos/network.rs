//! What happens to the network between the pods and the servers and brokers.

use std::net::Ipv4Addr;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::events::Event;
use crate::plan::CONNECTIONS;
use crate::site::Site;
use crate::support::far_network::{Fault, NameService};

const CUT: Duration = Duration::from_secs(10);
const LOSSY: Duration = Duration::from_secs(15);
const SLOW: Duration = Duration::from_secs(20);
const ROUND_TRIP: Duration = Duration::from_secs(2);
const RESETS: Duration = Duration::from_secs(3);

/// An event, with what was chosen for it.
pub struct NetworkEvent {
    event: Event,
    /// Whom it is about: Kafka (0), a server (1 to 3), or all of them.
    host: Option<u8>,
    server: usize,
}

impl NetworkEvent {
    pub fn choose(event: Event, rng: &mut StdRng) -> NetworkEvent {
        let hosts = u8::try_from(CONNECTIONS.len()).expect("some servers") + 1;
        let host = rng.random_range(0..=hosts);
        NetworkEvent {
            event,
            host: (host < hosts).then_some(host),
            server: rng.random_range(0..CONNECTIONS.len()),
        }
    }

    /// Whom it is about.
    pub fn about(&self) -> String {
        match self.event {
            Event::HalfOpen => CONNECTIONS[self.server].to_owned(),
            Event::Latency | Event::NamesFail | Event::NamesSilent => String::new(),
            _ => match self.host.map(usize::from) {
                None => "everything".to_owned(),
                Some(0) => "Kafka".to_owned(),
                Some(server) => CONNECTIONS[server - 1].to_owned(),
            },
        }
    }

    /// Lets it happen; returns when it is over.
    ///
    /// # Panics
    /// Where the pods have no network of their own.
    pub fn happen(&self, site: &Site) {
        let network = site.network.as_ref().expect("a network of the pods' own");
        let at = self.host.map(|host| network.near(host));
        let for_a_while = |fault: Fault, at: Option<Ipv4Addr>, span: Duration| {
            network.fault(fault, at);
            std::thread::sleep(span);
            network.heal();
        };
        match self.event {
            Event::Blackhole5 => for_a_while(Fault::Blackhole, at, Duration::from_secs(5)),
            Event::Blackhole30 => for_a_while(Fault::Blackhole, at, Duration::from_secs(30)),
            Event::Blackhole120 => for_a_while(Fault::Blackhole, at, Duration::from_secs(120)),
            Event::CutOut => for_a_while(Fault::CutOut, at, CUT),
            Event::CutIn => for_a_while(Fault::CutIn, at, CUT),
            Event::Loss => for_a_while(Fault::Loss, at, LOSSY),
            Event::Reset => for_a_while(Fault::Reset, at, RESETS),
            Event::Latency => {
                network.delay(ROUND_TRIP);
                std::thread::sleep(SLOW);
                network.delay(Duration::ZERO);
            }
            Event::HalfOpen => {
                let at = network.near(u8::try_from(self.server + 1).expect("a server's number"));
                network.fault(Fault::Blackhole, Some(at));
                site.servers[self.server].kill();
                site.servers[self.server].restart();
                network.heal();
            }
            Event::NamesFail | Event::NamesSilent => {
                let silent = self.event == Event::NamesSilent;
                network.name_service(if silent { NameService::Silent } else { NameService::Fails });
                std::thread::sleep(CUT);
                network.name_service(NameService::Answers);
            }
            _ => unreachable!("{:?} is nothing that happens to a network", self.event),
        }
    }
}

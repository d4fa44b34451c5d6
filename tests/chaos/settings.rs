//! What `make chaos TASKS=… PODS=… SEED=…` says, as environment variables.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::events::{self, Event};

/// Tasks arrive over this long at least, so that each kind of event meets work under way.
const SHORTEST_FEED: Duration = Duration::from_secs(40);
/// More than a small machine does: a long run has its backlog in front of it.
const FEED_PER_SECOND: usize = 1_000;
/// Slower than this, all events included, is a failure: the run must end.
const SLOWEST_PER_SECOND: usize = 25;
const MARGIN: Duration = Duration::from_secs(180);
/// What happens to a cluster or a network, on the average: of all kinds, and of those that are over soon.
const LONG_EVENT: Duration = Duration::from_secs(25);
const SHORT_EVENT: Duration = Duration::from_secs(8);
const CLUSTER_EVENT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Settings {
    pub tasks: usize,
    pub pods: usize,
    /// 1, or 3 with a replica of everything at each.
    pub brokers: usize,
    /// The pods are in a network of their own, which is disturbed.
    pub network: bool,
    /// One of the servers is reached through a tunnel, whose parts are killed.
    pub tunnel: bool,
    pub seed: u64,
    pub delivery: String,
    /// `group.protocol`: `consumer` is KIP-848's.
    pub protocol: String,
    /// The kinds of events that happen, comma-separated; all where it is empty.
    pub only: String,
    /// A killed broker stays away this much longer than it has to.
    pub broker_away: Duration,
    /// Tasks with `overwrite: false` and a destination that is not there, too.
    pub redo: bool,
    /// The file that gets a row with the figures.
    pub report: Option<PathBuf>,
}

impl Settings {
    /// `FTP_POOLER_CHAOS_TASKS`, `_PODS`, `_BROKERS` (1, or 3), `_NET` (`1`), `_TUNNEL` (`1`), `_SEED`, `_DELIVERY` (`exactly_once`), `_PROTOCOL` (`classic`), `_ONLY`
    /// (`Kill,KillBroker`), `_BROKER_AWAY` (seconds), `_REDO` (`1`, or `0`), `_REPORT`
    /// (a file):
    /// the short run where nothing is set, with a seed of its own.
    pub fn from_environment() -> Settings {
        Settings {
            tasks: variable("TASKS").unwrap_or(3_000),
            pods: variable("PODS").unwrap_or(3),
            brokers: variable("BROKERS").unwrap_or(1),
            network: variable::<u8>("NET") == Some(1),
            tunnel: variable::<u8>("TUNNEL") == Some(1),
            seed: variable("SEED").unwrap_or_else(|| rand::random::<u32>().into()),
            delivery: variable("DELIVERY").unwrap_or_else(|| "exactly_once".to_owned()),
            protocol: variable("PROTOCOL").unwrap_or_else(|| "classic".to_owned()),
            only: variable("ONLY").unwrap_or_default(),
            broker_away: Duration::from_secs(variable("BROKER_AWAY").unwrap_or(0)),
            redo: variable::<u8>("REDO") != Some(0),
            report: variable("REPORT"),
        }
    }

    /// How long the tasks take to arrive.
    pub fn feed(&self) -> Duration {
        // One event after the other takes longer, and each is to meet work.
        let each = match (self.is_one_by_one(), self.only.is_empty()) {
            (false, _) => Duration::ZERO,
            (true, true) => LONG_EVENT,
            (true, false) => SHORT_EVENT,
        };
        let events = each * self.events_at_least() as u32;
        SHORTEST_FEED.max(events).max(Duration::from_secs((self.tasks / FEED_PER_SECOND) as u64))
    }

    /// Bytes a second that two of the servers grant a transfer: so few that the tasks last about as long as their
    /// feed, and whoever is killed has transfers in flight.
    pub fn server_rate(&self) -> usize {
        (self.tasks * 3).max(200_000)
    }

    /// The short run on three brokers, with those events that are over soon.
    pub fn three_brokers() -> Settings {
        let only = "KillLeader,KillCoordinator,KillTransactionCoordinator,FreezeBroker,Reassign,PreferredElection,\
                    AddPartition";
        Settings { tasks: 1_500, pods: 2, brokers: 3, only: only.to_owned(), ..Settings::from_environment() }
    }

    /// The short run in a network that is disturbed, with those events that are over soon.
    pub fn network() -> Settings {
        let only = "Blackhole5,CutOut,Reset,HalfOpen";
        Settings {
            tasks: 1_000,
            pods: 2,
            network: true,
            only: only.to_owned(),
            ..Settings::from_environment()
        }
    }

    /// The short run with a tunnel.
    pub fn tunnel() -> Settings {
        Settings { tasks: 1_000, pods: 2, tunnel: true, ..Settings::from_environment() }
    }

    /// One event after the other, so that a gap without answers has one cause.
    pub fn is_one_by_one(&self) -> bool {
        self.brokers > 1 || self.network
    }

    /// What may happen.
    pub fn deck(&self) -> Vec<Event> {
        if self.tunnel { events::TUNNEL.to_vec() } else { events::deck(self.brokers, self.network) }
    }

    /// Each kind of event comes.
    pub fn events_at_least(&self) -> usize {
        let deck = self.deck();
        if self.only.is_empty() { deck.len() } else { self.only.split(',').count().min(deck.len()) }
    }

    /// A long run is disturbed until most tasks are answered, but not for ever.
    pub fn events_at_most(&self) -> usize {
        (self.tasks / 250).max(self.events_at_least())
    }

    /// By when every task must be answered.
    pub fn deadline(&self) -> Duration {
        // What happens to a cluster takes up to some minutes each.
        let cluster =
            if self.is_one_by_one() { CLUSTER_EVENT * self.events_at_most() as u32 } else { Duration::ZERO };
        self.feed() + Duration::from_secs((self.tasks / SLOWEST_PER_SECOND) as u64) + MARGIN + cluster
    }
}

/// # Panics
/// Where it is set to something that is none.
fn variable<T: FromStr>(name: &str) -> Option<T> {
    let name = format!("FTP_POOLER_CHAOS_{name}");
    let text = std::env::var(&name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} cannot be read")))
}

//! What happens to a run, and in which order: follows from the seed.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// One of each; the more likely ones more than once.
pub const DECK: [Event; 14] = [
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
    pub fn new(only: &str) -> Dealer {
        let named =
            |event: &Event| only.is_empty() || only.split(',').any(|name| name == format!("{event:?}"));
        let full: Vec<Event> = DECK.into_iter().filter(named).collect();
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

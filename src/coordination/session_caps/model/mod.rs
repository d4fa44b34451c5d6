//! A simulation of pods, a log and coordinators, in which all happens that may: reports are delayed, lost, doubled and
//! overtaken; pods are killed, frozen and added; the coordinator changes at any point, while the old one still writes; clocks
//! differ in rate; the log is compacted. Its judges know nothing of the protocol: they count sessions.

mod pod;
mod world;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use world::{Judgement, World};

/// A protocol that is wrong at one place: the judges must find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sabotage {
    #[default]
    None,
    /// A lower grant frees sessions before they are reported as closed.
    FreesBeforeClosed,
    /// A lease that is over frees sessions before its record has been read back.
    FreesWithoutReadingBack,
    /// A pod keeps its sessions whatever its lease says.
    KeepsSessionsAfterLease,
    /// A pod's lease is renewed by a report that may have been lost.
    RenewsWithoutReadingBack,
    /// A coordinator that has been replaced can still write.
    IsNotFenced,
    /// A coordinator begins before it has read the log to its end.
    BeginsBeforeTheEnd,
    /// A pod keeps its sessions as long as it wants them.
    NeverMoves,
}

impl Sabotage {
    /// It lets the total be exceeded.
    fn is_unsafe(self) -> bool {
        !matches!(self, Sabotage::None | Sabotage::NeverMoves)
    }
}

const EPISODES: u64 = 28;
const STEPS: usize = 40_000;
/// Episodes in which a sabotage must show.
const SEARCHED: u64 = 60;

fn run(seed: u64, sabotage: Sabotage) -> Result<Judgement, String> {
    let mut world = World::new(StdRng::seed_from_u64(seed), sabotage);
    world.run(STEPS).map_err(|wrong| format!("seed {seed}: {wrong}"))
}

/// All episodes, on two threads.
fn run_all(sabotage: Sabotage) -> Vec<Result<Judgement, String>> {
    std::thread::scope(|scope| {
        let half = |odd: u64| {
            scope.spawn(move || (0..EPISODES / 2).map(|n| run(2 * n + odd, sabotage)).collect::<Vec<_>>())
        };
        let halves = [half(0), half(1)];
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    })
}

#[test]
fn the_total_is_never_exceeded_every_pod_is_served_and_the_sessions_are_used() {
    let (mut busy, mut possible) = (Duration::ZERO, Duration::ZERO);
    for judged in run_all(Sabotage::None) {
        let judged = judged.unwrap();
        busy += judged.busy;
        possible += judged.possible;
    }
    let used = busy.as_secs_f64() / possible.as_secs_f64();
    assert!(used >= 0.9, "{used}");
}

#[test]
fn each_sabotage_is_found() {
    let sabotages = [
        Sabotage::FreesBeforeClosed,
        Sabotage::FreesWithoutReadingBack,
        Sabotage::KeepsSessionsAfterLease,
        Sabotage::RenewsWithoutReadingBack,
        Sabotage::IsNotFenced,
        Sabotage::BeginsBeforeTheEnd,
        Sabotage::NeverMoves,
    ];
    let finds = |sabotage| (0..SEARCHED).find_map(|seed| run(1_000 + seed, sabotage).err());
    std::thread::scope(|scope| {
        let searches: Vec<_> =
            sabotages.map(|sabotage| (sabotage, scope.spawn(move || finds(sabotage)))).into();
        for (sabotage, search) in searches {
            let found = search.join().unwrap();
            assert!(found.is_some(), "{sabotage:?} is not found");
        }
    });
}

/// Between `from` and `to` milliseconds.
fn millis(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}

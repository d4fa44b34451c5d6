//! Change of owner at any point: several members with the real [`PartitionOwnership`], a log with transactions and fencing, and
//! random sequences of all that may happen. Each owner counts on from what it has read: the committed records are
//! 1, 2, 3 … if and only if one owner's writes count at a time and no committed state is lost.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::ownership::{NextStep, PartitionOwnership};

const MEMBERS: usize = 4;
const STEPS: usize = 400;
const RUNS: u64 = 400;

/// A mistake that the model must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    None,
    /// The log is read before the predecessor is fenced.
    ReadsFirst,
    /// What is not committed is read as well.
    ReadsUncommitted,
    /// A commit without a reply is taken for one that failed, and the state is kept.
    TrustsLostReplies,
    /// It begins to work when it has read something.
    StopsReadingEarly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug, Default)]
struct Broker {
    log: Vec<(u64, Outcome)>,
    epoch: u64,
}

impl Broker {
    /// Fences the previous holder of the identity, and ends its transaction.
    fn init_transactions(&mut self) -> u64 {
        for (_, outcome) in self.log.iter_mut().filter(|(_, outcome)| *outcome == Outcome::Open) {
            *outcome = Outcome::Aborted;
        }
        self.epoch += 1;
        self.epoch
    }

    /// Up to the first open transaction, as `read_committed` has it.
    fn stable_end(&self) -> usize {
        self.log.iter().position(|(_, outcome)| *outcome == Outcome::Open).unwrap_or(self.log.len())
    }

    fn end_transaction(&mut self, epoch: u64, outcome: Outcome) -> Result<(), Refused> {
        if epoch != self.epoch {
            return Err(Refused);
        }
        for (_, open) in self.log.iter_mut().filter(|(_, outcome)| *outcome == Outcome::Open) {
            *open = outcome;
        }
        Ok(())
    }
}

/// Another producer has the identity.
#[derive(Debug)]
struct Refused;

#[derive(Debug, Default)]
struct Member {
    ownership: Option<PartitionOwnership>,
    epoch: u64,
    position: usize,
    /// What it has read: the last number.
    last: u64,
    /// The number that it has written and not committed.
    open: Option<u64>,
    has_read_early: bool,
}

impl Member {
    fn begin_anew(&mut self) {
        (self.position, self.last) = (0, 0);
        self.open = None;
        self.has_read_early = false;
    }

    fn step(&mut self, broker: &mut Broker, now: Duration, sabotage: Sabotage, rng: &mut StdRng) {
        let Some(ownership) = &mut self.ownership else { return };
        match ownership.next_step(now) {
            NextStep::Wait => {}
            NextStep::Fence => {
                if sabotage == Sabotage::ReadsFirst && !self.has_read_early {
                    self.has_read_early = true;
                    return self.read(broker, usize::MAX, sabotage);
                }
                self.epoch = broker.init_transactions();
                ownership.fenced();
                self.open = None;
            }
            NextStep::Rewind => {
                ownership.rewound();
                if self.has_read_early {
                    ownership.reached_end();
                } else {
                    (self.position, self.last) = (0, 0);
                }
            }
            NextStep::Restore => {
                let most = rng.random_range(0..6);
                self.read(broker, most, sabotage);
            }
            NextStep::Work => self.work(broker, now, sabotage, rng),
        }
    }

    fn read(&mut self, broker: &Broker, most: usize, sabotage: Sabotage) {
        let end = if sabotage == Sabotage::ReadsUncommitted { broker.log.len() } else { broker.stable_end() };
        for (number, outcome) in broker.log.iter().take(end).skip(self.position).take(most) {
            if *outcome == Outcome::Committed || sabotage == Sabotage::ReadsUncommitted {
                self.last = *number;
            }
            self.position += 1;
        }
        let is_at_end = self.position >= end || (sabotage == Sabotage::StopsReadingEarly && most > 4);
        if let Some(ownership) = self.ownership.as_mut().filter(|_| is_at_end) {
            ownership.reached_end();
        }
    }

    fn work(&mut self, broker: &mut Broker, now: Duration, sabotage: Sabotage, rng: &mut StdRng) {
        let Some(number) = self.open else {
            if self.epoch == broker.epoch {
                broker.log.push((self.last + 1, Outcome::Open));
                self.open = Some(self.last + 1);
            } else {
                self.fail(now);
            }
            return;
        };
        let what_happens = rng.random_range(0..10);
        let ended = match what_happens {
            0 => broker.end_transaction(self.epoch, Outcome::Aborted),
            _ => broker.end_transaction(self.epoch, Outcome::Committed),
        };
        self.open = None;
        match (what_happens, ended) {
            (0, Ok(())) => {}
            // The reply is lost, whatever it was.
            (1, _) if sabotage == Sabotage::TrustsLostReplies => {}
            (1, _) | (_, Err(Refused)) => self.fail(now),
            (_, Ok(())) => self.last = number,
        }
    }

    fn fail(&mut self, now: Duration) {
        self.begin_anew();
        if let Some(ownership) = &mut self.ownership {
            ownership.failed(now);
        }
    }
}

/// The pod that is assigned the partition may not know it yet, nor the one that has lost it.
fn run(seed: u64, sabotage: Sabotage) -> Result<usize, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut broker = Broker::default();
    let mut members: Vec<Member> = (0..MEMBERS).map(|_| Member::default()).collect();
    let mut assigned = 0;
    let mut now = Duration::ZERO;
    for step in 0..STEPS * 2 {
        let is_calm = step >= STEPS;
        now += Duration::from_millis(rng.random_range(0..300));
        let n = if is_calm && rng.random_ratio(1, 2) { assigned } else { rng.random_range(0..MEMBERS) };
        match rng.random_range(0..30) {
            0 if !is_calm => assigned = n,
            1..=3 if n != assigned => members[n].ownership = None, // it learns of it, late
            4..=6 if n == assigned && members[n].ownership.is_none() => {
                members[n].begin_anew();
                members[n].ownership = Some(PartitionOwnership::default());
            }
            _ if is_calm && n != assigned => members[n].ownership = None,
            _ => members[n].step(&mut broker, now, sabotage, &mut rng),
        }
    }
    let committed = broker.log.iter().filter(|(_, outcome)| *outcome == Outcome::Committed);
    let numbers: Vec<u64> = committed.map(|(number, _)| *number).collect();
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    if numbers != expected {
        return Err(format!("seed {seed}: {numbers:?}"));
    }
    Ok(numbers.len())
}

#[test]
fn one_owners_writes_count_at_a_time_and_no_committed_state_is_lost() {
    let mut committed = 0;
    for seed in 0..RUNS {
        let of_run = run(seed, Sabotage::None).unwrap();
        assert!(of_run > 0, "seed {seed}: the last owner never came to work");
        committed += of_run;
    }
    assert!(committed > 50 * usize::try_from(RUNS).unwrap(), "{committed}");
}

#[test]
fn each_sabotage_is_found() {
    for sabotage in [
        Sabotage::ReadsFirst,
        Sabotage::ReadsUncommitted,
        Sabotage::TrustsLostReplies,
        Sabotage::StopsReadingEarly,
    ] {
        assert!((0..RUNS).any(|seed| run(seed, sabotage).is_err()), "{sabotage:?} is not found");
    }
}

//! The log, what happens to pods and coordinators, and the judges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::super::coordinator::Coordinator;
use super::super::message::CapRecord;
use super::pod::{Clock, Pod};
use super::{Sabotage, millis};

const MAX_PODS: usize = 7;
/// The last part of an episode is calm: no pod dies, freezes or loses messages.
const CALM_AFTER_PERCENT: usize = 55;
/// The same where demand is steady from then on: what must move must have the time to.
const STEADY_AFTER_PERCENT: usize = 10;
/// After this time of calm the judges of service and use begin.
const SETTLED_AFTER: Duration = Duration::from_secs(100);
/// A pod that wants a session has one within this time: a quantum for each pod before it, a file, and messages.
const TURN: Duration = Duration::from_secs(30);
/// Records that are never compacted.
const TAIL: u64 = 500;

/// A compacted topic with one partition.
#[derive(Debug, Default)]
pub(super) struct Log {
    records: BTreeMap<u64, CapRecord>,
    end: u64,
}

impl Log {
    pub fn from(&self, offset: u64) -> impl Iterator<Item = (u64, &CapRecord)> {
        self.records.range(offset..).map(|(offset, record)| (*offset, record))
    }

    fn append(&mut self, record: CapRecord) {
        self.records.insert(self.end, record);
        self.end += 1;
    }

    /// Keeps the last record of each key.
    fn compact(&mut self) {
        let clean = self.end.saturating_sub(TAIL);
        let last: BTreeMap<String, u64> =
            self.records.iter().map(|(offset, record)| (record.key(), *offset)).collect();
        let last: BTreeSet<u64> = last.into_values().collect();
        self.records.retain(|offset, _| *offset >= clean || last.contains(offset));
    }
}

/// The pod that owns the partition, or believes that it does.
#[derive(Debug)]
struct Owner {
    coordinator: Coordinator,
    clock: Clock,
    epoch: u64,
    position: u64,
    /// Where the log ended when this one had fenced its predecessor.
    restores_to: Option<u64>,
    frozen_until: Duration,
    /// Written, and not committed yet.
    open: Option<(Duration, Vec<CapRecord>)>,
}

/// What the episode's calm part showed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Judgement {
    pub busy: Duration,
    pub possible: Duration,
}

#[derive(Debug)]
pub(super) struct World {
    rng: StdRng,
    sabotage: Sabotage,
    total: usize,
    now: Duration,
    log: Log,
    sent: Vec<(Duration, CapRecord)>,
    pods: Vec<Pod>,
    created: usize,
    owners: Vec<Owner>,
    epoch: u64,
    calm_since: Option<Duration>,
    /// It is calm from early on, and each pod wants what it wants: sessions move for the others' sake alone.
    is_steady: bool,
    judged: Judgement,
}

impl World {
    pub fn new(mut rng: StdRng, sabotage: Sabotage) -> Self {
        let total = if sabotage == Sabotage::NeverMoves { 1 } else { rng.random_range(1..=8) };
        let is_steady =
            sabotage == Sabotage::NeverMoves || (sabotage == Sabotage::None && rng.random_ratio(1, 4));
        let mut world = World {
            rng,
            sabotage,
            total,
            now: Duration::ZERO,
            log: Log::default(),
            sent: Vec::new(),
            pods: Vec::new(),
            created: 0,
            owners: Vec::new(),
            epoch: 0,
            calm_since: None,
            is_steady,
            judged: Judgement::default(),
        };
        for _ in 0..world.rng.random_range(1..=4) {
            world.add_pod();
        }
        world.change_owner();
        world
    }

    pub fn run(&mut self, steps: usize) -> Result<Judgement, String> {
        for step in 0..steps {
            let passed = millis(&mut self.rng, 0, 16);
            self.now += passed;
            let calm_after = if self.is_steady { STEADY_AFTER_PERCENT } else { CALM_AFTER_PERCENT };
            if self.calm_since.is_none() && step * 100 > steps * calm_after {
                if self.sabotage.is_unsafe() {
                    break; // its judge has had its chances
                }
                self.become_calm();
            }
            if self.calm_since.is_none() {
                self.something_happens();
            }
            let may_change = !(self.is_steady && self.calm_since.is_some());
            if may_change && self.rng.random_ratio(1, 300) {
                self.change_demand();
            }
            self.deliver();
            self.somebody_steps();
            self.judge(passed)?;
            if step % 1_000 == 0 {
                self.log.compact();
            }
        }
        Ok(self.judged)
    }

    fn add_pod(&mut self) {
        if self.pods.len() < MAX_PODS {
            self.created += 1;
            self.pods.push(Pod::new(self.created, self.log.end, self.sabotage, &mut self.rng));
        }
    }

    fn change_demand(&mut self) {
        let n = self.rng.random_range(0..self.pods.len());
        let demand = if self.rng.random_ratio(1, 3) { 0 } else { self.rng.random_range(1..=10) };
        if let Some(pod) = self.pods.get_mut(n) {
            pod.demand = demand;
        }
    }

    fn become_calm(&mut self) {
        self.calm_since = Some(self.now);
        for pod in &mut self.pods {
            pod.frozen_until = pod.frozen_until.map(|_| self.now);
            pod.cut_off_until = self.now;
        }
        if self.owners.is_empty() {
            self.change_owner();
        }
        for owner in &mut self.owners {
            owner.frozen_until = self.now;
        }
    }

    fn something_happens(&mut self) {
        match self.rng.random_range(0..6_000) {
            0 if self.pods.len() > 1 => {
                let n = self.rng.random_range(0..self.pods.len());
                self.pods.swap_remove(n); // its sockets are closed by its kernel
            }
            1..=3 => self.add_pod(),
            4 => {
                let (n, until) = (
                    self.rng.random_range(0..self.pods.len()),
                    self.now + millis(&mut self.rng, 100, 90_000),
                );
                if let Some(pod) = self.pods.get_mut(n) {
                    pod.frozen_until = Some(until);
                }
            }
            5 | 6 => self.change_owner(),
            10..=12 => {
                let (n, until) = (
                    self.rng.random_range(0..self.pods.len()),
                    self.now + millis(&mut self.rng, 100, 90_000),
                );
                if let Some(pod) = self.pods.get_mut(n) {
                    pod.cut_off_until = until;
                }
            }
            7..=9 => {
                let until = self.now + millis(&mut self.rng, 100, 60_000);
                if let Some(owner) = self.owners.last_mut() {
                    owner.frozen_until = until;
                }
            }
            _ => {}
        }
    }

    /// A new owner fences the old one, which may not know of it for long.
    fn change_owner(&mut self) {
        self.epoch += 1;
        let mut coordinator = Coordinator::default();
        coordinator.sabotage = self.sabotage;
        let end = self.log.end;
        let owner = Owner {
            coordinator,
            clock: Clock::random(&mut self.rng),
            epoch: self.epoch,
            position: 0,
            restores_to: Some(if self.sabotage == Sabotage::BeginsBeforeTheEnd {
                end.saturating_sub(20)
            } else {
                end
            }),
            frozen_until: Duration::ZERO,
            open: None,
        };
        self.owners.push(owner);
        if self.owners.len() > 3 {
            self.owners.remove(0);
        }
    }

    /// Messages arrive, in any order.
    fn deliver(&mut self) {
        let mut n = 0;
        while n < self.sent.len() {
            if self.sent.get(n).is_some_and(|(at, _)| *at <= self.now) {
                let (_, record) = self.sent.swap_remove(n);
                self.log.append(record);
            } else {
                n += 1;
            }
        }
    }

    fn send(&mut self, record: &CapRecord) {
        let is_calm = self.calm_since.is_some();
        let copies = match self.rng.random_range(0..40) {
            0 if !is_calm => 0,
            1 | 2 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let most = if !is_calm && self.rng.random_ratio(1, 30) { 45_000 } else { 120 };
            let at = self.now + millis(&mut self.rng, 1, most);
            self.sent.push((at, record.clone()));
        }
    }

    fn somebody_steps(&mut self) {
        let n = self.rng.random_range(0..=self.pods.len());
        let Some(pod) = self.pods.get_mut(n) else { return self.owners_step() };
        if pod.frozen_until.is_some_and(|until| until > self.now) {
            return;
        }
        let total = self.total;
        let is_cut_off = pod.cut_off_until > self.now;
        if let Some(report) = pod.step(&self.log, total, self.now, &mut self.rng).filter(|_| !is_cut_off) {
            self.send(&report);
        }
    }

    fn owners_step(&mut self) {
        let n = self.rng.random_range(0..self.owners.len().max(1));
        let (now, epoch) = (self.now, self.epoch);
        let Some(owner) = self.owners.get_mut(n) else { return };
        if owner.frozen_until > now {
            return;
        }
        if let Some((_, records)) = owner.open.take_if(|(at, _)| *at <= now) {
            if owner.epoch != epoch && self.sabotage != Sabotage::IsNotFenced {
                self.owners.remove(n); // it is fenced: its transaction is aborted, its state dropped
                return;
            }
            for record in records {
                self.log.append(record);
            }
        }
        let local = owner.clock.read(now);
        let most = if self.rng.random_ratio(1, 2) { 3 } else { usize::MAX };
        let until = owner.restores_to.unwrap_or(u64::MAX);
        for (offset, record) in
            self.log.from(owner.position).take(most).take_while(|(offset, _)| *offset < until)
        {
            owner.coordinator.read(record.clone(), local);
            owner.position = offset + 1;
        }
        if let Some(end) = owner.restores_to {
            if self.log.from(owner.position).next().is_none_or(|(offset, _)| offset >= end) {
                owner.restores_to = None;
                owner.coordinator.begin(local);
                if self.sabotage == Sabotage::BeginsBeforeTheEnd {
                    owner.position = self.log.end;
                }
            }
            return;
        }
        if owner.open.is_none() {
            let records = owner.coordinator.decide(local);
            if !records.is_empty() {
                owner.open = Some((now + millis(&mut self.rng, 1, 150), records));
            }
        }
    }

    fn judge(&mut self, passed: Duration) -> Result<(), String> {
        let open: usize = self.pods.iter().map(|pod| pod.counted(self.now)).sum();
        if open > self.total {
            return Err(format!("{open} sessions of {} are open after {:?}", self.total, self.now));
        }
        let settled = self.calm_since.filter(|since| self.now > *since + SETTLED_AFTER);
        if settled.is_none() {
            return Ok(());
        }
        let turns = number(self.pods.len().div_ceil(self.total));
        for pod in &self.pods {
            if let Some(since) = pod.without_since.filter(|since| self.now > *since + TURN * turns)
                && pod.has_none()
            {
                return Err(format!(
                    "{} has had no session since {since:?}, now it is {:?}",
                    pod.id, self.now
                ));
            }
        }
        let demand: usize = self.pods.iter().map(|pod| pod.demand).sum();
        if demand >= self.total {
            let busy: usize = self.pods.iter().map(Pod::busy).sum();
            self.judged.busy += passed * number(busy);
            self.judged.possible += passed * number(self.total);
        }
        Ok(())
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

//! Files that are written, replaced, renamed away and brought back, listings that break off, owners that die at any
//! point, and a log in which tasks and state are committed together: each version that has stopped changing becomes one
//! task, and no other does. The planner is the real one; sabotaged surroundings are detected.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::planner::{FeedFiles, FeedRules, PlannedFile, SeenAt};
use super::version::{FileVersion, PathHash};

const RUNS: u64 = 300;
const STEPS: usize = 400;
const PATHS: usize = 6;

const RULES: FeedRules =
    FeedRules { settle: Duration::from_secs(10), ignores_changes: false, remember: Duration::from_secs(20) };

/// A mistake that the model must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    None,
    /// A listing that broke off is taken for a whole one.
    BrokenIsWhole,
    /// The tasks are written before the state that says so.
    NotAtomic,
    /// A file is taken to be as old as when it arrived, not as when it was asked for.
    TrustsArrival,
    /// The next owner begins without what was committed.
    StartsEmpty,
    /// What settles is remembered across owners with another clock.
    TakesAtFirstSight,
}

/// A file as it is: each change makes another version.
#[derive(Clone, Copy, Debug)]
struct ModelFile {
    version: u64,
    since: Duration,
}

struct World {
    rng: StdRng,
    sabotage: Sabotage,
    now: Duration,
    versions: u64,
    files: BTreeMap<usize, ModelFile>,
    /// The log: the last committed version of each path.
    committed: BTreeMap<usize, u64>,
    /// Every task: path and version.
    tasks: Vec<(usize, u64)>,
    /// Since when a path was missing in every listing that could show it, for those that may be forgotten.
    gone: BTreeMap<usize, Duration>,
    may_repeat: BTreeSet<(usize, u64)>,
    owner: FeedFiles,
}

fn path(number: usize) -> String {
    format!("dir/{number}.csv")
}

fn version(number: u64) -> FileVersion {
    FileVersion::new(Some(number), None)
}

impl World {
    fn new(seed: u64, sabotage: Sabotage) -> World {
        World {
            rng: StdRng::seed_from_u64(seed),
            sabotage,
            now: Duration::from_secs(1_000),
            versions: 0,
            files: BTreeMap::new(),
            committed: BTreeMap::new(),
            tasks: Vec::new(),
            gone: BTreeMap::new(),
            may_repeat: BTreeSet::new(),
            owner: FeedFiles::default(),
        }
    }

    fn pass(&mut self, most_millis: u64) {
        self.now += Duration::from_millis(self.rng.random_range(0..=most_millis));
    }

    fn change_a_file(&mut self) {
        let number = self.rng.random_range(0..PATHS);
        if self.rng.random_ratio(1, 4) {
            if self.files.remove(&number).is_some() {
                self.gone.insert(number, self.now);
            }
        } else {
            self.versions += 1;
            self.files.insert(number, ModelFile { version: self.versions, since: self.now });
            self.back(number);
        }
    }

    /// A file that was moved away comes back as it was.
    fn bring_back(&mut self) {
        let known: Vec<(usize, u64)> =
            self.committed.iter().map(|(path, version)| (*path, *version)).collect();
        let Some(&(number, version)) = known.get(self.rng.random_range(0..PATHS)) else { return };
        if !self.files.contains_key(&number) {
            self.files.insert(number, ModelFile { version, since: self.now });
            self.back(number);
        }
    }

    /// What was gone for long may have been forgotten, and is new then.
    fn back(&mut self, number: usize) {
        let forgotten_since =
            self.gone.remove(&number).filter(|since| self.now.saturating_sub(*since) >= RULES.remember);
        if let (Some(_), Some(version)) = (forgotten_since, self.committed.get(&number)) {
            self.may_repeat.insert((number, *version));
        }
    }

    /// A listing in which time passes, and files change while it arrives; it may break off.
    fn list(&mut self, is_disturbed: bool) {
        self.owner.begin_listing();
        let not_before = self.now;
        let breaks_at =
            if is_disturbed && self.rng.random_ratio(1, 3) { self.rng.random_range(0..PATHS) } else { PATHS };
        // The server reads its directory, and the lines arrive later.
        let snapshot = self.files.clone();
        for number in 0..breaks_at {
            if is_disturbed && self.rng.random_ratio(1, 8) {
                self.pass(9_000);
                self.change_a_file();
            }
            let Some(file) = snapshot.get(&number) else { continue };
            let not_before = if self.sabotage == Sabotage::TrustsArrival { self.now } else { not_before };
            let rules = match self.sabotage {
                Sabotage::TakesAtFirstSight => FeedRules { settle: Duration::ZERO, ..RULES },
                _ => RULES,
            };
            let seen = SeenAt { not_before, now: self.now };
            self.owner.observe(&path(number), version(file.version), seen, rules);
        }
        let is_whole = breaks_at == PATHS || self.sabotage == Sabotage::BrokenIsWhole;
        self.owner.end_listing(is_whole, self.now, RULES);
        // A task is of a version that had settled when it was last seen.
        let planned = self.owner.take_planned(usize::MAX);
        let forgotten = self.owner.take_forgotten(usize::MAX);
        for file in &planned {
            let number = number_of(file);
            let seen =
                snapshot.get(&number).map(|file| (file.version, not_before.saturating_sub(file.since)));
            let (is_there, stood) = seen.unwrap_or_default();
            assert_eq!(Some(is_there), file.version.size(), "{file:?} is not what was listed");
            assert!(stood >= RULES.settle, "{file:?} has stood still for {stood:?} only");
        }
        self.commit(&planned, &forgotten, is_disturbed);
    }

    fn commit(&mut self, planned: &[PlannedFile], forgotten: &[PathHash], is_disturbed: bool) {
        let dies_before = is_disturbed && self.rng.random_ratio(1, 6);
        if dies_before && self.sabotage != Sabotage::NotAtomic {
            return self.change_owner();
        }
        for file in planned {
            let number = number_of(file);
            let version = file.version.size().unwrap_or_default();
            let is_repeated =
                self.committed.get(&number) == Some(&version) || self.tasks.contains(&(number, version));
            let may_be = self.may_repeat.remove(&(number, version));
            // Another version may have been taken in between; then the older one has come back.
            let came_back = self
                .tasks
                .iter()
                .rev()
                .find(|(path, _)| *path == number)
                .is_some_and(|(_, last)| *last != version);
            assert!(!is_repeated || may_be || came_back, "{number} version {version} is a task twice");
            self.tasks.push((number, version));
            if !dies_before {
                self.committed.insert(number, version);
            }
        }
        if dies_before {
            return self.change_owner();
        }
        for hash in forgotten {
            let number = (0..PATHS).find(|number| PathHash::of(&path(*number)) == *hash).unwrap();
            self.committed.remove(&number);
        }
        if is_disturbed && self.rng.random_ratio(1, 6) {
            return self.change_owner(); // committed, and the owner has not learned it
        }
        self.owner.committed(planned, forgotten);
    }

    fn change_owner(&mut self) {
        self.owner = FeedFiles::default();
        if self.sabotage == Sabotage::StartsEmpty {
            return;
        }
        for (number, last) in &self.committed {
            self.owner.restore(PathHash::of(&path(*number)), version(*last));
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.pass(4_000);
            match self.rng.random_range(0..10) {
                0..=2 => self.change_a_file(),
                3 => self.bring_back(),
                4 => self.change_owner(),
                _ => self.list(true),
            }
        }
        // Quiet: every file present has become a task.
        for _ in 0..4 {
            self.now += RULES.settle;
            self.list(false);
        }
        for (number, file) in &self.files {
            assert!(self.tasks.contains(&(*number, file.version)), "{number} {file:?} never became a task");
        }
    }
}

fn number_of(file: &PlannedFile) -> usize {
    (0..PATHS).find(|number| path(*number) == file.path).unwrap()
}

fn finds(sabotage: Sabotage) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..RUNS).any(|seed| std::panic::catch_unwind(|| World::new(seed, sabotage).run()).is_err());
    std::panic::set_hook(hook);
    found
}

#[test]
fn each_version_that_stood_still_becomes_one_task_whatever_dies() {
    for seed in 0..RUNS {
        let mut world = World::new(seed, Sabotage::None);
        world.run();
    }
}

#[test]
fn each_sabotage_is_found() {
    for sabotage in [
        Sabotage::BrokenIsWhole,
        Sabotage::NotAtomic,
        Sabotage::TrustsArrival,
        Sabotage::StartsEmpty,
        Sabotage::TakesAtFirstSight,
    ] {
        assert!(finds(sabotage), "{sabotage:?}");
    }
}

//! Feeds make the tasks: files are written, replaced, renamed and deleted in the directories of two feeds, one each way, while pods
//! and the broker die. A log of the writer's own, which knows nothing of feeds, says for how long each state of each file
//! stood; then the answers are audited: each version that stood still long enough was moved once, and no other. All pods
//! together have a total of sessions with the server, which is counted at its door.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::support::client::Answers;
use crate::support::gate::Gate;
use crate::support::kafka::{Kafka, Topics};
use crate::support::pod::{Pod, PodConfig};
use crate::support::process::Signal;
use crate::support::scratch::Scratch;
use crate::support::vsftpd::Vsftpd;

const PODS: usize = 3;
/// Sessions with the server over all pods. Nobody is frozen for as long as a lease, so there is no exception to it.
const TOTAL: usize = 4;
/// What the feeds wait for.
const SETTLE: Duration = Duration::from_secs(1);
/// A state that stood for almost as long may have been seen twice.
const NEARLY: Duration = Duration::from_millis(950);
/// Between two steps of the writer.
const STEP: Duration = Duration::from_millis(10);
/// Slow writers at once, and the pause between their chunks.
const WRITERS: usize = 8;
const CHUNK_EVERY: Duration = Duration::from_millis(300);
/// After the last file, with all that was killed.
const QUIET_WITHIN: Duration = Duration::from_secs(300);
const EXIT: Duration = Duration::from_secs(60);

/// What happens to a pod, or to the broker.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    KillBroker,
    /// For longer than a session of the group, and not as long as a lease.
    FreezePod,
    StopPod,
    KillPod,
}

const DISTURBANCES: [Disturbance; 6] = [
    Disturbance::KillBroker,
    Disturbance::KillBroker,
    Disturbance::FreezePod,
    Disturbance::StopPod,
    Disturbance::KillPod,
    Disturbance::KillPod,
];

/// What the run is given.
#[derive(Debug)]
pub struct FeedRun {
    pub versions: usize,
    pub seed: u64,
}

/// One state of one file: its size tells it from every other one of the run.
#[derive(Clone, Copy, Debug)]
struct State {
    size: u64,
    since: Instant,
    until: Option<Instant>,
}

/// A file that is written chunk by chunk.
struct Growing {
    path: String,
    chunks: usize,
    next: Instant,
}

/// Writes files, and keeps a log of every state of each.
struct Writer {
    rng: StdRng,
    /// Directories of the two feeds, by what their answers call them.
    roots: BTreeMap<&'static str, PathBuf>,
    beside: PathBuf,
    log: BTreeMap<String, Vec<State>>,
    growing: Vec<Growing>,
    /// Whole files that may be replaced once their version is answered.
    standing: Vec<String>,
    sizes: u64,
    files: usize,
    versions: usize,
}

impl Writer {
    fn file(&self, path: &str) -> PathBuf {
        let (feed, name) = path.split_once('/').unwrap();
        self.roots[feed].join(name)
    }

    fn next_size(&mut self) -> u64 {
        self.sizes += 1;
        100 + self.sizes
    }

    /// The file is like this since a moment that was before the change.
    fn begins(&mut self, path: &str, size: u64, since: Instant) {
        self.log.entry(path.to_owned()).or_default().push(State { size, since, until: None });
    }

    /// What the file was has ended before now.
    fn ends(&mut self, path: &str) {
        if let Some(last) = self.log.get_mut(path).and_then(|states| states.last_mut()) {
            last.until.get_or_insert(Instant::now());
        }
    }

    /// A whole file by rename: it appears at once.
    fn put(&mut self, path: &str) {
        let size = self.next_size();
        fs::write(&self.beside, vec![b'x'; size as usize]).unwrap();
        let (target, since) = (self.file(path), Instant::now());
        fs::rename(&self.beside, &target).unwrap();
        self.ends(path);
        self.begins(path, size, since);
        self.versions += 1;
    }

    fn new_path(&mut self) -> String {
        self.files += 1;
        let feed = if self.rng.random_ratio(1, 2) { "remote" } else { "local" };
        format!("{feed}/d{}/{}", self.files % 20, self.files)
    }

    fn grow(&mut self, at: usize) {
        let path = self.growing[at].path.clone();
        let size = self.next_size();
        let file = self.file(&path);
        let mut open = fs::OpenOptions::new().append(true).create(true).open(&file).unwrap();
        let (before, since) = (open.metadata().unwrap().len(), Instant::now());
        open.write_all(&vec![b'y'; (size - before) as usize]).unwrap();
        self.ends(&path);
        self.begins(&path, size, since);
        let growing = &mut self.growing[at];
        growing.chunks -= 1;
        growing.next = Instant::now() + CHUNK_EVERY;
        if growing.chunks == 0 {
            self.growing.swap_remove(at);
            self.standing.push(path);
            self.versions += 1;
        }
    }

    /// One step: mostly new files; some are replaced at once, some once they are fetched, some renamed or deleted.
    fn step(&mut self, answered: &BTreeSet<(String, u64)>) {
        let now = Instant::now();
        if let Some(at) = self.growing.iter().position(|growing| growing.next <= now) {
            return self.grow(at);
        }
        match self.rng.random_range(0..10) {
            0 if self.growing.len() < WRITERS => {
                let path = self.new_path();
                let chunks = self.rng.random_range(2..5);
                self.growing.push(Growing { path, chunks, next: now });
            }
            1 => {
                let path = self.new_path();
                self.put(&path);
                self.put(&path); // its first version hardly stood
                self.standing.push(path);
            }
            2..=4 if !self.standing.is_empty() => self.change_one(answered),
            _ => {
                let path = self.new_path();
                self.put(&path);
                self.standing.push(path);
            }
        }
    }

    /// Replaces, renames or deletes a file whose version was moved. One that waits for its task stays.
    fn change_one(&mut self, answered: &BTreeSet<(String, u64)>) {
        let at = self.rng.random_range(0..self.standing.len());
        let path = self.standing[at].clone();
        let size = self.log[&path].last().unwrap().size;
        if !answered.contains(&(path.clone(), size)) {
            return;
        }
        match self.rng.random_range(0..4) {
            0 => {
                fs::remove_file(self.file(&path)).unwrap();
                self.ends(&path);
                self.standing.swap_remove(at);
            }
            1 => {
                let (other, since) = (format!("{path}-renamed"), Instant::now());
                fs::rename(self.file(&path), self.file(&other)).unwrap();
                self.ends(&path);
                self.begins(&other, size, since);
                self.versions += 1;
                self.standing[at] = other;
            }
            _ => self.put(&path),
        }
    }
}

/// The feed's own name for a source, `remote:out/d1/2` or `local:out/d1/2`.
fn path_of(source: &str) -> String {
    source.replacen(":out/", "/", 1)
}

fn answered_of(answers: &Answers, from: usize) -> impl Iterator<Item = (String, u64)> + '_ {
    answers.all[from..].iter().filter_map(|answer| {
        let source = answer.json["source"].as_str()?;
        Some((path_of(source), answer.json["size"].as_u64()?))
    })
}

struct Scene {
    kafka: Kafka,
    topics: Topics,
    server: Vsftpd,
    /// At the server's door.
    gate: Gate,
    base: Scratch,
    pods: Vec<Pod>,
}

impl Scene {
    fn set_up() -> Scene {
        let kafka = Kafka::start();
        let topics = kafka.topics("feeds-chaos", 6);
        let server = Vsftpd::start();
        let gate = Gate::before(server.addr(), &[]);
        let base = Scratch::new("feeds-chaos");
        for n in 0..20 {
            fs::create_dir_all(server.root().join(format!("out/d{n}"))).unwrap();
            fs::create_dir_all(base.path().join(format!("out/d{n}"))).unwrap();
        }
        let mut scene = Scene { kafka, topics, server, gate, base, pods: Vec::new() };
        let pods: Vec<Pod> = (0..PODS).map(|n| Pod::spawn(&scene.config(n))).collect();
        scene.pods = pods;
        scene
    }

    fn config(&self, pod: usize) -> PodConfig {
        let feed = |name: &str, from: &str, to: &str| json!({"name": name, "from": from, "to": to, "every": "1s", "settle": "1s", "recursive": true});
        let group = &self.topics.group;
        PodConfig::new(&self.kafka, &self.topics)
            .local("local", self.base.path())
            .ftp("remote", self.gate.addr(), &[("max_sessions_total", &TOTAL.to_string())])
            .set("kafka.feeds_topic", json!(format!("{group}-feeds")))
            .set("kafka.coordination_topic", json!(format!("{group}-sessions")))
            .set("pod.name", json!(format!("pod-{pod}")))
            .set(
                "feeds",
                json!([feed("in", "remote:out/", "local:in/"), feed("out", "local:out/", "remote:in/")]),
            )
    }

    /// Something dies, and comes back: each kind of it before one comes again.
    fn disturb(&mut self, rng: &mut StdRng, deck: &mut Vec<Disturbance>) {
        let pod = rng.random_range(0..PODS);
        if deck.is_empty() {
            deck.extend(DISTURBANCES);
            deck.shuffle(rng);
        }
        match deck.pop().unwrap_or(Disturbance::KillPod) {
            Disturbance::KillBroker => {
                eprintln!("the broker is killed");
                self.kafka.kill();
                std::thread::sleep(Duration::from_secs(2));
                self.kafka.restart();
            }
            Disturbance::FreezePod => {
                eprintln!("pod {pod} is frozen for 12 s");
                self.pods[pod].signal(Signal::STOP);
                std::thread::sleep(Duration::from_secs(12));
                self.pods[pod].signal(Signal::CONT);
            }
            Disturbance::StopPod => {
                eprintln!("pod {pod} is stopped");
                self.pods[pod].terminate(EXIT);
            }
            Disturbance::KillPod => {
                eprintln!("pod {pod} is killed");
                self.pods[pod].kill9();
            }
        }
        for n in 0..PODS {
            if !self.pods[n].is_running() {
                self.pods[n] = Pod::spawn(&self.config(n));
            }
        }
    }
}

/// Runs, and audits.
pub fn run(run: &FeedRun) {
    eprintln!("feeds: {} versions, seed {}", run.versions, run.seed);
    let mut scene = Scene::set_up();
    let roots = [("remote", scene.server.root().join("out")), ("local", scene.base.path().join("out"))];
    // on the same file system as both
    let beside = scene.base.path().join("beside");
    let mut writer = Writer {
        rng: StdRng::seed_from_u64(run.seed),
        roots: roots.into(),
        beside,
        log: BTreeMap::new(),
        growing: Vec::new(),
        standing: Vec::new(),
        sizes: 0,
        files: 0,
        versions: 0,
    };
    let mut answers = Answers::of(&scene.kafka, &scene.topics);
    let (mut answered, mut read) = (BTreeSet::new(), 0);
    let (stop, begun) = (std::sync::atomic::AtomicBool::new(false), Instant::now());
    let mut events = StdRng::seed_from_u64(run.seed + 1);
    let (mut disturbances, mut deck) = (0, Vec::new());
    std::thread::scope(|scope| {
        let disturber = scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::thread::sleep(Duration::from_secs(events.random_range(4..9)));
                scene.disturb(&mut events, &mut deck);
                disturbances += 1;
            }
        });
        while writer.versions < run.versions || !writer.growing.is_empty() || disturber.is_finished() {
            assert!(!disturber.is_finished(), "what dies has failed to come back");
            answers.poll(STEP);
            answered.extend(answered_of(&answers, read));
            read = answers.all.len();
            if writer.versions < run.versions {
                writer.step(&answered);
            } else {
                let now = Instant::now();
                let due = writer.growing.iter().position(|growing| growing.next <= now);
                if let Some(at) = due {
                    writer.grow(at);
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let written = begun.elapsed();
    let expected = wait_until_all_are_moved(&writer, &mut answers);
    for pod in &scene.pods {
        assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    }
    answers.read_to_end();
    audit(&writer, &answers);
    let sessions = scene.gate.count();
    eprintln!(
        "feeds: {expected} versions moved once each, of {} states that were written within {written:?}; {disturbances} \
         disturbances; {} sessions, {} at most at once",
        writer.sizes,
        sessions.total(),
        sessions.most()
    );
    assert!(sessions.most() <= TOTAL, "{} sessions at once, of {TOTAL}", sessions.most());
}

/// Versions that had to be moved.
fn wait_until_all_are_moved(writer: &Writer, answers: &mut Answers) -> usize {
    let must: BTreeSet<(String, u64)> = writer
        .log
        .iter()
        .flat_map(|(path, states)| {
            states.iter().filter(|state| state.until.is_none()).map(|state| (path.clone(), state.size))
        })
        .collect();
    let deadline = Instant::now() + QUIET_WITHIN;
    let (mut missing, mut read) = (must, 0);
    while !missing.is_empty() {
        for moved in answered_of(answers, read) {
            missing.remove(&moved);
        }
        read = answers.all.len();
        let some: Vec<_> = missing.iter().take(5).collect();
        assert!(Instant::now() < deadline, "{} are not moved, such as {some:?}", missing.len());
        answers.poll(Duration::from_millis(100));
    }
    // two more listings, in which nothing may be new
    let until = Instant::now() + 5 * SETTLE;
    while Instant::now() < until {
        answers.poll(Duration::from_millis(100));
    }
    writer
        .log
        .values()
        .flatten()
        .filter(|state| state.until.is_none_or(|until| until - state.since >= 2 * SETTLE))
        .count()
}

fn audit(writer: &Writer, answers: &Answers) {
    let mut moved: BTreeMap<(String, u64), usize> = BTreeMap::new();
    let mut problems = Vec::new();
    for answer in &answers.all {
        let (source, size) = (answer.json["source"].as_str(), answer.json["size"].as_u64());
        match (source, size, answer.is_completed()) {
            (Some(source), Some(size), true) => *moved.entry((path_of(source), size)).or_default() += 1,
            _ => problems.push(format!("failed: {}", answer.json)),
        }
    }
    for ((path, size), times) in &moved {
        let state = writer.log.get(path).and_then(|states| states.iter().find(|state| state.size == *size));
        let stood = state.map(|state| state.until.map_or(Duration::MAX, |until| until - state.since));
        match stood {
            None => problems.push(format!("{path}: {size} bytes were never there")),
            Some(stood) if stood < NEARLY => {
                problems.push(format!("{path}: {size} bytes stood for {stood:?} only"));
            }
            Some(_) if *times > 1 => problems.push(format!("{path}: {size} bytes were moved {times} times")),
            Some(_) => {}
        }
    }
    for (path, states) in &writer.log {
        for state in states.iter().filter(|state| state.until.is_none()) {
            if !moved.contains_key(&(path.clone(), state.size)) {
                problems.push(format!("{path}: {} bytes were never moved", state.size));
            }
        }
    }
    let shown: Vec<&String> = problems.iter().take(20).collect();
    assert!(problems.is_empty(), "{} problems: {shown:#?}", problems.len());
}

/// What `make chaos` says; else a short run.
pub fn from_environment() -> FeedRun {
    let number = |name: &str| std::env::var(format!("FTP_POOLER_CHAOS_{name}")).ok()?.parse().ok();
    FeedRun {
        versions: number("FEED_FILES").unwrap_or(150) as usize,
        seed: number("SEED").unwrap_or_else(|| rand::random::<u32>().into()),
    }
}

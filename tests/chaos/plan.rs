//! The tasks of a run, and what must come of each: all of it follows from the seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::client::{Outgoing, download, upload, with};
use crate::support::files::{DIFFICULT, content};

/// Input partitions.
pub const PARTITIONS: i32 = 12;
/// The FTP connections, one server each.
pub const CONNECTIONS: [&str; 3] = ["left", "right", "narrow"];
/// Files to take from, on each side: tasks share them, destinations are each task's own.
pub const SOURCES: usize = 200;
const LARGEST: usize = 300 * 1024;
/// Destinations in one directory.
const PER_DIRECTORY: usize = 500;

/// Where a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Local,
    /// At the server of [`CONNECTIONS`] with this index.
    Server(usize),
}

/// A file that tasks are to copy; every side has all of them.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: String,
    pub content: Vec<u8>,
}

/// What a task's one answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    Completed { source: usize },
    Failed { code: &'static str },
}

#[derive(Clone, Debug)]
pub struct Task {
    pub id: String,
    pub partition: i32,
    pub json: Value,
    pub destination: (Side, String),
    /// A file of this content lies at the destination before: to be replaced, or to be kept.
    pub before: Option<&'static [u8]>,
    pub expected: Expected,
}

impl Task {
    pub fn record(&self) -> Outgoing {
        Outgoing { partition: Some(self.partition), ..Outgoing::from(self.json.clone()) }
    }
}

#[derive(Debug)]
pub struct Plan {
    pub sources: Vec<Source>,
    pub tasks: Vec<Task>,
}

impl Plan {
    pub fn new(count: usize, seed: u64, redo: bool) -> Plan {
        let mut rng = StdRng::seed_from_u64(seed);
        let sources: Vec<Source> = (0..SOURCES).map(|i| source(&mut rng, i, seed)).collect();
        let tasks = (0..count).map(|i| task(&mut rng, i, &sources, redo)).collect();
        Plan { sources, tasks }
    }
}

fn source(rng: &mut StdRng, i: usize, seed: u64) -> Source {
    let name = DIFFICULT[i % DIFFICULT.len()];
    let path = if i < DIFFICULT.len() { format!("out/{name}") } else { format!("out/{i}/{name}") };
    // As many files of 1 to 10 bytes as of 10,000 to 100,000, and some that are empty.
    let len =
        if i.is_multiple_of(20) { 0 } else { (LARGEST as f64).powf(rng.random_range(0.0..1.0)) as usize };
    Source { path, content: content(seed.wrapping_add(i as u64), len) }
}

/// What stood at a destination before: no source's content.
const OLD: &[u8] = b"what was here before";

fn task(rng: &mut StdRng, i: usize, sources: &[Source], redo: bool) -> Task {
    let id = format!("task-{i}");
    let server = rng.random_range(0..CONNECTIONS.len());
    let is_download = rng.random_bool(0.5);
    let source = rng.random_range(0..sources.len());
    let name = DIFFICULT[rng.random_range(0..DIFFICULT.len())];
    let path = format!("in/{}/{i} {name}", i / PER_DIRECTORY);
    let mut options = json!({"retry_count": 100});
    let (mut from, mut before) = (sources[source].path.clone(), None);
    let mut expected = Expected::Completed { source };
    match rng.random_range(0..100) {
        0..3 => {
            from = format!("nowhere/{i}");
            expected = Expected::Failed { code: "source_not_found" };
        }
        3..5 => {
            options["overwrite"] = json!(false);
            before = Some(OLD);
            expected = Expected::Failed { code: "destination_exists" };
        }
        5..15 => before = Some(OLD),
        15..30 if redo => options["overwrite"] = json!(false),
        _ => {}
    }
    let (json, side) = if is_download {
        (download(&id, CONNECTIONS[server], &from, &path), Side::Local)
    } else {
        (upload(&id, &from, CONNECTIONS[server], &path), Side::Server(server))
    };
    Task {
        id,
        partition: rng.random_range(0..PARTITIONS),
        json: with(json, options),
        destination: (side, path),
        before,
        expected,
    }
}

#[test]
fn a_plan_follows_from_its_seed() {
    let text = |seed| format!("{:?}", Plan::new(500, seed, false).tasks);
    assert_eq!(text(7), text(7));
    assert_ne!(text(7), text(8));
}

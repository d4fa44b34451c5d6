//! What is sent, and what must come back.

use std::io;
use std::path::PathBuf;

use crate::files::DemoFile;
use crate::refusals::{download, refusals, upload};
use crate::site::Site;

/// The demo's connections.
pub const SERVER: &str = "demo-ftp";
pub const WRONG_PASSWORD: &str = "wrong-password";
pub const NOBODY: &str = "nobody-there";
pub const LOCAL: &str = "local";

/// Exists on both sides; no task may replace it.
pub const EXISTING: &str = "already there.txt";
/// A source on both sides.
pub const SOURCE: &str = "source.txt";
/// A symbolic link in `base_path` that leads out of it, to a directory with this file.
pub const WAY_OUT: &str = "way out";
pub const SECRET: &str = "secret.txt";

/// The two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Download,
    Upload,
}

/// A record, and its only right answer.
#[derive(Debug)]
pub struct Planned {
    /// The record's key: the `task_id`, or without one the name that its answer is found by.
    pub key: String,
    /// `None` is a tombstone.
    pub payload: Option<String>,
    pub expected: Expected,
}

#[derive(Debug)]
pub enum Expected {
    Moved { operation: Operation, file: DemoFile, from: PathBuf, to: PathBuf },
    Refused(Refusal),
}

/// A failure on purpose.
#[derive(Debug)]
pub struct Refusal {
    /// As the failure's `code` has it.
    pub code: &'static str,
    /// Whether a try starts before it is refused.
    pub is_begun: bool,
    /// Whether the record has a `task_id`.
    pub has_id: bool,
    pub why: &'static str,
}

impl Refusal {
    /// Whether the failure says that its task may succeed later: of the demo's codes, one does.
    pub fn is_retryable(&self) -> bool {
        self.code == "connect_failed"
    }
}

/// All records, in the order in which they are sent, and the files that must be as they were.
#[derive(Debug)]
pub struct Plan {
    pub records: Vec<Planned>,
    pub untouched: Vec<(PathBuf, DemoFile)>,
}

impl Plan {
    /// Three downloads to two uploads, `files` together, and the failures on purpose in between.
    pub fn new(files: usize, site: &Site) -> Plan {
        let mut records: Vec<_> = (0..files).map(|number| moved(DemoFile::new(number), site)).collect();
        let refusals = refusals();
        let distance = files / refusals.len() + 1;
        for (number, refusal) in refusals.into_iter().enumerate() {
            records.insert((number * distance).min(records.len()), refusal);
        }
        let existing = |number| DemoFile::new(files + number);
        let untouched = vec![
            (site.storage().join(EXISTING), existing(1)),
            (site.server().join(EXISTING), existing(2)),
            (site.storage().join(SOURCE), existing(3)),
            (site.server().join(SOURCE), existing(4)),
            (site.outside().join(SECRET), existing(5)),
        ];
        Plan { records, untouched }
    }

    /// Makes all files that the tasks need.
    pub fn prepare(&self, site: &Site) -> io::Result<()> {
        for planned in &self.records {
            if let Expected::Moved { file, from, .. } = &planned.expected {
                file.write(from)?;
            }
        }
        for (path, file) in &self.untouched {
            file.write(path)?;
        }
        std::os::unix::fs::symlink(site.outside(), site.storage().join(WAY_OUT))
    }

    /// Bytes of the files to be moved.
    pub fn bytes(&self) -> u64 {
        let size = |planned: &Planned| match &planned.expected {
            Expected::Moved { file, .. } => file.size() as u64,
            Expected::Refused(_) => 0,
        };
        self.records.iter().map(size).sum()
    }
}

fn moved(file: DemoFile, site: &Site) -> Planned {
    let (number, path) = (file.number(), file.path());
    if number % 5 < 3 {
        let (key, from, to) =
            (format!("download-{number:04}"), format!("outbox/{path}"), format!("incoming/{path}"));
        let payload = download(&key, SERVER, &from, &to).to_string();
        let (operation, from, to) = (Operation::Download, site.server().join(from), site.storage().join(to));
        Planned { key, payload: Some(payload), expected: Expected::Moved { operation, file, from, to } }
    } else {
        let (key, from, to) =
            (format!("upload-{number:04}"), format!("outgoing/{path}"), format!("inbox/{path}"));
        let payload = upload(&key, SERVER, &from, &to).to_string();
        let (operation, from, to) = (Operation::Upload, site.storage().join(from), site.server().join(to));
        Planned { key, payload: Some(payload), expected: Expected::Moved { operation, file, from, to } }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_record_has_a_key_of_its_own_and_both_directions_are_there() {
        let site = Site::create(None).unwrap();
        for files in [1, 10, 60, 500] {
            let plan = Plan::new(files, &site);
            assert_eq!(plan.records.len(), files + refusals().len());
            let keys: HashSet<_> = plan.records.iter().map(|planned| &planned.key).collect();
            assert_eq!(keys.len(), plan.records.len());
        }
        let plan = Plan::new(500, &site);
        let ways = |wanted| {
            let is_wanted = |planned: &&Planned| matches!(&planned.expected, Expected::Moved { operation, .. } if *operation == wanted);
            plan.records.iter().filter(is_wanted).count()
        };
        assert_eq!((ways(Operation::Download), ways(Operation::Upload)), (300, 200));
    }

    #[test]
    fn sources_are_made_and_destinations_are_not() {
        let site = Site::create(None).unwrap();
        let plan = Plan::new(40, &site);
        plan.prepare(&site).unwrap();
        for planned in &plan.records {
            if let Expected::Moved { file, from, to, .. } = &planned.expected {
                assert_eq!(file.compare(from), Ok(()));
                assert!(!to.exists());
            }
        }
        for (path, file) in &plan.untouched {
            assert_eq!(file.compare(path), Ok(()));
        }
        assert!(site.storage().join(WAY_OUT).join(SECRET).exists());
    }
}

//! The files that are moved, and whether they have arrived.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::FAR;
use crate::support::files::content;
use crate::support::scratch::unique;
use crate::support::tunnel::PASSIVE;
use crate::support::vsftpd::{Host, Vsftpd};

/// In memory: what a disk costs is not what is compared here.
const MEMORY: &str = "/dev/shm";

/// Which way, what, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub upload: bool,
    pub files: usize,
    pub kib: usize,
}

pub fn name_of(file: usize) -> String {
    format!("file-{file:04}")
}

impl Case {
    pub fn all(quick: bool) -> Vec<Case> {
        let share = if quick { 5 } else { 1 };
        let sizes = [(1_000 / share, 4), (400 / share, 300)];
        let ways = [false, true];
        sizes.iter().flat_map(|&(files, kib)| ways.map(|upload| Case { upload, files, kib })).collect()
    }

    /// The directory of the files to be moved, on either side.
    fn source(&self) -> String {
        format!("from/{}-kib", self.kib)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.upload { "upload" } else { "download" };
        write!(f, "{} × {} KiB {way}", self.files, self.kib)
    }
}

/// A server, and a directory on this side, both in memory.
#[derive(Debug)]
pub struct Ground {
    pub name: String,
    /// Where round trips take so long that they can be told from everything else.
    pub round_trip: Option<Duration>,
    server: Vsftpd,
    memory: PathBuf,
}

/// One run's directories. The destination goes with it.
#[derive(Debug)]
pub struct Places {
    case: Case,
    /// Relative to the login directory.
    pub remote: String,
    pub local: PathBuf,
    destination: PathBuf,
}

impl Ground {
    pub fn near() -> Ground {
        Ground::at("loopback".to_owned(), None, &Host::default(), &[])
    }

    pub fn far(host: &Host) -> Ground {
        Ground::at(format!("{} ms", FAR.as_millis()), Some(FAR), host, &[])
    }

    /// The far server with few passive ports, each of which can have a tunnel.
    pub fn behind_tunnels(host: &Host) -> Ground {
        let (low, high) = (PASSIVE.0.to_string(), PASSIVE.1.to_string());
        let range = [("pasv_min_port", low.as_str()), ("pasv_max_port", high.as_str())];
        Ground::at(format!("{} ms, through frp", FAR.as_millis()), Some(FAR), host, &range)
    }

    fn at(name: String, round_trip: Option<Duration>, host: &Host, more: &[(&str, &str)]) -> Ground {
        remove_leftovers();
        let memory = Path::new(MEMORY).join(format!("{}-{}", unique("ftp-pooler-bench"), std::process::id()));
        let root = memory.join("server");
        fs::create_dir_all(&root).expect("a directory in memory");
        fs::create_dir_all(memory.join("client")).expect("a directory in memory");
        // Its log of every command would be the server's heaviest work.
        let settings = [("anon_root", &*root.display().to_string()), ("log_ftp_protocol", "NO")];
        let server = Vsftpd::at(host, &[&settings[..], more].concat());
        Ground { name, round_trip, server, memory }
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The directory beneath which all local files of all runs lie.
    pub fn base(&self) -> PathBuf {
        self.memory.join("client")
    }

    /// Makes what is to be moved, where it is not there yet, and an empty destination.
    pub fn places(&self, case: &Case) -> Places {
        let (source_side, destination_side) = if case.upload {
            (self.base(), self.server.root().to_owned())
        } else {
            (self.server.root().to_owned(), self.base())
        };
        let source = source_side.join(case.source());
        fs::create_dir_all(&source).expect("a source directory");
        for file in 0..case.files {
            let path = source.join(name_of(file));
            if !path.exists() {
                fs::write(path, case_content(case, file)).expect("a file to move");
            }
        }
        let into = unique("to");
        let destination = destination_side.join(&into);
        fs::create_dir(&destination).expect("a destination");
        let (remote, local) = if case.upload { (into, source) } else { (case.source(), destination.clone()) };
        Places { case: case.clone(), remote, local, destination }
    }
}

impl Places {
    /// # Panics
    /// Where a file is missing or wrong, or anything else has been left.
    #[track_caller]
    pub fn assert_all_there(&self) {
        for file in 0..self.case.files {
            let path = self.destination.join(name_of(file));
            let found = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(found == case_content(&self.case, file), "{} is wrong", path.display());
        }
        let count = fs::read_dir(&self.destination).expect("the destination").count();
        assert_eq!(count, self.case.files, "files in the destination");
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.destination);
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.memory);
    }
}

fn case_content(case: &Case, file: usize) -> Vec<u8> {
    content(file as u64, case.kib * 1024)
}

/// What earlier runs left that were killed; a name ends with its process.
fn remove_leftovers() {
    for entry in fs::read_dir(MEMORY).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("ftp-pooler-bench-").and_then(|rest| rest.split('-').next_back());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

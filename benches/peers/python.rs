//! What many write themselves: `python/worker.py`, with aiokafka, aioftp and uvloop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::SESSIONS;
use crate::fed::{Fed, RUN, Worker};
use crate::support::deps_dir;
use crate::support::process::{Process, Signal};
use crate::support::scratch::Scratch;
use crate::support::vsftpd::{PASSWORD, USER};
use crate::support::wait::try_wait_for;

const START: Duration = Duration::from_secs(60);

/// A worker that has its assignment.
#[derive(Debug)]
pub struct Python {
    process: Process,
    _log: Scratch,
}

/// The interpreter that has its libraries, as `scripts/install-deps.sh bench` has made it.
pub fn interpreter() -> PathBuf {
    deps_dir().join("python/bin/python")
}

pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/python/worker.py")
}

/// # Panics
/// Where it does not become ready; the end of its log is in the message.
pub fn start(fed: &Fed<'_>) -> Python {
    let given = json!({
        "bootstrap": fed.kafka.bootstrap(),
        "tasks": fed.topics.tasks, "results": fed.topics.results, "group": fed.topics.group,
        "host": fed.ground.addr().ip().to_string(), "port": fed.ground.addr().port(),
        "user": USER, "password": PASSWORD,
        "base": fed.ground.base().display().to_string(),
        "sessions": SESSIONS,
    });
    let scratch = Scratch::new("python");
    let args = [script().display().to_string(), given.to_string()];
    let process = Process::start(&interpreter(), &args, &scratch.path().join("log"), |_| ());
    let ready = try_wait_for(START, || {
        let ready = process.log().lines().any(|line| line == "ready");
        (ready || !process.is_running()).then_some(ready)
    });
    assert!(ready == Some(true), "the worker in Python is not ready\n{}", process.log_tail(20));
    Python { process, _log: scratch }
}

impl Worker for Python {
    fn pid(&self) -> i32 {
        self.process.pid()
    }

    fn peak_bytes(&self) -> u64 {
        self.process.peak_rss_bytes()
    }

    fn end(self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait_exit(RUN).expect("it has ended");
        assert!(status.success(), "the worker in Python failed\n{}", self.process.log_tail(20));
    }
}

//! The product: a fresh pod.

use std::process::Command;

use serde_json::json;

use crate::SESSIONS;
use crate::fed::{Fed, RUN, Worker};
use crate::support::pod::{Pod, PodConfig, binary};
use crate::support::process::Signal;

pub fn version() -> String {
    let binary = binary();
    format!("{} ({})", crate::first_line(Command::new(&binary).arg("--version")), binary.display())
}

/// A pod that is ready.
pub fn start(fed: &Fed<'_>) -> Pod {
    let config = PodConfig::new(fed.kafka, fed.topics)
        .set("pool.max_sessions_per_connection", json!(SESSIONS))
        .ftp("remote", fed.ground.addr(), &[])
        .local("local", &fed.ground.base());
    Pod::start(&config)
}

impl Worker for Pod {
    fn pid(&self) -> i32 {
        Pod::pid(self)
    }

    fn peak_bytes(&self) -> u64 {
        self.peak_rss_bytes()
    }

    fn end(self) {
        self.signal(Signal::TERM);
        self.wait_exit(RUN);
    }
}

//! The product: a fresh pod.

use std::process::Command;

use serde_json::json;

use crate::SESSIONS;
use crate::fed::{Fed, RUN, Worker};
use crate::support::pod::{Pod, PodConfig, binary};
use crate::support::process::Signal;
use crate::support::tunnel::Relay;
use crate::support::wait::wait_until;

pub fn version() -> String {
    let binary = binary();
    format!("{} ({})", crate::first_line(Command::new(&binary).arg("--version")), binary.display())
}

/// A pod that is ready.
pub fn start(fed: &Fed<'_>) -> Pod {
    Pod::start(&bare(fed).ftp("remote", fed.ground.addr(), &[]))
}

/// A pod that is ready, and its tunnel is up.
pub fn start_through(fed: &Fed<'_>, relay: &Relay) -> Pod {
    let section = |config: PodConfig, name: &str, lines: Vec<(&'static str, String)>| {
        let lines: Vec<(&str, &str)> = lines.iter().map(|(key, value)| (*key, value.as_str())).collect();
        config.section(name, &lines)
    };
    let config = bare(fed).set("tunnels.frpc", json!(Relay::frpc().display().to_string()));
    let config = section(config, "plant", relay.tunnel());
    let pod = Pod::start(&section(config, "remote", relay.connection()));
    wait_until("the tunnel is up", RUN, || pod.metrics().get("ftp_pooler_tunnel_up{tunnel=\"plant\"}") > 0.5);
    pod
}

fn bare(fed: &Fed<'_>) -> PodConfig {
    PodConfig::new(fed.kafka, fed.topics)
        .set("pool.max_sessions_per_connection", json!(SESSIONS))
        .local("local", &fed.ground.base())
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

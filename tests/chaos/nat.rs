//! A gateway that forgets a connection which is silent: the default keepalive keeps the control connection of a long
//! transfer known to it.

use std::time::Duration;

use serde_json::json;

use crate::support::client::{Answers, download, send, with};
use crate::support::far_network::{FarNetwork, NAT_FORGETS_AFTER};
use crate::support::kafka::Kafka;
use crate::support::pod::{Pod, PodConfig};
use crate::support::scratch::Scratch;
use crate::support::vsftpd::{Host, Vsftpd};

const LONG: Duration = Duration::from_secs(240);
const BYTES_PER_SECOND: usize = 50_000;

/// # Panics
/// Where a transfer that takes longer than the gateway remembers is not done the first time.
pub fn run(network: &FarNetwork) {
    let kafka = Kafka::cluster(1, network.near(0));
    let topics = kafka.topics("nat", 1);
    let rate = BYTES_PER_SECOND.to_string();
    let host = Host { address: network.near(1), enter: Vec::new() };
    let server = Vsftpd::at(&host, &[("anon_max_rate", &rate)]);
    let seconds = NAT_FORGETS_AFTER.as_secs() as usize * 3 / 2;
    server.put("long", &vec![b'x'; BYTES_PER_SECOND * seconds]);
    let base = Scratch::new("nat");
    let silent = [("keepalive", "0s"), ("reply_timeout", "5s")];
    let config = PodConfig::new(&kafka, &topics)
        .set("api.host", json!(network.pods().to_string()))
        .entering(network.enter())
        .local("local", base.path())
        .ftp("default", server.addr(), &[("reply_timeout", "5s")])
        .ftp("silent", server.addr(), &silent);
    let pod = Pod::start(&config);
    let task = |connection: &str| {
        let task = download(connection, connection, "long", &format!("of-{connection}"));
        with(task, json!({"retry_count": 0, "defer": false}))
    };
    send(&kafka, &topics.tasks, [task("default"), task("silent")]);
    let mut answers = Answers::of(&kafka, &topics);
    answers.wait_for_ids(&["default", "silent"], LONG);
    let (kept, forgotten) = (answers.only("default"), answers.only("silent"));
    assert!(kept.is_completed() && kept.json["attempts"] == 1, "{kept:?}\n{}", pod.log_tail(40));
    assert!(!forgotten.is_completed(), "the gateway has forgotten nothing: {forgotten:?}");
}

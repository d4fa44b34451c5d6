//! A server that takes three sessions from an address, of which the pool has all three.

use serde_json::json;

use super::Shell;
use crate::stage::{LONG, Stage};
use crate::support::ftp_server::{FtpServer, Make, Security, Settings};
use crate::support::pod::Pod;
use crate::support::ports::free_port;
use crate::support::wait::wait_until;

#[test]
#[ignore = "needs Kafka and Pure-FTPd: make test"]
fn submit_and_check_come_to_their_turn_beside_the_pools_own_sessions() {
    let stage = Stage::with("full-server", 1, &[]);
    let settings = Settings { max_per_address: Some(3), ..Settings::new(Security::Plain) };
    let Some(server) = FtpServer::start(Make::PureFtpd, settings) else { return };
    for number in 0..60 {
        stage.put_local(&format!("out/{number}"), &vec![b'x'; 200_000]);
    }
    // What the pods and the commands have is told by their connection's own time: for ever, so that it is busy for sure.
    let port = json!(free_port());
    let limits = [("max_sessions", "3"), ("idle_timeout", "1h")];
    let config = stage
        .bare_config()
        .ftp("full", server.addr(), &limits)
        .set("api.port", port.clone())
        .set("reload.every", json!("100ms"));
    let pod = Pod::start(&config);
    let shell = Shell::new(&config);
    let ran = shell.run(&["submit", "local:/out", "full:in", "-r", "--wait", "--timeout", "2m"]);
    assert_eq!(ran.code, Some(0), "{ran:?}\n{}", pod.log_tail(20));
    let idle = || pod.metrics().get("ftp_pooler_sessions{connection=\"full\",state=\"idle\"}");
    wait_until("three idle sessions", LONG, || idle() >= 3.0);

    let busy = shell.run(&["check"]);
    assert_eq!(busy.code, Some(0), "{busy:?}");
    let line =
        busy.stdout.lines().find(|line| line.starts_with("busy")).unwrap_or_else(|| panic!("{busy:?}"));
    assert!(line.contains("full") && line.contains("by this pool, which has 3 sessions there"), "{line}");
    assert!(line.contains("421"), "what the server said: {line}");

    // As a user has it: the pool makes room within seconds, and submit waits for that.
    let usual =
        stage.bare_config().ftp("full", server.addr(), &[("max_sessions", "3")]).set("api.port", port);
    let shell = Shell::new(&usual);
    pod.rewrite_connections(usual.connections());
    for round in 0..3 {
        let to = format!("local:/back/{round}/");
        let ran = shell.run(&["submit", "full:in", &to, "-r", "--wait", "--timeout", "2m"]);
        assert_eq!(ran.code, Some(0), "{ran:?}\n{}", pod.log_tail(20));
        assert!(ran.stdout.contains("completed  60 "), "{ran:?}");
    }
    wait_until("check to find a session", LONG, || {
        let ran = shell.run(&["check"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout.contains("full   127.0.0.1") || ran.stdout.contains("its directory has")
    });
}

//! Tunnels that are there again: by the same server, or by another one.

use serde_json::json;

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::download;
use crate::support::files::content;
use crate::support::pod::{Pod, PodConfig};
use crate::support::tunnel::{Plant, Relay};
use crate::support::wait::wait_until;
use crate::tunnels::{attempts, lines, state, through, wait_until_down, wait_until_up};

fn deferred(pod: &Pod, connection: &str) -> f64 {
    pod.metrics().sum("ftp_pooler_deferred_tasks_total", &[&format!("connection=\"{connection}\"")])
}

/// Each deferral takes ten minutes here, and the test does not.
#[test]
#[ignore = "needs Kafka, vsftpd and frp: make test"]
fn a_tunnel_that_is_up_again_has_its_deferred_tasks_read_at_once() {
    let plant = Plant::with_proxy(&[]);
    let stage = Stage::new("tunnel-wakes");
    let bytes = content(5, 10_000);
    plant.server.put("source", &bytes);
    // in the same partitions, and its server stays away: its tasks stay deferred, however often they are read
    let config = through(&stage, &plant).set("retry.delay", json!("10m")).ftp(
        "dead",
        "127.0.0.1:9".parse().unwrap(),
        &[],
    );
    let pod = Pod::start(&config);
    wait_until_up(&pod);
    plant.kill_frps();
    wait_until_down(&pod);
    for n in 0..20 {
        stage.send([
            download(&format!("dead-{n}"), "dead", "source", &format!("dead-{n}")),
            download(&format!("{n}"), "remote", "source", &format!("got-{n}")),
        ]);
    }
    wait_until("all tasks are deferred", LONG, || {
        deferred(&pod, "remote") >= 20.0 && deferred(&pod, "dead") >= 20.0
    });
    let others = deferred(&pod, "dead");
    plant.start_frps();
    let mut answers = stage.answers();
    let ids: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    answers.wait_for_ids(&ids, LONG);
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids);
    assert!(attempts(&answers).iter().all(|attempts| *attempts == 1), "nothing was tried in vain");
    for n in 0..20 {
        assert!(stage.get_local(&format!("got-{n}")).as_ref() == Some(&bytes), "{n} differs");
    }
    assert!(!pod.events("deferred_tasks_woken").is_empty(), "{}", pod.log_tail(30));
    assert!(deferred(&pod, "dead") >= others, "what was read early on another's behalf is not lost");
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
}

/// Of two servers, whichever is there is used.
#[test]
#[ignore = "needs Kafka, vsftpd and frp: make test"]
fn with_two_servers_the_one_that_is_there_is_used() {
    let plant = Plant::with_proxy(&[]);
    let second = Relay::proxied(plant.server.addr());
    let stage = Stage::new("tunnel-failover");
    let bytes = content(6, 10_000);
    plant.server.put("source", &bytes);
    let mut section = plant.tunnel();
    section.retain(|(key, _)| *key != "server");
    section.push(("server", format!("{}, {}", plant.frps_address(), second.frps_address())));
    let config: PodConfig =
        stage.bare_config().set("tunnels.frpc", json!(Relay::frpc().display().to_string()));
    let config = config.section("plant", &lines(&section)).section("remote", &lines(&plant.connection()));
    let pod = Pod::start(&config);
    let mut answers = stage.answers();
    let mut sent = 0;
    let mut move_one = |what: &str| {
        sent += 1;
        stage.send([download(what, "remote", "source", what)]);
        answers.wait_for(sent, LONG).assert_all_completed();
        assert!(attempts(&answers).iter().all(|attempts| *attempts == 1), "{what}: {}", pod.log_tail(40));
        assert!(stage.get_local(what).as_ref() == Some(&bytes), "{what} differs");
    };
    wait_until_up(&pod);
    move_one("by the first");
    let connects = |pod: &Pod| state(pod)["connects"].as_u64().unwrap_or_default();
    for (what, relay) in [("by the second", &*plant), ("by the first again", &second)] {
        let before = connects(&pod);
        relay.kill_frps();
        wait_until("it is up by the other server", LONG, || {
            connects(&pod) > before && state(&pod)["state"] == "connected"
        });
        move_one(what);
        // for the next round; what runs stays where it is
        relay.start_frps();
    }
    assert_eq!(state(&pod)["servers"], json!([plant.frps_address(), second.frps_address()]));
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
}

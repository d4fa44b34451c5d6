//! A pod that dies in the midst of taking a source away: the next one gives the answer that it would have given.

use serde_json::{Value, json};

use crate::stage::{EXIT, LONG, Stage};
use crate::support::client::{download, with};
use crate::support::gate::{Gate, Hold};
use crate::support::pod::{Pod, PodConfig};
use crate::support::wait::wait_until;

/// Two tasks, one of which must not overwrite; the pod is killed when `command` (or its reply) was held back for
/// both.
fn killed_at(name: &str, after: &Value, command: &str, what: Hold) {
    let stage = Stage::new(name);
    let gate = Gate::before(stage.server.addr(), &[]);
    let ids = ["over", "new"];
    stage.put_local("over", b"old");
    for id in ids {
        stage.server.put(&format!("in/{id}"), format!("content of {id}").as_bytes());
    }
    if what == Hold::Reply {
        // Otherwise the first RNTO is refused, and nothing has been done when its reply is held back.
        stage.server.put("done/deep/.here", b"");
    }
    let after = |id: &str| match after {
        Value::String(_) => after.clone(),
        _ => json!({"move_to": format!("done/deep/{id}")}),
    };
    let config = |pod: &str| -> PodConfig {
        let config = stage.bare_config().ftp("remote", gate.addr(), &[]).set("pod.name", json!(pod));
        config.set("kafka.delivery", json!("exactly_once"))
    };
    let there = |directory: &str, id: &str| stage.server.get(&format!("{directory}/{id}")).is_some();

    gate.hold(command, what);
    stage.send(ids.map(|id| {
        let options = json!({"after": after(id), "overwrite": id == "over", "retry_count": 0});
        with(download(id, "remote", &format!("in/{id}"), id), options)
    }));
    let first = Pod::start(&config("first"));
    wait_until("both sources are about to go, or gone", LONG, || {
        gate.held() == 2 && (what == Hold::Command || ids.iter().all(|id| !there("in", id)))
    });
    first.kill9();
    for id in ids {
        let brought = stage.get_local(id).unwrap();
        assert_eq!(brought, format!("content of {id}").as_bytes(), "it has its name before the source goes");
        assert_eq!(there("in", id), what == Hold::Command);
    }

    gate.hold_nothing();
    let mut answers = stage.answers();
    let second = Pod::start(&config("second"));
    answers.wait_for_ids(&ids.map(str::to_owned), LONG);
    assert_eq!(second.terminate(EXIT).code(), Some(0), "{}", second.log_tail(30));
    answers.read_to_end().assert_all_completed();
    answers.assert_each_once(&ids.map(str::to_owned));
    for answer in &answers.all {
        let became = if command == "DELE" { "deleted" } else { "moved" };
        assert_eq!(answer.json["after"], became, "{answer:#?}");
        assert_eq!(answer.json["notes"][0], "the file was brought by an earlier try");
    }
    for id in ids {
        assert!(!there("in", id), "{id}");
        assert_eq!(there("done/deep", id), command != "DELE");
        assert_eq!(stage.get_local(id).unwrap(), format!("content of {id}").as_bytes());
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_killed_between_the_rename_and_dele_is_made_good_by_the_next() {
    killed_at("before-dele", &json!("delete"), "DELE", Hold::Command);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_killed_between_dele_and_its_commit_is_answered_for_by_the_next() {
    killed_at("after-dele", &json!("delete"), "DELE", Hold::Reply);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_killed_before_it_moved_the_source_is_made_good_by_the_next() {
    killed_at("before-move", &json!({"move_to": ""}), "RNFR", Hold::Command);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_pod_killed_after_it_moved_the_source_is_answered_for_by_the_next() {
    killed_at("after-move", &json!({"move_to": ""}), "RNTO", Hold::Reply);
}

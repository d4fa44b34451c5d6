//! What goes wrong for a while is tried again, as often as the task says.

use serde_json::json;

use crate::stage::{EXIT, LONG, Stage, sorted};
use crate::support::client::{download, upload, with};
use crate::support::files::Sample;
use crate::support::gate::Gate;
use crate::support::pod::Pod;
use crate::support::wait::wait_until;

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_server_that_slams_the_door_twice_is_tried_a_third_time() {
    let stage = Stage::new("slam");
    stage.server.put("a", b"x");
    let gate = Gate::before(stage.server.addr(), &[]);
    gate.slam(2);
    stage.send([with(download("patient", "remote", "a", "a"), json!({"retry_count": 3}))]);

    let pod = Pod::start(&stage.bare_config().at_least_once().ftp("remote", gate.addr(), &[]));
    let mut answers = stage.answers();
    answers.wait_for(1, LONG).assert_all_completed();

    assert_eq!(stage.get_local("a").unwrap(), b"x");
    assert!(pod.metrics().sum("ftp_pooler_retries_total", &["connection=\"remote\""]) >= 2.0);
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn retry_count_says_how_many_tries_there_are() {
    let stage = Stage::new("retry-count");
    let gate = Gate::before(stage.server.addr(), &[]);
    gate.shut();
    stage.send([
        with(download("0", "remote", "a", "a"), json!({"retry_count": 0})),
        with(download("1", "remote", "a", "b"), json!({"retry_count": 1})),
    ]);

    let _pod = Pod::start(&stage.bare_config().at_least_once().ftp("remote", gate.addr(), &[]));
    let mut answers = stage.answers();
    answers.wait_for(2, LONG);

    for (id, attempts) in [("0", 1), ("1", 2)] {
        let answer = answers.only(id);
        assert_eq!(answer.code(), "connect_failed", "{answer:?}");
        assert_eq!(answer.json["attempts"], attempts);
        assert_eq!(answer.json["error"]["retryable"], true);
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_session_cut_in_the_midst_of_a_transfer_costs_a_try_and_no_byte() {
    // A megabyte in two seconds or so: time enough to be cut.
    let stage = Stage::with("cut", 1, &[("anon_max_rate", "500000")]);
    let files: Vec<Sample> =
        (0..4).map(|i| Sample { path: format!("f{i}"), seed: i, len: 1_000_000 }).collect();
    for file in &files {
        stage.server.put(&format!("out/{}", file.path), &file.content());
        stage.put_local(&format!("out/{}", file.path), &file.content());
    }
    let gate = Gate::before(stage.server.addr(), &[]);
    stage.send(files.iter().flat_map(|file| {
        let (path, out) = (format!("in/{}", file.path), format!("out/{}", file.path));
        [
            download(&format!("down-{}", file.path), "remote", &out, &path),
            upload(&format!("up-{}", file.path), &out, "remote", &path),
        ]
    }));

    let pod = Pod::start(&stage.bare_config().at_least_once().ftp("remote", gate.addr(), &[]));
    wait_until("eight transfers under way", LONG, || {
        stage.server.count("\"RETR ") >= 4 && stage.server.count("\"STOR ") >= 4
    });
    gate.cut();
    let mut answers = stage.answers();
    answers.wait_for(8, LONG);
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
    answers.read_to_end().assert_all_completed();

    for file in &files {
        answers.only(&format!("down-{}", file.path));
        answers.only(&format!("up-{}", file.path));
        file.assert_is(stage.get_local(&format!("in/{}", file.path)).as_deref());
        file.assert_is(stage.server.get(&format!("in/{}", file.path)).as_deref());
    }
    let expected = files.iter().flat_map(|f| [format!("in/{}", f.path), format!("out/{}", f.path)]);
    assert_eq!(stage.local_files(), sorted(expected));
    assert!(gate.count().total() > 8, "a session that was cut is not used again");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_server_that_says_it_is_full_gets_fewer_sessions_and_every_file_arrives() {
    let stage = Stage::with("full", 1, &[("max_clients", "2")]);
    for i in 0..40 {
        stage.server.put(&format!("f{i}"), &vec![b'x'; 20_000]);
    }
    let ids: Vec<String> = (0..40).map(|i| i.to_string()).collect();
    // It costs no attempt: the server has not looked at the task.
    stage.send(
        ids.iter().map(|i| {
            with(download(i, "remote", &format!("f{i}"), &format!("f{i}")), json!({"retry_count": 0}))
        }),
    );

    let _pod = Pod::start(&stage.config().at_least_once());
    let mut answers = stage.answers();
    answers.wait_for_ids(&ids, LONG).assert_all_completed();

    assert!(stage.server.turned_away() > 0, "ten sessions were allowed, so the limit was met");
}

//! Files arrive whole, under their names, each task answered once.

use serde_json::json;

use crate::stage::{EXIT, LONG, Stage, sorted};
use crate::support::client::{Outgoing, download, upload, with};
use crate::support::files::{Sample, content, samples};
use crate::support::pod::Pod;
use crate::support::vsftpd::PASSWORD;

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn two_hundred_files_each_way_are_right_to_the_byte_and_answered_once() {
    let stage = Stage::with("both-ways", 4, &[]);
    let (down, up) = (samples(200, 1_000), samples(200, 2_000));
    for sample in &down {
        stage.server.put(&format!("out/{}", sample.path), &sample.content());
    }
    for sample in &up {
        stage.put_local(&format!("out/{}", sample.path), &sample.content());
    }
    let downloads = down.iter().enumerate().map(|(i, sample)| {
        let remote = format!("out/{}", sample.path);
        // A remote path is taken beneath the login directory, or as it is.
        let remote = if i % 2 == 0 { remote } else { stage.server.absolute(&remote) };
        download(&format!("down-{i}"), "remote", &remote, &format!("/in/{}", sample.path))
    });
    let uploads = up.iter().enumerate().map(|(i, sample)| {
        let remote = format!("in/{}", sample.path);
        let remote = if i % 2 == 0 { remote } else { stage.server.absolute(&remote) };
        upload(&format!("up-{i}"), &format!("out/{}", sample.path), "remote", &remote)
    });
    stage.send(downloads.chain(uploads));
    let ids: Vec<String> = (0..200).flat_map(|i| [format!("down-{i}"), format!("up-{i}")]).collect();

    let pod = Pod::start(&stage.config());
    let mut answers = stage.answers();
    answers.wait_for_ids(&ids, LONG);
    let page = pod.get("/metrics").unwrap().1;
    assert_eq!(pod.terminate(EXIT).code(), Some(0), "{}", pod.log_tail(30));
    answers.read_to_end();

    answers.assert_all_completed();
    answers.assert_each_once(&ids);
    for (i, sample) in down.iter().enumerate() {
        sample.assert_is(stage.get_local(&format!("in/{}", sample.path)).as_deref());
        assert_eq!(answers.only(&format!("down-{i}")).json["bytes_transferred"], sample.len);
    }
    for (i, sample) in up.iter().enumerate() {
        sample.assert_is(stage.server.get(&format!("in/{}", sample.path)).as_deref());
        assert_eq!(answers.only(&format!("up-{i}")).json["bytes_transferred"], sample.len);
    }
    // Nothing else is left anywhere: no temp file, no second copy.
    let here =
        down.iter().map(|s| format!("in/{}", s.path)).chain(up.iter().map(|s| format!("out/{}", s.path)));
    let there =
        up.iter().map(|s| format!("in/{}", s.path)).chain(down.iter().map(|s| format!("out/{}", s.path)));
    assert_eq!(stage.local_files(), sorted(here));
    assert_eq!(stage.remote_files(), sorted(there));
    assert_eq!(stage.kafka.lag(&stage.topics), 0);
    assert!(!pod.log().contains(PASSWORD) && !page.contains(PASSWORD), "the password is nobody's business");
    for id in ["down-7", "up-7"] {
        let lines = pod.log().lines().filter(|line| line.contains(&format!("\"{id}\""))).count();
        assert_eq!(lines, 1, "one line of the log for {id}");
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn names_of_255_bytes_are_no_obstacle() {
    let stage = Stage::new("long-names");
    let names = ["a".repeat(255), "文".repeat(85)];
    for (i, name) in names.iter().enumerate() {
        stage.server.put(&format!("out/{name}"), &content(i as u64, 1_000));
        stage.send([
            download(&format!("down-{i}"), "remote", &format!("out/{name}"), &format!("in/{name}/{name}")),
            upload(&format!("up-{i}"), &format!("here/{name}"), "remote", &format!("in/{name}/{name}")),
        ]);
        stage.put_local(&format!("here/{name}"), &content(i as u64, 2_000));
    }

    let _pod = Pod::start(&stage.config());
    let mut answers = stage.answers();
    answers.wait_for(4, LONG).assert_all_completed();

    for (i, name) in names.iter().enumerate() {
        assert_eq!(stage.get_local(&format!("in/{name}/{name}")).unwrap(), content(i as u64, 1_000));
        assert_eq!(stage.server.get(&format!("in/{name}/{name}")).unwrap(), content(i as u64, 2_000));
    }
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn what_is_there_is_replaced_unless_overwrite_is_false() {
    let stage = Stage::new("overwrite");
    let old = b"old";
    for name in ["kept", "replaced", "default"] {
        stage.put_local(&format!("down-{name}"), old);
        stage.server.put(&format!("up-{name}"), old);
        let new = content(1, 5_000);
        stage.server.put(&format!("source-{name}"), &new);
        stage.put_local(&format!("source-{name}"), &new);
        let options = match name {
            "kept" => json!({"overwrite": false}),
            "replaced" => json!({"overwrite": true}),
            _ => json!({}),
        };
        let (source, down, up) = (format!("source-{name}"), format!("down-{name}"), format!("up-{name}"));
        stage.send([
            with(download(&down, "remote", &source, &down), options.clone()),
            with(upload(&up, &source, "remote", &up), options),
        ]);
    }
    // Where nothing is there, overwrite: false is no obstacle.
    let option = json!({"overwrite": false});
    stage.send([
        with(download("down-new", "remote", "source-kept", "down-new"), option.clone()),
        with(upload("up-new", "source-kept", "remote", "up-new"), option),
    ]);

    let pod = Pod::start(&stage.config());
    let mut answers = stage.answers();
    answers.wait_for(8, LONG);
    assert_eq!(pod.terminate(EXIT).code(), Some(0));
    answers.read_to_end();

    for id in ["down-kept", "up-kept"] {
        let answer = answers.only(id);
        assert_eq!(answer.code(), "destination_exists", "{answer:?}");
        assert_eq!(answer.json["error"]["retryable"], false);
    }
    for name in ["replaced", "default", "new"] {
        assert!(answers.only(&format!("down-{name}")).is_completed());
        assert!(answers.only(&format!("up-{name}")).is_completed());
        assert_eq!(stage.get_local(&format!("down-{name}")).unwrap(), content(1, 5_000));
        assert_eq!(stage.server.get(&format!("up-{name}")).unwrap(), content(1, 5_000));
    }
    assert_eq!(stage.get_local("down-kept").unwrap(), old);
    assert_eq!(stage.server.get("up-kept").unwrap(), old);
    assert!(stage.local_files().len() == 7 && stage.remote_files().len() == 7, "no temp file is left");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn each_refusal_has_its_code_and_the_servers_reply() {
    let stage = Stage::new("refusals");
    stage.server.put("a.forbidden", b"x");
    stage.server.put("directory/x", b"x");
    stage.put_local("here", b"x");
    stage.send([
        download("missing-there", "remote", "no/such/file", "a"),
        upload("missing-here", "no/such/file", "remote", "b"),
        download("not-readable", "remote", "a.forbidden", "c"),
        upload("not-writable", "here", "remote", "b.forbidden"),
        download("a-directory", "remote", "directory", "d"),
        download("nowhere", "remoet", "x", "e"),
    ]);

    let _pod = Pod::start(&stage.config());
    let mut answers = stage.answers();
    answers.wait_for(6, LONG);

    let said = |id: &str| {
        let answer = answers.only(id);
        (
            answer.code().to_owned(),
            answer.json["error"]["ftp_code"].as_u64(),
            answer.json["attempts"].as_u64(),
        )
    };
    let code = str::to_owned;
    assert_eq!(said("missing-there"), (code("source_not_found"), Some(550), Some(1)));
    assert_eq!(said("missing-here").0, "source_not_found");
    assert_eq!(said("missing-here").1, None);
    assert_eq!(said("not-readable"), (code("permission_denied"), Some(550), Some(1)));
    assert_eq!(said("not-writable"), (code("permission_denied"), Some(550), Some(1)));
    assert_eq!(said("nowhere"), (code("unknown_connection"), None, Some(0)));
    assert!(answers.only("nowhere").message().contains("remote"), "it says what might have been meant");
    for answer in &answers.all {
        assert_eq!(answer.json["error"]["retryable"], false, "{answer:?}");
    }
    assert_eq!(stage.local_files(), sorted(["here"]));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_wrong_password_is_told_with_530_and_not_tried_over_and_over() {
    let stage = Stage::new("wrong-password");
    let tasks = (0..10)
        .map(|i| with(download(&i.to_string(), "remote", "x", &i.to_string()), json!({"retry_count": 0})));
    stage.send(tasks);
    let config = stage.bare_config().ftp("remote", stage.server.addr(), &[("pass", "guess")]);

    let _pod = Pod::start(&config);
    let mut answers = stage.answers();
    answers.wait_for(10, LONG);

    for answer in answers.failures() {
        assert_eq!(answer.code(), "auth_failed");
        assert_eq!(answer.json["error"]["ftp_code"], 530);
        assert!(!answer.message().contains("guess"));
        let is_untried =
            answer.message().starts_with("not tried, since the connection's last login failed: login (");
        assert_eq!(is_untried, answer.json["attempts"] == 0, "{answer:?}");
    }
    assert_eq!(answers.failures().count(), 10);
    assert!(stage.server.refused_logins() <= 10, "one try for each task at most");
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn an_answer_carries_the_records_headers_and_the_tasks_id_as_its_key() {
    let stage = Stage::new("headers");
    stage.server.put("a", b"x");
    let headers = vec![
        ("trace".to_owned(), Some(b"00-4bf9\xff".to_vec())),
        ("trace".to_owned(), None),
        (String::new(), Some(vec![])),
    ];
    for (id, remote) in [("good", "a"), ("bad", "missing")] {
        let mut record = Outgoing::from(download(id, "remote", remote, id));
        record.headers.clone_from(&headers);
        record.key = Some(b"the record's own".to_vec());
        stage.send([record]);
    }

    let _pod = Pod::start(&stage.config());
    let mut answers = stage.answers();
    answers.wait_for(2, LONG);

    for id in ["good", "bad"] {
        assert_eq!(answers.only(id).key.as_deref(), Some(id.as_bytes()));
        assert_eq!(answers.only(id).headers, headers);
    }
    let original = download("bad", "remote", "missing", "bad");
    assert_eq!(answers.only("bad").json["task"], original);
    let result = &answers.only("good").json;
    assert!(result["duration_ms"].is_u64());
    assert!(result["completed_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn two_tasks_with_one_id_have_two_answers() {
    let stage = Stage::new("same-id");
    let sample = Sample { path: "a".to_owned(), seed: 3, len: 70_000 };
    stage.server.put("a", &sample.content());
    stage.send([download("twin", "remote", "a", "/one"), download("twin", "remote", "a", "/two")]);

    let _pod = Pod::start(&stage.config());
    let mut answers = stage.answers();
    answers.wait_for(2, LONG).assert_all_completed();

    assert_eq!(answers.by_id()["twin"].len(), 2);
    sample.assert_is(stage.get_local("one").as_deref());
    sample.assert_is(stage.get_local("two").as_deref());
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_local_path_that_begins_with_base_path_is_the_same_file() {
    let stage = Stage::new("base-path");
    stage.server.put("a", b"content");
    let base = stage.base();
    stage.send([
        download("full", "remote", "a", &base.join("full").display().to_string()),
        // By whole components: this is no prefix.
        download("longer", "remote", "a", &format!("{}-longer/x", base.display())),
    ]);

    let _pod = Pod::start(&stage.config());
    let mut answers = stage.answers();
    answers.wait_for(2, LONG).assert_all_completed();

    let longer = format!("{}-longer/x", base.display());
    assert_eq!(stage.local_files(), sorted(["full", longer.trim_start_matches('/')]));
}

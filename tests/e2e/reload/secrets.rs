//! Passwords and the API's token are mended or rotated under a running pod.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::{REFUSED, codes, wait_for, watching};
use crate::stage::{LONG, Stage};
use crate::support::client::download;
use crate::support::http;
use crate::support::pod::Pod;
use crate::support::vsftpd::PASSWORD;
use crate::support::wait::wait_until;

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_mended_password_works_at_once_although_the_server_was_left_alone_for_the_wrong_one() {
    let stage = Stage::new("reload-password");
    stage.server.put("f", b"content");
    let config = watching(stage.bare_config());
    let wrong = config.clone().ftp("remote", stage.server.addr(), &[("pass", "wrong")]);
    let pod = Pod::start(&wrong);
    stage.send([download("refused", "remote", "f", "refused")]);
    let mut answers = stage.answers();
    answers.wait_for(1, LONG);
    assert_eq!(answers.only("refused").code(), "auth_failed");
    wait_until("the breaker is open", LONG, || {
        pod.metrics().get("ftp_pooler_breaker_state{connection=\"remote\"}") > 1.0
    });

    pod.rewrite(&config.ftp("remote", stage.server.addr(), &[]));
    wait_for(&pod, "changed", "remote");
    stage.send([download("welcome", "remote", "f", "welcome")]);
    answers.wait_for_ids(&["welcome"], LONG);
    assert!(answers.only("welcome").is_completed(), "{:?}", codes(&answers));
    assert!(!pod.log().contains(PASSWORD));
}

/// As Kubernetes changes a mounted secret: the files are links through `..data`, which is made to point elsewhere.
fn publish(volume: &Path, version: &str, files: &[(&str, &str)]) {
    let directory = volume.join(version);
    fs::create_dir_all(&directory).unwrap();
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
        if fs::symlink_metadata(volume.join(name)).is_err() {
            symlink(Path::new("..data").join(name), volume.join(name)).unwrap();
        }
    }
    symlink(version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn a_secret_that_kubernetes_rotates_is_taken_over() {
    let stage = Stage::new("reload-secret");
    stage.server.put("f", b"content");
    let volume = stage.outside();
    publish(&volume, "..2026_01", &[("password", "old, and wrong by now\n")]);
    let pass_file = volume.join("password").display().to_string();
    let (host, port) = (stage.server.addr().ip().to_string(), stage.server.addr().port().to_string());
    let section =
        [("type", "ftp"), ("host", &host), ("port", &port), ("user", "ftp"), ("pass_file", &pass_file)];
    let config = watching(stage.bare_config().section("remote", &section));
    let pod = Pod::start(&config);
    stage.send([download("before", "remote", "f", "before")]);
    let mut answers = stage.answers();
    answers.wait_for(1, LONG);
    assert_eq!(answers.only("before").code(), "auth_failed");

    publish(&volume, "..2026_02", &[("password", &format!("{PASSWORD}\n"))]);
    wait_for(&pod, "changed", "remote");
    stage.send([download("after", "remote", "f", "after")]);
    answers.wait_for_ids(&["after"], LONG);
    assert!(answers.only("after").is_completed(), "{:?}", codes(&answers));
}

#[test]
#[ignore = "needs Kafka and vsftpd: make test"]
fn the_apis_token_is_rotated_as_well() {
    let stage = Stage::new("reload-token");
    let volume = stage.outside();
    publish(&volume, "..2026_01", &[("token", "first-of-16-characters\n")]);
    let token_file = volume.join("token").display().to_string();
    let pod = Pod::start(&watching(stage.config()).set("api.token_file", json!(token_file)));
    let status = |token: &str| {
        let addr = pod.addr("api").unwrap();
        http::get_with(addr, "/api/v1/status", &format!("Authorization: Bearer {token}\r\n")).unwrap().0
    };
    assert_eq!((status("first-of-16-characters"), status("second-of-16-characters")), (200, 401));
    publish(&volume, "..2026_02", &[("token", "second-of-16-characters\n")]);
    wait_until("the new token is asked for", LONG, || {
        (status("first-of-16-characters"), status("second-of-16-characters")) == (401, 200)
    });
    publish(&volume, "..2026_03", &[("token", "no token at all\n")]);
    wait_until("what is none is told", LONG, || !pod.events(REFUSED).is_empty());
    assert_eq!(status("second-of-16-characters"), 200, "and changes nothing");
    assert!(!pod.log().contains("no token at all"));
}

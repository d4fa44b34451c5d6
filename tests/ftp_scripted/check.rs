//! `check` of a server that lets users in and fails them later; and `submit` of one that is full for a while.

use std::process::Command;

use serde_json::Value;

use super::*;

/// What `check` found of the one server.
async fn check(server: &Server, options: &[&str]) -> Value {
    let findings = check_with(server, "", options).await;
    findings.into_iter().find(|finding| finding["kind"] == "ftp").unwrap()
}

/// Everything that it found, with these further keys of the connection.
async fn check_with(server: &Server, keys: &str, options: &[&str]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    // Kafka is nowhere: what is said of it is another test's.
    std::fs::write(
        place.join("config.yaml"),
        "kafka:\n  bootstrap_servers: [\"127.0.0.1:1\"]\npool:\n  bandwidth: 7M\n",
    )
    .unwrap();
    let port = server.address.port();
    let connections = format!(
        "[srv]\ntype = ftp\nhost = 127.0.0.1\nport = {port}\nuser = u\npass = s3cret\nconnect_timeout = 2s\n{keys}"
    );
    std::fs::write(place.join("connections.ini"), connections).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftp-pooler"));
    command.args(["check", "--output", "json"]).args(options).arg("--config").arg(place.join("config.yaml"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    document["findings"].as_array().unwrap().clone()
}

fn found(finding: &Value) -> &str {
    finding["found"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_connection_is_opened_and_a_blocked_one_is_a_failure() {
    let listing =
        Act::Send(b"-rw-r--r-- 1 ftp ftp 3 Jan 02  2020 a\r\n".to_vec(), End::Close("226 done".into()));
    let server = Script::new().on("LIST", listing).start().await;
    let well = check(&server, &[]).await;
    assert_eq!(well["state"], "ok", "{well}");
    assert!(found(&well).contains("logged in as u; its directory has 1 entry"), "{well}");
    assert!(!server.verbs().contains(&"STOR".to_owned()), "nothing is changed");

    let blocked = Script::new().on("EPSV", Act::DeadPort).on("PASV", Act::DeadPort).start().await;
    let finding = check(&blocked, &[]).await;
    assert_eq!(finding["ok"], false, "{finding}");
    let said = found(&finding);
    assert!(said.contains("its directory cannot be listed: connect_failed"), "{finding}");
    assert!(said.contains("does a firewall block the data connection"), "{finding}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_limits_the_bandwidth_is_told() {
    let server = Script::new().start().await;
    let findings = check_with(&server, "bandwidth = 08:00,1M:2M 18:00,1M:2M\n", &[]).await;
    let said = |kind: &str| found(findings.iter().find(|one| one["kind"] == kind).unwrap()).to_owned();
    let limited = ", limited to 1Mi:2Mi now (bandwidth = 08:00,1Mi:2Mi 18:00,1Mi:2Mi)";
    assert!(said("ftp").contains(limited), "{findings:?}");
    assert_eq!(said("pool"), "all connections of a pod together, limited to 7Mi now");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_may_not_be_listed_is_no_failure() {
    let server = Script::new().say("LIST", "550 Permission denied.").start().await;
    let finding = check(&server, &[]).await;
    assert_eq!(finding["ok"], true, "{finding}");
    assert!(found(&finding).contains("may not be listed"), "{finding}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_check_leaves_nothing_behind_and_finds_a_server_that_keeps_nothing() {
    let listing = || Act::Send(Vec::new(), End::Close("226 done".into()));
    let server = Script::new().on("LIST", listing()).start().await;
    let finding = check(&server, &["--deep"]).await;
    assert_eq!(finding["state"], "ok", "{finding}");
    assert!(found(&finding).contains("a file was written and removed"), "{finding}");
    assert_eq!(server.paths(), Vec::<String>::new());

    let full = Script::new().on("LIST", listing()).say("STOR", "552 Quota exceeded").start().await;
    let finding = check(&full, &["--deep"]).await;
    assert_eq!(finding["ok"], false, "{finding}");
    assert!(found(&finding).contains("a file cannot be written: storage_full"), "{finding}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_full_of_others_sessions_is_a_failure_of_check_and_waited_for_by_submit() {
    let full = || Act::SayAndClose("421 Too many connections (3) from this IP".to_owned());
    let server = Script::new().on("GREETING", full()).start().await;
    let finding = check(&server, &[]).await;
    assert_eq!(finding["state"], "failed", "{finding}");
    assert!(found(&finding).contains("no pod of this pool says that it has a session there"), "{finding}");

    let listing =
        Act::Send(b"-rw-r--r-- 1 ftp ftp 3 Jan 02  2020 a\r\n".to_vec(), End::Close("226 done".into()));
    let script = Script::new().once("GREETING", full()).once("GREETING", full()).on("LIST", listing);
    let server = script.start().await;
    let submitted = submit::submit_with(&server, "/pub/", &["--dry-run"], "").await;
    assert_eq!(
        (submitted.code, submitted.paths.as_slice()),
        (Some(0), &["/pub/a".to_owned()][..]),
        "{submitted:?}"
    );
    let waits = submitted.stderr.matches("waiting for a free session").count();
    assert_eq!(waits, 1, "{}", submitted.stderr);
    assert!(submitted.stderr.contains("421 Too many connections (3)"), "{}", submitted.stderr);
}

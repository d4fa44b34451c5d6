//! Hashes, times and names: what the task asks for beyond the bytes.

use ftp_pooler::config::NameEncoding;
use ftp_pooler::digest::{Algorithm, Hasher};
use ftp_pooler::outcome::TransferDetails;

use super::*;

/// Of `abc`.
const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const XXH3: &str = "78af5f94892f3950";

/// FEAT's reply with these lines.
fn features(lines: &[&str]) -> String {
    format!("211-Features:\r\n {}\r\n211 End", lines.join("\r\n "))
}

fn hashing() -> Script {
    Script::new().file("/f", b"abc").say("FEAT", &features(&["HASH SHA-1*;SHA-256"]))
}

fn hash_is(value: &str) -> Act {
    Act::Say(format!("213-Computing\r\n213 SHA-256 0-2 {value} f"))
}

fn verified(mut task: Task, verify: Verify) -> Task {
    task.options.verify = verify;
    task
}

fn dated(mut task: Task) -> Task {
    task.options.preserve_mtime = true;
    task
}

fn hashes(details: &TransferDetails) -> Vec<(&str, &str)> {
    details.hashes.iter().map(|hash| (hash.algorithm.name(), hash.value.as_str())).collect()
}

#[tokio::test]
async fn a_download_is_compared_with_the_servers_hash_before_it_has_its_name() {
    let rig = Rig::with(hashing().say("OPTS", "200 SHA-256").on("HASH", hash_is(SHA256))).await;
    let mut session = rig.session().await;
    for (name, verify) in [("/a", Verify::Hash), ("/b", Verify::Auto)] {
        rig.server.forget_commands();
        let done = rig.run(&mut session, &verified(download("/f", name), verify)).await.unwrap();
        assert_eq!(hashes(&done.details), [("sha256", SHA256)]);
        assert_eq!((done.details.verified_by, done.notes.len()), (Some("sha256"), 0));
        assert_eq!(done.details.features, ["EPSV", "SIZE", "HASH"]);
        // The algorithm is chosen once a session.
        let expected: &[&str] = if name == "/a" {
            &["SIZE /f", "EPSV", "RETR /f", "OPTS HASH SHA-256", "HASH /f"]
        } else {
            &["SIZE /f", "EPSV", "RETR /f", "HASH /f"]
        };
        assert_eq!(rig.server.commands(), expected);
    }
}

#[tokio::test]
async fn a_file_whose_hash_differs_gets_no_name_here_or_there() {
    let wrong = "0".repeat(64);
    let rig = Rig::with(hashing().say("OPTS", "200 SHA-256").on("HASH", hash_is(&wrong))).await;
    let mut session = rig.session().await;
    rig.local("local", b"abc");
    let tasks = [download("/f", "/g"), upload("/local", "/up")];
    for task in tasks {
        let error = failed(rig.run(&mut session, &verified(task, Verify::Hash)).await);
        assert_eq!((error.failure.code, error.remedy), (Code::IntegrityMismatch, Remedy::Wait));
        assert!(error.failure.message.contains(&wrong) && error.failure.message.contains(SHA256), "{error}");
        assert!(session.is_usable());
    }
    assert_eq!(rig.local_files(), ["local"]);
    assert_eq!(rig.server.paths(), ["/f"]);
}

#[tokio::test]
async fn an_upload_is_compared_under_its_temp_name() {
    let rig = Rig::with(hashing().say("OPTS", "200 SHA-256").on("HASH", hash_is(SHA256))).await;
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    rig.server.forget_commands();
    let done = rig.run(&mut session, &verified(upload("/f", "/up"), Verify::Hash)).await.unwrap();
    assert_eq!(rig.server.verbs(), ["EPSV", "STOR", "SIZE", "OPTS", "HASH", "RNFR", "RNTO"]);
    assert!(rig.server.commands()[4].starts_with("HASH /.ftp-pooler-"));
    assert_eq!((done.details.verified_by, hashes(&done.details)), (Some("sha256"), vec![("sha256", SHA256)]));
    assert!(done.details.source_mtime.is_some());
}

#[tokio::test]
async fn a_server_without_hashes_is_told_of_before_a_byte_is_fetched_and_auto_does_without() {
    let rig = Rig::with(Script::new().file("/f", b"abc")).await;
    rig.local("local", b"abc");
    let mut session = rig.session().await;
    rig.server.forget_commands();
    for task in [download("/f", "/g"), upload("/local", "/up")] {
        let error = failed(rig.run(&mut session, &verified(task.clone(), Verify::Hash)).await);
        assert_eq!((error.failure.code, error.remedy), (Code::Unsupported, Remedy::GiveUp));
        assert!(rig.server.commands().is_empty() && session.is_usable());
    }
    for task in [download("/f", "/g"), upload("/local", "/up")] {
        let done = rig.run(&mut session, &verified(task, Verify::Auto)).await.unwrap();
        assert_eq!(done.notes, ["hash not verified: the server has none"]);
        assert_eq!((done.details.verified_by, hashes(&done.details)), (Some("size"), vec![]));
    }
}

#[tokio::test]
async fn a_hash_that_the_server_does_not_compute_after_all_fails_the_task_that_insists() {
    for (command, reply) in [
        ("HASH", "550 /f: Operation not permitted"),
        ("HASH", "556 too large"),
        ("OPTS", "501 Unknown algorithm"),
        ("HASH", "502 Not implemented"),
    ] {
        let script = hashing().say(command, reply).say("OPTS", "200 SHA-256");
        let rig = Rig::with(script).await;
        let mut session = rig.session().await;
        let error = failed(rig.run(&mut session, &verified(download("/f", "/g"), Verify::Hash)).await);
        assert_eq!((error.failure.code, error.remedy), (Code::Unsupported, Remedy::GiveUp), "{error}");
        assert_eq!(error.failure.ftp_code, reply[..3].parse().ok());
        assert!(rig.local_files().is_empty() && session.is_usable());
        let done = rig.run(&mut session, &verified(download("/f", "/g"), Verify::Auto)).await.unwrap();
        assert!(done.notes[0].starts_with("hash not verified: "), "{:?}", done.notes);
        assert_eq!((done.details.verified_by, hashes(&done.details)), (Some("size"), vec![]));
    }
}

#[tokio::test]
async fn a_server_that_is_too_busy_to_hash_is_asked_again_later() {
    let rig = Rig::with(hashing().say("OPTS", "200 SHA-256").say("HASH", "450 Busy")).await;
    let mut session = rig.session().await;
    let error = failed(rig.run(&mut session, &verified(download("/f", "/g"), Verify::Auto)).await);
    assert_eq!((error.failure.code, error.remedy), (Code::ServerBusy, Remedy::Wait));
}

#[tokio::test]
async fn a_hash_has_a_deadline_of_its_own() {
    let mut rig = Rig::with(hashing().say("OPTS", "200 SHA-256").on("HASH", Act::Hang)).await;
    rig.connection.timeouts = SessionTimeouts { hash: SHORT, ..SessionTimeouts::all(PATIENCE) };
    let mut session = rig.session().await;
    let error = failed(rig.run(&mut session, &verified(download("/f", "/g"), Verify::Hash)).await);
    assert_eq!(error.failure.code, Code::Timeout);
    assert!(error.failure.message.contains("(hash_timeout)"), "{error}");
    assert!(!session.is_usable() && rig.local_files().is_empty());
}

#[tokio::test]
async fn results_carry_the_hash_that_the_configuration_asks_for() {
    let mut rig = Rig::with(hashing().say("OPTS", "200 SHA-256").on("HASH", hash_is(SHA256))).await;
    rig.transfer = rig.transfer.clone().hashing(Some(Algorithm::Xxh3));
    rig.local("local", b"abc");
    let mut session = rig.session().await;
    for task in [download("/f", "/g"), upload("/local", "/up")] {
        let done = rig.run(&mut session, &task).await.unwrap();
        assert_eq!((done.details.verified_by, hashes(&done.details)), (Some("size"), vec![("xxh3", XXH3)]));
        assert_eq!(done.details.connection, "remote-ftp");
        let both = rig.run(&mut session, &verified(task, Verify::Hash)).await.unwrap();
        assert_eq!(hashes(&both.details), [("xxh3", XXH3), ("sha256", SHA256)]);
    }
}

#[tokio::test]
async fn a_download_that_is_done_again_tells_the_same_hash() {
    let mut rig = Rig::with(hashing().say("OPTS", "200 SHA-256").on("HASH", hash_is(SHA256))).await;
    rig.transfer = rig.transfer.clone().hashing(Some(Algorithm::Xxh3));
    let mut session = rig.session().await;
    let task = verified(download("/f", "/g"), Verify::Hash);
    let first = rig.run_record(&mut session, &task, -5).await.unwrap();
    rig.server.forget_commands();
    let again = rig.run_record(&mut session, &task, -5).await.unwrap();
    assert!(rig.server.commands().is_empty());
    assert_eq!(hashes(&again.details), hashes(&first.details));
    assert_eq!((again.bytes, again.details.verified_by), (3, Some("sha256")));
}

#[tokio::test]
async fn an_upload_that_finds_its_own_file_tells_the_same_hash() {
    let mut rig = Rig::with(Script::new().file("/up", b"abc")).await;
    rig.transfer = rig.transfer.clone().hashing(Some(Algorithm::Sha256));
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    let mut task = upload("/f", "/up");
    task.options.overwrite = false;
    let done = rig.run(&mut session, &task).await.unwrap();
    assert_eq!(
        (done.details.verified_by, hashes(&done.details)),
        (Some("content"), vec![("sha256", SHA256)])
    );
}

fn modified(rig: &Rig, name: &str) -> jiff::Timestamp {
    let at = std::fs::metadata(rig.directory.path().join(name)).unwrap().modified().unwrap();
    at.try_into().unwrap()
}

#[tokio::test]
async fn a_download_keeps_its_sources_time_where_the_server_tells_it() {
    let script = Script::new().file("/f", b"abc").once("MDTM", Act::Say("213 20010203040506.25".into()));
    let rig = Rig::with(script.once("MDTM", Act::Say("550 what file?".into()))).await;
    let mut session = rig.session().await;
    let at = "2001-02-03T04:05:06.25Z".parse().unwrap();
    let done = rig.run(&mut session, &dated(download("/f", "/a"))).await.unwrap();
    assert_eq!((done.details.source_mtime, done.notes.len()), (Some(at), 0));
    assert_eq!(modified(&rig, "a"), at);
    for (name, note) in [
        ("b", "modification time not kept: MDTM /f: the server said 550 what file?"),
        ("c", "modification time not kept: the server has no MDTM"),
    ] {
        let done = rig.run(&mut session, &dated(download("/f", &format!("/{name}")))).await.unwrap();
        assert_eq!((done.details.source_mtime, done.notes), (None, vec![note.to_owned()]));
    }
}

#[tokio::test]
async fn an_upload_keeps_its_sources_time_by_what_the_server_has() {
    for (lines, refused, writing_mdtm, expected) in [
        (&["MFMT", "MFF modify;", "MDTM"][..], &[][..], false, Some("MFMT 20010203040506 /.ftp-pooler-")),
        (&["MFF modify;UNIX.mode;", "MDTM"], &[], false, Some("MFF modify=20010203040506; /.ftp-pooler-")),
        (&["SITE UTIME", "MDTM"], &[], false, Some("SITE UTIME /.ftp-pooler-")),
        (&["MDTM", "SIZE"], &[], false, Some("MDTM 20010203040506 /.ftp-pooler-")),
        (&["MFMT", "MDTM"], &["MFMT"], false, Some("MDTM 20010203040506 /.ftp-pooler-")),
        (&["MFMT"], &[], true, Some("MDTM 20010203040506 /.ftp-pooler-")),
        (&["SIZE"], &[], false, None),
        (&["MFMT"], &[], false, Some("MFMT 20010203040506 /.ftp-pooler-")),
        (&["MDTM"], &["MDTM"], false, None),
    ] {
        let script = Script::new().say("FEAT", &features(lines));
        let script = refused.iter().fold(script, |script, verb| script.say(verb, "500 What?"));
        let script =
            script.say("MFMT", "213 Modify=20010203040506;").say("MFF", "213 ok").say("SITE", "200 ok");
        let mut rig = Rig::with(script.say("MDTM", "213 File modification time set.")).await;
        rig.connection.writing_mdtm = writing_mdtm;
        rig.local("f", b"abc");
        let at: jiff::Timestamp = "2001-02-03T04:05:06.75Z".parse().unwrap();
        let file = std::fs::File::options().write(true).open(rig.directory.path().join("f")).unwrap();
        file.set_modified(at.try_into().unwrap()).unwrap();
        let known = Arc::default();
        let mut session = rig.hasty(&known).await;
        rig.server.forget_commands();
        let done = rig.run(&mut session, &dated(upload("/f", "/up"))).await.unwrap();
        assert_eq!(done.details.source_mtime, Some(at));
        let verbs = rig.server.verbs();
        assert_eq!(verbs.iter().rev().take(2).collect::<Vec<_>>(), ["RNTO", "RNFR"]);
        let set = rig.server.commands().into_iter().rev().nth(2).unwrap();
        match expected {
            Some(expected) => assert!(set.starts_with(expected) && done.notes.is_empty(), "{set}: {lines:?}"),
            None => {
                assert_eq!(done.notes, ["modification time not kept: the server has no command for it"]);
            }
        }
        // What the server has not is asked for once.
        rig.server.forget_commands();
        let mut session = rig.hasty(&known).await;
        rig.run(&mut session, &dated(upload("/f", "/up"))).await.unwrap();
        assert!(refused.iter().all(|verb| !rig.server.verbs().contains(&(*verb).to_owned())), "{lines:?}");
    }
}

#[tokio::test]
async fn a_time_that_the_server_refuses_to_set_is_a_note_and_no_failure() {
    for reply in ["550 Permission denied", "451 Not now", "553 No"] {
        let script = Script::new().say("FEAT", &features(&["MFMT"])).say("MFMT", reply);
        let rig = Rig::with(script).await;
        rig.local("f", b"abc");
        let mut session = rig.session().await;
        let done = rig.run(&mut session, &dated(upload("/f", "/up"))).await.unwrap();
        assert!(
            done.notes[0].starts_with("modification time not kept: MFMT ") && done.notes[0].contains(reply)
        );
        assert_eq!(rig.server.paths(), ["/up"]);
    }
}

#[tokio::test]
async fn a_time_that_the_server_tells_instead_of_setting_it_is_not_taken_for_set() {
    let script = Script::new().say("FEAT", &features(&["MDTM"])).say("MDTM", "213 20200101000000");
    let rig = Rig::with(script).await;
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    let done = rig.run(&mut session, &dated(upload("/f", "/up"))).await.unwrap();
    assert_eq!(done.notes, ["modification time not kept: the server has no command for it"]);
}

#[tokio::test]
async fn names_are_sent_as_rclones_encoding_has_them() {
    let mut rig = Rig::with(Script::new().file("/dir␠/a：b", b"abc")).await;
    rig.connection.encoding = Some("RightSpace,Colon".parse::<NameEncoding>().unwrap());
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    rig.run(&mut session, &download("/dir /a:b", "/g")).await.unwrap();
    rig.run(&mut session, &upload("/f", "/new: ")).await.unwrap();
    assert_eq!(rig.server.paths(), ["/dir␠/a：b", "/new：␠"]);

    rig.connection.encoding = Some("None".parse::<NameEncoding>().unwrap());
    let mut session = rig.session().await;
    rig.server.forget_commands();
    let error = failed(rig.run(&mut session, &download("/a/．．/b", "/g")).await);
    assert_eq!(error.failure.code, Code::PathNotAllowed);
    assert!(rig.server.commands().is_empty());
}

const SIZE: usize = 8 << 20;
const HALF: usize = 4 << 20;

fn hash_of(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish().value
}

/// What an earlier try has brought, or sent, is read again for the hash.
#[tokio::test]
async fn a_transfer_that_went_on_where_it_broke_off_is_hashed_whole() {
    let content = some_bytes(SIZE);
    let hash = hash_of(&content);
    let script = Script::new().file("/f", &content).modified("/f", "20250115103000");
    let script = script.say("FEAT", &features(&["HASH SHA-256*"])).on("HASH", hash_is(&hash));
    let broken = End::Reset(text("426 Broken"));
    let script = script.once("RETR", Act::Send(content[..HALF].to_vec(), End::Close(text("426 Broken"))));
    let rig = Rig::with(script.once("STOR", Act::Take(HALF, broken))).await;
    rig.local("local", &content);
    for task in [download("/f", "/g"), upload("/local", "/up")] {
        let (errors, done) = rig.try_again(&verified(task, Verify::Hash), 2).await;
        let done = done.unwrap_or_else(|| panic!("{errors:?}"));
        assert_eq!(done.details.resumed_from, Some(HALF as u64));
        assert_eq!(
            (done.details.verified_by, hashes(&done.details)),
            (Some("sha256"), vec![("sha256", &*hash)])
        );
        assert!(done.details.features.contains(&"REST"));
    }
    assert!(rig.content("g") == content && rig.server.content("/up").unwrap() == content);
}

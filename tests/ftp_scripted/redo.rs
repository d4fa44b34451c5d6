//! A record whose answer was lost is done again: the same file, and the same answer.

use ftp_pooler::ftp::RenameOutcome;

use super::*;

#[tokio::test]
async fn a_download_that_is_done_again_is_completed_without_a_command() {
    let rig = Rig::with(Script::new().file("/f", b"abc")).await;
    let mut session = rig.session().await;
    for (offset, overwrite) in [(-1, true), (-2, false)] {
        let mut task = download("/f", &format!("/f{offset}"));
        task.options.overwrite = overwrite;
        let first = rig.run_record(&mut session, &task, offset).await.unwrap();
        rig.server.forget_commands();
        let again = rig.run_record(&mut session, &task, offset).await.unwrap();
        assert_eq!((again.bytes, first.bytes), (3, 3));
        assert_eq!(again.notes, ["the file was brought by an earlier try"]);
        assert!(rig.server.commands().is_empty() && session.is_usable());
    }
}

#[tokio::test]
async fn an_upload_that_finds_its_own_file_is_completed_without_sending_it() {
    for (size, length) in [(None, 0), (None, 3), (None, 600 * 1024), (Some("502 Not implemented"), 300_000)] {
        let script = Script::new().file("/out/f", &some_bytes(length));
        let script = size.into_iter().fold(script, |script, reply| script.say("SIZE", reply));
        let rig = Rig::with(script).await;
        rig.local("f", &some_bytes(length));
        let mut session = rig.session().await;
        let done = rig.run(&mut session, &careful_upload()).await.unwrap();
        assert_eq!(done.bytes, length as u64);
        assert_eq!(done.notes, ["the destination was there already, with this content"]);
        assert!(!rig.server.verbs().contains(&text("STOR")) && session.is_usable());
    }
}

#[tokio::test]
async fn an_upload_that_finds_another_file_is_refused_and_the_session_stays_sound() {
    let mut last_differs = some_bytes(600 * 1024);
    *last_differs.last_mut().unwrap() ^= 1;
    let longer = some_bytes(600 * 1024 + 1);
    for (there, says) in [(last_differs, "other content"), (longer, "another size")] {
        let rig = Rig::with(Script::new().file("/out/f", &there)).await;
        rig.local("f", &some_bytes(600 * 1024));
        let mut session = rig.session().await;
        let error = failed(rig.run(&mut session, &careful_upload()).await);
        assert_eq!((error.failure.code, error.remedy), (Code::DestinationExists, Remedy::GiveUp));
        assert!(error.failure.message.contains(says), "{error}");
        assert!(rig.server.content("/out/f").unwrap() == there && session.is_usable());
    }
}

#[tokio::test]
async fn a_file_that_is_there_and_cannot_be_read_is_refused() {
    let rig = Rig::with(Script::new().file("/out/f", b"abc").say("RETR", "550 Permission denied.")).await;
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    let error = failed(rig.run(&mut session, &careful_upload()).await);
    assert_eq!(error.failure.code, Code::DestinationExists);
    assert!(error.failure.message.contains("550 Permission denied"), "{error}");
    assert!(session.is_usable());
}

#[tokio::test]
async fn an_upload_that_another_owner_of_the_record_finished_meanwhile_removes_its_temp_file() {
    let rig = Rig::with(Script::new().file("/out/f", b"abc").once("SIZE /out/f", say("550 not there"))).await;
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    assert_eq!(rig.run(&mut session, &careful_upload()).await.unwrap().bytes, 3);
    assert_eq!(rig.server.paths(), ["/out/f"]);
    assert!(!rig.server.verbs().contains(&text("RNTO")) && session.is_usable());
}

#[tokio::test]
async fn a_rename_that_is_not_wanted_any_more_after_rnfr_is_not_done() {
    let rig = Rig::with(Script::new().file("/a", b"new").file("/b", b"old")).await;
    let mut session = rig.session().await;
    assert_eq!(session.rename("/a", "/b", || false).await, Ok(RenameOutcome::Abandoned));
    assert!(session.delete("/a").await.unwrap() && session.is_usable());
    assert_eq!(rig.server.content("/b").unwrap(), b"old");
    assert!(!rig.server.verbs().contains(&text("RNTO")));
}

fn careful_upload() -> Task {
    let mut task = upload("/f", "/out/f");
    task.options.overwrite = false;
    task
}

#[tokio::test]
async fn a_temp_file_that_a_lost_session_left_is_removed_on_the_next_one() {
    let rig = Rig::with(Script::new().once("SIZE", Act::Close)).await;
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    failed(rig.run(&mut session, &upload("/f", "/out/f")).await);
    assert!(!session.is_usable());
    assert!(rig.server.paths()[0].starts_with("/out/.ftp-pooler-"));

    let mut session = rig.session().await;
    while rig.transfer.clean_up(&mut session).await {}
    assert!(rig.server.paths().is_empty() && session.is_usable());
}

#[tokio::test]
async fn what_a_records_last_owner_left_on_the_server_is_removed_and_what_others_have_there_is_not() {
    for directory in ["/out/", "/", "a/", ""] {
        let rig = Rig::with(Script::new()).await;
        rig.local("f", b"abc");
        let temp = |offset: i64| {
            let record = record(offset, Lease::default());
            names().name_for(&record.origin)
        };
        let (dead, others) = (format!("{directory}{}", temp(-7)), format!("{directory}{}", temp(-8)));
        rig.server.put(&dead, b"a");
        rig.server.put(&others, b"a");
        let mut session = rig.session().await;
        let target = format!("{directory}f");
        rig.run_record(&mut session, &upload("/f", &target), -7).await.unwrap();
        rig.server.forget_commands();
        while rig.transfer.clean_up(&mut session).await {}
        assert_eq!(rig.server.verbs(), ["EPSV", "LIST", "DELE"]);
        assert!(!rig.server.paths().contains(&dead), "{directory}");
        assert!(rig.server.paths().contains(&others) && rig.server.paths().contains(&target), "{directory}");
        assert!(session.is_usable());

        // Nothing is asked again for the next file.
        rig.server.forget_commands();
        rig.run(&mut session, &upload("/f", &target)).await.unwrap();
        assert!(!rig.transfer.clean_up(&mut session).await);
        assert!(!rig.server.verbs().contains(&text("LIST")));
    }
}

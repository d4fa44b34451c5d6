//! Uploads, one try at a time: a whole file under its final name, or the one that was there before.

use super::*;

const TEMP: &str = "/out/.ftp-pooler-";

#[tokio::test]
async fn files_of_all_sizes_arrive_whole_under_a_temp_name_first() {
    let rig = Rig::with(Script::new()).await;
    let mut session = rig.session().await;
    for length in [0, 1, 256 * 1024, 256 * 1024 + 1, 3 << 20] {
        rig.local("f", &some_bytes(length));
        rig.server.forget_commands();
        let done = rig.run(&mut session, &upload("/f", "/out/f")).await.unwrap();
        assert_eq!((done.bytes, done.notes), (length as u64, Vec::new()));
        assert!(rig.server.content("/out/f").unwrap() == some_bytes(length), "{length} bytes differ");
        assert_eq!(rig.server.verbs(), ["EPSV", "STOR", "SIZE", "RNFR", "RNTO"]);
        assert!(rig.server.commands()[1].starts_with("STOR /out/.ftp-pooler-"));
    }
    assert_eq!(rig.server.paths(), ["/out/f"]);
    assert!(session.is_usable());
}

#[tokio::test]
async fn a_relative_path_stays_relative() {
    for (path, temp) in
        [("f", "STOR .ftp-pooler-"), ("a/f", "STOR a/.ftp-pooler-"), ("/f", "STOR /.ftp-pooler-")]
    {
        let rig = Rig::with(Script::new()).await;
        rig.local("f", b"abc");
        let mut session = rig.session().await;
        rig.run(&mut session, &upload("/f", path)).await.unwrap();
        assert_eq!(rig.server.paths(), [path]);
        assert!(rig.server.commands().iter().any(|line| line.starts_with(temp)), "{path}");
    }
}

#[tokio::test]
async fn directories_are_made_only_after_a_refusal_and_only_those_that_are_missing() {
    let rig = Rig::with(Script::new().directories(&["/a"])).await;
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    rig.server.forget_commands();
    rig.run(&mut session, &upload("/f", "/a/b/c/f")).await.unwrap();
    rig.run(&mut session, &upload("/f", "/a/b/c/g")).await.unwrap();
    let made: Vec<_> = rig.server.commands().into_iter().filter(|line| line.starts_with("MKD")).collect();
    assert_eq!(made, ["MKD /a/b/c", "MKD /a/b", "MKD /a/b/c"]);
    assert_eq!(rig.server.paths(), ["/a/b/c/f", "/a/b/c/g"]);
}

#[tokio::test]
async fn a_destination_that_is_there_is_refused_unless_it_may_be_overwritten() {
    for size in [None, Some("502 Not implemented")] {
        let script = Script::new().file("/out/f", b"old");
        let script = size.into_iter().fold(script, |script, reply| script.say("SIZE", reply));
        let rig = Rig::with(script).await;
        rig.local("f", b"new");
        let mut session = rig.session().await;
        let mut task = upload("/f", "/out/f");
        task.options.overwrite = false;
        assert_eq!(failed(rig.run(&mut session, &task).await).failure.code, Code::DestinationExists);
        assert_eq!(rig.server.content("/out/f").unwrap(), b"old");
        assert!(!rig.server.verbs().contains(&text("STOR")) && session.is_usable());
        task.remote_path = text("/out/g");
        rig.run(&mut session, &task).await.unwrap();
        assert_eq!(rig.server.content("/out/g").unwrap(), b"new");
    }
}

#[tokio::test]
async fn a_look_at_the_destination_that_breaks_off_is_tried_again_and_a_shorter_file_is_another() {
    let take = |end| Act::Send(b"ne".to_vec(), end);
    for (end, code) in [
        (End::Vanish, None),
        (End::Close(text("426 broken off")), None),
        (End::Close(text("226 that is all")), Some(Code::DestinationExists)),
    ] {
        let rig = Rig::with(Script::new().file("/out/f", b"new").once("RETR", take(end.clone()))).await;
        rig.local("f", b"new");
        let mut task = upload("/f", "/out/f");
        task.options.overwrite = false;
        let error = failed(rig.run(&mut rig.session().await, &task).await);
        if let Some(code) = code {
            assert_eq!(error.failure.code, code, "{end:?}");
        } else {
            assert!(error.remedy != Remedy::GiveUp, "{end:?}: {error}");
            rig.run(&mut rig.session().await, &task).await.unwrap();
        }
        assert_eq!(rig.server.content("/out/f").unwrap(), b"new");
    }
}

#[tokio::test]
async fn a_destination_that_appears_meanwhile_is_not_replaced() {
    let rig =
        Rig::with(Script::new().once("SIZE /out/f", say("550 not there")).once("SIZE /out/f", say("213 3")))
            .await;
    rig.local("f", b"new");
    let mut task = upload("/f", "/out/f");
    task.options.overwrite = false;
    let mut session = rig.session().await;
    assert_eq!(failed(rig.run(&mut session, &task).await).failure.code, Code::DestinationExists);
    assert!(rig.server.paths().is_empty(), "the temp file is gone");
}

#[tokio::test]
async fn a_server_that_does_not_rename_over_a_file_is_told_from_others() {
    for reply in ["550 Rename failed.", "553 file exists"] {
        let rig = Rig::with(Script::new().file("/out/f", b"old").say("RNTO", reply)).await;
        rig.local("f", b"new");
        let mut session = rig.session().await;
        let error = failed(rig.run(&mut session, &upload("/f", "/out/f")).await);
        assert_eq!((error.failure.code, error.remedy), (Code::Unsupported, Remedy::GiveUp));
        assert!(error.failure.message.contains("rename_over = delete_first"), "{error}");
        assert_eq!(rig.server.paths(), ["/out/f"]);
        assert_eq!(rig.server.content("/out/f").unwrap(), b"old");
    }
}

#[tokio::test]
async fn with_delete_first_the_old_file_goes_right_before_the_rename() {
    let mut rig = Rig::with(Script::new().file("/out/f", b"old")).await;
    rig.connection.rename_over = RenameOver::DeleteFirst;
    rig.local("f", b"new");
    let mut session = rig.session().await;
    rig.server.forget_commands();
    rig.run(&mut session, &upload("/f", "/out/f")).await.unwrap();
    assert_eq!(rig.server.verbs(), ["EPSV", "STOR", "SIZE", "DELE", "RNFR", "RNTO"]);
    assert_eq!(rig.server.content("/out/f").unwrap(), b"new");
}

#[tokio::test]
async fn each_fault_has_its_code_and_leaves_the_old_file_alone() {
    use Code::*;
    let take = |most, end| Act::Take(most, end);
    for (command, act, code, ftp_code, sound) in [
        ("EPSV", Act::Hang, Timeout, None, false),
        ("EPSV", Act::SayAndClose(text("421 Bye")), ProtocolError, Some(421), false),
        ("STOR", Act::Hang, Timeout, None, false),
        ("STOR", Act::Close, ProtocolError, None, false),
        ("STOR", say("553 Could not create file."), PermissionDenied, Some(553), true),
        ("STOR", say("550 Permission denied."), PermissionDenied, Some(550), true),
        ("STOR", say("552 Quota exceeded"), StorageFull, Some(552), true),
        ("STOR", say("226 already there"), ProtocolError, Some(226), false),
        ("STOR", take(usize::MAX, End::Close(text("452 No space"))), StorageFull, Some(452), true),
        ("STOR", take(usize::MAX, End::Close(text("451 Failure writing"))), ProtocolError, Some(451), true),
        ("STOR", take(usize::MAX, End::Silence), Timeout, None, false),
        ("STOR", take(usize::MAX, End::Vanish), ProtocolError, None, false),
        ("STOR", take(1000, End::Reset(text("452 No space left"))), StorageFull, Some(452), true),
        ("STOR", take(1000, End::Reset(text("426 Broken"))), ProtocolError, Some(426), true),
        ("STOR", take(1000, End::Stall), Timeout, None, false),
        ("STOR", take(1000, End::Vanish), ProtocolError, None, false),
        ("SIZE", say("213 17"), IntegrityMismatch, None, true),
        ("SIZE", Act::Hang, Timeout, None, false),
        ("SIZE", Act::Close, ProtocolError, None, false),
        ("RNFR", say("550 RNFR failed."), ProtocolError, Some(550), true),
        ("RNFR", Act::SayAndClose(text("421 Bye")), ProtocolError, Some(421), false),
        ("RNTO", say("553 Permission denied"), Unsupported, Some(553), true),
        ("RNTO", Act::Hang, Timeout, None, false),
        ("RNTO", Act::Close, ProtocolError, None, false),
    ] {
        let at = format!("{command} {act:?}");
        let rig = Rig::with(Script::new().file("/out/f", b"old").on(command, act)).await;
        // More than the sockets' buffers hold.
        rig.local("f", &some_bytes(16 << 20));
        let mut session = rig.session().await;
        let error = failed(rig.run(&mut session, &upload("/f", "/out/f")).await);
        assert_eq!((error.failure.code, error.failure.ftp_code), (code, ftp_code), "{at}: {error}");
        assert_eq!(session.is_usable(), sound, "{at}: {error}");
        assert_eq!(rig.server.content("/out/f").unwrap(), b"old", "{at}");
        // What could have been of use to another try is removed on a session that is idle.
        rig.server.behave();
        let mut session = if sound { session } else { rig.session().await };
        while rig.transfer.clean_up(&mut session).await {}
        assert_eq!(rig.server.paths(), ["/out/f"], "{at}: the temp file stands");
    }
}

#[tokio::test]
async fn a_cancelled_upload_removes_its_temp_file() {
    let rig = Rig::with(Script::new().on("STOR", Act::Take(1000, End::Dawdle(text("226 done"))))).await;
    rig.local("f", &some_bytes(64 << 20));
    let mut session = rig.session().await;
    let cancel = rig.cancel.clone();
    let task = upload("/f", "/out/f");
    let (ended, ()) = tokio::join!(rig.run(&mut session, &task), async {
        until("the temp file stands", || rig.server.paths().iter().any(|path| path.starts_with(TEMP))).await;
        cancel.cancel();
    });
    assert_eq!(ended, Err(TransferError::Cancelled));
    assert!(rig.server.paths().is_empty());
    assert!(session.is_usable());
}

#[tokio::test]
async fn a_lease_that_ends_during_the_upload_leaves_nothing() {
    let mut rig =
        Rig::with(Script::new().on("STOR", Act::Take(usize::MAX, End::Dawdle(text("226 done"))))).await;
    rig.connection.timeouts.close = PATIENCE;
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    let task = upload("/f", "/out/f");
    let (ended, ()) = tokio::join!(rig.run(&mut session, &task), async {
        until("the temp file stands", || rig.server.paths().iter().any(|path| path.starts_with(TEMP))).await;
        rig.lease.end();
    });
    assert_eq!(ended, Err(TransferError::LeaseEnded));
    assert!(rig.server.paths().is_empty());
}

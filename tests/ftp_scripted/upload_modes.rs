//! Servers and accounts on which a temp name, a rename, a look or a path is not to be had.

use ftp_pooler::config::{ChangeDirectory, UploadMode};

use super::*;

const IN_PLACE: &str = "stored in place, without a temp name";

/// Case b16: the account may store files, and nothing else; or not rename them.
#[tokio::test]
async fn b16_a_drop_box_names_the_keys_that_help_and_keeps_no_stray_where_it_may_be_removed() {
    for (size, rnfr, rnto, may_delete) in [
        ("550 Permission denied.", "550 Permission denied.", "503 RNFR first", false),
        ("550 Permission denied.", "550 Permission denied.", "503 RNFR first", true),
        ("213 3", "350 and to?", "553 Can't rename file.", true),
    ] {
        let script = Script::new().say("SIZE /up/f", "550 no such file").say("SIZE", size).say("RNFR", rnfr);
        let script = script.say("RNTO", rnto);
        let script = if may_delete { script } else { script.say("DELE", "550 Permission denied.") };
        let rig = Rig::with(script).await;
        rig.local("f", b"abc");
        let mut session = rig.session().await;
        let error = failed(rig.run(&mut session, &upload("/f", "/up/f")).await);
        assert_eq!((error.failure.code, error.remedy), (Code::PermissionDenied, Remedy::GiveUp), "{error}");
        for part in ["/up/f", "upload = in_place", "no_check_upload = true"] {
            assert!(error.failure.message.contains(part), "{part}: {error}");
        }
        assert_eq!(rig.server.paths().len(), usize::from(!may_delete), "{:?}", rig.server.paths());
        assert!(session.is_usable());
    }
}

#[tokio::test]
async fn b16_a_write_only_directory_gets_one_temp_file_and_no_more_until_that_can_be_removed() {
    const NO: &str = "550 Permission denied.";
    let script = Script::new().once("SIZE", say(NO)).once("RNFR", say(NO)).directories(&["/up", "/else"]);
    let rig = Rig::with(script.once("DELE", say(NO)).once("DELE", say(NO))).await;
    rig.local("f", b"abc");
    let known = Arc::new(ServerProfile::low_latency());
    let mut session = rig.hasty(&known).await;
    let first = failed(rig.run(&mut session, &upload("/f", "/up/f")).await);
    assert_eq!(first.failure.code, Code::PermissionDenied, "{first}");
    let stays = rig.server.paths();
    assert_eq!(stays.len(), 1, "{stays:?}");

    // Known to the connection's next session, which sends nothing.
    let mut session = rig.hasty(&known).await;
    rig.server.forget_commands();
    let error = failed(rig.run(&mut session, &upload("/f", "/up/g")).await);
    assert_eq!((error.failure.code, error.failure.ftp_code), (Code::PermissionDenied, Some(550)), "{error}");
    for part in ["STOR /up/g: not sent", &stays[0], "upload = in_place", "no_check_upload = true"] {
        assert!(error.failure.message.contains(part), "{part}: {error}");
    }
    assert_eq!(rig.server.verbs(), ["DELE"]);
    assert_eq!(rig.server.paths(), stays);
    rig.run(&mut session, &upload("/f", "/else/f")).await.expect("another directory is another matter");

    // The account may do more by now.
    rig.run(&mut session, &upload("/f", "/up/g")).await.unwrap();
    assert_eq!(rig.server.paths(), ["/else/f", "/up/g"]);
}

#[tokio::test]
async fn b16_in_place_and_unchecked_a_file_needs_nothing_but_stor() {
    let script = ["SIZE", "RNFR", "DELE"]
        .iter()
        .fold(Script::new(), |script, verb| script.say(verb, "550 Permission denied."));
    let mut rig = Rig::with(script).await;
    (rig.connection.upload, rig.connection.no_check_upload) = (UploadMode::InPlace, true);
    rig.local("f", b"abc");
    for known in [ServerProfile::low_latency(), ServerProfile::high_latency()] {
        let mut session = rig.hasty(&Arc::new(known)).await;
        for _ in 0..2 {
            rig.server.forget_commands();
            let done = rig.run(&mut session, &upload("/f", "/up/f")).await.unwrap();
            assert_eq!(rig.server.commands(), ["EPSV", "STOR /up/f"]);
            assert_eq!((done.bytes, done.details.verified_by), (3, None));
            assert_eq!(done.notes[0], "size not verified: no_check_upload is set for the connection");
            assert!(done.notes[1].starts_with(IN_PLACE), "{:?}", done.notes);
        }
    }
    assert_eq!(rig.server.paths(), ["/up/f"]);
}

#[tokio::test]
async fn in_place_a_file_is_compared_by_its_size_where_it_may_be_asked() {
    let mut rig =
        Rig::with(Script::new().once("SIZE", say("213 17")).once("SIZE", say("550 Permission denied.")))
            .await;
    rig.connection.upload = UploadMode::InPlace;
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    let error = failed(rig.run(&mut session, &upload("/f", "/up/f")).await);
    assert_eq!((error.failure.code, error.remedy), (Code::IntegrityMismatch, Remedy::Wait), "{error}");
    assert!(error.failure.message.contains("under the file's own name"), "{error}");
    let done = rig.run(&mut session, &upload("/f", "/up/f")).await.unwrap();
    assert_eq!(done.notes[0], "size not verified: SIZE /up/f: the server said 550 Permission denied.");
    rig.server.forget_commands();
    let done = rig.run(&mut session, &upload("/f", "/up/f")).await.unwrap();
    assert_eq!(
        (rig.server.verbs(), done.details.verified_by),
        (vec![text("EPSV"), text("STOR"), text("SIZE")], Some("size"))
    );
    assert_eq!(done.notes.len(), 1);
}

/// What an earlier try has left under the file's name cannot be told from somebody's file.
#[tokio::test]
async fn in_place_nothing_is_sent_of_a_task_that_may_not_overwrite() {
    let mut rig = Rig::with(Script::new()).await;
    rig.connection.upload = UploadMode::InPlace;
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    rig.server.forget_commands();
    let mut task = upload("/f", "/up/f");
    task.options.overwrite = false;
    let error = failed(rig.run(&mut session, &task).await);
    assert_eq!((error.failure.code, error.remedy), (Code::Unsupported, Remedy::GiveUp));
    assert!(error.failure.message.contains("options.overwrite: false needs a temp name"), "{error}");
    assert!(rig.server.commands().is_empty());
}

/// A part is written over by the next try, and never removed: the record may have another owner by then.
#[tokio::test]
async fn in_place_a_try_that_breaks_off_removes_nothing_and_the_next_one_begins_anew() {
    let take = Act::Take(5 << 20, End::Reset(text("426 Broken")));
    let mut rig = Rig::with(Script::new().once("STOR", take)).await;
    rig.connection.upload = UploadMode::InPlace;
    rig.local("f", &some_bytes(8 << 20));
    let (errors, done) = rig.try_again(&upload("/f", "/up/f"), 2).await;
    assert_eq!(errors.len(), 1);
    assert!(errors[0].failure.message.contains("is under the file's own name"), "{}", errors[0]);
    assert_eq!(done.unwrap().details.resumed_from, None);
    let verbs = rig.server.verbs();
    assert!(
        !verbs.iter().any(|verb| ["DELE", "REST", "RNFR", "LIST", "MLSD"].contains(&verb.as_str())),
        "{verbs:?}"
    );
    assert!(rig.server.content("/up/f").unwrap() == some_bytes(8 << 20));
}

/// Nobody sends a byte for a record that is another's by now.
#[tokio::test]
async fn in_place_a_lease_that_has_ended_stops_the_file() {
    let mut rig = Rig::with(Script::new().on("STOR", Act::Take(1000, End::Dawdle(text("226 done"))))).await;
    rig.connection.upload = UploadMode::InPlace;
    rig.local("f", &some_bytes(64 << 20));
    let mut session = rig.session().await;
    let task = upload("/f", "/up/f");
    let (ended, ()) = tokio::join!(rig.run(&mut session, &task), async {
        until("the file is there", || rig.server.paths().contains(&text("/up/f"))).await;
        rig.lease.end();
    });
    assert_eq!(ended, Err(TransferError::LeaseEnded));
    assert!(!rig.server.verbs().contains(&text("DELE")));
}

/// Case b17: a job of the server's takes each file away as soon as STOR has ended.
#[tokio::test]
async fn b17_a_file_that_is_taken_away_is_not_sent_again() {
    for words in ["550 no such file", "550 Could not get file size."] {
        let script =
            Script::new().say("SIZE", words).say("RNFR", "550 no such file").say("DELE", "550 no such file");
        let mut rig = Rig::with(script).await;
        rig.local("f", b"abc");
        for known in [ServerProfile::low_latency(), ServerProfile::high_latency()] {
            let mut session = rig.hasty(&Arc::new(known)).await;
            let error = failed(rig.run(&mut session, &upload("/f", "/up/f")).await);
            assert_eq!((error.failure.code, error.remedy), (Code::Unsupported, Remedy::GiveUp), "{error}");
            let begin = "STOR /up/f: the server has confirmed the file and no longer has it";
            assert!(error.failure.message.starts_with(begin), "{error}");
            assert!(error.failure.message.contains("upload = in_place"), "{error}");
        }
        rig.connection.upload = UploadMode::InPlace;
        let done = rig.run(&mut rig.session().await, &upload("/f", "/up/f")).await.unwrap();
        assert_eq!(done.notes[0], format!("size not verified: SIZE /up/f: the server said {words}"));
    }
}

/// Case b18: z/OS, whose data sets have names of their own.
#[tokio::test]
async fn b18_a_data_set_is_stored_under_its_own_name() {
    let greeting =
        "220-FTPD1 IBM FTP CS V2R3 at HOST, 10:11:12 on 2024-01-15.\r\n220 Connection will close if idle.";
    for script in [
        Script::new().say("GREETING", greeting),
        // One that greets as it likes is known by its words.
        Script::new().say("STOR .ftp-pooler", "501 Qualifier too long.  Use MVS naming conventions."),
    ] {
        let rig = Rig::with(script).await;
        rig.local("f", b"abc");
        let mut session = rig.session().await;
        for name in ["'USER1.DATA.SET1'", "DATA.PDS(MEMBER1)"] {
            let done =
                rig.run(&mut session, &upload("/f", name)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(done.notes.iter().any(|note| note.starts_with(IN_PLACE)), "{:?}", done.notes);
            rig.run(&mut session, &download(name, "/back")).await.unwrap();
            assert_eq!(rig.content("back"), b"abc");
        }
        assert_eq!(rig.server.paths(), ["'USER1.DATA.SET1'", "DATA.PDS(MEMBER1)"]);
        // Files of its Unix side have temp names as everywhere.
        rig.server.forget_commands();
        rig.run(&mut session, &upload("/f", "/u/user1/f")).await.unwrap();
        assert_eq!(rig.server.verbs(), ["EPSV", "STOR", "SIZE", "RNFR", "RNTO"]);
    }
}

/// Case b19: a file's name is taken, and no path.
#[tokio::test]
async fn b19_where_paths_are_refused_the_directory_is_entered() {
    for refusal in [
        "550 Permission denied.",
        "553 Could not create file.",
        "550 The filename, directory name, or volume label syntax is incorrect.",
    ] {
        let script =
            Script::new().refuses_paths(refusal).directories(&["/up", "/gen"]).file("/gen/x", b"abc");
        let rig = Rig::with(script).await;
        rig.local("f", b"up");
        for known in [ServerProfile::low_latency(), ServerProfile::high_latency()] {
            let known = Arc::new(known);
            let mut session = rig.hasty(&known).await;
            let there = rig.run(&mut session, &upload("/f", "/up/f")).await;
            assert!(there.is_ok(), "{refusal}: {there:?}: {:#?}", rig.server.commands());
            rig.run(&mut session, &download("/gen/x", "/x")).await.unwrap();
            assert_eq!(
                (rig.content("x"), rig.server.content("/up/f").unwrap()),
                (b"abc".to_vec(), b"up".to_vec())
            );
            // Known to the next session, which asks nothing twice.
            let mut session = rig.hasty(&known).await;
            rig.server.forget_commands();
            rig.run(&mut session, &upload("/f", "/up/g")).await.unwrap();
            let verbs = rig.server.verbs();
            assert_eq!(verbs.iter().filter(|verb| *verb == "CWD").count(), 1, "{verbs:?}");
            assert_eq!(verbs.iter().filter(|verb| *verb == "STOR").count(), 1, "{verbs:?}");
            assert_eq!(rig.server.paths(), ["/gen/x", "/up/f", "/up/g"]);
        }
    }
}

#[tokio::test]
async fn b19_a_download_finds_it_out_as_well_and_the_key_spares_that() {
    for always in [false, true] {
        let script = Script::new()
            .refuses_paths("550 ? The filename, directory name, or volume label syntax is incorrect.");
        let mut rig = Rig::with(script.file("/gen/x", b"abc").file("/top", b"t")).await;
        if always {
            rig.connection.change_directory = ChangeDirectory::Always;
        }
        let mut session = rig.session().await;
        rig.server.forget_commands();
        for (path, content) in [("/gen/x", &b"abc"[..]), ("/top", b"t"), ("gen/x", b"abc"), ("top", b"t")] {
            rig.run(&mut session, &download(path, "/x")).await.unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(rig.content("x"), content, "{path}");
        }
        let refused = rig.server.commands().iter().filter(|line| *line == "RETR /gen/x").count();
        assert_eq!(refused, usize::from(!always));
    }
}

#[tokio::test]
async fn b19_a_directory_entered_in_vain_is_left_again_and_a_server_that_takes_paths_is_not_asked() {
    let script = Script::new().say("PWD", "257 \"/home\"").say("CWD", "250 ok").file("/a/there", b"abc");
    let rig = Rig::with(
        script.say("RETR /a/missing", "550 Failed to open file.").say("RETR missing", "550 Failed."),
    )
    .await;
    let mut session = rig.session().await;
    rig.server.forget_commands();
    let error = failed(rig.run(&mut session, &download("/a/missing", "/x")).await);
    assert_eq!(error.failure.code, Code::SourceNotFound);
    assert!(error.failure.message.contains("Failed to open file."), "{error}");
    let commands = rig.server.commands();
    assert_eq!(&commands[commands.len() - 2..], ["RETR missing", "CWD /home"], "{commands:?}");
    assert!(session.is_usable());
    rig.run(&mut session, &download("/a/there", "/x")).await.unwrap();
    rig.server.forget_commands();
    failed(rig.run(&mut session, &download("/a/missing", "/x")).await);
    assert!(!rig.server.verbs().contains(&text("CWD")), "{:?}", rig.server.commands());
}

#[tokio::test]
async fn b19_missing_directories_are_made_on_a_server_without_paths() {
    let script = Script::new().refuses_paths("553 Could not create file.").directories(&["/a"]);
    let mut rig = Rig::with(script).await;
    rig.connection.change_directory = ChangeDirectory::Always;
    rig.local("f", b"abc");
    rig.run(&mut rig.session().await, &upload("/f", "/a/b/c/f")).await.unwrap();
    assert_eq!(rig.server.paths(), ["/a/b/c/f"]);
}

#[tokio::test]
async fn temp_names_have_the_prefix_suffix_and_directory_of_the_connection() {
    let mut rig = Rig::with(Script::new().directories(&["/part"])).await;
    let connection = &mut rig.connection;
    (connection.temp_prefix, connection.temp_suffix) = (text("up_"), text(".part"));
    connection.temp_dir = Some(text("/part"));
    rig.local("f", b"abc");
    for known in [ServerProfile::low_latency(), ServerProfile::high_latency()] {
        let mut session = rig.hasty(&Arc::new(known)).await;
        rig.server.forget_commands();
        rig.run(&mut session, &upload("/f", "/out/f")).await.unwrap();
        let commands = rig.server.commands();
        let stor = commands.iter().find_map(|line| line.strip_prefix("STOR /part/")).unwrap();
        assert!(stor.starts_with("up_") && stor.strip_suffix(".part").is_some(), "{commands:?}");
        assert_eq!(rig.server.paths(), ["/out/f"]);
    }
}

/// Paths are refused by RNTO as well: the other directory is entered between RNFR and RNTO.
#[tokio::test]
async fn b19_a_temp_dir_can_be_used_where_paths_are_refused() {
    let directories = ["/part", "/out"];
    let mut rig =
        Rig::with(Script::new().refuses_paths("553 Could not create file.").directories(&directories)).await;
    rig.connection.temp_dir = Some(text("/part"));
    rig.local("f", b"abc");
    for known in [ServerProfile::low_latency(), ServerProfile::high_latency()] {
        let mut session = rig.hasty(&Arc::new(known)).await;
        for path in ["/out/f", "/out/g", "bare"] {
            let done = rig.run(&mut session, &upload("/f", path)).await;
            assert!(done.is_ok(), "{path}: {done:?}: {:#?}", rig.server.commands());
        }
        assert_eq!(rig.server.paths(), ["/bare", "/out/f", "/out/g"]);
    }

    // Servers may forget RNFR meanwhile.
    let script = Script::new().refuses_paths("553 Could not create file.").directories(&directories);
    let mut rig = Rig::with(script.say("RNTO f", "503 RNFR first")).await;
    rig.connection.temp_dir = Some(text("/part"));
    rig.connection.change_directory = ChangeDirectory::Always;
    rig.local("f", b"abc");
    let mut session = rig.session().await;
    let error = failed(rig.run(&mut session, &upload("/f", "/out/f")).await);
    for part in ["names and no paths", "503 RNFR first", "temp_dir = /part"] {
        assert!(error.failure.message.contains(part), "{part}: {error}");
    }
    assert!(rig.server.paths().is_empty() && session.is_usable(), "{:?}", rig.server.paths());
}

#[tokio::test]
async fn a_stray_with_another_prefix_is_found_and_removed() {
    let (offset, source) = (7, upload("/f", "/out/f"));
    let mut rig = Rig::with(Script::new()).await;
    (rig.connection.temp_prefix, rig.connection.temp_suffix) = (text("up_"), text(".part"));
    rig.local("f", b"abc");
    // Another process was at this record.
    let left = names().name_for(&record(offset, rig.lease.clone()).origin).to_string();
    let core = left.strip_prefix(".ftp-pooler-").unwrap().strip_suffix(".tmp").unwrap();
    rig.server.put(&format!("/out/up_{core}.part"), b"ab");
    let mut session = rig.session().await;
    rig.run_record(&mut session, &source, offset).await.unwrap();
    while rig.transfer.clean_up(&mut session).await {}
    assert_eq!(rig.server.paths(), ["/out/f"]);
}

#[tokio::test]
async fn a_directory_that_may_not_be_made_is_told_and_not_its_consequence() {
    // By the words of MKD's refusal; and without any, since CWD says that there is no such directory.
    for (mkd, cwd) in
        [("550 Permission denied.", "500 What?"), ("550 Create directory operation failed.", "550 no")]
    {
        let script =
            Script::new().directories(&["/a"]).say("MKD", mkd).say("CWD", cwd).say("PWD", "257 \"/\"");
        let rig = Rig::with(script).await;
        rig.local("f", b"abc");
        let mut session = rig.session().await;
        let error = failed(rig.run(&mut session, &upload("/f", "/a/b/f")).await);
        assert_eq!(
            (error.failure.code, error.failure.ftp_code),
            (Code::PermissionDenied, Some(550)),
            "{error}"
        );
        let begin =
            format!("MKD /a/b: the server said {mkd}; so STOR /a/b/f (under its temp name /a/b/.ftp-pooler-");
        assert!(error.failure.message.starts_with(&begin), "{error}");
        assert!(session.is_usable());
    }
}

/// Case b39: quotes are no more than other characters.
#[tokio::test]
async fn b39_paths_are_shown_as_they_are() {
    let rig = Rig::with(Script::new()).await;
    let task = download("/pub/O'Brien \"x\".csv", "/x");
    let error = failed(rig.run(&mut rig.session().await, &task).await);
    assert!(error.failure.message.contains("RETR /pub/O'Brien \"x\".csv: the server said 550"), "{error}");
}

/// Case b22, the same after an upload: the file stays.
#[tokio::test]
async fn b22_an_upload_whose_size_cannot_be_told_is_complete() {
    for reply in ["501 SIZE: syntax error or not supported", "213 -4294897296", "502 No"] {
        let rig = Rig::with(Script::new().say("SIZE", reply)).await;
        rig.local("f", b"abc");
        let done = rig.run(&mut rig.session().await, &upload("/f", "/up/f")).await.unwrap();
        assert_eq!(done.notes, ["size not verified: the server has no SIZE"], "{reply}");
        assert_eq!(rig.server.paths(), ["/up/f"]);
    }
}

//! Downloads, one try at a time: a whole file under its final name, or none.

use super::*;

#[tokio::test]
async fn files_of_all_sizes_come_whole_with_three_commands_each() {
    let rig = Rig::with(Script::new()).await;
    let mut session = rig.session().await;
    for length in [0, 1, 4096, 256 * 1024, 256 * 1024 + 1, 3 << 20] {
        rig.server.put("/in/f", &some_bytes(length));
        rig.server.forget_commands();
        let done = rig.run(&mut session, &download("/in/f", "/f")).await.unwrap();
        assert_eq!((done.bytes, done.notes), (length as u64, Vec::new()));
        assert!(rig.content("f") == some_bytes(length), "{length} bytes differ");
        assert_eq!(rig.server.commands(), ["SIZE /in/f", "EPSV", "RETR /in/f"]);
    }
    assert!(session.is_usable() && session.is_alive());
    assert_eq!(rig.server.logins(), 1);
}

#[tokio::test]
async fn without_epsv_pasv_is_used_and_its_address_is_not() {
    let script = Script::new().file("/f", b"abc").say("EPSV", "500 EPSV not understood");
    let rig = Rig::with(script.on("PASV", Act::ForeignAddress)).await;
    let mut session = rig.session().await;
    rig.server.forget_commands();
    rig.run(&mut session, &download("/f", "/f")).await.unwrap();
    rig.run(&mut session, &download("/f", "/g")).await.unwrap();
    assert_eq!(rig.content("g"), b"abc");
    assert_eq!(rig.server.verbs(), ["SIZE", "EPSV", "PASV", "RETR", "SIZE", "PASV", "RETR"]);
}

/// Case b22: a SIZE that is none.
#[tokio::test]
async fn b22_what_cannot_be_verified_is_said_in_the_result() {
    for (reply, note) in [
        ("500 What?", "size not verified: the server has no SIZE"),
        ("502 Not implemented", "size not verified: the server has no SIZE"),
        ("501 SIZE: syntax error or not supported", "size not verified: the server has no SIZE"),
        ("503 Bad sequence of commands", "size not verified: the server has no SIZE"),
        ("202 SIZE not implemented, superfluous at this site", "size not verified: the server has no SIZE"),
        ("220 ready", "size not verified: the server has no SIZE"),
        ("213 -4294897296", "size not verified: the server has no SIZE"),
        ("213 unknown", "size not verified: the server has no SIZE"),
        ("550 not a plain file", "size not verified: SIZE /f: the server said 550 not a plain file"),
    ] {
        let rig = Rig::with(Script::new().file("/f", b"abc").say("SIZE", reply)).await;
        let mut session = rig.session().await;
        let done = rig.run(&mut session, &download("/f", "/f")).await.unwrap();
        assert_eq!((done.bytes, done.notes), (3, vec![note.to_owned()]));
    }
}

#[tokio::test]
async fn size_is_not_asked_for_where_nothing_is_verified() {
    let rig = Rig::with(Script::new().file("/f", b"abc")).await;
    let mut session = rig.session().await;
    rig.server.forget_commands();
    let mut task = download("/f", "/f");
    task.options.verify = Verify::None;
    assert_eq!(rig.run(&mut session, &task).await.unwrap().notes, Vec::<String>::new());
    assert_eq!(rig.server.verbs(), ["EPSV", "RETR"]);
}

#[tokio::test]
async fn a_destination_that_is_there_is_refused_before_a_command_is_sent() {
    let rig = Rig::with(Script::new().file("/f", b"new")).await;
    rig.local("f", b"old");
    let mut session = rig.session().await;
    rig.server.forget_commands();
    let mut task = download("/f", "/f");
    task.options.overwrite = false;
    assert_eq!(failed(rig.run(&mut session, &task).await).failure.code, Code::DestinationExists);
    assert_eq!(rig.content("f"), b"old");
    assert!(rig.server.commands().is_empty() && session.is_usable());
}

#[tokio::test]
async fn a_226_that_comes_before_the_data_is_believed_where_the_size_is_right() {
    let rig = Rig::with(Script::new().file("/f", b"abc").on("RETR", Act::SendLate(b"abc".to_vec()))).await;
    let mut session = rig.session().await;
    rig.run(&mut session, &download("/f", "/f")).await.unwrap();
    assert_eq!(rig.content("f"), b"abc");
    assert!(session.is_usable());
}

struct Row {
    act: (&'static str, Act),
    code: Code,
    remedy: Remedy,
    ftp_code: Option<u16>,
    sound: bool,
}

fn row(command: &'static str, act: Act, code: Code, ftp_code: Option<u16>, sound: bool) -> Row {
    let remedy = match code {
        Code::SourceNotFound | Code::PermissionDenied | Code::Unsupported => Remedy::GiveUp,
        _ => Remedy::Wait,
    };
    Row { act: (command, act), code, remedy, ftp_code, sound }
}

fn rows() -> Vec<Row> {
    use Code::*;
    let half = || b"0123".to_vec();
    let whole = || b"0123456789".to_vec();
    let long = || b"0123456789+".to_vec();
    let done = || text("226 done");
    vec![
        row("SIZE", Act::Hang, Timeout, None, false),
        row("SIZE", Act::Close, ProtocolError, None, false),
        row("SIZE", Act::SayAndClose(text("421 Bye")), ProtocolError, Some(421), false),
        row("SIZE", say("garbage"), ProtocolError, None, false),
        row("SIZE", say("226 not asked for"), ProtocolError, Some(226), false),
        row("SIZE", say("550 f: No such file or directory"), SourceNotFound, Some(550), true),
        row("SIZE", say("213 4"), IntegrityMismatch, None, true),
        row("SIZE", say("213 11"), IntegrityMismatch, None, true),
        row("SIZE", say("213 99999999999999999999999"), ProtocolError, Some(213), false),
        row("EPSV", Act::Hang, Timeout, None, false),
        row("EPSV", Act::Close, ProtocolError, None, false),
        row("EPSV", Act::SayAndClose(text("421 Bye")), ProtocolError, Some(421), false),
        row("EPSV", say("226 not asked for"), ProtocolError, Some(226), false),
        row("RETR", Act::Hang, Timeout, None, false),
        row("RETR", Act::Close, ProtocolError, None, false),
        row("RETR", Act::SayAndClose(text("421 Bye")), ProtocolError, Some(421), false),
        row("RETR", say("550 Failed to open file."), SourceNotFound, Some(550), true),
        row("RETR", say("550 Permission denied."), PermissionDenied, Some(550), true),
        row("RETR", say("425 Security: Bad IP connecting."), ConnectFailed, Some(425), true),
        row("RETR", say("502 No"), Unsupported, Some(502), true),
        row("RETR", say("350 What?"), ProtocolError, Some(350), false),
        row("RETR", Act::Send(half(), End::Close(done())), IntegrityMismatch, None, true),
        row("RETR", Act::Send(long(), End::Close(done())), IntegrityMismatch, None, true),
        row("RETR", Act::Send(whole(), End::Endless), IntegrityMismatch, None, true),
        row("RETR", Act::Send(half(), End::Close(text("426 Broken"))), ProtocolError, Some(426), true),
        row(
            "RETR",
            Act::Send(half(), End::Close(text("451 Failure reading"))),
            ProtocolError,
            Some(451),
            true,
        ),
        row("RETR", Act::Send(half(), End::Reset(text("426 Broken"))), ProtocolError, Some(426), true),
        row("RETR", Act::Send(whole(), End::Silence), Timeout, None, false),
        row("RETR", Act::Send(half(), End::Stall), Timeout, None, false),
        row("RETR", Act::Send(vec![], End::Stall), Timeout, None, false),
        row("RETR", Act::Send(half(), End::Vanish), ProtocolError, None, false),
        row("RETR", Act::Send(whole(), End::Vanish), ProtocolError, None, false),
        row("RETR", Act::SendLate(half()), IntegrityMismatch, None, true),
    ]
}

#[tokio::test]
async fn each_fault_has_its_code_and_leaves_no_file() {
    for row in rows() {
        let at = format!("{:?}", row.act);
        let script = Script::new().file("/f", b"0123456789").on(row.act.0, row.act.1);
        let rig = Rig::with(script).await;
        let mut session = rig.session().await;
        let error = failed(rig.run(&mut session, &download("/f", "/sub/f")).await);
        assert_eq!((error.failure.code, error.remedy), (row.code, row.remedy), "{at}: {error}");
        assert_eq!(error.failure.ftp_code, row.ftp_code, "{at}: {error}");
        assert_eq!(session.is_usable(), row.sound, "{at}: {error}");
        assert_eq!(rig.local_files().iter().filter(|name| *name != "sub").count(), 0, "{at}");
        assert!(
            !rig.directory.path().join("sub").exists() || files(&rig.directory.path().join("sub")).is_empty()
        );
    }
}

#[tokio::test]
async fn a_data_port_where_nobody_listens_opens_the_breaker_and_the_reply_is_still_read() {
    let rig = Rig::with(Script::new().file("/f", b"abc")).await;
    let mut session = rig.session().await;
    rig.run(&mut session, &download("/f", "/f")).await.unwrap();
    for command in ["EPSV", "PASV"] {
        rig.server.now_on(command, Act::DeadPort);
    }
    for reply in
        ["425 Failed to establish connection.", "150 a moment\r\n425 Failed to establish connection."]
    {
        rig.server.now_on("RETR", say(reply));
        let error = failed(rig.run(&mut session, &download("/f", "/g")).await);
        assert_eq!((error.failure.code, error.failure.ftp_code), (Code::ConnectFailed, Some(425)), "{error}");
        assert!(session.is_usable());
    }
    let error = failed(rig.run(&mut session, &download("/f", "/g")).await);
    assert_eq!(error.remedy, Remedy::OpenBreaker);
    assert!(error.failure.message.contains("refused"), "{error}");
}

/// Some firewalls read PASV's replies, and know nothing of EPSV's.
#[tokio::test]
async fn where_epsvs_port_is_closed_pasvs_is_used_in_the_same_session_and_remembered() {
    let rig = Rig::with(Script::new().file("/f", b"abc").on("EPSV", Act::DeadPort)).await;
    rig.local("up", b"up");
    let known = Arc::new(ServerProfile::low_latency());
    let mut session = rig.hasty(&known).await;
    rig.server.forget_commands();
    rig.run(&mut session, &download("/f", "/f")).await.unwrap();
    assert_eq!(rig.server.commands(), ["SIZE /f", "EPSV", "PASV", "RETR /f"]);
    rig.server.forget_commands();
    rig.run(&mut session, &upload("/up", "/up")).await.unwrap();
    assert_eq!(rig.server.verbs(), ["PASV", "STOR", "SIZE", "RNFR", "RNTO"]);
    let mut another = rig.hasty(&known).await;
    rig.server.forget_commands();
    rig.run(&mut another, &download("/f", "/g")).await.unwrap();
    assert_eq!(rig.server.verbs(), ["SIZE", "PASV", "RETR"]);
    assert_eq!(rig.server.logins(), 2);
}

/// A port of EPSV's that was reachable before: the command is sent already, and its refusal is read first.
#[tokio::test]
async fn where_epsvs_port_is_closed_later_the_transfer_is_begun_again_by_pasv() {
    for task in [download("/f", "/g"), upload("/up", "/up")] {
        let rig = Rig::with(Script::new().file("/f", b"abc")).await;
        rig.local("up", b"up");
        let mut session = rig.session().await;
        rig.run(&mut session, &download("/f", "/f")).await.unwrap();
        rig.server.now_on("EPSV", Act::DeadPort);
        for command in ["RETR", "STOR"] {
            rig.server.next(command, say("150 a moment\r\n425 Failed to establish connection."));
        }
        rig.run(&mut session, &task).await.unwrap();
        assert!(rig.server.verbs().contains(&text("PASV")) && rig.server.logins() == 1);
    }
}

#[tokio::test]
async fn a_silent_port_of_epsvs_costs_no_longer_than_a_connect() {
    let rig = Rig::with(Script::new().file("/f", b"abc").on("EPSV", Act::FullPort)).await;
    let mut session = rig.session().await;
    rig.run(&mut session, &download("/f", "/f")).await.unwrap();
    assert!(rig.server.verbs().contains(&text("PASV")) && rig.server.logins() == 1);
}

#[tokio::test]
async fn a_session_that_serves_again_and_finds_itself_closed_asks_for_a_fresh_one() {
    for act in [Act::SayAndClose(text("421 Timeout.")), Act::Close] {
        let rig = Rig::with(Script::new().file("/f", b"abc")).await;
        let mut session = rig.session().await;
        rig.run(&mut session, &download("/f", "/f")).await.unwrap();
        rig.server.now_on("SIZE", act);
        let error = failed(rig.run(&mut session, &download("/f", "/f")).await);
        assert_eq!(error.remedy, Remedy::FreshSession, "{error}");
        assert!(!session.is_usable());
    }
}

#[tokio::test]
async fn once_the_server_has_answered_a_lost_session_costs_an_attempt() {
    let rig = Rig::with(Script::new().file("/f", b"abc")).await;
    let mut session = rig.session().await;
    rig.run(&mut session, &download("/f", "/f")).await.unwrap();
    rig.server.now_on("RETR", Act::SayAndClose(text("421 Timeout.")));
    assert_eq!(failed(rig.run(&mut session, &download("/f", "/f")).await).remedy, Remedy::Wait);
}

#[tokio::test]
async fn a_cancelled_download_ends_in_order_and_leaves_nothing() {
    let sent = some_bytes(600 * 1024);
    let rig =
        Rig::with(Script::new().file("/f", &sent).on("RETR", Act::Send(sent.clone(), End::Stall))).await;
    let mut session = rig.session().await;
    let cancel = rig.cancel.clone();
    let task = download("/f", "/f");
    let (ended, ()) = tokio::join!(rig.run(&mut session, &task), async {
        until("RETR is sent", || rig.server.verbs().contains(&text("RETR"))).await;
        cancel.cancel();
    });
    assert_eq!(ended, Err(TransferError::Cancelled));
    assert!(rig.local_files().is_empty());
    assert!(!session.is_usable());
}

#[tokio::test]
async fn a_download_whose_future_is_dropped_leaves_nothing_here() {
    let sent = some_bytes(600 * 1024);
    let rig =
        Rig::with(Script::new().file("/f", &sent).on("RETR", Act::Send(sent.clone(), End::Stall))).await;
    let mut session = rig.session().await;
    let task = download("/f", "/f");
    tokio::select! {
        _ = rig.run(&mut session, &task) => panic!("it stalls"),
        () = until("RETR is sent", || rig.server.verbs().contains(&text("RETR"))) => {}
    }
    assert!(rig.storage.settled(PATIENCE).await);
    assert!(rig.local_files().is_empty());
    assert!(!session.is_usable());
}

#[tokio::test]
async fn after_its_lease_has_ended_a_task_publishes_nothing() {
    let rig = Rig::with(Script::new().file("/f", b"abc")).await;
    let mut session = rig.session().await;
    rig.lease.end();
    assert_eq!(rig.run(&mut session, &download("/f", "/f")).await, Err(TransferError::LeaseEnded));
    assert!(rig.local_files().is_empty());
}

//! What is sent before its turn, to a server that is taken for a far one.

use super::*;

/// Past the first file, so that everything is sent ahead that can be.
async fn warm(script: Script) -> (Rig, Arc<ServerProfile>, Session) {
    let mut rig = Rig::with(script.file("/f", b"abc")).await;
    // Many of these run side by side.
    let wait = Duration::from_secs(1);
    rig.connection.timeouts = SessionTimeouts::all(wait);
    rig.local("g", b"0123456789");
    let known = Arc::new(ServerProfile::high_latency());
    let mut session = rig.hasty(&known).await;
    rig.run(&mut session, &download("/f", "/f")).await.unwrap();
    rig.run(&mut session, &upload("/g", "/out/g")).await.unwrap();
    rig.server.forget_commands();
    (rig, known, session)
}

/// Both ways, and both right.
async fn works(rig: &Rig, session: &mut Session) {
    rig.run(session, &download("/f", "/again")).await.unwrap();
    assert_eq!(rig.content("again"), b"abc");
    rig.run(session, &upload("/g", "/out/again")).await.unwrap();
    assert_eq!(rig.server.content("/out/again").unwrap(), b"0123456789");
}

#[tokio::test]
async fn a_row_of_files_asks_for_each_port_with_the_file_before() {
    let (rig, known, mut session) = warm(Script::new()).await;
    works(&rig, &mut session).await;
    assert_eq!(rig.server.verbs(), ["SIZE", "RETR", "EPSV", "STOR", "SIZE", "RNFR", "RNTO", "EPSV"]);
    assert!(session.is_usable() && !known.rejects_pipelining());
}

#[tokio::test]
async fn a_near_server_is_asked_one_thing_at_a_time() {
    let rig = Rig::with(Script::new().file("/f", b"abc")).await;
    let mut session = rig.session().await;
    rig.server.forget_commands();
    rig.run(&mut session, &download("/f", "/f")).await.unwrap();
    assert_eq!(rig.server.verbs(), ["SIZE", "EPSV", "RETR"]);
}

#[tokio::test]
async fn a_server_that_swallows_what_comes_during_a_transfer_loses_no_file_and_asks_size_separately() {
    let (rig, known, mut session) = warm(Script::new()).await;
    let end = End::Close(text("500 What?\r\n226 sent"));
    rig.server.now_on("RETR", Act::Send(b"abc".to_vec(), end));
    rig.server.now_on("EPSV", Act::Mutter(String::new()));
    rig.run(&mut session, &download("/f", "/f")).await.unwrap();
    assert!(known.rejects_pipelining() && session.is_usable());
    rig.server.behave();
    rig.server.forget_commands();
    works(&rig, &mut session).await;
    let verbs = ["SIZE", "EPSV", "RETR", "EPSV", "STOR", "SIZE", "RNFR", "RNTO"];
    assert_eq!(rig.server.verbs(), verbs);
}

#[tokio::test]
async fn replies_that_overtake_each_other_end_the_session_and_not_the_file() {
    let (rig, known, mut session) = warm(Script::new()).await;
    rig.server.now_on("SIZE", Act::Mutter(String::new()));
    rig.server.now_on("RETR", say("150 here it comes\r\n213 3"));
    let error = failed(rig.run(&mut session, &download("/f", "/f")).await);
    assert_eq!(error.remedy, Remedy::FreshSession, "{error}");
    assert!(known.rejects_pipelining() && !session.is_usable());
    rig.server.behave();
    works(&rig, &mut rig.hasty(&known).await).await;
}

#[tokio::test]
async fn a_port_that_was_not_kept_ends_the_session_and_not_the_file() {
    let (rig, known, _) = warm(Script::new()).await;
    rig.server.now_on("EPSV", Act::DeadPort);
    rig.server.now_on("PASV", say("500 What?"));
    rig.server.now_on("RETR", Act::Send(b"abc".to_vec(), End::Close(text("226 sent"))));
    for first in [true, false] {
        let known = if first { known.clone() } else { Arc::new(ServerProfile::high_latency()) };
        let mut session = rig.hasty(&known).await;
        let error = failed(rig.run(&mut session, &download("/f", "/f")).await);
        // Asked for in its turn, a dead port is the server's own.
        assert_eq!(error.remedy, Remedy::OpenBreaker, "{error}");
    }
}

#[tokio::test]
async fn a_directory_that_has_gone_is_made_again_although_bytes_had_followed_stor() {
    let (rig, _, mut session) = warm(Script::new()).await;
    rig.local("g", &some_bytes(1 << 20));
    rig.server.now_on("STOR", say("553 Could not create file."));
    let error = failed(rig.run(&mut session, &upload("/g", "/out/h")).await);
    assert_eq!(error.failure.ftp_code, Some(553), "{error}");
    assert!(rig.server.verbs().contains(&text("MKD")));
    rig.server.behave();
    rig.run(&mut session, &upload("/g", "/out/h")).await.unwrap();
    assert_eq!(rig.server.content("/out/h").unwrap(), some_bytes(1 << 20));
}

/// Whatever the server does to a session that sends ahead: no wrong file, and no trust in a session that
/// cannot carry the next one.
#[tokio::test]
async fn no_fault_makes_a_wrong_file_or_a_session_that_lies() {
    let acts = || {
        let end = |text: &str| End::Close(text.to_owned());
        faults([
            say("213 3"),
            say("550 No such file"),
            say("226 a\r\n226 b"),
            Act::Send(b"abc".to_vec(), end("426 Broken")),
            Act::Send(b"abc".to_vec(), end("500 What?\r\n226 done")),
            Act::Send(b"ab".to_vec(), end("226 done")),
            Act::Send(b"abc".to_vec(), End::Silence),
            Act::Take(5, end("226 done")),
            Act::Take(usize::MAX, end("452 Full")),
            Act::Take(usize::MAX, end("450 Busy\r\n226 done")),
            Act::DeadPort,
        ])
    };
    for command in ["EPSV", "SIZE", "RETR", "STOR", "RNFR", "RNTO"] {
        let mut cases = tokio::task::JoinSet::new();
        for act in acts() {
            cases.spawn(does_no_harm(command, act));
        }
        while let Some(case) = cases.join_next().await {
            case.unwrap();
        }
    }
}

async fn does_no_harm(command: &'static str, act: Act) {
    let at = format!("{command} {act:?}");
    let (rig, _, mut session) = warm(Script::new().file("/out/h", b"old")).await;
    rig.server.now_on(command, act);
    let down = rig.run(&mut session, &download("/f", "/new")).await;
    let up = if session.is_usable() {
        rig.run(&mut session, &upload("/g", "/out/h")).await.is_ok()
    } else {
        false
    };
    rig.server.behave();
    if down.is_ok() {
        assert_eq!(rig.content("new"), b"abc", "{at}");
    } else {
        assert!(!rig.local_files().contains(&text("new")), "{at}");
    }
    let there = rig.server.content("/out/h");
    if up && command != "RNTO" {
        assert_eq!(there.as_deref(), Some(&b"0123456789"[..]), "{at}");
    } else {
        assert!(there.is_some_and(|there| there == b"old" || there == b"0123456789"), "{at}");
    }
    if session.is_usable() && session.is_alive() {
        let next = rig.run(&mut session, &download("/f", "/next")).await;
        // A second reply in the same packet as the first is seen only by the next command.
        assert!(next.is_ok() || at.contains("\\r\\n"), "{at}: {next:?}");
        assert!(next.is_err() || rig.content("next") == b"abc", "{at}");
    }
}

#[tokio::test]
async fn a_future_dropped_between_the_replies_of_a_burst_leaves_no_session_that_is_trusted_wrongly() {
    for polls in 0..30 {
        for task in [download("/f", "/new"), upload("/g", "/out/h")] {
            let (rig, _, mut session) = warm(Script::new()).await;
            {
                let mut run = std::pin::pin!(rig.run(&mut session, &task));
                for _ in 0..polls {
                    let ended = std::future::poll_fn(|context| {
                        std::task::Poll::Ready(run.as_mut().poll(context).is_ready())
                    });
                    if ended.await {
                        break;
                    }
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
            if session.is_usable() {
                works(&rig, &mut session).await;
            }
        }
    }
}

//! What a session that stands is worth: when it is alive, when it is in doubt, and how it is closed.

use super::*;

#[tokio::test]
async fn closing_waits_until_the_server_counts_the_session_no_more() {
    let rig = Rig::with(Script::new()).await;
    let session = rig.session().await;
    session.close().await;
    until("the session is gone", || rig.server.open() == 0).await;
    assert_eq!(rig.server.verbs().last().unwrap(), "QUIT");
}

#[tokio::test]
async fn closing_does_not_wait_for_a_server_that_never_answers() {
    let rig = Rig::with(Script::new().on("QUIT", Act::Hang)).await;
    let session = rig.session().await;
    let begin = Instant::now();
    session.close().await;
    assert!(begin.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn an_idle_session_is_alive_until_the_server_ends_it() {
    for act in [Act::Close, Act::SayAndClose(text("421 Timeout."))] {
        let rig = Rig::with(Script::new().on("NOOP", act)).await;
        let mut session = rig.session().await;
        assert!(session.is_alive());
        assert!(!session.probe().await);
        assert!(!session.is_alive() && !session.is_usable());
    }
    // Without a command in between: the server closes when it is stopped by the runtime's end.
    let rig = Rig::with(Script::new().on("FEAT", Act::SayAndClose(text("211 no features")))).await;
    let session = rig.session().await;
    until("the end is seen", || !session.is_alive()).await;
    assert!(session.is_usable(), "nothing was left unfinished");
}

#[tokio::test]
async fn a_probe_costs_one_command_and_leaves_the_session_sound() {
    for reply in ["200 ok", "250 zzz", "500 NOOP not understood"] {
        let rig = Rig::with(Script::new().say("NOOP", reply)).await;
        let mut session = rig.session().await;
        assert!(session.probe().await && session.is_usable(), "{reply}");
    }
    let rig = Rig::with(Script::new().on("NOOP", Act::Hang)).await;
    let mut session = rig.session().await;
    assert!(!session.probe().await && !session.is_usable());
}

#[tokio::test]
async fn a_command_that_was_cancelled_leaves_the_session_in_doubt() {
    let rig = Rig::with(Script::new().on("SIZE", Act::Hang)).await;
    let mut session = rig.session().await;
    assert!(tokio::time::timeout(Duration::from_millis(50), session.size("/f")).await.is_err());
    assert!(!session.is_usable() && !session.is_alive());
}

#[tokio::test]
async fn a_retrieval_that_was_dropped_leaves_the_session_in_doubt() {
    let rig = Rig::with(Script::new().file("/f", b"x")).await;
    let mut session = rig.session().await;
    drop(session.retrieve("/f").await.unwrap());
    assert!(!session.is_usable());
}

#[tokio::test]
async fn a_path_that_would_be_two_commands_is_not_sent() {
    let rig = Rig::with(Script::new()).await;
    let mut session = rig.session().await;
    rig.server.forget_commands();
    for path in ["a\r\nDELE b", "a\nb", "a\0b", "a\rb"] {
        assert_eq!(session.size(path).await.unwrap_err().failure.code, Code::PathNotAllowed);
        assert_eq!(session.retrieve(path).await.unwrap_err().failure.code, Code::PathNotAllowed);
        assert_eq!(session.store(path).await.unwrap_err().failure.code, Code::PathNotAllowed);
    }
    assert!(session.is_usable());
    assert!(rig.server.commands().is_empty());
}

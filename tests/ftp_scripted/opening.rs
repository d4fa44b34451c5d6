//! From the connect to the login: which fault has which code, and what it costs.

use super::*;

async fn refused(script: Script) -> TryError {
    let server = script.start().await;
    let begin = Instant::now();
    let error = Session::open(&connection(server.address)).await.expect_err("must fail");
    assert!(begin.elapsed() < PATIENCE);
    error
}

#[tokio::test]
async fn each_fault_until_the_login_has_its_code_and_its_remedy() {
    use Code::*;
    use Remedy::*;
    for (command, act, code, remedy, ftp_code) in [
        ("GREETING", Act::Hang, Timeout, OpenBreaker, None),
        ("GREETING", Act::Mutter(text("220-half a")), Timeout, OpenBreaker, None),
        ("GREETING", Act::Mutter(text("220-a line\r\n")), Timeout, OpenBreaker, None),
        ("GREETING", Act::Close, ConnectFailed, OpenBreaker, None),
        ("GREETING", say("SSH-2.0-OpenSSH_9.2p1"), ProtocolError, OpenBreaker, None),
        ("GREETING", say("HTTP/1.1 400 Bad Request"), ProtocolError, OpenBreaker, None),
        ("GREETING", say("421 Too many connections"), ServerBusy, LowerLimit, Some(421)),
        ("GREETING", Act::SayAndClose(text("421 Closed")), ServerBusy, LowerLimit, Some(421)),
        ("GREETING", say("500 OOPS: could not bind"), ConnectFailed, OpenBreaker, Some(500)),
        ("USER", Act::Hang, Timeout, OpenBreaker, None),
        ("USER", Act::Close, ConnectFailed, OpenBreaker, None),
        ("USER", say("421 Too many users"), ServerBusy, LowerLimit, Some(421)),
        ("USER", say("530 Permission denied."), AuthFailed, OpenBreaker, Some(530)),
        ("USER", say("garbage"), ProtocolError, OpenBreaker, None),
        ("PASS", Act::Hang, Timeout, OpenBreaker, None),
        ("PASS", Act::Close, ConnectFailed, OpenBreaker, None),
        ("PASS", say("530 Login incorrect."), AuthFailed, OpenBreaker, Some(530)),
        ("PASS", say("530 Sorry, the maximum number of clients"), ServerBusy, LowerLimit, Some(530)),
        ("TYPE", Act::Hang, Timeout, OpenBreaker, None),
        ("TYPE", Act::Close, ConnectFailed, OpenBreaker, None),
        ("TYPE", say("421 Going down"), ServerBusy, LowerLimit, Some(421)),
        ("FEAT", Act::Hang, Timeout, OpenBreaker, None),
        ("FEAT", say("421 Going down"), ServerBusy, LowerLimit, Some(421)),
    ] {
        let at = format!("{command} {act:?}");
        let error = refused(Script::new().on(command, act)).await;
        assert_eq!(
            (error.failure.code, error.remedy, error.failure.ftp_code),
            (code, remedy, ftp_code),
            "{at}"
        );
    }
}

#[tokio::test]
async fn a_timeout_says_what_was_waited_for_how_long_and_which_key_sets_it() {
    let error = refused(Script::new().on("GREETING", Act::Hang)).await;
    assert!(
        error.failure.message.ends_with("timed out after 700ms waiting for the greeting (greeting_timeout)")
    );
}

#[tokio::test]
async fn a_server_that_is_silent_on_feat_costs_one_login_and_is_not_asked_again() {
    let server = Script::new().on("FEAT", Act::Hang).start().await;
    let (connection, known) = (connection(server.address), Arc::default());
    assert!(Session::open_with(&connection, &known).await.is_err());
    for _ in 0..2 {
        assert!(Session::open_with(&connection, &known).await.unwrap().is_usable());
    }
    assert_eq!(server.verbs().iter().filter(|verb| *verb == "FEAT").count(), 1);
}

#[tokio::test]
async fn a_connections_sessions_ask_for_features_once() {
    let server = Script::new().say("FEAT", "500 What?").start().await;
    let (connection, known) = (connection(server.address), Arc::default());
    for _ in 0..3 {
        Session::open_with(&connection, &known).await.unwrap();
    }
    assert_eq!(server.verbs().iter().filter(|verb| *verb == "FEAT").count(), 1);
}

#[tokio::test]
async fn the_password_is_not_shown_even_if_the_server_repeats_it() {
    let error = refused(Script::new().say("PASS", "530 s3cret is not the password of anna")).await;
    assert!(error.failure.message.ends_with("530 *** is not the password of anna"), "{error}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_connect_failed() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Session::open(&connection(port)).await.expect_err("must fail");
    assert_eq!((error.failure.code, error.remedy), (Code::ConnectFailed, Remedy::OpenBreaker));
}

#[tokio::test]
async fn a_password_that_is_not_needed_or_superfluous_is_no_error() {
    for reply in ["230 welcome", "202 superfluous", "232 logged in"] {
        let server = Script::new().say("PASS", reply).start().await;
        assert!(Session::open(&connection(server.address)).await.unwrap().is_usable());
    }
    let server = Script::new().say("USER", "230 no password needed").start().await;
    assert!(Session::open(&connection(server.address)).await.unwrap().is_usable());
    assert_eq!(server.verbs(), ["USER", "TYPE", "FEAT"]);
}

/// Case b23: a banner with numbers.
#[tokio::test]
async fn b23_numbers_at_the_begin_of_a_replys_inner_lines_mean_nothing() {
    let inner = |code: u16| {
        format!("{code}-Welcome\r\n100 Mbit/s are shared by all.\r\n530 GB of space.\r\n{code} done")
    };
    let feat = "211-Features:\r\n 226 is no feature\r\n500 neither\r\n MLST type*;\r\n211 End";
    let mut script = Script::new().say("FEAT", feat);
    for (command, code) in [("GREETING", 220), ("USER", 331), ("PASS", 230), ("TYPE", 200)] {
        script = script.say(command, &inner(code));
    }
    let server = script.start().await;
    let session = Session::open(&connection(server.address)).await.unwrap();
    assert!(session.is_usable() && session.is_alive() && session.lists_exactly());
}

/// Case b23: 120 first, and other positive greetings.
#[tokio::test]
async fn b23_a_server_that_will_be_ready_soon_is_waited_for_and_any_positive_greeting_will_do() {
    for greeting in ["120 Ready in a minute\r\n220 ready", "200 ready", "230 logged in already", "220"] {
        let server = Script::new().say("GREETING", greeting).start().await;
        let session = Session::open(&connection(server.address)).await.unwrap();
        assert!(session.is_usable(), "{greeting}");
    }
    let error = refused(Script::new().say("GREETING", "120 Ready in a minute")).await;
    assert_eq!(error.failure.code, Code::Timeout);
}

/// Servers have dozens of wordings for one session too many, that of a wrong password among them.
#[tokio::test]
async fn a_login_that_is_refused_while_another_session_is_logged_in_is_a_limit_and_no_wrong_password() {
    use Code::{AuthFailed, ServerBusy};
    for reply in ["530 Login incorrect.", "530 Not logged in.", "430 Invalid username or password", "530 ***"]
    {
        let server = Script::new().start().await;
        let (connection, known) = (connection(server.address), Arc::default());
        let session = Session::open_with(&connection, &known).await.unwrap();
        server.now_on("PASS", say(reply));
        let error = Session::open_with(&connection, &known).await.expect_err("must fail");
        assert_eq!((error.failure.code, error.remedy), (ServerBusy, Remedy::LowerLimit), "{error}");
        assert!(error.failure.message.contains("logged in with the same user and password"), "{error}");
        // For a while after its end another client may hold what the server allows; a changed password is not tried
        // again and again.
        drop(session);
        let mut codes = Vec::new();
        for _ in 0..5 {
            codes.push(Session::open_with(&connection, &known).await.expect_err("must fail").failure.code);
        }
        assert_eq!(codes, [ServerBusy, ServerBusy, ServerBusy, AuthFailed, AuthFailed], "{reply}");
    }
}

#[tokio::test]
async fn without_a_proof_the_words_decide() {
    for (reply, is_full) in [
        ("530 User anna has exceeded the number of connections", true),
        ("530 Sorry, the maximum number of clients (5) from your host are already connected.", true),
        ("530 Not logged in, user limit reached", true),
        ("530 Connection limit exceeded for this account", true),
        ("530 Only 2 simultaneous logins are allowed", true),
        ("530 Too many concurrent sessions", true),
        ("530 No more connections allowed from your IP", true),
        ("530 This account is already in use", true),
        ("530 Multiple logins are not permitted", true),
        ("530 Login failed: session limit reached", true),
        ("530 Sorry, no free slots", true),
        ("530 User is already logged on", true),
        ("530 Too many failed login attempts", false),
        ("530 Too many authentication failures", false),
        ("530 Login incorrect.", false),
    ] {
        let error = refused(Script::new().say("PASS", reply)).await;
        let expected = if is_full { Code::ServerBusy } else { Code::AuthFailed };
        assert_eq!(error.failure.code, expected, "{reply}");
    }
}

//! Rows of files in active mode, over TLS, and on a connection with a charset, under faults: no wrong file, no task
//! answered twice, and no session used again that is in doubt.

use std::collections::VecDeque;

use ftp_pooler::config::{CertificateTrust, DataConnectionMode, TlsMode, TlsOptions};
use ftp_pooler::transfer::ResumeState;

use super::pipelined_uploads::{CONTENT, Entry, FILES, Lane, assert_renamed_after_size};
use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Active,
    Secure,
    SecureActive,
    Latin1,
}

const WAYS: [Way; 4] = [Way::Active, Way::Secure, Way::SecureActive, Way::Latin1];

impl Way {
    fn is_active(self) -> bool {
        matches!(self, Way::Active | Way::SecureActive)
    }

    /// The command that announces a data connection.
    fn announces(self) -> &'static str {
        if self.is_active() { "EPRT" } else { "EPSV" }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
}

/// A far server, past the first files, and sessions of one kind.
async fn far(way: Way, script: Script) -> (Rig, Arc<ServerProfile>, Session) {
    let is_secure = matches!(way, Way::Secure | Way::SecureActive);
    let mut script = if is_secure { script.secure() } else { script };
    for file in 0..FILES {
        script = script.file(&remote(way, Direction::Down, file), &content(file));
    }
    let mut rig = Rig::with(script).await;
    // Many log in at once, with TLS, on a machine that may be busy; the faults come later.
    let all = SessionTimeouts::all(Duration::from_secs(1));
    rig.connection.timeouts = SessionTimeouts { greeting: PATIENCE, login: PATIENCE, ..all };
    if way.is_active() {
        rig.connection.network.data = DataConnectionMode::Active { announced: None, ports: None };
    }
    if is_secure {
        rig.connection.tls =
            TlsOptions { mode: TlsMode::Implicit, trust: CertificateTrust::Anything, tls12_only: false };
    }
    if way == Way::Latin1 {
        rig.connection.charset = encoding_rs::Encoding::for_label(b"latin1");
    }
    rig.local("g", CONTENT);
    let known = Arc::new(ServerProfile::high_latency());
    let mut session = rig.hasty(&known).await;
    rig.run(&mut session, &upload("/g", "/out/warm")).await.unwrap();
    rig.run(&mut session, &download("/out/warm", "/warm")).await.unwrap();
    rig.server.forget_commands();
    (rig, known, session)
}

/// The second one's name has a letter that the charset is needed for.
fn remote(way: Way, direction: Direction, file: usize) -> String {
    let letter = if way == Way::Latin1 && file == 1 { "\u{e9}" } else { "" };
    match direction {
        Direction::Down => format!("/in/{letter}{file}"),
        Direction::Up => format!("/out/{letter}{file}"),
    }
}

/// Each file another one, so that none is taken for its neighbour.
fn content(file: usize) -> Vec<u8> {
    vec![b'a' + u8::try_from(file).unwrap(); 10 + file]
}

fn entries(way: Way, direction: Direction, rig: &Rig) -> VecDeque<Entry> {
    let entry = |file: usize| {
        let (remote, local) = (remote(way, direction, file), format!("/local-{file}"));
        let task = match direction {
            Direction::Down => download(&remote, &local),
            Direction::Up => {
                rig.local(&format!("local-{file}"), &content(file));
                upload(&local, &remote)
            }
        };
        let record = record(2_000 + i64::try_from(file).unwrap(), rig.lease.clone());
        Entry { task, record, tries: 0, kept: ResumeState::default() }
    };
    (0..FILES).map(entry).collect()
}

/// Works through a row of files; all must be there in the end, whole, and each answered once.
async fn works(
    way: Way,
    direction: Direction,
    rig: &Rig,
    known: &Arc<ServerProfile>,
    session: Session,
    at: &str,
) {
    let lane = Lane { rig, known, waiting: entries(way, direction, rig), ended: BTreeMap::new() };
    let ended = lane.work(session).await;
    assert_eq!(ended.len(), FILES, "{at}");
    assert_renamed_after_size(&rig.server.commands(), at);
    for file in 0..FILES {
        let path = remote(way, direction, file);
        assert!(ended[&path].is_ok(), "{at}: {path}: {:?}\n{:#?}", ended[&path], rig.server.commands());
        match direction {
            Direction::Down => {
                assert!(rig.content(&format!("local-{file}")) == content(file), "{at}: {path}");
            }
            Direction::Up => assert!(rig.server.content(&path) == Some(content(file)), "{at}: {path}"),
        }
    }
}

#[tokio::test]
async fn a_row_is_joined_whatever_its_way() {
    for way in WAYS {
        for direction in [Direction::Down, Direction::Up] {
            let (rig, known, session) = far(way, Script::new()).await;
            works(way, direction, &rig, &known, session, &format!("{way:?} {direction:?}")).await;
            assert!(!known.rejects_pipelining(), "{way:?}");
            let verbs = rig.server.verbs();
            let expected = match (way.is_active(), direction) {
                // All that comes before the first byte goes out with the end of the file before.
                (true, Direction::Down) => ["EPRT", "SIZE", "RETR"].repeat(FILES),
                (false, Direction::Down) => ["SIZE", "RETR", "EPSV"].repeat(FILES),
                (_, Direction::Up) if way != Way::Latin1 => {
                    let (one, all) = (way.announces(), ["RNFR", "RNTO", "SIZE", "STOR"]);
                    let next = [&[one][..], &all].concat();
                    assert!(verbs.windows(next.len()).filter(|window| *window == next).count() >= FILES - 2);
                    continue;
                }
                (_, Direction::Up) => continue,
            };
            assert_eq!(verbs, expected, "{way:?}");
        }
    }
}

#[tokio::test]
async fn replies_that_come_byte_by_byte_are_replies() {
    for way in WAYS {
        for direction in [Direction::Down, Direction::Up] {
            let (rig, known, session) = far(way, Script::new().torn()).await;
            works(way, direction, &rig, &known, session, &format!("{way:?} {direction:?}")).await;
            assert!(!known.rejects_pipelining(), "{way:?} {direction:?}");
        }
    }
}

fn acts() -> Vec<Act> {
    faults([
        say("213 99"),
        say("425 No data connection"),
        Act::Torn(text("500 What?")),
        Act::Mutter(text("213")),
    ])
}

/// What is true of the server, and no fault on the way: the file is refused, or SIZE names another one's.
fn is_meant(way: Way, command: &str, act: &Act) -> bool {
    // No row is joined before a name that needs the charset: the first file's commands come in their turns.
    let is_alone = way == Way::Latin1;
    match act {
        Act::Say(said) | Act::Torn(said) => {
            is_alone && command.starts_with("RN") && said.starts_with("500")
                || command == "SIZE" && said.starts_with("213")
                || command == "RNTO" && said.starts_with("226")
                || matches!(command, "STOR" | "RETR") && said.starts_with("500")
        }
        _ => false,
    }
}

#[tokio::test]
async fn a_fault_anywhere_in_a_burst_costs_no_file_whatever_its_way() {
    for way in WAYS {
        for direction in [Direction::Down, Direction::Up] {
            let commands: &[&str] = match direction {
                Direction::Down => &["SIZE", "RETR"],
                Direction::Up => &["SIZE", "STOR", "RNFR", "RNTO"],
            };
            let mut cases = tokio::task::JoinSet::new();
            for command in [&[way.announces()], commands].concat() {
                for nth in 0..2 {
                    for act in acts().into_iter().filter(|act| !is_meant(way, command, act)) {
                        cases.spawn(costs_no_file(way, direction, vec![(command, nth, act)]));
                    }
                }
            }
            while let Some(case) = cases.join_next().await {
                case.unwrap();
            }
        }
    }
}

/// The replies to two commands of a burst come in the wrong order.
#[tokio::test]
async fn replies_that_overtake_each_other_cost_no_file() {
    let silent = || Act::Mutter(String::new());
    for way in WAYS {
        for nth in 0..2 {
            let retr = say("150 here it comes\r\n213 10");
            costs_no_file(way, Direction::Down, vec![("SIZE", nth, silent()), ("RETR", nth, retr)]).await;
            let rnfr = say("350 and to?\r\n213 10");
            costs_no_file(way, Direction::Up, vec![("SIZE", nth, silent()), ("RNFR", nth, rnfr)]).await;
        }
    }
}

async fn costs_no_file(way: Way, direction: Direction, acts: Vec<(&'static str, usize, Act)>) {
    let at = format!("{way:?} {direction:?} {acts:?}");
    let (rig, known, session) = far(way, Script::new()).await;
    for (command, nth, act) in acts {
        rig.server.nth(command, nth, act);
    }
    works(way, direction, &rig, &known, session, &at).await;
}

/// A server that has nothing to send may close the data connection before its TLS handshake. So may anybody on the way:
/// that there is nothing, SIZE or the final reply must say, which come over the control connection.
#[tokio::test]
async fn nothing_to_send_over_tls_is_complete_where_size_or_the_reply_says_so_and_not_otherwise() {
    for (size, reply, is_complete) in [
        ("213 0", "226 Transfer complete.", true),
        ("213 0", "425 Unable to build data connection", true),
        ("213 0", "426 Closed", true),
        ("500 What?", "226 Transfer complete.", true),
        ("500 What?", "425 Unable to build data connection", false),
        ("500 What?", "426 Closed", false),
        ("213 5", "226 Transfer complete.", false),
        ("213 5", "426 Closed", false),
    ] {
        for known in [ServerProfile::low_latency(), ServerProfile::high_latency()] {
            let script = Script::new().secure().file("/f", b"").say("SIZE /f", size);
            let mut rig = Rig::with(script.on("RETR /f", Act::NothingToSend(text(reply)))).await;
            rig.connection.tls =
                TlsOptions { mode: TlsMode::Implicit, trust: CertificateTrust::Anything, tls12_only: false };
            let mut session = rig.hasty(&Arc::new(known)).await;
            let ended = rig.run(&mut session, &download("/f", "/g")).await;
            let at = format!("{size}, {reply}: {ended:?}");
            assert_eq!(ended.is_ok(), is_complete, "{at}");
            assert_eq!(rig.local_files().contains(&text("g")), is_complete, "{at}");
            if is_complete {
                assert!(rig.content("g").is_empty() && session.is_usable(), "{at}");
            }
        }
    }
}

#[tokio::test]
async fn an_empty_directory_over_tls_is_empty_where_the_reply_says_so() {
    for (reply, is_complete) in [("226 Transfer complete.", true), ("425 No data connection", false)] {
        let script = Script::new().secure().say("FEAT", "211-Features:\r\n MLST type*;size*;\r\n211 End");
        let script = script.say("CWD", "250 ok").on("MLSD", Act::NothingToSend(text(reply)));
        let mut rig = Rig::with(script).await;
        rig.connection.tls =
            TlsOptions { mode: TlsMode::Implicit, trust: CertificateTrust::Anything, tls12_only: false };
        let mut session = rig.session().await;
        let mut entries = 0;
        let listed = session.list("/pub", |_| entries += 1).await;
        assert_eq!((listed.is_ok(), entries), (is_complete, 0), "{reply}: {listed:?}");
    }
}

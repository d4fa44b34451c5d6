//! The ways in which a server can misbehave, each met by the dispatcher, the pool and the transfers together: the right
//! code, in its deadline; no wrong file under the final name; no session used again that is in doubt; and a healthy
//! connection beside it that notices nothing.

mod pod;

use ftp_pooler::config::{TlsMode, TlsOptions};
use pod::Pod;
use tokio::task::JoinSet;

use super::*;

/// The deadline of each wait: longer than elsewhere, since many ways are tried side by side.
const WAIT: Duration = Duration::from_secs(2);

/// Some of these, what a session takes to close, and a machine under load.
const IN_TIME: Duration = Duration::from_secs(30);
/// Ways tried at the same time.
const AT_ONCE: usize = 8;
const HEALTHY: usize = 3;

/// What becomes of the one try at the file.
#[derive(Clone, Copy, Debug)]
enum Ends {
    With(Code),
    /// It is of no consequence.
    Well,
    /// Either of these: which, depends on what comes first.
    Either(Code, Code),
}

use Ends::{Either, Well, With};

#[derive(Clone, Copy, Debug)]
enum Side {
    Down,
    Up,
}

use Side::{Down, Up};

struct Way {
    name: &'static str,
    side: Side,
    ends: Ends,
    script: Script,
    change: fn(&mut FtpConnection),
}

fn way(name: &'static str, side: Side, ends: Ends, command: &str, act: Act) -> Way {
    Way { name, side, ends, script: Script::new().on(command, act), change: |_| {} }
}

/// The next time only.
fn once(name: &'static str, side: Side, ends: Ends, command: &str, act: Act) -> Way {
    Way { script: Script::new().once(command, act), ..way(name, side, ends, command, Act::Close) }
}

fn close(reply: &str) -> End {
    End::Close(text(reply))
}

const CONTENT: &[u8] = b"0123456789";

#[expect(clippy::too_many_lines, reason = "it is a table")]
fn ways() -> Vec<Way> {
    use Code::*;
    let half = || b"01234".to_vec();
    let whole = || CONTENT.to_vec();
    let garbage = || Act::Bytes((0..=255).cycle().take(4000).collect());
    let flood = |begin: &str, more: &str| Act::Flood(text(begin), text(more));
    let explicit: fn(&mut FtpConnection) = |connection| {
        connection.tls = TlsOptions { mode: TlsMode::Explicit, ..TlsOptions::default() };
    };
    let implicit: fn(&mut FtpConnection) = |connection| {
        let trust = ftp_pooler::config::CertificateTrust::Anything;
        connection.tls = TlsOptions { mode: TlsMode::Implicit, trust, ..TlsOptions::default() };
    };
    vec![
        // Until the login.
        way("never greets", Down, With(Timeout), "GREETING", Act::Hang),
        way("half a greeting", Down, With(Timeout), "GREETING", Act::Mutter(text("22"))),
        way("half a greeting of many lines", Down, With(Timeout), "GREETING", Act::Mutter(text("220-a\r\n"))),
        way("closes before the greeting", Down, With(ConnectFailed), "GREETING", Act::Close),
        way("greets with garbage", Down, Either(ProtocolError, Timeout), "GREETING", garbage()),
        way("greets in another protocol", Down, With(ProtocolError), "GREETING", say("SSH-2.0-OpenSSH_9.2")),
        way("greets with a line without end", Down, With(ProtocolError), "GREETING", flood("220 ", "x")),
        way(
            "greets with lines without end",
            Down,
            With(ProtocolError),
            "GREETING",
            flood("220-", "x\r\n220-"),
        ),
        once("421 at the greeting", Down, Well, "GREETING", Act::SayAndClose(text("421 Too many users"))),
        once("421 at USER", Down, Well, "USER", Act::SayAndClose(text("421 Too many users"))),
        once("421 at PASS", Down, Well, "PASS", Act::SayAndClose(text("421 Too many users"))),
        once("421 at TYPE", Down, Well, "TYPE", Act::SayAndClose(text("421 Too many users"))),
        way("never answers USER", Down, With(Timeout), "USER", Act::Hang),
        way("closes at USER", Down, With(ConnectFailed), "USER", Act::Close),
        way("never answers PASS", Down, With(Timeout), "PASS", Act::Hang),
        way("closes at PASS", Down, With(ConnectFailed), "PASS", Act::Close),
        way("closes at TYPE", Down, With(ConnectFailed), "TYPE", Act::Close),
        way("asks for an account", Down, With(AuthFailed), "PASS", say("332 Need account for login.")),
        way(
            "takes TLS and stops in the handshake",
            Down,
            With(Timeout),
            "AUTH",
            Act::SayAndHang(text("234 Go on")),
        )
        .with(explicit),
        way(
            "takes TLS and talks on in plain text",
            Down,
            Either(TlsFailed, ConnectFailed),
            "AUTH",
            say("234 Go on\r\n500 What?"),
        )
        .with(explicit),
        way("takes TLS and closes", Down, With(ConnectFailed), "AUTH", Act::SayAndClose(text("234 Go on")))
            .with(explicit),
        // Replies in odd forms.
        way("replies torn into single bytes", Down, Well, "SIZE", Act::Torn(text("213 10"))),
        way("a reply line of ten megabytes", Down, With(ProtocolError), "SIZE", {
            Act::Say(format!("213 {}", "1".repeat(10 << 20)))
        }),
        way(
            "a reply of many lines without end",
            Down,
            With(ProtocolError),
            "SIZE",
            flood("213-", "1\r\n213-"),
        ),
        way(
            "a reply of several lines that never repeats its code, and so never ends",
            Down,
            With(Timeout),
            "SIZE",
            say("213-10\r\n226 10"),
        ),
        way("garbage for a reply", Down, Either(ProtocolError, Timeout), "SIZE", garbage()),
        way("a reply that was not asked for", Down, With(ProtocolError), "SIZE", say("226 Done")),
        way(
            "a reply with a NUL in it",
            Down,
            With(ProtocolError),
            "SIZE",
            Act::Bytes(b"213 1\x000\r\n".to_vec()),
        ),
        // Before the data.
        way("never answers SIZE", Down, With(Timeout), "SIZE", Act::Hang),
        way("closes at SIZE", Down, With(ProtocolError), "SIZE", Act::Close),
        way("421 at SIZE", Down, With(ProtocolError), "SIZE", Act::SayAndClose(text("421 Bye"))),
        way("never answers EPSV", Down, With(Timeout), "EPSV", Act::Hang),
        way("closes at EPSV", Down, With(ProtocolError), "EPSV", Act::Close),
        way("421 at EPSV", Down, With(ProtocolError), "EPSV", Act::SayAndClose(text("421 Bye"))),
        Way {
            script: Script::new().on("EPSV", Act::DeadPort).on("PASV", Act::DeadPort),
            ..way("EPSV and PASV to closed ports", Down, Either(ConnectFailed, Timeout), "", Act::Close)
        },
        way("EPSV to a closed port, PASV to an open one", Down, Well, "EPSV", Act::DeadPort),
        way("EPSV to a silent port, PASV to an open one", Down, Well, "EPSV", Act::FullPort),
        way("EPSV to a port that never accepts", Down, With(Timeout), "EPSV", Act::NobodyAccepts),
        way("EPSV without a port", Down, Well, "EPSV", say("229 Entering Extended Passive Mode")),
        Way {
            script: Script::new().say("EPSV", "500 What?").on("PASV", Act::ForeignAddress),
            ..way("PASV to elsewhere", Down, Well, "", Act::Close)
        },
        Way {
            script: Script::new()
                .say("EPSV", "500 What?")
                .say("PASV", "227 Entering Passive Mode (999,1,1,1,1,1)"),
            ..way("PASV with no address", Down, With(ProtocolError), "", Act::Close)
        },
        way("never answers RETR", Down, With(Timeout), "RETR", Act::Hang),
        way("closes at RETR", Down, With(ProtocolError), "RETR", Act::Close),
        way("421 at RETR", Down, With(ProtocolError), "RETR", Act::SayAndClose(text("421 Bye"))),
        // The data.
        way("no byte at all", Down, With(Timeout), "RETR", Act::Send(vec![], End::Stall)),
        way("data that stalls", Down, With(Timeout), "RETR", Act::Send(half(), End::Stall)),
        way("data that drips", Down, With(Timeout), "RETR", Act::Drip(Duration::from_millis(200)))
            .large()
            .with(|connection| connection.min_rate.window = Duration::from_secs(1)),
        way(
            "data that is too short",
            Down,
            With(IntegrityMismatch),
            "RETR",
            Act::Send(half(), close("226 Done")),
        ),
        way("data that is too long", Down, With(IntegrityMismatch), "RETR", {
            Act::Send(b"0123456789+".to_vec(), close("226 Done"))
        }),
        way("data without end", Down, With(IntegrityMismatch), "RETR", Act::Send(whole(), End::Endless)),
        Way {
            script: Script::new().say("SIZE", "502 No").on("RETR", Act::Send(whole(), End::Endless)),
            change: |connection| connection.max_file_size = 1 << 20,
            ..way("data without end, of unknown size", Down, With(FileTooLarge), "", Act::Close)
        },
        way("a data connection that is reset", Down, Either(ProtocolError, ConnectFailed), "RETR", {
            Act::Send(half(), End::Reset(text("426 Broken")))
        }),
        way("a disk that fails there", Down, With(ProtocolError), "RETR", {
            Act::Send(half(), close("451 Failure reading local file."))
        }),
        way(
            "everything closes in the middle",
            Down,
            With(ProtocolError),
            "RETR",
            Act::Send(half(), End::Vanish),
        ),
        way("226 before the data", Down, Well, "RETR", Act::SendLate(whole())),
        way(
            "226 before data that is too short",
            Down,
            With(IntegrityMismatch),
            "RETR",
            Act::SendLate(half()),
        ),
        way("226 never", Down, Either(Timeout, ProtocolError), "RETR", Act::Send(whole(), End::Silence)),
        way("226 twice", Down, Well, "RETR", Act::Send(whole(), close("226 Done\r\n226 Done"))),
        way("SIZE that is too small", Down, With(IntegrityMismatch), "SIZE", say("213 3")),
        way("SIZE that is too large", Down, With(IntegrityMismatch), "SIZE", say("213 11")),
        way("SIZE beyond all bounds", Down, With(ProtocolError), "SIZE", say("213 99999999999999999999999")),
        way("SIZE above max_file_size", Down, With(FileTooLarge), "SIZE", say("213 2000000000000000")),
        // Uploads.
        way("never answers STOR", Up, With(Timeout), "STOR", Act::Hang),
        way("closes at STOR", Up, With(ProtocolError), "STOR", Act::Close),
        way("421 at STOR", Up, With(ProtocolError), "STOR", Act::SayAndClose(text("421 Bye"))),
        way("226 to STOR without taking a byte", Up, With(ProtocolError), "STOR", say("226 Done")),
        way(
            "452 in the middle",
            Up,
            With(StorageFull),
            "STOR",
            Act::Take(5, End::Reset(text("452 No space"))),
        ),
        way("452 at the end", Up, With(StorageFull), "STOR", Act::Take(usize::MAX, close("452 No space"))),
        way(
            "552 at the end",
            Up,
            With(StorageFull),
            "STOR",
            Act::Take(usize::MAX, close("552 Quota exceeded")),
        ),
        way("takes no more bytes", Up, With(Timeout), "STOR", Act::Take(5, End::Stall)).large(),
        way("closes everything in the middle", Up, With(ProtocolError), "STOR", Act::Take(5, End::Vanish)),
        way("no 226 after an upload", Up, With(Timeout), "STOR", Act::Take(usize::MAX, End::Silence)),
        way("loses bytes and says 226", Up, With(IntegrityMismatch), "STOR", {
            Act::Take(5, End::Dawdle(text("226 Done")))
        }),
        way("SIZE of the temp file that lies", Up, With(IntegrityMismatch), "SIZE", say("213 17")),
        way("closes at SIZE of the temp file", Up, With(ProtocolError), "SIZE", Act::Close),
        way("RNFR refused", Up, With(ProtocolError), "RNFR", say("550 RNFR failed.")),
        way("RNTO refused", Up, With(Unsupported), "RNTO", say("550 Permission denied.")),
        way("never answers RNTO", Up, With(Timeout), "RNTO", Act::Hang),
        way("closes at RNTO", Up, With(ProtocolError), "RNTO", Act::Close),
        // What an account may not, and what a server does with files by itself.
        way(
            "may store files, and neither rename nor remove them",
            Up,
            With(PermissionDenied),
            "",
            Act::Close,
        )
        .scripted(|script| {
            script.say("RNFR", "550 Permission denied.").say("DELE", "550 Permission denied.")
        }),
        way("takes files away as they arrive", Up, With(Unsupported), "", Act::Close)
            .scripted(|script| script.say("SIZE", "550 no such file").say("RNFR", "550 no such file")),
        way("makes no directory", Up, With(PermissionDenied), "", Act::Close).scripted(|script| {
            script.say("MKD", "550 Permission denied.").say("STOR", "553 Could not create file.")
        }),
        way("takes no paths, down", Down, Well, "", Act::Close)
            .scripted(|script| script.refuses_paths("550 The filename syntax is incorrect.")),
        way("takes no paths, up", Up, Well, "", Act::Close)
            .scripted(|script| script.refuses_paths("550 Permission denied.")),
        way("a temp name that it does not take, as it has data sets", Up, With(Unsupported), "STOR", {
            say("501 Qualifier too long.  Use MVS naming conventions.")
        }),
        // What it says of itself.
        way("numbers at the begin of its greeting's lines", Down, Well, "GREETING", {
            say("220-Welcome\r\n100 Mbit/s are shared\r\n530 GB of space\r\n220 ready")
        }),
        way("will be ready soon, and is", Down, Well, "GREETING", say("120 in a minute\r\n220 ready")),
        way("SIZE that is negative, as its numbers have 32 bits", Down, Well, "SIZE", say("213 -4294897296")),
        way("SIZE of a directory, as if it were a file", Down, With(SourceNotFound), "SIZE", say("213 4096"))
            .scripted(|script| script.say("RETR", "550 Is a directory.")),
        way("SIZE that is another command's reply", Down, Well, "SIZE", say("220 ready")),
        way("refuses a login that was right a moment ago", Down, With(ProtocolError), "", Act::Close)
            .scripted(|script| {
                script.once("RETR", Act::SayAndClose(text("421 Bye"))).nth(
                    "PASS",
                    1,
                    say("530 Login incorrect."),
                )
            }),
        way("says 226 to data that it closes before TLS", Down, With(IntegrityMismatch), "RETR", {
            Act::NothingToSend(text("226 Done"))
        })
        .scripted(Script::secure)
        .with(implicit),
        way("421 at RNTO", Up, With(ProtocolError), "RNTO", Act::SayAndClose(text("421 Bye"))),
    ]
}

impl Way {
    fn with(self, change: fn(&mut FtpConnection)) -> Way {
        Way { change, ..self }
    }

    fn scripted(self, change: impl FnOnce(Script) -> Script) -> Way {
        Way { script: change(self.script), ..self }
    }

    /// The file has more bytes than the sockets' buffers hold.
    fn large(self) -> Way {
        Way { script: self.script.file("/large", b""), ..self }
    }
}

#[test]
fn there_are_more_than_forty_ways_and_no_two_have_one_name() {
    let mut names: Vec<_> = ways().iter().map(|way| way.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count >= 40, "{count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_has_its_code_in_its_time_harms_no_file_and_no_other_connection() {
    let mut cases = JoinSet::new();
    let mut failures = Vec::new();
    for way in ways() {
        if cases.len() >= AT_ONCE {
            note(cases.join_next().await, &mut failures);
        }
        cases.spawn(is_borne(way));
    }
    while let Some(ended) = cases.join_next().await {
        note(Some(ended), &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn note(ended: Option<Result<Result<(), String>, tokio::task::JoinError>>, failures: &mut Vec<String>) {
    match ended {
        Some(Ok(Err(what))) => failures.push(what),
        Some(Err(panic)) => failures.push(panic.to_string()),
        _ => {}
    }
}

async fn is_borne(way: Way) -> Result<(), String> {
    let Way { name, side, ends, script, change } = way;
    let told = |what: String| format!("{name}: {what}");
    let server = script.file("/f", CONTENT).file("/out/f", b"old").start().await;
    let source = if server.content("/large").is_some() { some_bytes(16 << 20) } else { CONTENT.to_vec() };
    if matches!(side, Down) {
        server.put("/f", &source);
    }
    let healthy = Script::new().file("/f", CONTENT).start().await;
    // One session: whatever is used again is what the hostile way has left.
    let mut hostile = FtpConnection {
        name: "hostile".into(),
        max_sessions: 1,
        timeouts: SessionTimeouts::all(WAIT),
        ..connection(server.address)
    };
    change(&mut hostile);
    let calm = FtpConnection {
        name: "healthy".into(),
        timeouts: SessionTimeouts::all(IN_TIME),
        ..connection(healthy.address)
    };
    let mut pod = Pod::new(vec![Arc::new(hostile), Arc::new(calm)]);
    std::fs::write(pod.directory.path().join("source"), &source).unwrap();

    let (down, up) = (download("/f", "/copy"), upload("/source", "/out/f"));
    pod.submit("hostile", "hostile", if matches!(side, Down) { down } else { up });
    for number in 0..HEALTHY {
        pod.submit("healthy", "healthy", download("/f", &format!("/healthy-{number}")));
    }
    let mut ended = None;
    for _ in 0..=HEALTHY {
        let (whose, code, message) = pod.answer().await.map_err(told)?;
        match (whose.as_str(), code) {
            ("healthy", None) => {}
            ("healthy", Some(code)) => {
                return Err(told(format!("the healthy connection: {code}: {message}")));
            }
            (_, code) => ended = Some((code, message)),
        }
    }
    let Some((code, message)) = ended else { return Err(told(text("no answer"))) };
    let fits = match ends {
        Well => code.is_none(),
        With(wanted) => code == Some(wanted),
        Either(one, other) => code == Some(one) || code == Some(other),
    };
    if !fits {
        return Err(told(format!("ended with {code:?}, wanted {ends:?}: {message}")));
    }
    // The file is right, or the one that was there before.
    let (there, before) = match side {
        Down => (pod.file("copy"), None),
        Up => (server.content("/out/f"), Some(b"old".to_vec())),
    };
    if there != before && there.as_deref() != Some(source.as_slice()) || (code.is_none() && there == before) {
        return Err(told(format!("{:?} bytes under the final name", there.map(|there| there.len()))));
    }
    server.behave();
    server.put("/f", CONTENT);
    works_again(&mut pod, &server).await.map_err(told)
}

/// What the hostile way has left is not used again: the next files go both ways.
async fn works_again(pod: &mut Pod, server: &Server) -> Result<(), String> {
    std::fs::write(pod.directory.path().join("new"), b"new content").unwrap();
    for (task_id, task) in [("again", download("/f", "/again")), ("back", upload("/new", "/out/new"))] {
        // A second reply in the packet of the first is seen by the next command only, which costs that try.
        for attempt in 0..2 {
            pod.submit(task_id, "hostile", task.clone());
            match pod.answer().await? {
                (_, None, _) => break,
                // Nobody tries a refused password again so soon; and the scripted server has no TLS.
                (_, Some(Code::AuthFailed | Code::TlsFailed), _) => return Ok(()),
                (_, Some(code), message) if attempt == 1 => {
                    return Err(format!("the next file: {code}: {message}"));
                }
                _ => {}
            }
        }
    }
    let came = pod.file("again").as_deref() == Some(CONTENT);
    let went = server.content("/out/new").as_deref() == Some(b"new content");
    if came && went { Ok(()) } else { Err(format!("the next files are wrong: {came} {went}")) }
}

//! Sessions and transfers against a server that misbehaves: the right code, within the deadline, no file under
//! the final name, nothing left behind, and no trust in a session that is in doubt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer"
)]

#[path = "ftp_scripted/after.rs"]
mod after;
#[path = "ftp_scripted/checks.rs"]
mod checks;
#[path = "ftp_scripted/claim.rs"]
mod claim;
#[path = "ftp_scripted/hostile.rs"]
mod hostile;
#[path = "ftp_scripted/listing.rs"]
mod listing;
#[path = "ftp_scripted/redo.rs"]
mod redo;
#[path = "ftp_scripted/resume.rs"]
mod resume;
#[path = "ftp_scripted/row.rs"]
mod row;
#[path = "support/scripted.rs"]
mod scripted;
#[path = "ftp_scripted/ways.rs"]
mod ways;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ftp_pooler::config::{FtpConnection, LocalConnection, RenameOver, Timeouts};
use ftp_pooler::failure::{Code, Remedy, TryError};
use ftp_pooler::ftp::{Known, Session};
use ftp_pooler::metrics::Metrics;
use ftp_pooler::offsets::Lease;
use ftp_pooler::record::{Origin, Record};
use ftp_pooler::storage::{Names, Storage};
use ftp_pooler::task::{Operation, Options, Task, Verify};
use ftp_pooler::transfer::{Kept, Stopped, Storages, Transfer, Transferred};
use scripted::{Act, End, Script, Server};
use tokio_util::sync::CancellationToken;

/// The deadline of each wait in these tests.
const SHORT: Duration = Duration::from_millis(300);

/// Longer than any try here may take: some waits with their deadlines, and the two seconds of an abort.
const PATIENCE: Duration = Duration::from_secs(6);

/// A server, an empty directory, and what moves files between them.
struct Rig {
    server: Server,
    connection: FtpConnection,
    directory: tempfile::TempDir,
    storage: Storage,
    transfer: Transfer,
    lease: Lease,
    cancel: CancellationToken,
}

impl Rig {
    async fn with(script: Script) -> Rig {
        let server = script.start().await;
        let directory = tempfile::tempdir().unwrap();
        let local = LocalConnection { name: "local".into(), base_path: directory.path().to_owned() };
        let storage = Storage::open(&local).unwrap();
        let storages = BTreeMap::from([("local".to_owned(), storage.clone())]);
        Rig {
            connection: connection(server.address),
            server,
            directory,
            storage,
            transfer: Transfer::new(storages, names(), Metrics::default()),
            lease: Lease::default(),
            cancel: CancellationToken::new(),
        }
    }

    /// A session that sends one command at a time, also where a busy machine makes the server seem far away.
    async fn session(&self) -> Session {
        Session::open_knowing(&self.connection, &Arc::new(Known::near())).await.unwrap()
    }

    /// A session that sends ahead what it can, however near the server is.
    async fn hasty(&self, known: &Arc<Known>) -> Session {
        Session::open_knowing(&self.connection, known).await.unwrap()
    }

    async fn run(&self, session: &mut Session, task: &Task) -> Result<Transferred, Stopped> {
        static OFFSETS: AtomicI64 = AtomicI64::new(0);
        self.run_record(session, task, OFFSETS.fetch_add(1, Ordering::Relaxed)).await
    }

    /// Tries at one task until one succeeds or has failed as often as it may, as dispatch makes them; a session in
    /// doubt is replaced. Returns the failures before.
    async fn try_again(&self, task: &Task, tries: usize) -> (Vec<TryError>, Option<Transferred>) {
        self.try_again_at(task, -1, tries).await
    }

    /// The same at the record with this offset.
    async fn try_again_at(
        &self,
        task: &Task,
        offset: i64,
        tries: usize,
    ) -> (Vec<TryError>, Option<Transferred>) {
        let (mut kept, mut errors) = (Kept::default(), Vec::new());
        let mut session = self.session().await;
        for _ in 0..tries {
            if !session.is_sound() {
                session = self.session().await;
            }
            let record = record(offset, self.lease.clone());
            let run = self.transfer.run_again(&mut session, task, &record, &mut kept, &self.cancel);
            match tokio::time::timeout(PATIENCE, must_be_send(run)).await.expect("the try hangs") {
                Ok(done) => return (errors, Some(done)),
                Err(Stopped::Failed(error)) => errors.push(error),
                Err(other) => panic!("{other:?}"),
            }
        }
        drop(kept);
        assert!(self.storage.settled(PATIENCE).await);
        (errors, None)
    }

    /// One try at the record with this offset.
    async fn run_record(
        &self,
        session: &mut Session,
        task: &Task,
        offset: i64,
    ) -> Result<Transferred, Stopped> {
        let record = record(offset, self.lease.clone());
        let run = self.transfer.run(session, task, &record, &self.cancel);
        let ended = tokio::time::timeout(PATIENCE, must_be_send(run)).await.expect("the try hangs");
        assert!(self.storage.settled(PATIENCE).await);
        ended
    }

    /// Writes a local file.
    fn local(&self, name: &str, content: &[u8]) {
        std::fs::write(self.directory.path().join(name), content).unwrap();
    }

    fn local_files(&self) -> Vec<String> {
        files(self.directory.path())
    }

    fn content(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.path().join(name)).unwrap()
    }
}

/// Those of a process of its own.
fn names() -> Names {
    Names::new(Arc::new(()), "group", ["ftp-tasks".into()]).unwrap()
}

fn record(offset: i64, lease: Lease) -> Record {
    Record {
        origin: Origin { topic: Arc::from("ftp-tasks"), partition: 0, offset },
        key: None,
        headers: Vec::new(),
        payload: None,
        timestamp_ms: Some(1_700_000_000_000),
        lease,
    }
}

fn must_be_send<F: Future + Send>(future: F) -> F {
    future
}

fn connection(address: SocketAddr) -> FtpConnection {
    FtpConnection {
        name: "remote-ftp".into(),
        host: address.ip().to_string(),
        port: address.port(),
        user: "anna".into(),
        pass: "s3cret".to_owned().into(),
        max_sessions: 10,
        timeouts: Timeouts::all(SHORT),
        ..FtpConnection::default()
    }
}

fn task(operation: Operation, remote: &str, local: &str) -> Task {
    Task {
        task_id: "t".into(),
        operation,
        remote: "remote-ftp".into(),
        remote_path: remote.into(),
        local: "local".into(),
        local_path: local.into(),
        options: Options::default(),
    }
}

fn download(remote: &str, local: &str) -> Task {
    task(Operation::Download, remote, local)
}

fn upload(local: &str, remote: &str) -> Task {
    task(Operation::Upload, remote, local)
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn failed(ended: Result<Transferred, Stopped>) -> TryError {
    match ended {
        Err(Stopped::Failed(error)) => error,
        other => panic!("should have failed: {other:?}"),
    }
}

fn some_bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

fn text(text: &str) -> String {
    text.to_owned()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what} never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

mod opening {
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
            error
                .failure
                .message
                .ends_with("timed out after 300ms waiting for the greeting (greeting_timeout)")
        );
    }

    #[tokio::test]
    async fn a_server_that_is_silent_on_feat_costs_one_login_and_is_not_asked_again() {
        let server = Script::new().on("FEAT", Act::Hang).start().await;
        let (connection, known) = (connection(server.address), Arc::default());
        assert!(Session::open_knowing(&connection, &known).await.is_err());
        for _ in 0..2 {
            assert!(Session::open_knowing(&connection, &known).await.unwrap().is_sound());
        }
        assert_eq!(server.verbs().iter().filter(|verb| *verb == "FEAT").count(), 1);
    }

    #[tokio::test]
    async fn a_connections_sessions_ask_for_features_once() {
        let server = Script::new().say("FEAT", "500 What?").start().await;
        let (connection, known) = (connection(server.address), Arc::default());
        for _ in 0..3 {
            Session::open_knowing(&connection, &known).await.unwrap();
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
            assert!(Session::open(&connection(server.address)).await.unwrap().is_sound());
        }
        let server = Script::new().say("USER", "230 no password needed").start().await;
        assert!(Session::open(&connection(server.address)).await.unwrap().is_sound());
        assert_eq!(server.verbs(), ["USER", "TYPE", "FEAT"]);
    }
}

mod sessions {
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
            assert!(!session.is_alive() && !session.is_sound());
        }
        // Without a command in between: the server closes when it is stopped by the runtime's end.
        let rig = Rig::with(Script::new().on("FEAT", Act::SayAndClose(text("211 no features")))).await;
        let session = rig.session().await;
        until("the end is seen", || !session.is_alive()).await;
        assert!(session.is_sound(), "nothing was left unfinished");
    }

    #[tokio::test]
    async fn a_probe_costs_one_command_and_leaves_the_session_sound() {
        for reply in ["200 ok", "250 zzz", "500 NOOP not understood"] {
            let rig = Rig::with(Script::new().say("NOOP", reply)).await;
            let mut session = rig.session().await;
            assert!(session.probe().await && session.is_sound(), "{reply}");
        }
        let rig = Rig::with(Script::new().on("NOOP", Act::Hang)).await;
        let mut session = rig.session().await;
        assert!(!session.probe().await && !session.is_sound());
    }

    #[tokio::test]
    async fn a_command_that_was_cancelled_leaves_the_session_in_doubt() {
        let rig = Rig::with(Script::new().on("SIZE", Act::Hang)).await;
        let mut session = rig.session().await;
        assert!(tokio::time::timeout(Duration::from_millis(50), session.size("/f")).await.is_err());
        assert!(!session.is_sound() && !session.is_alive());
    }

    #[tokio::test]
    async fn a_retrieval_that_was_dropped_leaves_the_session_in_doubt() {
        let rig = Rig::with(Script::new().file("/f", b"x")).await;
        let mut session = rig.session().await;
        drop(session.retrieve("/f").await.unwrap());
        assert!(!session.is_sound());
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
        assert!(session.is_sound());
        assert!(rig.server.commands().is_empty());
    }
}

mod downloads {
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
        assert!(session.is_sound() && session.is_alive());
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

    #[tokio::test]
    async fn what_cannot_be_verified_is_said_in_the_result() {
        for (reply, note) in [
            ("500 What?", "size not verified: the server has no SIZE"),
            ("502 Not implemented", "size not verified: the server has no SIZE"),
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
        assert!(rig.server.commands().is_empty() && session.is_sound());
    }

    #[tokio::test]
    async fn a_226_that_comes_before_the_data_is_believed_where_the_size_is_right() {
        let rig =
            Rig::with(Script::new().file("/f", b"abc").on("RETR", Act::SendLate(b"abc".to_vec()))).await;
        let mut session = rig.session().await;
        rig.run(&mut session, &download("/f", "/f")).await.unwrap();
        assert_eq!(rig.content("f"), b"abc");
        assert!(session.is_sound());
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
            assert_eq!(session.is_sound(), row.sound, "{at}: {error}");
            assert_eq!(rig.local_files().iter().filter(|name| *name != "sub").count(), 0, "{at}");
            assert!(
                !rig.directory.path().join("sub").exists()
                    || files(&rig.directory.path().join("sub")).is_empty()
            );
        }
    }

    #[tokio::test]
    async fn a_data_port_where_nobody_listens_opens_the_breaker_and_the_reply_is_still_read() {
        let script = Script::new().file("/f", b"abc").on("EPSV", Act::DeadPort);
        let rig = Rig::with(script.say("RETR", "425 Failed to establish connection.")).await;
        let mut session = rig.session().await;
        let error = failed(rig.run(&mut session, &download("/f", "/f")).await);
        assert_eq!((error.failure.code, error.failure.ftp_code), (Code::ConnectFailed, Some(425)));
        assert!(session.is_sound());

        rig.server
            .now_on("RETR", Act::Say("150 just a moment\r\n425 Failed to establish connection.".into()));
        let error = failed(rig.run(&mut session, &download("/f", "/f")).await);
        assert_eq!((error.failure.code, error.failure.ftp_code), (Code::ConnectFailed, Some(425)));
        assert_eq!(error.remedy, Remedy::OpenBreaker);
        assert!(
            error.failure.message.contains("refused") && error.failure.message.ends_with("connection."),
            "{error}"
        );
        assert!(session.is_sound());
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
            assert!(!session.is_sound());
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
        assert_eq!(ended, Err(Stopped::Cancelled));
        assert!(rig.local_files().is_empty());
        assert!(!session.is_sound());
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
        assert!(!session.is_sound());
    }

    #[tokio::test]
    async fn after_its_lease_has_ended_a_task_publishes_nothing() {
        let rig = Rig::with(Script::new().file("/f", b"abc")).await;
        let mut session = rig.session().await;
        rig.lease.end();
        assert_eq!(rig.run(&mut session, &download("/f", "/f")).await, Err(Stopped::LeaseEnded));
        assert!(rig.local_files().is_empty());
    }
}

mod uploads {
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
        assert!(session.is_sound());
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
            assert!(!rig.server.verbs().contains(&text("STOR")) && session.is_sound());
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
        let rig = Rig::with(
            Script::new().once("SIZE /out/f", say("550 not there")).once("SIZE /out/f", say("213 3")),
        )
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
            (
                "STOR",
                take(usize::MAX, End::Close(text("451 Failure writing"))),
                ProtocolError,
                Some(451),
                true,
            ),
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
            assert_eq!(session.is_sound(), sound, "{at}: {error}");
            assert_eq!(rig.server.content("/out/f").unwrap(), b"old", "{at}");
            // What could have been of use to another try is removed on a session that is idle.
            rig.server.behave();
            let mut session = if sound { session } else { rig.session().await };
            while rig.transfer.tidy(&mut session).await {}
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
            until("the temp file stands", || rig.server.paths().iter().any(|path| path.starts_with(TEMP)))
                .await;
            cancel.cancel();
        });
        assert_eq!(ended, Err(Stopped::Cancelled));
        assert!(rig.server.paths().is_empty());
        assert!(session.is_sound());
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
            until("the temp file stands", || rig.server.paths().iter().any(|path| path.starts_with(TEMP)))
                .await;
            rig.lease.end();
        });
        assert_eq!(ended, Err(Stopped::LeaseEnded));
        assert!(rig.server.paths().is_empty());
    }
}

/// What is sent before its turn, to a server that is taken for a far one.
mod ahead {
    use super::*;

    /// Past the first file, so that everything is sent ahead that can be.
    async fn warm(script: Script) -> (Rig, Arc<Known>, Session) {
        let mut rig = Rig::with(script.file("/f", b"abc")).await;
        // Many of these run side by side.
        let wait = Duration::from_secs(1);
        rig.connection.timeouts = Timeouts::all(wait);
        rig.local("g", b"0123456789");
        let known = Arc::new(Known::far());
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
        assert!(session.is_sound() && !known.objects());
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
    async fn a_server_that_swallows_what_comes_during_a_transfer_loses_no_file_and_is_asked_in_turn() {
        let (rig, known, mut session) = warm(Script::new()).await;
        let end = End::Close(text("500 What?\r\n226 sent"));
        rig.server.now_on("RETR", Act::Send(b"abc".to_vec(), end));
        rig.server.now_on("EPSV", Act::Mutter(String::new()));
        rig.run(&mut session, &download("/f", "/f")).await.unwrap();
        assert!(known.objects() && session.is_sound());
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
        assert!(known.objects() && !session.is_sound());
        rig.server.behave();
        works(&rig, &mut rig.hasty(&known).await).await;
    }

    #[tokio::test]
    async fn a_port_that_was_not_kept_ends_the_session_and_not_the_file() {
        let (rig, known, _) = warm(Script::new()).await;
        rig.server.now_on("EPSV", Act::DeadPort);
        rig.server.now_on("RETR", Act::Send(b"abc".to_vec(), End::Close(text("226 sent"))));
        for first in [true, false] {
            let known = if first { known.clone() } else { Arc::new(Known::far()) };
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
            vec![
                Act::Hang,
                Act::Close,
                Act::SayAndClose(text("421 Bye")),
                say("garbage"),
                say("226 not asked for"),
                say("213 3"),
                say("450 Busy"),
                say("500 What?"),
                say("550 No such file"),
                say("226 a\r\n226 b"),
                say("500 a\r\n226 b"),
                Act::Send(b"abc".to_vec(), end("426 Broken")),
                Act::Send(b"abc".to_vec(), end("500 What?\r\n226 done")),
                Act::Send(b"ab".to_vec(), end("226 done")),
                Act::Send(b"abc".to_vec(), End::Silence),
                Act::Take(5, end("226 done")),
                Act::Take(usize::MAX, end("452 Full")),
                Act::Take(usize::MAX, end("450 Busy\r\n226 done")),
                Act::DeadPort,
            ]
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
        let up = if session.is_sound() {
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
        if session.is_sound() && session.is_alive() {
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
                if session.is_sound() {
                    works(&rig, &mut session).await;
                }
            }
        }
    }
}

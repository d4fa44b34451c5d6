//! Sessions and transfers against a real vsftpd, or servers of whatever make that the environment names:
//!
//! ```sh
//! FTP_POOLER_TEST_FTP='ftp.example.com:21:anna:secret:/home/anna/try' cargo test --test ftp_servers -- --ignored
//! ```
//!
//! Several, with commas between them. Each directory must be there, be empty, and be writable.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "in a test a panic is the answer, and what it prints is its report"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ftp_pooler::config::{FtpConnection, LocalConnection, Timeouts};
use ftp_pooler::failure::{Code, Remedy, TryError};
use ftp_pooler::ftp::{Known, Session, Size};
use ftp_pooler::metrics::Metrics;
use ftp_pooler::offsets::Lease;
use ftp_pooler::record::Origin;
use ftp_pooler::storage::{Incarnation, Storage};
use ftp_pooler::task::{Operation, Options, Task};
use ftp_pooler::transfer::{Stopped, Transfer, Transferred};
use support::vsftpd::{PASSWORD, USER, Vsftpd};
use tokio_util::sync::CancellationToken;

/// A server under test, and the directory in which it may be used.
struct Rig {
    connection: FtpConnection,
    remote: String,
    directory: tempfile::TempDir,
    transfer: Transfer,
    _server: Option<Vsftpd>,
}

/// One for each server that the environment names, or one for a vsftpd of our own.
fn rigs() -> Vec<Rig> {
    if let Ok(servers) = std::env::var("FTP_POOLER_TEST_FTP") {
        return servers.split(',').map(rig).collect();
    }
    let server = Vsftpd::start();
    server.put("try/.here", b"");
    let own = rig(&format!("{}:{USER}:{PASSWORD}:try", server.addr()));
    vec![Rig { _server: Some(server), ..own }]
}

fn rig(server: &str) -> Rig {
    let [host, port, user, pass, remote] = server.splitn(5, ':').collect::<Vec<_>>()[..] else {
        panic!("FTP_POOLER_TEST_FTP is host:port:user:password:directory,…")
    };
    let seconds = Duration::from_secs;
    let timeouts = Timeouts {
        connect: seconds(5),
        // Pure-FTPd takes its time over passwords.
        login: seconds(30),
        reply: seconds(10),
        stall: seconds(10),
        close: seconds(10),
    };
    let directory = tempfile::tempdir().unwrap();
    let local = LocalConnection { name: "local".into(), base_path: directory.path().to_owned() };
    let storages = BTreeMap::from([("local".to_owned(), Storage::open(&local).unwrap())]);
    Rig {
        connection: FtpConnection {
            name: host.into(),
            host: host.into(),
            port: port.parse().unwrap(),
            user: user.into(),
            pass: pass.to_owned().into(),
            max_sessions: 2,
            timeouts,
            ..FtpConnection::default()
        },
        remote: remote.to_owned(),
        directory,
        transfer: Transfer::new(storages, Incarnation::random().unwrap(), Metrics::default()),
        _server: None,
    }
}

impl Rig {
    async fn session(&self) -> Session {
        Session::open(&self.connection).await.unwrap()
    }

    async fn run(&self, session: &mut Session, task: &Task) -> Result<Transferred, Stopped> {
        let origin = Origin { topic: Arc::from("ftp-tasks"), partition: 0, offset: 7 };
        let (lease, cancel) = (Lease::default(), CancellationToken::new());
        self.transfer.run(session, task, &origin, &lease, &cancel).await
    }

    async fn fails(&self, session: &mut Session, task: &Task) -> TryError {
        match self.run(session, task).await {
            Err(Stopped::Failed(error)) => error,
            other => panic!("should have failed: {other:?}"),
        }
    }

    fn task(&self, operation: Operation, remote: &str, local: &str) -> Task {
        Task {
            task_id: "t".into(),
            operation,
            remote: self.connection.name.clone(),
            remote_path: format!("{}/{remote}", self.remote),
            local: "local".into(),
            local_path: local.into(),
            options: Options::default(),
        }
    }

    fn upload(&self, remote: &str) -> Task {
        self.task(Operation::Upload, remote, "source")
    }

    fn download(&self, remote: &str) -> Task {
        self.task(Operation::Download, remote, "copy")
    }

    fn write_source(&self, content: &[u8]) {
        std::fs::write(self.directory.path().join("source"), content).unwrap();
    }

    fn copy(&self) -> Vec<u8> {
        std::fs::read(self.directory.path().join("copy")).unwrap()
    }
}

#[tokio::test]
#[ignore = "needs vsftpd: make test"]
async fn files_go_up_and_come_down_again_over_one_session() {
    for rig in rigs() {
        go_up_and_come_down(&rig, rig.session().await).await;
        // With every command sent ahead that may be.
        let known = Arc::new(Known::far());
        go_up_and_come_down(&rig, Session::open_knowing(&rig.connection, &known).await.unwrap()).await;
    }
}

async fn go_up_and_come_down(rig: &Rig, mut session: Session) {
    for (name, length) in [
        ("empty", 0_usize),
        ("one", 1),
        ("new/dirs/here/big", 3 << 20),
        ("with space", 4096),
        (" leading space", 10),
        ("-rf", 10),
        ("[a] 100% #1 'q'", 10),
        ("ümläut-日本", 10),
    ] {
        let content: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        rig.write_source(&content);
        // Twice: the second time over the first one's file.
        for _ in 0..2 {
            let sent = rig.run(&mut session, &rig.upload(name)).await.unwrap();
            assert_eq!(sent, Transferred { bytes: length as u64, notes: Vec::new() }, "{name}");
        }
        let received = rig.run(&mut session, &rig.download(name)).await.unwrap();
        assert_eq!(received, Transferred { bytes: length as u64, notes: Vec::new() }, "{name}");
        assert!(rig.copy() == content, "{name} differs");
        assert!(session.is_sound() && session.is_alive(), "{name}");
        assert!(session.delete(&rig.upload(name).remote_path).await.unwrap());
    }
    assert!(session.probe().await);
    session.close().await;
}

#[tokio::test]
#[ignore = "needs vsftpd: make test"]
async fn what_is_missing_forbidden_or_there_is_told_and_the_session_lives_on() {
    for rig in rigs() {
        let mut session = rig.session().await;
        rig.write_source(b"abc");
        let error = rig.fails(&mut session, &rig.download("missing")).await;
        assert_eq!((error.failure.code, error.remedy), (Code::SourceNotFound, Remedy::GiveUp), "{error}");
        assert_eq!(error.failure.ftp_code, Some(550));

        let mut task = rig.upload("there");
        rig.run(&mut session, &task).await.unwrap();
        task.options.overwrite = false;
        assert_eq!(rig.fails(&mut session, &task).await.failure.code, Code::DestinationExists);
        assert_eq!(session.size(&task.remote_path).await.unwrap(), Size::Bytes(3));

        let error = rig.fails(&mut session, &rig.upload("there/below/a/file")).await;
        assert_eq!(error.failure.code, Code::PermissionDenied, "{error}");
        assert!(session.is_sound());
        session.delete(&task.remote_path).await.unwrap();
        session.close().await;
    }
}

#[tokio::test]
#[ignore = "needs vsftpd: make test"]
async fn a_download_that_is_given_up_leaves_its_session_usable_or_in_doubt() {
    for rig in rigs() {
        let mut session = rig.session().await;
        rig.write_source(&vec![b'x'; 32 << 20]);
        let task = rig.upload("big");
        rig.run(&mut session, &task).await.unwrap();
        let mut retrieve = session.retrieve(&task.remote_path).await.unwrap();
        let mut first = Vec::with_capacity(1000);
        assert!(retrieve.read(&mut first).await.unwrap() > 0);
        let code = retrieve.abort().await;
        // Pure-FTPd's last word is a 150 then, which is none: its session is thrown away.
        assert_eq!(session.is_sound(), code != Some(150), "{code:?}");
        if !session.is_sound() {
            session.close().await;
            session = rig.session().await;
        }
        rig.write_source(b"abc");
        rig.run(&mut session, &task).await.unwrap();
        assert_eq!(session.size(&task.remote_path).await.unwrap(), Size::Bytes(3));
        session.delete(&task.remote_path).await.unwrap();
        session.close().await;
    }
}

#[tokio::test]
#[ignore = "needs vsftpd: make test"]
async fn a_wrong_password_opens_the_breaker() {
    for mut rig in rigs() {
        rig.connection.pass = "not this one".to_owned().into();
        let error = Session::open(&rig.connection).await.expect_err("must be refused");
        assert_eq!((error.failure.code, error.remedy), (Code::AuthFailed, Remedy::OpenBreaker));
        assert_eq!(error.failure.ftp_code, Some(530));
    }
}

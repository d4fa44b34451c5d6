//! Sessions and transfers against real servers of three makes, with and without TLS, or against those that the
//! environment names:
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

#[path = "../support/mod.rs"]
mod support;

mod matrix;
mod options;
mod orphans;
mod proxy;
mod rig;
mod round_trips;
mod takeover;
mod tls;
mod tunnel_trips;

use ftp_pooler::failure::{Code, Remedy};
use ftp_pooler::ftp::{Session, SizeReply};
use rig::rigs;

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn files_go_up_and_come_down_again_over_one_session() {
    for rig in rigs() {
        let mut session = rig.session().await;
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
                let sent = rig
                    .run(&mut session, &rig.upload(name))
                    .await
                    .unwrap_or_else(|e| panic!("{}: {name}: {e}\n{}", rig.name, rig.log()));
                assert_eq!((sent.bytes, sent.notes), (length as u64, Vec::new()), "{name}");
            }
            let received = rig.run(&mut session, &rig.download(name)).await.unwrap();
            assert_eq!((received.bytes, received.notes), (length as u64, Vec::new()), "{name}");
            assert!(rig.copy() == content, "{name} differs");
            assert!(session.is_usable() && session.is_alive(), "{name}");
            assert!(session.delete(&rig.upload(name).remote_path).await.unwrap());
        }
        assert!(session.probe().await);
        session.close().await;
    }
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
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
        assert_eq!(rig.run(&mut session, &task).await.unwrap().bytes, 3, "it exists already");
        rig.write_source(b"xyz");
        assert_eq!(rig.fails(&mut session, &task).await.failure.code, Code::DestinationExists);
        assert_eq!(session.size(&task.remote_path).await.unwrap(), SizeReply::Bytes(3));

        let error = rig.fails(&mut session, &rig.upload("there/below/a/file")).await;
        assert_eq!(error.failure.code, Code::PermissionDenied, "{error}");
        assert!(session.is_usable());
        session.delete(&task.remote_path).await.unwrap();
        session.close().await;
    }
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
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
        assert_eq!(session.is_usable(), code != Some(150), "{code:?}");
        if !session.is_usable() {
            session.close().await;
            session = rig.session().await;
        }
        rig.write_source(b"abc");
        rig.run(&mut session, &task).await.unwrap();
        assert_eq!(session.size(&task.remote_path).await.unwrap(), SizeReply::Bytes(3));
        session.delete(&task.remote_path).await.unwrap();
        session.close().await;
    }
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn a_wrong_password_opens_the_breaker() {
    for mut rig in rigs() {
        rig.connection.pass = "not this one".to_owned().into();
        let error = Session::open(&rig.connection).await.expect_err("must be refused");
        assert_eq!((error.failure.code, error.remedy), (Code::AuthFailed, Remedy::OpenBreaker));
        assert_eq!(error.failure.ftp_code, Some(530));
    }
}

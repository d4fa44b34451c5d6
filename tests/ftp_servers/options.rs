//! Rows of the matrix: what tasks can ask for beyond the bytes.

use std::path::PathBuf;

use ftp_pooler::failure::{Code, Remedy};
use ftp_pooler::outcome::SourceFate;
use ftp_pooler::task::{After, Task, Verify};
use jiff::Timestamp;

use crate::rig::Rig;
use crate::support::ftp_server::{Make, Security, Settings, is_root};

/// A name that commands with several arguments have trouble with.
const NAME: &str = "a file, 2 b";
const THEN: &str = "2001-02-03T04:05:06Z";

/// `verify: hash`, down and up, of some sizes: the command that the server has, or the code.
pub async fn hash(rig: Rig) -> String {
    let mut session = rig.session().await;
    let mut seen = String::new();
    for length in [0, 1, 300_000] {
        let content: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        rig.put(NAME, &content);
        rig.write_source(&content);
        for task in [rig.download(NAME), rig.upload("up/a b")] {
            let task = with(task, |task| task.options.verify = Verify::Hash);
            match rig.run(&mut session, &task).await {
                Ok(done) => {
                    let by = done.details.verified_by.unwrap();
                    assert!(by != "size" && done.notes.is_empty(), "{done:?}");
                    seen = format!("yes, {} by {}", by, done.details.features.last().unwrap());
                }
                Err(ftp_pooler::transfer::TransferError::Failed(error)) => {
                    assert!(session.is_usable(), "{error}");
                    return format!("`{}`", error.failure.code);
                }
                Err(stopped) => return format!("{stopped:?}"),
            }
        }
        assert_eq!(rig.copy(), content);
        assert_eq!(rig.get("up/a b"), content);
    }
    seen
}

/// The source's time, down and up: the command that sets it.
pub async fn mtime(rig: Rig) -> String {
    let mut session = rig.session().await;
    let then: Timestamp = THEN.parse().unwrap();
    rig.put(NAME, b"abc");
    rig.write_source(b"abc");
    for path in [rig.at_server(NAME), rig.local("source")] {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(then.try_into().unwrap()).unwrap();
    }
    let keeping = |task| with(task, |task| task.options.preserve_mtime = true);
    let down = match rig.run(&mut session, &keeping(rig.download(NAME))).await {
        Ok(done) => done,
        Err(stopped) => return format!("{stopped:?}"),
    };
    assert_eq!((down.details.source_mtime, down.notes.len()), (Some(then), 0), "{down:?}");
    assert_eq!(modified(rig.local("copy")), then);
    // Twice: over a file, too.
    for _ in 0..2 {
        let up = match rig.run(&mut session, &keeping(rig.upload("up/a b"))).await {
            Ok(done) => done,
            Err(stopped) => return format!("{stopped:?}"),
        };
        if !up.notes.is_empty() {
            return up.notes.join("; ");
        }
        if modified(rig.at_server("up/a b")) != then {
            return format!("{} sets another time", up.details.features.last().unwrap());
        }
    }
    let up = rig.run(&mut session, &keeping(rig.upload("up/a b"))).await.unwrap();
    format!("yes, by {}", up.details.features.last().unwrap())
}

/// The source deleted, and moved into a directory that is not there yet.
pub async fn after(rig: Rig) -> String {
    let mut session = rig.session().await;
    for (after, became) in [
        (After::Delete, SourceFate::Deleted),
        (After::MoveTo("try/done/2001/a b".into()), SourceFate::Moved),
        // Over the one from before.
        (After::MoveTo("try/done/2001/a b".into()), SourceFate::Moved),
    ] {
        rig.put(NAME, b"abc");
        let task = with(rig.download(NAME), |task| task.options.after = after.clone());
        match rig.run(&mut session, &task).await {
            Ok(done) if done.details.after == Some(became) => assert!(done.notes.is_empty(), "{done:?}"),
            other => return format!("{other:?}"),
        }
        assert!(!rig.at_server(NAME).exists() && rig.copy() == b"abc" && session.is_usable());
    }
    assert_eq!(rig.get("done/2001/a b"), b"abc");
    "yes".to_owned()
}

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn an_account_that_may_not_take_away_gets_the_file_and_a_failure_that_says_so() {
    // vsftpd of the tests runs as who starts it, and root may do anything.
    for make in [Make::Proftpd, Make::PureFtpd].into_iter().filter(|_| is_root()) {
        let rig = Rig::start(make, Settings::new(Security::Plain)).unwrap();
        let mut session = rig.session().await;
        rig.put("f", b"abc");
        for after in [After::Delete, After::MoveTo("try/f.done".into())] {
            rig.lock();
            let task = with(rig.download("f"), |task| task.options.after = after);
            let error = rig.fails(&mut session, &task).await;
            rig.unlock();
            assert_eq!(
                (error.failure.code, error.remedy),
                (Code::PermissionDenied, Remedy::GiveUp),
                "{error}"
            );
            let begin = "the file has arrived, but its source was not removed: ";
            assert!(error.failure.message.starts_with(begin), "{error}");
            assert!(rig.copy() == b"abc" && rig.get("f") == b"abc" && session.is_usable());
        }
    }
}

fn with(mut task: Task, change: impl FnOnce(&mut Task)) -> Task {
    change(&mut task);
    task
}

fn modified(path: PathBuf) -> Timestamp {
    std::fs::metadata(path).unwrap().modified().unwrap().try_into().unwrap()
}

//! What the dead have left on a server is found there, in directories of any name, and removed.

use crate::rig::{Rig, left_by_another, rigs};

/// Each with the slash at its end.
const DIRECTORIES: &[&str] = &["", "d/", "with space/", "[a] *?/", "-al/", "ümläut/", "deep/er/"];

#[tokio::test]
#[ignore = "needs FTP servers: make test"]
async fn a_dead_owners_temp_file_is_found_and_removed_and_nothing_else() {
    for rig in rigs().into_iter().filter(|rig| rig.server.is_some()) {
        // Until it is known that a server does not resume TLS 1.3, a session may end in doubt.
        let mut session = rig.session().await;
        rig.write_source(b"abc");
        for _ in 0..5 {
            rig.run(&mut session, &rig.upload("first")).await.unwrap();
        }
        for (record, directory) in (1_000_000..).zip(DIRECTORIES) {
            is_swept(&rig, &mut session, directory, record).await;
        }
        session.close().await;
    }
}

async fn is_swept(rig: &Rig, session: &mut ftp_pooler::ftp::Session, directory: &str, record: i64) {
    let told = format!("{}: {directory:?}", rig.name);
    let (dead, others) = (left_by_another(record), left_by_another(record + 1000));
    rig.make_directory(directory);
    let names = [dead.as_str(), &others, ".hidden", ".ftp-pooler-notes", "plain"];
    let at = |name: &str| format!("{directory}{name}");
    for name in names {
        rig.put(&at(name), b"part");
    }
    let done = rig.once_at(session, &rig.upload(&at("target")), record).await;
    assert_eq!(done.unwrap_or_else(|e| panic!("{told}: {e}\n{}", rig.log())).bytes, 3);
    rig.clean_up(session).await;
    assert!(!rig.has(&at(&dead)), "{told}\n{}", rig.log());
    for name in &names[1..] {
        assert!(rig.has(&at(name)), "{told}: {name}");
    }
    assert!(session.is_usable(), "{told}");
}
